//! Colours: what a consistent cut through a network makes of each frame.
//!
//! A group snapshot takes each guest at a moment of its own. That the guests fit together is up to the
//! network: no guest may have received, before its moment, what another sent after its own. So each
//! port has an epoch, its guest's frames carry it, and at a port the two are compared. This is
//! Mattern's algorithm with colours (Efficient Algorithms for Distributed Snapshots and Global Virtual Time
//! Approximation, 1993, after Lai and Yang), as VNsnap uses it in a VIOLIN, with three changes that
//! Ethernet asks for: frames are lost and doubled, so channels are closed by ranges of numbers or by
//! time and not by counting; the flip of a port is tied to its guest's suspension; and snapshots
//! follow each other, so there are epochs of 32 bits and not two colours. (With one bit, a frame that
//! comes late by one snapshot looks like one from the future, and waits for ever.)
//!
//! # The rules
//!
//! | the frame's epoch is | and | then |
//! | --- | --- | --- |
//! | the port's | | [`Verdict::Deliver`] |
//! | higher | the cut that runs is of [`Mode::Drop`] and up to this epoch | [`Verdict::Drop`]: VNsnap as published |
//! | higher | there is room, and it is not too old | [`Verdict::Hold`]: it would be an orphan |
//! | higher | else | [`Verdict::Drop`] |
//! | lower | the port was flipped by the cut that runs, and the frame's channel is open | [`Verdict::Record`]: it was in transit across the cut |
//! | lower | else | [`Verdict::Deliver`]: a late frame |
//!
//! Lower is any lower epoch: what was sent two epochs ago and comes now was in transit across both cuts.
//! At [`Cut::begin`] all ports of the network are raised to the epoch before the cut, so that such
//! frames are only those that were long on their way, never those of a guest that was left behind.
//!
//! A channel leads from a switch to a port: one from each peer, and a local one between the ports of
//! this switch. It is open from the port's flip until [`Cut::close`]: when all that the peer sent
//! before its last flip has come ([`Sessions::missing`](crate::session::Sessions::missing)), or the
//! time for that is over. What comes later counts as lost, as Ethernet may lose it.
//!
//! A frame to several ports (a broadcast, or one to an unknown place) is judged port by port: each has
//! a cut of its own. To hold it from all for the sake of one would delay it where it may be seen,
//! and to give it to all would make an orphan of it. So each port delivers, holds, drops or records the
//! same octets for itself. Between switches it is one datagram a peer, with one number.
//!
//! The epoch is the port's, not the host's: between the flips of two guests of one host, frames pass
//! between them that must be judged as well.
//!
//! # What the driver does
//!
//! * It tags each frame with [`Cut::epoch`] of the port that sent it **when it takes it from the guest's
//!   ring**, before it waits in any queue.
//! * It keeps the frames that are held. It asks [`Cut::due`] until there is none at [`Cut::poll_at`], and
//!   after each [`flip`](Cut::flip), [`skip`](Cut::skip), [`begin`](Cut::begin) and
//!   [`raise`](Cut::raise), before it judges anything else: else frames overtake those that were held.
//! * It suspends the guest, takes what is left in its ring with the old epoch, and only then flips
//!   the port. What lies in the guest's receive ring then (given to it, and not taken: a guest that is restored
//!   drops it) and what waits in the port's own queue was in transit, too: the driver records it, in this
//!   order, of whatever epoch it is. Held frames it does not record: they were sent after the cut.
//! * It gives the guest nothing from then until it is resumed.
//!
//! It must never let a frame pass to a port of a lower epoch, set an epoch back, keep frames itself,
//! read a clock, or allocate after [`Cut::new`].

mod ahead;
mod counts;
mod judge;
mod port;

use alloc::boxed::Box;
use core::fmt;

use crate::id::{Epoch, NetworkId, PeerId, PortId};
use crate::switch::{DropReason, MAX_PORTS, Peers};

pub use ahead::Ahead;
pub use counts::{Count, Counts};

use ahead::News;
use port::Port;

/// How much may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ports, up to [`MAX_PORTS`]: a [`PortId`] is below it.
    pub ports: usize,
    /// Frames held for one port at a time.
    pub hold_frames: u32,
    /// Octets of frames held for one port at a time.
    pub hold_octets: u32,
    /// How old a held frame gets, in milliseconds from its arrival. Below 200, the least time after
    /// which Linux sends a segment again (`TCP_RTO_MIN`), what is held is not sent twice.
    pub hold_ms: u64,
}

impl Default for Limits {
    /// 1,024 frames, 1 MiB, 150 ms: at 1 Gbit/s that is a spread of 8 ms between two guests.
    fn default() -> Self {
        Self { ports: 64, hold_frames: 1024, hold_octets: 1 << 20, hold_ms: 150 }
    }
}

/// What becomes of frames from after a cut at ports before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are held until the port is flipped, too.
    Hold,
    /// They are dropped: VNsnap as published.
    Drop,
}

/// By which way a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// From a port of this switch.
    Local,
    /// From a peer.
    Peer(PeerId),
}

/// A frame that has arrived for a port, as far as a cut cares. Kept by the driver beside a frame that
/// is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, in milliseconds since boot.
    pub at_ms: u64,
    /// The sender's epoch.
    pub epoch: Epoch,
    /// Its way.
    pub from: Channel,
    /// Its length.
    pub octets: u32,
}

/// What becomes of a frame at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It goes into the port's queue.
    Deliver,
    /// It goes into the port's queue, and a copy into the snapshot: it is state of the channel.
    Record,
    /// It waits, in its order; the driver keeps it.
    Hold,
    /// It is dropped. It has been counted here, not yet by the switch.
    Drop(DropReason),
}

/// Why a cut does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBegun {
    /// Another cut runs: one at a time.
    Busy {
        /// Its network.
        network: NetworkId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// A port of the network has this epoch or a higher one already: an epoch is used once.
    Stale {
        /// The highest epoch of a port.
        epoch: Epoch,
    },
}

impl fmt::Display for NotBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { network, epoch } => {
                write!(f, "snapshot {} of network {network} runs: wait for its end", epoch.0)
            }
            Self::Stale { epoch } => {
                write!(f, "the network is at epoch {} already: take a higher one", epoch.0)
            }
        }
    }
}

impl core::error::Error for NotBegun {}

/// The cut that runs.
struct Running {
    network: NetworkId,
    /// The epoch after it.
    epoch: Epoch,
    mode: Mode,
    /// Channels from peers that are closed.
    closed: Peers,
    local_closed: bool,
    all_closed: bool,
}

/// The colours of all ports of a switch, and the cut that runs.
pub struct Cut {
    limits: Limits,
    ports: Box<[Option<Port>]>,
    running: Option<Running>,
    news: News,
    /// Frames held, all ports together.
    held: u32,
}

impl Cut {
    /// No ports yet. Takes all memory that it will ever need.
    pub fn new(mut limits: Limits) -> Self {
        limits.ports = limits.ports.clamp(1, MAX_PORTS);
        let ports = (0..limits.ports).map(|_| None).collect();
        Self { limits, ports, running: None, news: News::default(), held: 0 }
    }

    /// How old a held frame gets, in milliseconds ([`Limits::hold_ms`]): from now on, also those that are held.
    pub fn set_hold_ms(&mut self, hold_ms: u64) {
        self.limits.hold_ms = hold_ms;
    }

    /// A port is there, with the epoch of its network, or with that of the snapshot that its guest
    /// was restored from. While a cut of its network runs it is at least just before that, and stays there
    /// until [`skip`](Self::skip) or [`raise`](Self::raise). One that was there already begins anew; the
    /// driver drops what it held for it.
    pub fn open(&mut self, port: PortId, network: NetworkId, epoch: Epoch) {
        self.close_port(port);
        let running = self.running.as_ref().filter(|running| running.network == network);
        let before = running.map_or(Epoch(0), |running| Epoch(running.epoch.0.saturating_sub(1)));
        if let Some(slot) = self.ports.get_mut(usize::from(port.0)) {
            *slot = Some(Port::new(network, epoch.max(before)));
        }
    }

    /// A port is gone. The driver drops what it holds for it.
    pub fn close_port(&mut self, port: PortId) {
        if let Some(gone) = self.ports.get_mut(usize::from(port.0)).and_then(Option::take) {
            self.held = self.held.saturating_sub(gone.held.frames);
        }
    }

    /// The epoch of what this port sends now; `None` if there is no such port.
    pub fn epoch(&self, port: PortId) -> Option<Epoch> {
        Some(self.port(port)?.epoch)
    }

    /// The highest epoch of the network's ports, `None` without any.
    pub fn highest(&self, network: NetworkId) -> Option<Epoch> {
        self.of(network).map(|port| port.epoch).max()
    }

    /// A cut begins: up to now nothing is cut. Ports that were left behind are raised to the epoch
    /// before it; counts begin at zero. To begin the same again changes nothing.
    ///
    /// # Errors
    /// [`NotBegun`].
    pub fn begin(&mut self, network: NetworkId, epoch: Epoch, mode: Mode) -> Result<(), NotBegun> {
        if let Some(running) = &self.running {
            return if (running.network, running.epoch) == (network, epoch) {
                Ok(())
            } else {
                Err(NotBegun::Busy { network: running.network, epoch: running.epoch })
            };
        }
        let highest = self.highest(network).unwrap_or_default();
        let before = match epoch.0.checked_sub(1) {
            Some(before) if highest < epoch => Epoch(before),
            _ => return Err(NotBegun::Stale { epoch: highest }),
        };
        self.raise(network, before);
        for port in self.of_mut(network) {
            port.flipped = false;
            port.counts = Counts::default();
        }
        let closed = Peers::EMPTY;
        self.running = Some(Running { network, epoch, mode, closed, local_closed: false, all_closed: false });
        self.news.known(network, epoch);
        Ok(())
    }

    /// The port's guest stands still and is captured: from now on the port is after the cut that runs.
    /// False, and nothing changes, when it is no port of the cut's network, or was flipped before.
    pub fn flip(&mut self, port: PortId) -> bool {
        self.pass(port, true)
    }

    /// As [`flip`](Self::flip), for a guest that is not captured, as it came later: nothing is recorded for
    /// it.
    pub fn skip(&mut self, port: PortId) -> bool {
        self.pass(port, false)
    }

    fn pass(&mut self, port: PortId, flipped: bool) -> bool {
        let Some(running) = &self.running else { return false };
        let (network, epoch) = (running.network, running.epoch);
        let slot = self.ports.get_mut(usize::from(port.0)).and_then(Option::as_mut);
        let Some(port) = slot.filter(|port| port.network == network && port.epoch < epoch) else {
            return false;
        };
        port.raise(epoch);
        port.flipped = flipped;
        true
    }

    /// The network is at this epoch: a snapshot has ended, well or not, or a peer knows that one has.
    /// Ports below it are raised without being captured (abort-forward: an epoch is never taken back),
    /// and the cut that runs is over if it is of this epoch or an earlier one.
    pub fn raise(&mut self, network: NetworkId, epoch: Epoch) {
        for port in self.of_mut(network).filter(|port| port.epoch < epoch) {
            port.raise(epoch);
        }
        self.running.take_if(|running| running.network == network && running.epoch <= epoch);
        self.news.known(network, epoch);
    }

    /// The cut is given up before any guest passed it, here or elsewhere: the epochs stay, and another
    /// snapshot may take this one. False, and nothing changes, when it is not the cut that runs or a
    /// port has passed it: only [`raise`](Self::raise) ends it then.
    pub fn cancel(&mut self, network: NetworkId, epoch: Epoch) -> bool {
        let possible = self.running() == Some((network, epoch)) && self.highest(network) < Some(epoch);
        if possible {
            self.running = None;
        }
        possible
    }

    /// The channel is empty, or waited for long enough: what comes by it from before the cut is late.
    pub fn close(&mut self, channel: Channel) {
        match (&mut self.running, channel) {
            (Some(running), Channel::Local) => running.local_closed = true,
            (Some(running), Channel::Peer(peer)) => running.closed.insert(peer.0),
            (None, _) => {}
        }
    }

    /// All channels are.
    pub fn close_all(&mut self) {
        if let Some(running) = &mut self.running {
            running.all_closed = true;
        }
    }

    /// The cut that runs.
    pub fn running(&self) -> Option<(NetworkId, Epoch)> {
        self.running.as_ref().map(|running| (running.network, running.epoch))
    }

    /// What was counted at a port since its last cut began.
    pub fn counts(&self, port: PortId) -> Option<&Counts> {
        Some(&self.port(port)?.counts)
    }

    /// The same for all ports of a network that are there.
    pub fn sum(&self, network: NetworkId) -> Counts {
        self.of(network).fold(Counts::default(), |sum, port| sum.with(&port.counts))
    }

    /// Frames and octets that are held for a port now.
    pub fn held(&self, port: PortId) -> Count {
        let held = self.port(port).map(|port| port.held).unwrap_or_default();
        Count { frames: held.frames.into(), octets: held.octets.into() }
    }

    /// A frame came from an epoch that no cut is known for: we missed something, and who sent it is to
    /// be asked. Each epoch of a network is told once.
    pub fn next_ahead(&mut self) -> Option<Ahead> {
        self.news.next()
    }

    fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(usize::from(port.0))?.as_ref()
    }

    fn of(&self, network: NetworkId) -> impl Iterator<Item = &Port> {
        self.ports.iter().flatten().filter(move |port| port.network == network)
    }

    fn of_mut(&mut self, network: NetworkId) -> impl Iterator<Item = &mut Port> {
        self.ports.iter_mut().flatten().filter(move |port| port.network == network)
    }
}

impl Running {
    fn is_open(&self, channel: Channel) -> bool {
        !self.all_closed
            && match channel {
                Channel::Local => !self.local_closed,
                Channel::Peer(peer) => !self.closed.contains(peer.0),
            }
    }
}

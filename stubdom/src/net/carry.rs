//! Frames to and from peers.
//!
//! A frame for a peer waits in its sender's pages until the uplink has room, as one for a slow
//! guest does. Then it is read, once, into memory of ours, and sealed in the page that goes into
//! the uplink's ring. Large frames are cut into segments there, with checksums left blank: the
//! seal protects them better, and the receiving switch says so to its guest.

use core::net::SocketAddr;

use vif::back::frame::Frame;
use vif::back::gather::Checksum;
use vif::back::hub::{HOLD_MS, Hub};
use violin::cut::{Arrival, Channel};
use violin::frame::Header;
use violin::id::{Epoch, NetworkId, PeerId, PortId, SwitchId};
use violin::segment::Segments;
use violin::session::{NotSealed, Opened, Reason, Sessions, What};
use violin::switch::{self, DropReason, From, Peers, Switch, Target};
use violin::wire::{Flags, HEADER_LEN, OVERHEAD};
use xen::page::PagePool;

use super::far::{Far, TOLD};
use super::gate::Gate;
use super::state::Device;
use super::underlay::{SendError, Underlay};

/// Frames that wait for the uplink.
pub(super) const QUEUE: usize = 256;

/// Datagrams that are made of a frame only if there is room for all of them: half of the ring.
const WHOLE: usize = 128;

/// A frame that waits for the uplink.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    frame: u16,
    pub(super) network: NetworkId,
    /// Its sender's, when it was taken from its ring.
    pub(super) epoch: Epoch,
    peers: Peers,
    since_ms: u64,
}

impl Far {
    /// Puts a frame into the queue for peers.
    pub(super) fn enqueue(
        &mut self,
        hub: &mut Hub,
        switch: &mut Switch,
        frame: u16,
        (network, epoch): (NetworkId, Epoch),
        peers: Peers,
        now_ms: u64,
    ) {
        let full = self.queue.is_full() || (self.blocked && hub.holds_too_much(frame));
        if full || !self.underlay.link_up() {
            let reason = if full { DropReason::QueueFull } else { DropReason::NoSession };
            for peer in peers.iter() {
                switch.count_drop(Target::Peer(PeerId(peer)), reason);
            }
            return;
        }
        hub.hold(frame);
        let _ = self.queue.push_back(Waiting { frame, network, epoch, peers, since_ms: now_ms });
    }

    /// Sends what waits, as far as the uplink has room. `staging`: memory for frames, 64 KiB at
    /// least.
    pub(super) fn send(&mut self, hub: &mut Hub, switch: &mut Switch, staging: &mut [u8], now_ms: u64) {
        self.blocked = false;
        while !self.queue.is_empty() {
            let Self { underlay, sessions, queue, .. } = self;
            // Only those that find room as a whole, so that none is sent in part.
            let mut room = underlay.front().room();
            let link = underlay.link_up();
            let ready = queue.iter().take_while(|waiting| {
                let datagrams = hub.frame(waiting.frame).map_or(0, segments) * waiting.peers.len();
                let datagrams = datagrams.min(WHOLE);
                let fits = datagrams <= room || !link;
                room = room.saturating_sub(datagrams);
                fits
            });
            let ready = ready.count();
            if ready == 0 {
                let stale = queue.front().is_some_and(|w| w.since_ms + HOLD_MS < now_ms);
                if !stale {
                    self.blocked = true;
                    break;
                }
            }
            let places: heapless::Vec<u16, QUEUE> =
                queue.iter().take(ready.max(1)).map(|w| w.frame).collect();
            let done = hub.read(&places, staging, |i, frame, octets| {
                let Some(waiting) = queue.iter().nth(i) else { return };
                for peer in waiting.peers.iter().map(PeerId) {
                    let sent = match &octets {
                        Some(octets) if ready > 0 => {
                            let Waiting { network, epoch, .. } = *waiting;
                            let to = To { underlay, sessions, peer, network, epoch, now_ms };
                            to.send(switch, frame, octets)
                        }
                        Some(_) => Err(DropReason::Stale),
                        None => Err(DropReason::BadGrant),
                    };
                    match sent {
                        Ok(()) => switch.count_out(Target::Peer(peer), frame.len.into()),
                        Err(reason) => switch.count_drop(Target::Peer(peer), reason),
                    }
                }
            });
            for _ in 0..done.max(1) {
                if let Some(waiting) = self.queue.pop_front() {
                    hub.release(waiting.frame);
                }
            }
        }
        self.underlay.flush();
    }

    /// Takes what peers sent, and puts frames into the queues of local ports. Returns how
    /// many datagrams came.
    pub(super) fn receive(
        &mut self,
        into: &mut Ports<'_>,
        seen: &mut dyn FnMut(SwitchId, NetworkId, &[u8]),
    ) -> usize {
        let now_ms = into.now_ms;
        let Self { underlay, sessions, members, told, has_warned, .. } = self;
        let mut came = 0;
        underlay.poll(now_ms, |from, datagram| {
            came += 1;
            match sessions.open(now_ms, SocketAddr::V4(from), datagram) {
                Opened::Frame { peer, network, epoch, flags, payload } => {
                    if let Some(switch) = sessions.switch(peer) {
                        seen(switch, network, payload);
                    }
                    let from = From::Peer(peer, network);
                    let Ok(header) = Header::parse(payload) else {
                        return into.switch.count_refused(from, DropReason::Runt);
                    };
                    let forward = into.switch.forward(now_ms, from, &header, payload.len(), false);
                    let Ok(to) = forward.targets() else { return };
                    let octets = payload.len() as u32;
                    let arrival = Arrival { at_ms: now_ms, epoch, from: Channel::Peer(peer), octets };
                    into.deliver(payload, flags, to.ports, arrival);
                }
                Opened::Group { peer, payload } => {
                    if let Some(id) = sessions.switch(peer)
                        && told.len() < TOLD
                    {
                        told.push_back((id.0, payload.into()));
                    }
                }
                Opened::Control { peer, payload } => {
                    if let Some(id) = sessions.switch(peer) {
                        // What makes no sense is from a peer that we trust to be a peer: it is
                        // of another version, or broken.
                        let _ = members.receive(now_ms, id, payload);
                    }
                }
                // Anybody can send it: said once, and counted each time.
                Opened::Dropped(Reason::Version) if !core::mem::replace(has_warned, true) => log::warn!(
                    "{from} speaks another version of the tunnel than {}: install one release of Luthier on all hosts",
                    violin::wire::VERSION
                ),
                Opened::Established { .. }
                | Opened::Alive { .. }
                | Opened::Answer { .. }
                | Opened::Dropped(_) => {}
            }
        });
        came
    }
}

/// The local ports, as what peers send gets to them.
pub(super) struct Ports<'a> {
    pub(super) hub: &'a mut Hub,
    pub(super) switch: &'a mut Switch,
    pub(super) gate: &'a mut Gate,
    pub(super) devices: &'a [Option<Device>],
    pub(super) device_of: &'a [Option<u16>],
    /// Memory for frames that are read, 64 KiB at least.
    pub(super) staging: &'a mut [u8],
    pub(super) pool: &'static PagePool,
    pub(super) now_ms: u64,
}

impl Ports<'_> {
    /// Puts what a peer sent into the queues of local ports.
    fn deliver(&mut self, payload: &[u8], flags: Flags, ports: switch::Ports, arrival: Arrival) {
        let checksum = match (flags.has(Flags::CHECKSUM_BLANK), flags.has(Flags::DATA_VALIDATED)) {
            (true, _) => Checksum::Blank,
            (false, true) => Checksum::Validated,
            (false, false) => Checksum::Unknown,
        };
        let page = self.pool.take().and_then(|mut page| {
            page.get_mut(..payload.len())?.copy_from_slice(payload);
            self.hub.own(page, 0, payload.len() as u16, checksum, self.now_ms)
        });
        for port in ports.iter() {
            let queued = match page {
                Some(frame) => self.put(frame, PortId(port), arrival),
                None => Err(DropReason::NoBuffer),
            };
            if let Err(reason) = queued {
                self.switch.count_drop(Target::Port(PortId(port)), reason);
            }
        }
        if let Some(frame) = page {
            self.hub.release(frame);
        }
    }

    fn put(&mut self, frame: u16, port: PortId, arrival: Arrival) -> Result<(), DropReason> {
        let Some(Some(at)) = self.device_of.get(usize::from(port.0)) else { return Ok(()) };
        let device = self.devices.get(usize::from(*at)).and_then(Option::as_ref);
        let (Some(device), Some(network)) = (device, self.switch.network_of(port)) else { return Ok(()) };
        let to = (port, network, device.mac);
        if self.gate.pass(self.hub, self.staging, frame, to, arrival)? {
            self.hub.enqueue(frame, *at).map_err(super::state::reason)?;
        }
        Ok(())
    }
}

/// Datagrams that a frame may take.
fn segments(frame: &Frame) -> usize {
    frame.gso.map_or(1, |gso| usize::from(frame.len) / usize::from(gso.size.max(64)) + 1)
}

/// Sends to one peer.
struct To<'a> {
    underlay: &'a Underlay,
    sessions: &'a mut Sessions,
    peer: PeerId,
    network: NetworkId,
    epoch: Epoch,
    now_ms: u64,
}

impl To<'_> {
    fn send(mut self, switch: &Switch, frame: &Frame, octets: &[u8]) -> Result<(), DropReason> {
        let flags = match frame.checksum {
            Checksum::Blank => Flags::CHECKSUM_BLANK.with(Flags::DATA_VALIDATED),
            Checksum::Validated => Flags::DATA_VALIDATED,
            Checksum::Unknown => Flags::NONE,
        };
        let Some(gso) = frame.gso else {
            return self.seal(flags, |room| {
                room.get_mut(..octets.len())?.copy_from_slice(octets);
                Some(octets.len())
            });
        };
        let mtu = switch.mtu(self.network).ok_or(DropReason::NoNetwork)?;
        let header = Header::parse(octets).map_err(|_| DropReason::Runt)?;
        let longest = usize::from(mtu) + header.header_len();
        let mut segments =
            Segments::new(octets, gso.size, gso.v6, longest).map_err(|_| DropReason::TooBig)?;
        let mut left = segments.count();
        while left > 0 {
            self.seal(Flags::CHECKSUM_BLANK.with(Flags::DATA_VALIDATED), |room| segments.next_into(room))?;
            left -= 1;
        }
        Ok(())
    }

    /// Sends one datagram, whose frame `fill` writes.
    fn seal(
        &mut self,
        flags: Flags,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), DropReason> {
        let Some(SocketAddr::V4(to)) = self.sessions.address(self.peer) else {
            return Err(DropReason::Closed);
        };
        let mut out = self.underlay.tx_buffer(to).map_err(|why| match why {
            SendError::Full | SendError::Unresolved => DropReason::NoBuffer,
            SendError::Down | SendError::Unroutable => DropReason::NoSession,
        })?;
        let most = out.len().saturating_sub(OVERHEAD);
        let room = out.get_mut(HEADER_LEN..HEADER_LEN + most).ok_or(DropReason::TooBig)?;
        let len = fill(room).ok_or(DropReason::TooBig)?;
        let what = What::Frame { network: self.network, epoch: self.epoch, flags };
        match self.sessions.seal(self.now_ms, self.peer, what, &mut out, len) {
            Ok((len, _)) => {
                out.commit(len);
                Ok(())
            }
            Err(NotSealed::TooLong) => Err(DropReason::TooBig),
            Err(NotSealed::NoSession | NotSealed::UnknownPeer) => Err(DropReason::NoSession),
        }
    }
}

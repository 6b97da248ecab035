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
use violin::frame::Header;
use violin::id::{Epoch, NetworkId, PeerId, PortId, SwitchId};
use violin::segment::Segments;
use violin::session::{NotSealed, Opened, Sessions, What};
use violin::switch::{DropReason, From, Peers, Ports, Switch, Target};
use violin::wire::{Flags, HEADER_LEN, OVERHEAD};
use xen::page::PagePool;

use super::far::Far;
use super::underlay::{SendError, Underlay};

/// Frames that wait for the uplink.
pub(super) const QUEUE: usize = 256;

/// Datagrams that are made of a frame only if there is room for all of them: half of the ring.
const WHOLE: usize = 128;

/// A frame that waits for the uplink.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    frame: u16,
    network: NetworkId,
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
        network: NetworkId,
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
        let _ = self.queue.push_back(Waiting { frame, network, peers, since_ms: now_ms });
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
                            let to = To { underlay, sessions, peer, network: waiting.network, now_ms };
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
        hub: &mut Hub,
        switch: &mut Switch,
        device_of: &[Option<u16>],
        pool: &'static PagePool,
        now_ms: u64,
        seen: &mut dyn FnMut(SwitchId, NetworkId, &[u8]),
    ) -> usize {
        let Self { underlay, sessions, members, .. } = self;
        let mut came = 0;
        underlay.poll(now_ms, |from, datagram| {
            came += 1;
            match sessions.open(now_ms, SocketAddr::V4(from), datagram) {
                Opened::Frame { peer, network, flags, payload, .. } => {
                    if let Some(switch) = sessions.switch(peer) {
                        seen(switch, network, payload);
                    }
                    let from = From::Peer(peer, network);
                    let Ok(header) = Header::parse(payload) else {
                        return switch.count_refused(from, DropReason::Runt);
                    };
                    let forward = switch.forward(now_ms, from, &header, payload.len(), false);
                    let Ok(to) = forward.targets() else { return };
                    deliver(hub, switch, device_of, pool, payload, flags, to.ports, now_ms);
                }
                Opened::Control { peer, payload } => {
                    if let Some(id) = sessions.switch(peer) {
                        // What makes no sense is from a peer that we trust to be a peer: it is
                        // of another version, or broken.
                        let _ = members.receive(now_ms, id, payload);
                    }
                }
                Opened::Established { .. }
                | Opened::Alive { .. }
                | Opened::Answer { .. }
                | Opened::Dropped(_) => {}
            }
        });
        came
    }
}

/// Puts what a peer sent into the queues of local ports.
#[allow(clippy::too_many_arguments, reason = "all of them are parts of one state, lent apart")]
fn deliver(
    hub: &mut Hub,
    switch: &mut Switch,
    device_of: &[Option<u16>],
    pool: &'static PagePool,
    payload: &[u8],
    flags: Flags,
    ports: Ports,
    now_ms: u64,
) {
    let checksum = match (flags.has(Flags::CHECKSUM_BLANK), flags.has(Flags::DATA_VALIDATED)) {
        (true, _) => Checksum::Blank,
        (false, true) => Checksum::Validated,
        (false, false) => Checksum::Unknown,
    };
    let page = pool.take().and_then(|mut page| {
        page.get_mut(..payload.len())?.copy_from_slice(payload);
        hub.own(page, 0, payload.len() as u16, checksum, now_ms)
    });
    for port in ports.iter() {
        let Some(Some(device)) = device_of.get(usize::from(port)) else { continue };
        let queued = match page {
            Some(frame) => hub.enqueue(frame, *device).map_err(super::state::reason),
            None => Err(DropReason::NoBuffer),
        };
        if let Err(reason) = queued {
            switch.count_drop(Target::Port(PortId(port)), reason);
        }
    }
    if let Some(frame) = page {
        hub.release(frame);
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
        let what = What::Frame { network: self.network, epoch: Epoch(0), flags };
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

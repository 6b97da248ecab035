//! The way to other hosts: frames sealed for peers, what peers sealed for us, and who they are.
//!
//! A frame for a peer waits in its sender's pages until the uplink has room, as one for a slow
//! guest does. Then it is read, once, into memory of ours, and sealed in the page that goes into
//! the uplink's ring. Large frames are cut into segments there, with checksums left blank: the
//! seal protects them better, and the receiving switch says so to its guest.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use heapless::Deque;
use log::{info, warn};
use vif::back::frame::Frame;
use vif::back::gather::Checksum;
use vif::back::hub::Hub;
use vif::front::Front;
use violin::frame::{HEADER_LEN_MAX, Header};
use violin::id::{Epoch, NetworkId, PeerId, SwitchId};
use violin::member::{self, Event, MESSAGE_MAX, Member, Membership, Seed, Why};
use violin::segment::Segments;
use violin::session::{self, NotSealed, Opened, Sessions, TRANSMIT_LEN, What};
use violin::switch::{DropReason, Forward, From, Peers, Switch, Target};
use violin::wire::{Flags, HEADER_LEN, OVERHEAD, TAG_LEN};
use xen::page::PagePool;

use super::underlay::{Config, SendError, Underlay};

/// Peers at a time.
pub(super) const MAX_PEERS: usize = 256;

/// Frames that wait for the uplink.
const QUEUE: usize = 256;

/// Datagrams that are made of a frame only if there is room for all of them: half of the ring.
const WHOLE: usize = 128;

/// A frame that waits for the uplink.
#[derive(Clone, Copy)]
struct Waiting {
    frame: u16,
    network: NetworkId,
    peers: Peers,
    since_ms: u64,
}

/// The way to other hosts.
pub(super) struct Far {
    pub(super) underlay: Underlay,
    pub(super) sessions: Sessions,
    pub(super) members: Membership,
    address: SocketAddr,
    pub(super) incarnation: u64,
    queue: Deque<Waiting, QUEUE>,
    /// Whether frames wait for room in the uplink's ring.
    pub(super) blocked: bool,
}

impl Far {
    /// A switch that is alone, at its place in the underlay.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(
        front: &'static Front,
        order: &handoff::Underlay,
    ) -> Result<Self, alloc::string::String> {
        let handoff::Underlay { address, prefix, gateway, port, incarnation, ref key, .. } = *order;
        let address = Ipv4Addr::from(address);
        let config = Config { address, prefix, gateway: gateway.map(Ipv4Addr::from), port };
        let underlay = Underlay::new(front, config).map_err(|e| alloc::format!("{e}"))?;
        let mut seed = [0; 32];
        xen::entropy::fill(&mut seed);
        let at = SocketAddr::new(IpAddr::V4(address), port);
        let me = Member::new(session::switch_id, session::public_key(&key.0), at, incarnation);
        let (id, spread) = (me.id, me.id.0);
        let limits = member::Config { members: MAX_PEERS, ..member::Config::default() };
        info!("switch {id} at {at}");
        Ok(Self {
            underlay,
            sessions: Sessions::new(key.0, seed, MAX_PEERS, incarnation),
            members: Membership::new(me, session::switch_id, limits, spread),
            address: at,
            incarnation,
            queue: Deque::new(),
            blocked: false,
        })
    }

    /// Whether it is the same that this order wants.
    pub(super) fn is(&self, order: &handoff::Underlay) -> bool {
        let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(order.address)), order.port);
        self.address == at && self.sessions.public_key() == session::public_key(&order.key.0)
    }

    /// Joins through a member, and keeps trying.
    pub(super) fn join(&mut self, now_ms: u64, seed: handoff::Seed) {
        let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(seed.address)), seed.port);
        // Known from now on, so that it may also call us.
        if let Err(why) = self.sessions.add_peer(seed.key, at) {
            warn!("{at} can't be a peer: {why}");
            return;
        }
        self.members.join(now_ms, Seed { key: seed.key, at });
    }

    /// When to look again though nothing came.
    pub(super) fn poll_at(&self) -> Option<u64> {
        let times = [self.underlay.poll_at(), self.sessions.poll_at(), self.members.poll_at()];
        times.into_iter().flatten().min()
    }

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
                let stale = queue.front().is_some_and(|w| w.since_ms + vif::back::hub::HOLD_MS < now_ms);
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
                    let ports = match switch.forward(now_ms, from, &header, payload.len(), false) {
                        Forward::Drop(_) => return,
                        Forward::One(target) => [Some(target), None],
                        Forward::Flood(flood) => {
                            return deliver(
                                hub,
                                switch,
                                device_of,
                                pool,
                                payload,
                                flags,
                                flood.targets(),
                                now_ms,
                            );
                        }
                    };
                    deliver(
                        hub,
                        switch,
                        device_of,
                        pool,
                        payload,
                        flags,
                        ports.into_iter().flatten(),
                        now_ms,
                    );
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

    /// Says what is to be said to peers, and acts upon who came and went.
    pub(super) fn control(&mut self, switch: &mut Switch, now_ms: u64) {
        let mut message = [0; HEADER_LEN + MESSAGE_MAX + TAG_LEN];
        loop {
            while let Some(event) = self.members.next_event() {
                self.act(switch, event);
            }
            let body = message.get_mut(HEADER_LEN..HEADER_LEN + MESSAGE_MAX).unwrap_or_default();
            let Some(out) = self.members.poll(now_ms, body) else { break };
            let Some(peer) = self.introduce(out.to.key, out.to.at) else { continue };
            // Without a session yet, the message is lost, and will be said again.
            if let Ok((len, to)) = self.sessions.seal(now_ms, peer, What::Control, &mut message, out.len) {
                self.put(to, message.get(..len).unwrap_or_default());
            }
        }
        while let Some(event) = self.members.next_event() {
            self.act(switch, event);
        }
        let mut handshake = [0; TRANSMIT_LEN];
        while let Some((len, to)) = self.sessions.poll_transmit(now_ms, &mut handshake) {
            self.put(to, handshake.get(..len).unwrap_or_default());
        }
        self.underlay.flush();
    }

    /// The place of a peer in the sessions. If there is none left, those that are of no interest
    /// any more make room.
    fn introduce(&mut self, key: [u8; 32], at: SocketAddr) -> Option<PeerId> {
        let id = session::switch_id(&key);
        if let Some(peer) = self.sessions.peer(id) {
            return Some(peer);
        }
        if let Ok(peer) = self.sessions.add_peer(key, at) {
            return Some(peer);
        }
        let gone: heapless::Vec<PeerId, MAX_PEERS> =
            self.sessions.peers().filter(|(id, _)| !self.members.knows(*id)).map(|(_, peer)| peer).collect();
        for peer in gone {
            self.sessions.remove_peer(peer);
        }
        self.sessions.add_peer(key, at).ok()
    }

    fn put(&self, to: SocketAddr, datagram: &[u8]) {
        let SocketAddr::V4(to) = to else { return };
        // What does not go is counted by the underlay, and said again by who wanted it said.
        let _ = self.underlay.send(to, |room| {
            room.get_mut(..datagram.len())?.copy_from_slice(datagram);
            Some(datagram.len())
        });
    }

    fn act(&mut self, switch: &mut Switch, event: Event) {
        match event {
            Event::Up(member) | Event::Changed(member) => {
                let Some(peer) = self.introduce(member.key, member.at) else { return };
                if let Err(why) = switch.set_peer(peer, &member.networks) {
                    warn!("peer {}: {why:?}", member.id);
                }
                info!("peer {} at {} has {} networks", member.id, member.at, member.networks.len());
            }
            Event::Down(id, why) => {
                let Some(peer) = self.sessions.peer(id) else { return };
                switch.remove_peer(peer);
                let why = match why {
                    Why::Left => "has left",
                    Why::Failed => "is silent",
                    Why::Restarted => "has started anew",
                };
                warn!("peer {id} {why}");
            }
        }
    }

    /// Time until something is due.
    pub(super) fn due_in(&self, now_ms: u64) -> Option<Duration> {
        self.poll_at().map(|at| Duration::from_millis(at.saturating_sub(now_ms)))
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
    targets: impl Iterator<Item = Target>,
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
    for target in targets {
        let Target::Port(port) = target else { continue };
        let Some(Some(device)) = device_of.get(usize::from(port.0)) else { continue };
        let queued = match page {
            Some(frame) => hub.enqueue(frame, *device).map_err(super::state::reason),
            None => Err(DropReason::NoBuffer),
        };
        if let Err(reason) = queued {
            switch.count_drop(target, reason);
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
        let longest = (usize::from(mtu) + header.header_len()).min(usize::from(mtu) + HEADER_LEN_MAX);
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

//! The way to other hosts: who the peers are. Their frames are the business of [`super::carry`].

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use heapless::Deque;
use log::{info, warn};
use vif::front::Front;
use violin::id::PeerId;
use violin::member::{self, Event, MESSAGE_MAX, Member, Membership, Seed, Why};
use violin::session::{self, Sessions, TRANSMIT_LEN, What};
use violin::switch::Switch;
use violin::wire::{HEADER_LEN, TAG_LEN};

use super::carry::{QUEUE, Waiting};
use super::underlay::{Config, Underlay};

/// Peers at a time.
pub(super) const MAX_PEERS: usize = 256;

/// Messages of group snapshots that wait to be read, at most.
pub(super) const TOLD: usize = 256;

/// The way to other hosts.
pub(super) struct Far {
    pub(super) underlay: Underlay,
    pub(super) sessions: Sessions,
    pub(super) members: Membership,
    address: SocketAddr,
    pub(super) incarnation: u64,
    /// Frames that wait for the uplink.
    pub(super) queue: Deque<Waiting, QUEUE>,
    /// Whether frames wait for room in the uplink's ring.
    pub(super) blocked: bool,
    /// Whether it was said that somebody speaks another version of the tunnel.
    pub(super) has_warned: bool,
    /// Until when goodbyes are said: then all peers are forgotten.
    leaving: Option<u64>,
    /// What peers have said of group snapshots: who, and what.
    pub(super) told: VecDeque<(u64, Vec<u8>)>,
    /// Peers that went, or have started anew.
    pub(super) lost: heapless::Vec<(u64, u64), MAX_PEERS>,
}

/// How long goodbyes are said, in milliseconds, if they are not heard before.
const GOODBYE_MS: u64 = 1500;

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
        let members = alone(session::public_key(&key.0), at, incarnation);
        info!("switch {} at {at}", members.me().id);
        Ok(Self {
            underlay,
            sessions: Sessions::new(key.0, seed, MAX_PEERS, incarnation),
            members,
            address: at,
            incarnation,
            queue: Deque::new(),
            blocked: false,
            has_warned: false,
            leaving: None,
            told: VecDeque::new(),
            lost: heapless::Vec::new(),
        })
    }

    /// Whether it is the same that this order wants.
    pub(super) fn is(&self, order: &handoff::Underlay) -> bool {
        let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(order.address)), order.port);
        self.address == at && self.sessions.public_key() == session::public_key(&order.key.0)
    }

    /// Says goodbye to all peers; then forgets them and their keys.
    pub(super) fn leave(&mut self, now_ms: u64) {
        self.members.leave(now_ms);
        self.leaving = Some(now_ms.saturating_add(GOODBYE_MS));
    }

    /// Forgets all peers.
    fn forget(&mut self, switch: &mut Switch, now_ms: u64) {
        self.leaving = None;
        let peers: heapless::Vec<PeerId, MAX_PEERS> = self.sessions.peers().map(|(_, peer)| peer).collect();
        for peer in peers {
            switch.remove_peer(peer);
            self.sessions.remove_peer(peer);
        }
        // Another life: who joins again is believed before what is remembered of this one.
        self.incarnation = self.incarnation.saturating_add(1);
        let networks = self.members.me().networks.clone();
        self.members = alone(self.sessions.public_key(), self.address, self.incarnation);
        let _ = self.members.set_networks(now_ms, &networks);
    }

    /// Joins through a member, and keeps trying.
    pub(super) fn join(&mut self, switch: &mut Switch, now_ms: u64, seed: handoff::Seed) {
        if self.leaving.is_some() {
            self.forget(switch, now_ms);
        }
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
        let times = [self.underlay.poll_at(), self.sessions.poll_at(), self.members.poll_at(), self.leaving];
        times.into_iter().flatten().min()
    }

    /// Says what is to be said to peers, and acts upon who came and went.
    pub(super) fn control(&mut self, switch: &mut Switch, now_ms: u64) {
        if self.leaving.is_some_and(|until| self.members.is_gone() || until <= now_ms) {
            self.forget(switch, now_ms);
        }
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

    /// Says something of group snapshots to a peer.
    pub(super) fn say(&mut self, to: u64, octets: &[u8], now_ms: u64) {
        let mut message = [0; HEADER_LEN + vnsnap::MESSAGE_MAX + TAG_LEN];
        let Some(body) = message.get_mut(HEADER_LEN..HEADER_LEN + octets.len()) else { return };
        body.copy_from_slice(octets);
        let Some(peer) = self.sessions.peer(violin::id::SwitchId(to)) else { return };
        if let Ok((len, to)) = self.sessions.seal(now_ms, peer, What::Group, &mut message, octets.len()) {
            self.put(to, message.get(..len).unwrap_or_default());
        }
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
                let incarnation = self.members.members().find(|peer| peer.member.id == id);
                let incarnation = incarnation.map_or(0, |peer| peer.member.incarnation);
                let _ = self.lost.push((id.0, incarnation));
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

/// A switch that knows no other yet.
fn alone(key: [u8; 32], at: SocketAddr, incarnation: u64) -> Membership {
    let me = Member::new(session::switch_id, key, at, incarnation);
    let spread = me.id.0;
    let limits = member::Config { members: MAX_PEERS, ..member::Config::default() };
    Membership::new(me, session::switch_id, limits, spread)
}

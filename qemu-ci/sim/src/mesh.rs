//! A node with a membership. It watches that what the membership tells makes sense.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use violin::id::{NetworkId, SwitchId};
use violin::member::{Config, Dropped, Event, MESSAGE_MAX, Member, Membership, Seed, Why};

use crate::node::{Host, Kind, Node, Outbox};
use crate::rng::mix;

/// The UDP port of all hosts.
const PORT: u16 = 4790;

/// A switch of the mesh, without guests.
pub struct MeshNode {
    /// Its membership.
    pub members: Membership,
    /// The members that are there, as told by events.
    pub up: BTreeMap<SwitchId, Member>,
    /// Messages sent.
    pub sent: u64,
    /// Messages received and used.
    pub received: u64,
    /// Messages received and ignored, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Members that went down, by reason: left, failed, restarted.
    pub downs: [u64; 3],
    /// What the membership told that can't be: the first of it.
    pub nonsense: Option<String>,
    /// Whether it has left.
    left: bool,
    /// The last record of each that was there, and whether it said goodbye.
    last: BTreeMap<SwitchId, ((u64, u32), bool)>,
}

/// The public key of a host: its number, as nothing is sealed here.
pub fn key(host: Host) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(host as u64).to_le_bytes());
    key
}

/// The name of a switch with this key.
pub fn id_of(key: &[u8; 32]) -> SwitchId {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    SwitchId(mix(u64::from_le_bytes([a, b, c, d, e, f, g, h]) + 1))
}

/// The address of a host.
pub fn address(host: Host) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + host as u32), PORT))
}

/// The host of an address.
pub fn host(address: SocketAddr) -> Host {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_bits() & 0x00ff_ffff) as usize,
        SocketAddr::V6(_) => usize::MAX,
    }
}

impl MeshNode {
    /// A switch on this host, in this life of it, that joins through these hosts.
    pub fn new(on: Host, incarnation: u64, config: Config, seeds: &[Host], now_ms: u64) -> Self {
        let me = Member::new(id_of, key(on), address(on), incarnation);
        let mut members = Membership::new(me, id_of, config, mix(on as u64 ^ incarnation << 32));
        for &seed in seeds {
            members.join(now_ms, Seed { key: key(seed), at: address(seed) });
        }
        let (up, last, dropped) = Default::default();
        let nonsense = None;
        Self { members, up, sent: 0, received: 0, dropped, downs: [0; 3], nonsense, left: false, last }
    }

    /// Joins (again) through this host.
    pub fn join(&mut self, now_ms: u64, seed: Host) {
        if self.left {
            self.left = false;
            self.up.clear();
        }
        self.members.join(now_ms, Seed { key: key(seed), at: address(seed) });
    }

    /// Says goodbye to all.
    pub fn leave(&mut self, now_ms: u64) {
        self.members.leave(now_ms);
        self.left = true;
    }

    /// Whether it has left.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Its own record.
    pub fn me(&self) -> &Member {
        self.members.me()
    }

    /// Whether it sees exactly these, with these records (its own among them).
    pub fn sees(&self, all: &BTreeMap<SwitchId, Member>) -> bool {
        let others = all.iter().filter(|(id, _)| **id != self.me().id);
        self.up.len() + 1 == all.len() && self.up.iter().eq(others)
    }

    /// Changes the networks that it has ports in.
    pub fn set_networks(&mut self, now_ms: u64, networks: &[NetworkId]) {
        self.members.set_networks(now_ms, networks).expect("few networks");
    }

    /// As [`Node::poll`], for a node around this one that wants to see the events.
    pub fn poll_with(&mut self, now_ms: u64, out: &mut Outbox, mut see: impl FnMut(&Event)) {
        let mut buffer = [0; MESSAGE_MAX];
        while let Some(sent) = self.members.poll(now_ms, &mut buffer) {
            self.sent += 1;
            out.send(host(sent.to.at), Kind::Control, &buffer[..sent.len]);
        }
        self.watch(&mut see);
    }

    fn watch(&mut self, see: &mut dyn FnMut(&Event)) {
        while let Some(event) = self.members.next_event() {
            see(&event);
            match event {
                Event::Up(member) => {
                    if self.up.contains_key(&member.id) {
                        self.complain(format!("{} came twice", member.id));
                    }
                    self.check_newer(&member);
                    self.up.insert(member.id, member);
                }
                Event::Changed(member) => {
                    self.check_newer(&member);
                    if self.up.insert(member.id, member.clone()).is_none() {
                        self.complain(format!("{} changed and is not there", member.id));
                    }
                }
                Event::Down(id, why) => {
                    self.downs[why as usize] += 1;
                    if self.up.remove(&id).is_none() {
                        self.complain(format!("{id} went and was not there"));
                    }
                    if let Some((_, left)) = self.last.get_mut(&id) {
                        *left = why == Why::Left;
                    }
                }
            }
        }
        if self.up.len() != self.members.up() && !self.left {
            self.complain(format!("{} are up, events tell of {}", self.members.up(), self.up.len()));
        }
    }

    /// A record never gets older, and nobody comes back with the record it left with.
    fn check_newer(&mut self, member: &Member) {
        let stamp = (member.incarnation, member.version);
        if let Some(&(held, left)) = self.last.get(&member.id)
            && (stamp < held || (left && stamp == held))
        {
            self.complain(format!("{} is back with {stamp:?} after {held:?} (left: {left})", member.id));
        }
        self.last.insert(member.id, (stamp, false));
    }

    fn complain(&mut self, what: String) {
        self.nonsense.get_or_insert(what);
    }
}

impl Node for MeshNode {
    fn on_datagram(&mut self, now_ms: u64, from: Host, _kind: Kind, octets: &[u8]) {
        match self.members.receive(now_ms, id_of(&key(from)), octets) {
            Ok(()) => self.received += 1,
            Err(why) => *self.dropped.entry(name(why)).or_default() += 1,
        }
    }

    fn poll(&mut self, now_ms: u64, out: &mut Outbox) {
        self.poll_with(now_ms, out, |_| ());
    }

    fn poll_at(&self) -> Option<u64> {
        self.members.poll_at()
    }
}

fn name(why: Dropped) -> &'static str {
    match why {
        Dropped::Malformed => "malformed",
        Dropped::Own => "own",
        Dropped::Stale => "stale",
        Dropped::Unknown => "unknown",
        Dropped::NotItsOwn => "not its own",
        Dropped::Full => "full",
        Dropped::Busy => "busy",
        Dropped::Left => "left",
    }
}

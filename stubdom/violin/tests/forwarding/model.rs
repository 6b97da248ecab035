//! The switch against a model that is too simple to be wrong: lists, and linear search.

use std::collections::BTreeMap;

use proptest::prelude::*;
use violin::switch::AGE_MS;

use super::*;

const NETWORKS: [NetworkId; 3] = [RED, BLUE, NetworkId(0)];
const LIMITS: Limits = Limits {
    networks: 2,
    ports: 4,
    peers: 3,
    macs_per_network: 5,
    macs_per_port: 3,
    macs_per_peer: 2,
    moves_per_second: 3,
    flood_copies_per_second: u32::MAX,
};

#[derive(Clone, Copy)]
struct Known {
    network: NetworkId,
    mac: Mac,
    place: Target,
    pinned: bool,
    seen: u64,
    moves: u8,
    moves_since: u64,
}

#[derive(Default)]
struct Model {
    networks: Vec<(NetworkId, u16)>,
    ports: BTreeMap<u16, (NetworkId, Option<Mac>)>,
    peers: BTreeMap<u16, Vec<NetworkId>>,
    known: Vec<Known>,
    drops: BTreeMap<(Target, DropReason), u64>,
    frames: BTreeMap<Target, u64>,
}

impl Model {
    fn has(&self, network: NetworkId) -> bool {
        self.networks.iter().any(|(id, _)| *id == network)
    }

    fn add_network(&mut self, network: NetworkId, mtu: u16) -> bool {
        let possible = !self.has(network) && self.networks.len() < LIMITS.networks;
        if possible {
            self.networks.push((network, mtu));
        }
        possible
    }

    fn remove_network(&mut self, network: NetworkId) {
        self.networks.retain(|(id, _)| *id != network);
        let ports: Vec<u16> =
            self.ports.iter().filter(|(_, port)| port.0 == network).map(|(n, _)| *n).collect();
        ports.into_iter().for_each(|n| self.remove_port(n));
        self.known.retain(|known| known.network != network);
    }

    fn add_port(&mut self, network: NetworkId, pinned: Option<Mac>) -> Option<u16> {
        let free = (0..LIMITS.ports as u16).find(|n| !self.ports.contains_key(n))?;
        let taken = pinned.is_some() && self.ports.values().any(|port| *port == (network, pinned));
        if !self.has(network) || taken || pinned.is_some_and(|mac| mac.0[0] & 1 == 1 || mac == Mac([0; 6])) {
            return None;
        }
        self.ports.insert(free, (network, pinned));
        if let Some(mac) = pinned {
            self.known.retain(|known| (known.network, known.mac) != (network, mac));
            let place = port(free);
            self.known.push(Known { network, mac, place, pinned: true, seen: 0, moves: 0, moves_since: 0 });
        }
        Some(free)
    }

    fn remove_port(&mut self, n: u16) {
        self.ports.remove(&n);
        self.gone(port(n));
    }

    fn set_peer(&mut self, n: u16, networks: &[NetworkId]) {
        self.peers.insert(n, networks.to_vec());
        self.known.retain(|known| known.place != peer(n) || networks.contains(&known.network));
    }

    fn remove_peer(&mut self, n: u16) {
        self.peers.remove(&n);
        self.gone(peer(n));
    }

    fn gone(&mut self, place: Target) {
        self.known.retain(|known| known.place != place);
        self.drops.retain(|(at, _), _| *at != place);
        self.frames.remove(&place);
    }

    fn tick(&mut self, now: u64) {
        self.known.retain(|known| known.pinned || now - known.seen < AGE_MS);
    }

    fn note(&mut self, place: Target, reason: DropReason) {
        *self.drops.entry((place, reason)).or_default() += 1;
    }

    fn forward(
        &mut self,
        now: u64,
        from: From,
        header: &Header,
        payload: usize,
    ) -> Result<Vec<Target>, DropReason> {
        let (place, network) = match from {
            From::Port(id) => {
                (port(id.0), self.ports.get(&id.0).map(|port| port.0).ok_or(DropReason::Closed))
            }
            From::Peer(id, _) if !self.peers.contains_key(&id.0) => (peer(id.0), Err(DropReason::NotMember)),
            From::Peer(id, network) => {
                *self.frames.entry(peer(id.0)).or_default() += u64::from(!self.has(network));
                let heard = if !self.has(network) {
                    Err(DropReason::NoNetwork)
                } else if !self.peers[&id.0].contains(&network) {
                    *self.frames.entry(peer(id.0)).or_default() += 1;
                    Err(DropReason::NotMember)
                } else {
                    Ok(network)
                };
                (peer(id.0), heard)
            }
        };
        let result = network.and_then(|network| {
            *self.frames.entry(place).or_default() += 1;
            self.forward_in(now, network, place, header, payload)
        });
        if let Err(reason) = result {
            let there = match place {
                Target::Port(id) => self.ports.contains_key(&id.0),
                Target::Peer(id) => self.peers.contains_key(&id.0),
            };
            if there {
                self.note(place, reason);
            }
        }
        result
    }

    fn forward_in(
        &mut self,
        now: u64,
        network: NetworkId,
        place: Target,
        header: &Header,
        payload: usize,
    ) -> Result<Vec<Target>, DropReason> {
        let mtu = self.networks.iter().find(|(id, _)| *id == network).unwrap().1;
        if payload > usize::from(mtu) {
            return Err(DropReason::TooBig);
        }
        if header.src.0[0] & 1 == 1 || header.src == Mac([0; 6]) {
            return Err(DropReason::BadSource);
        }
        self.learn(now, network, place, header.src)?;
        let is_peer = |place| matches!(place, Target::Peer(_));
        let known = self.known.iter().find(|known| (known.network, known.mac) == (network, header.dst));
        if let Some(known) = known.filter(|known| known.pinned || now - known.seen < AGE_MS) {
            return if is_peer(known.place) && is_peer(place) {
                Err(DropReason::SplitHorizon)
            } else if known.place == place {
                Err(DropReason::SamePort)
            } else {
                Ok(vec![known.place])
            };
        }
        let ports = self.ports.iter().filter(|(_, port)| port.0 == network).map(|(n, _)| port(*n));
        let peers =
            self.peers.iter().filter(|(_, networks)| networks.contains(&network)).map(|(n, _)| peer(*n));
        Ok(ports.chain(peers.filter(|_| !is_peer(place))).filter(|target| *target != place).collect())
    }

    fn learn(&mut self, now: u64, network: NetworkId, place: Target, mac: Mac) -> Result<(), DropReason> {
        if let Target::Port(id) = place
            && let Some(pinned) = self.ports[&id.0].1
        {
            return if pinned == mac { Ok(()) } else { Err(DropReason::Spoofed) };
        }
        let at = self.known.iter().position(|known| (known.network, known.mac) == (network, mac));
        let mut new = Known { network, mac, place, pinned: false, seen: now, moves: 0, moves_since: now };
        if let Some(at) = at {
            let old = self.known[at];
            if old.pinned {
                return Err(DropReason::Spoofed);
            }
            if old.place == place {
                self.known[at].seen = now;
                return Ok(());
            }
            if now - old.moves_since < 1000 {
                new.moves = old.moves;
                new.moves_since = old.moves_since;
            }
            if new.moves >= LIMITS.moves_per_second {
                self.note(place, DropReason::Flapping);
                return Ok(());
            }
            new.moves += 1;
            self.known.remove(at);
        }
        let learned = || self.known.iter().filter(|known| !known.pinned && known.network == network);
        let here = learned().filter(|known| known.place == place).count();
        let room = match place {
            Target::Port(_) => LIMITS.macs_per_port,
            Target::Peer(_) => LIMITS.macs_per_peer,
        };
        if here < room && learned().count() < LIMITS.macs_per_network {
            self.known.push(new);
        } else {
            self.note(place, DropReason::TableFull);
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Op {
    AddNetwork(usize, u16),
    RemoveNetwork(usize),
    AddPort(usize, Option<u8>),
    RemovePort(u16),
    SetPeer(u16, u8),
    RemovePeer(u16),
    Pass(u64),
    Tick,
    Frame { from: Result<u16, (u16, usize)>, src: u8, dst: u8, payload: usize },
}

/// Few addresses, so that they meet: 0 is all zeros, 7 is a group.
fn address(n: u8) -> Mac {
    match n {
        0 => Mac([0; 6]),
        7 => Mac::BROADCAST,
        n => mac(n),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let from = prop_oneof![(0u16..5).prop_map(Ok), (0u16..4, 0usize..3).prop_map(Err)];
    let frame =
        (from, prop_oneof![30 => 1u8..7, 1 => 0u8..8], 0u8..8, prop_oneof![20 => Just(46), 1 => Just(1401)]);
    prop_oneof![
        2 => (0usize..3, prop_oneof![Just(MTU), Just(9000)]).prop_map(|(n, mtu)| Op::AddNetwork(n, mtu)),
        1 => (0usize..3).prop_map(Op::RemoveNetwork),
        6 => (0usize..3, prop::option::of(prop_oneof![20 => 1u8..7, 1 => 0u8..8])).prop_map(|(n, mac)| Op::AddPort(n, mac)),
        2 => (0u16..5).prop_map(Op::RemovePort),
        4 => (0u16..3, 0u8..8).prop_map(|(n, networks)| Op::SetPeer(n, networks)),
        1 => (0u16..4).prop_map(Op::RemovePeer),
        4 => prop_oneof![Just(1), Just(400), Just(1000), Just(AGE_MS / 2), Just(AGE_MS)].prop_map(Op::Pass),
        2 => Just(Op::Tick),
        60 => frame.prop_map(|(from, src, dst, payload)| Op::Frame { from, src, dst, payload }),
    ]
}

fn compare_tables(switch: &Switch, model: &Model) {
    for network in NETWORKS {
        let theirs = switch.macs(network).map(|entry| (entry.mac, entry.place, entry.pinned, entry.seen_ms));
        let mut theirs: Vec<_> = theirs.collect();
        let ours = model.known.iter().filter(|known| known.network == network);
        let mut ours: Vec<_> = ours.map(|known| (known.mac, known.place, known.pinned, known.seen)).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(theirs, ours);
    }
}

fn compare_counters(switch: &Switch, model: &Model) {
    assert_eq!(switch.networks().count(), model.networks.len());
    for (id, mtu) in &model.networks {
        let learned = model.known.iter().filter(|known| known.network == *id && !known.pinned).count();
        let stats = switch.networks().find(|network| network.id == *id).unwrap();
        assert_eq!((stats.mtu, stats.macs), (*mtu, learned));
    }
    assert_eq!(switch.ports().count(), model.ports.len());
    assert_eq!(switch.peers().count(), model.peers.len());
    let ports = switch.ports().map(|stats| (port(stats.id.0), stats.macs, *stats.counters));
    let peers = switch.peers().map(|stats| (peer(stats.id.0), stats.macs, *stats.counters));
    for (place, macs, counters) in ports.chain(peers) {
        assert_eq!(macs, model.known.iter().filter(|known| known.place == place && !known.pinned).count());
        assert_eq!(counters.frames_in, model.frames.get(&place).copied().unwrap_or(0), "{place:?}");
        for (reason, count) in counters.drops.iter() {
            let ours = model.drops.get(&(place, reason)).copied().unwrap_or(0);
            assert_eq!(count, ours, "{place:?} {reason:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_switch_does_what_the_model_does(ops in prop::collection::vec(op(), 1..250)) {
        let mut switch = Switch::new(LIMITS, [1; 16]);
        let mut model = Model::default();
        let mut now = 0;
        for op in ops {
            match op {
                Op::AddNetwork(n, mtu) => {
                    prop_assert_eq!(switch.add_network(NETWORKS[n], mtu).is_ok(), model.add_network(NETWORKS[n], mtu));
                }
                Op::RemoveNetwork(n) => {
                    prop_assert_eq!(switch.remove_network(NETWORKS[n]).is_ok(), model.has(NETWORKS[n]));
                    model.remove_network(NETWORKS[n]);
                }
                Op::AddPort(n, mac) => {
                    let (network, pinned) = (NETWORKS[n], mac.map(address));
                    let added = switch.add_port(network, pinned).ok().map(|id| id.0);
                    prop_assert_eq!(added, model.add_port(network, pinned));
                }
                Op::RemovePort(n) => {
                    switch.remove_port(PortId(n));
                    model.remove_port(n);
                }
                Op::SetPeer(n, networks) => {
                    let named = (0..3).filter(|at| networks >> at & 1 == 1).map(|at| NETWORKS[at]);
                    let named: Vec<NetworkId> = named.collect();
                    switch.set_peer(PeerId(n), &named).unwrap();
                    model.set_peer(n, &named);
                }
                Op::RemovePeer(n) => {
                    switch.remove_peer(PeerId(n));
                    model.remove_peer(n);
                }
                Op::Pass(ms) => now += ms,
                Op::Tick => {
                    switch.tick(now);
                    model.tick(now);
                }
                Op::Frame { from, src, dst, payload } => {
                    let header = frame(address(src), address(dst));
                    let from = match from {
                        Ok(n) => from_port(n),
                        Err((n, network)) => from_peer(n, NETWORKS[network]),
                    };
                    let theirs = match switch.forward(now, from, &header, header.header_len() + payload, false) {
                        Forward::Drop(reason) => Err(reason),
                        forward => Ok(targets(forward)),
                    };
                    prop_assert_eq!(theirs, model.forward(now, from, &header, payload));
                }
            }
            compare_tables(&switch, &model);
        }
        compare_counters(&switch, &model);
    }
}

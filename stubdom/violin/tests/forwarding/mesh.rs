//! Several switches wired together: what one sends to a peer arrives there, once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PORTS: u16 = 2;

/// Hosts with a switch each; a peer's number is its host's. Every host has guests on ports 0 and 1.
struct Mesh {
    hosts: BTreeMap<u16, Switch>,
}

/// What became of one frame.
#[derive(Default, Debug)]
struct Outcome {
    /// Copies by host and port.
    delivered: BTreeMap<(u16, u16), usize>,
    datagrams: usize,
    /// The most switches that a copy passed.
    switches: usize,
}

impl Mesh {
    fn new(hosts: u16) -> Self {
        let mut mesh = Self { hosts: BTreeMap::new() };
        (0..hosts).for_each(|host| mesh.join(host));
        mesh
    }

    fn join(&mut self, host: u16) {
        let mut switch =
            Switch::new(Limits { networks: 2, macs_per_network: 64, ..Limits::default() }, [7; 16]);
        switch.add_network(RED, MTU).unwrap();
        (0..PORTS).for_each(|n| assert_eq!(switch.add_port(RED, None), Ok(PortId(n))));
        for (other, theirs) in &mut self.hosts {
            switch.set_peer(PeerId(*other), &[RED]).unwrap();
            theirs.set_peer(PeerId(host), &[RED]).unwrap();
        }
        self.hosts.insert(host, switch);
    }

    fn leave(&mut self, host: u16) {
        if self.hosts.remove(&host).is_some() {
            self.hosts.values_mut().for_each(|theirs| theirs.remove_peer(PeerId(host)));
        }
    }

    fn send(&mut self, host: u16, n: u16, src: Mac, dst: Mac) -> Outcome {
        let mut outcome = Outcome::default();
        let mut under_way = vec![(host, from_port(n), 1)];
        while let Some((host, from, switches)) = under_way.pop() {
            let switch = self.hosts.get_mut(&host).unwrap();
            outcome.switches = outcome.switches.max(switches);
            for target in send(switch, from, src, dst) {
                switch.count_out(target, 60);
                match target {
                    Target::Port(id) => *outcome.delivered.entry((host, id.0)).or_default() += 1,
                    Target::Peer(id) => {
                        outcome.datagrams += 1;
                        assert!(outcome.datagrams < 10_000, "a storm");
                        under_way.push((id.0, from_peer(host, RED), switches + 1));
                    }
                }
            }
        }
        outcome
    }

    /// The address of the guest on a port.
    fn guest(host: u16, n: u16) -> Mac {
        let [a, b] = host.to_be_bytes();
        Mac([2, 0, 0, a, b, n as u8])
    }

    fn say_hello(&mut self, host: u16, n: u16) -> Outcome {
        self.send(host, n, Self::guest(host, n), Mac::BROADCAST)
    }

    fn out_counts(&self) -> (u64, u64) {
        let ports =
            self.hosts.values().flat_map(|switch| switch.ports().map(|port| port.counters.frames_out));
        let peers =
            self.hosts.values().flat_map(|switch| switch.peers().map(|peer| peer.counters.frames_out));
        (ports.sum(), peers.sum())
    }
}

/// VS10.
#[test]
fn a_broadcast_reaches_each_member_exactly_once_with_one_datagram_for_each_other_switch() {
    for hosts in [1, 2, 3, 10, 64] {
        let mut mesh = Mesh::new(hosts);
        let outcome = mesh.say_hello(0, 1);
        assert_eq!(outcome.datagrams, usize::from(hosts) - 1);
        assert_eq!(outcome.delivered.len(), usize::from(hosts * PORTS) - 1);
        assert!(outcome.delivered.values().all(|copies| *copies == 1));
        assert!(!outcome.delivered.contains_key(&(0, 1)), "not the sender itself");
        assert_eq!(mesh.out_counts(), (u64::from(hosts * PORTS) - 1, u64::from(hosts) - 1));
    }
}

/// VS11.
#[test]
fn an_unknown_unicast_is_spread_like_a_broadcast_without_a_storm() {
    let mut mesh = Mesh::new(5);
    let outcome = mesh.send(0, 0, Mesh::guest(0, 0), Mesh::guest(9, 9));
    assert_eq!((outcome.datagrams, outcome.delivered.len(), outcome.switches), (4, 9, 2));
}

/// VS4, VS6.
#[test]
fn a_unicast_passes_one_switch_on_one_host_and_two_between_hosts() {
    let mut mesh = Mesh::new(4);
    let places: Vec<(u16, u16)> = (0..4).flat_map(|host| (0..PORTS).map(move |n| (host, n))).collect();
    for (host, n) in &places {
        mesh.say_hello(*host, *n);
    }
    for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (*from, *to))) {
        if from == to {
            continue;
        }
        let outcome = mesh.send(from.0, from.1, Mesh::guest(from.0, from.1), Mesh::guest(to.0, to.1));
        let between = from.0 != to.0;
        assert_eq!(outcome.switches, if between { 2 } else { 1 });
        assert_eq!(outcome.datagrams, usize::from(between));
        assert_eq!(outcome.delivered, BTreeMap::from([(to, 1)]));
    }
}

/// VS9.
#[test]
fn after_a_move_one_unsolicited_arp_turns_every_table() {
    let mut mesh = Mesh::new(6);
    let guest = Mesh::guest(0, 0);
    mesh.say_hello(0, 0);
    // The guest is now on host 4, and says so.
    mesh.send(4, 1, guest, Mac::BROADCAST);
    for host in 0..6 {
        let outcome = mesh.send(host, 0, Mesh::guest(host, 9), guest);
        assert_eq!(outcome.delivered, BTreeMap::from([((4, 1), 1)]), "from host {host}");
    }
}

#[test]
fn a_host_that_was_not_told_of_a_move_cannot_make_a_loop() {
    let mut mesh = Mesh::new(3);
    mesh.say_hello(0, 0);
    // Host 1 thinks the guest is on host 0; host 0 has since learned that it is on host 2.
    let guest = Mesh::guest(0, 0);
    send(mesh.hosts.get_mut(&0).unwrap(), from_peer(2, RED), guest, Mesh::guest(9, 9));
    let outcome = mesh.send(1, 0, Mesh::guest(1, 0), guest);
    assert_eq!((outcome.datagrams, outcome.delivered.len()), (1, 0));
    assert_eq!(peer_drops(&mesh.hosts[&0], 1, DropReason::SplitHorizon), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// VS7.
    #[test]
    fn after_any_joins_and_leaves_every_pair_is_connected(ops in prop::collection::vec((any::<bool>(), 0u16..8), 1..30)) {
        let mut mesh = Mesh::new(2);
        for (join, host) in ops {
            if join && !mesh.hosts.contains_key(&host) {
                mesh.join(host);
            } else if !join {
                mesh.leave(host);
            }
            if let Some(first) = mesh.hosts.keys().next().copied() {
                mesh.say_hello(first, 0);
            }
        }
        let hosts: Vec<u16> = mesh.hosts.keys().copied().collect();
        for host in &hosts {
            let outcome = mesh.say_hello(*host, 0);
            prop_assert_eq!(outcome.datagrams, hosts.len() - 1);
            prop_assert_eq!(outcome.delivered.len(), hosts.len() * 2 - 1);
        }
        for (from, to) in hosts.iter().flat_map(|from| hosts.iter().map(move |to| (*from, *to))) {
            let outcome = mesh.send(from, 1, Mesh::guest(from, 1), Mesh::guest(to, 0));
            prop_assert_eq!(outcome.delivered, BTreeMap::from([((to, 0), 1)]));
        }
    }
}

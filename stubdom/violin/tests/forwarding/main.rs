//! Where frames go: the switch's rules as sentences, against a simple model, over a mesh of switches,
//! and under attack.

mod hostile;
mod learning;
mod mesh;
mod model;
mod rules;
mod setup;

use violin::frame::Header;
use violin::id::{Mac, NetworkId, PeerId, PortId};
use violin::switch::{DropReason, Forward, From, Limits, Switch, Target};

const RED: NetworkId = NetworkId(7);
const BLUE: NetworkId = NetworkId(4_000_000_000);
const MTU: u16 = 1400;

/// The guests' addresses.
fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// An IPv4 header-only frame.
fn frame(src: Mac, dst: Mac) -> Header {
    typed(src, dst, 0x0800)
}

fn typed(src: Mac, dst: Mac, ethertype: u16) -> Header {
    let mut octets = [0; 18];
    octets[..6].copy_from_slice(&dst.0);
    octets[6..12].copy_from_slice(&src.0);
    octets[12..14].copy_from_slice(&ethertype.to_be_bytes());
    Header::parse(&octets).unwrap()
}

fn port(n: u16) -> Target {
    Target::Port(PortId(n))
}

fn peer(n: u16) -> Target {
    Target::Peer(PeerId(n))
}

fn from_port(n: u16) -> From {
    From::Port(PortId(n))
}

fn from_peer(n: u16, network: NetworkId) -> From {
    From::Peer(PeerId(n), network)
}

/// RED with ports 0, 1, 2; BLUE with port 3. Peers 0 and 1 are in RED, peer 2 is in BLUE, peer 3 in both.
fn switch() -> Switch {
    switch_with(Limits::default())
}

fn switch_with(limits: Limits) -> Switch {
    let mut switch = Switch::new(limits, [5; 16]);
    switch.add_network(RED, MTU).unwrap();
    switch.add_network(BLUE, MTU).unwrap();
    for (n, network) in (0..).zip([RED, RED, RED, BLUE]) {
        assert_eq!(switch.add_port(network, None), Ok(PortId(n)));
    }
    for (n, networks) in (0..).zip([&[RED][..], &[RED], &[BLUE], &[RED, BLUE]]) {
        switch.set_peer(PeerId(n), networks).unwrap();
    }
    switch
}

/// What a frame of 60 octets comes to, at a given time.
fn at(switch: &mut Switch, now_ms: u64, from: From, src: Mac, dst: Mac) -> Vec<Target> {
    targets(switch.forward(now_ms, from, &frame(src, dst), 60, false))
}

/// The same at 1 second.
fn send(switch: &mut Switch, from: From, src: Mac, dst: Mac) -> Vec<Target> {
    at(switch, 1000, from, src, dst)
}

/// Why a frame of 60 octets goes nowhere.
fn refused(switch: &mut Switch, from: From, src: Mac, dst: Mac) -> DropReason {
    match switch.forward(1000, from, &frame(src, dst), 60, false) {
        Forward::Drop(reason) => reason,
        other => panic!("it went to {:?}", targets(other)),
    }
}

fn targets(forward: Forward) -> Vec<Target> {
    match forward {
        Forward::Drop(_) => vec![],
        Forward::One(target) => vec![target],
        Forward::Flood(flood) => {
            let targets: Vec<Target> = flood.targets().collect();
            assert_eq!((flood.len(), flood.is_empty()), (targets.len(), targets.is_empty()));
            targets
        }
    }
}

fn port_drops(switch: &Switch, n: u16, reason: DropReason) -> u64 {
    switch.ports().find(|port| port.id.0 == n).unwrap().counters.drops.get(reason)
}

fn peer_drops(switch: &Switch, n: u16, reason: DropReason) -> u64 {
    switch.peers().find(|peer| peer.id.0 == n).unwrap().counters.drops.get(reason)
}

fn network_drops(switch: &Switch, id: NetworkId, reason: DropReason) -> u64 {
    switch.networks().find(|network| network.id == id).unwrap().drops.get(reason)
}

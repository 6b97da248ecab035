//! Networks, ports and peers come and go.

use violin::switch::{AddNetwork, AddPort, MAX_NETWORKS, MAX_PEERS, MAX_PORTS, NoNetwork, SetPeer};

use super::*;

#[test]
fn the_default_limits_take_well_under_a_mebibyte_and_a_half() {
    let switch = Switch::new(Limits::default(), [0; 16]);
    let octets = switch.heap_octets();
    println!("{octets} octets of heap");
    assert!((500_000..1_000_000).contains(&octets), "{octets} octets");
    assert_eq!(switch.table_size().1, 16_384 + 64);
}

#[test]
fn limits_beyond_the_maxima_are_cut() {
    let all = usize::MAX;
    let limits = Limits { networks: all, ports: all, peers: all, macs_per_network: all, ..Limits::default() };
    let mut switch = Switch::new(limits, [0; 16]);
    let limits = *switch.limits();
    assert_eq!((limits.networks, limits.ports, limits.peers), (MAX_NETWORKS, MAX_PORTS, MAX_PEERS));
    assert!(switch.table_size().1 <= violin::switch::MAX_MACS);
    let (none, moves_per_second, flood_copies_per_second) = (0, 0, 0);
    let nothing = Limits {
        networks: none,
        ports: none,
        peers: none,
        macs_per_network: none,
        macs_per_port: none,
        macs_per_peer: none,
        moves_per_second,
        flood_copies_per_second,
    };
    assert_eq!(switch.set_peer(PeerId(MAX_PEERS as u16 - 1), &[RED]), Ok(()));
    let mut switch = Switch::new(nothing, [0; 16]);
    assert_eq!(switch.add_network(RED, MTU), Ok(()));
    assert_eq!(switch.add_port(RED, Some(mac(1))), Ok(PortId(0)));
    assert_eq!(switch.set_peer(PeerId(0), &[RED]), Err(SetPeer::OutOfRange));
    assert_eq!(refused(&mut switch, from_port(0), mac(1), mac(1)), DropReason::SamePort);
}

#[test]
fn there_are_as_many_networks_and_ports_as_the_limits_say() {
    let mut switch = Switch::new(Limits { networks: 2, ports: 3, ..Limits::default() }, [0; 16]);
    assert_eq!(switch.add_port(RED, None), Err(AddPort::NoNetwork));
    assert_eq!(switch.add_network(RED, MTU), Ok(()));
    assert_eq!(switch.add_network(RED, MTU), Err(AddNetwork::Exists));
    assert_eq!(switch.add_network(BLUE, MTU), Ok(()));
    assert_eq!(switch.add_network(NetworkId(1), MTU), Err(AddNetwork::Full));
    assert_eq!([(); 4].map(|()| switch.add_port(RED, None).is_ok()), [true, true, true, false]);
    assert_eq!(switch.add_port(RED, Some(mac(1))), Err(AddPort::Full));
    assert_eq!(switch.table_size().0, 0, "what was refused is not pinned");
    switch.remove_port(PortId(1));
    assert_eq!(switch.add_port(BLUE, None), Ok(PortId(1)), "a number is used again");
    assert_eq!(switch.network_of(PortId(1)), Some(BLUE));
}

#[test]
fn an_address_is_pinned_once_in_a_network() {
    let mut switch = switch();
    assert_eq!(switch.add_port(RED, Some(mac(1))), Ok(PortId(4)));
    assert_eq!(switch.add_port(RED, Some(mac(1))), Err(AddPort::DuplicateMac(PortId(4))));
    assert_eq!(switch.add_port(BLUE, Some(mac(1))), Ok(PortId(5)));
    assert_eq!(switch.add_port(RED, Some(Mac::BROADCAST)), Err(AddPort::BadMac));
    assert_eq!(switch.add_port(RED, Some(Mac([0; 6]))), Err(AddPort::BadMac));
    assert!(AddPort::DuplicateMac(PortId(4)).to_string().contains("port 4"));
}

#[test]
fn what_was_learned_on_a_port_or_behind_a_peer_goes_with_it() {
    let mut switch = switch();
    let froms = [from_port(0), from_port(1), from_peer(0, RED), from_peer(3, RED), from_peer(3, BLUE)];
    for (n, from) in (1..).zip(froms) {
        send(&mut switch, from, mac(n), Mac::BROADCAST);
        send(&mut switch, from, mac(n + 100), Mac::BROADCAST);
    }
    switch.remove_port(PortId(0));
    switch.remove_peer(PeerId(3));
    let left: Vec<Target> = switch.macs(RED).chain(switch.macs(BLUE)).map(|entry| entry.place).collect();
    assert_eq!(left.len(), 4);
    assert!(left.iter().all(|place| [port(1), peer(0)].contains(place)));
    assert_eq!(switch.networks().map(|network| network.macs).collect::<Vec<_>>(), [4, 0]);
    assert!(!send(&mut switch, from_port(1), mac(2), Mac::BROADCAST).contains(&peer(3)));
    assert_eq!(refused(&mut switch, from_peer(3, RED), mac(9), mac(1)), DropReason::NotMember);
    switch.remove_port(PortId(0));
    switch.remove_peer(PeerId(3));
    switch.remove_peer(PeerId(60_000));
}

#[test]
fn a_peer_that_leaves_one_network_stays_in_the_other() {
    let mut switch = switch();
    send(&mut switch, from_peer(3, RED), mac(1), Mac::BROADCAST);
    send(&mut switch, from_peer(3, BLUE), mac(1), Mac::BROADCAST);
    switch.set_peer(PeerId(3), &[BLUE]).unwrap();
    assert_eq!(send(&mut switch, from_port(0), mac(5), mac(1)), [port(1), port(2), peer(0), peer(1)]);
    assert_eq!(send(&mut switch, from_port(3), mac(5), mac(1)), [peer(3)]);
    assert_eq!(refused(&mut switch, from_peer(3, RED), mac(1), mac(5)), DropReason::NotMember);
}

#[test]
fn a_peer_known_before_the_network_takes_part_once_it_is_there() {
    let mut switch = switch();
    let green = NetworkId(1);
    switch.set_peer(PeerId(9), &[green, RED]).unwrap();
    switch.add_network(green, MTU).unwrap();
    assert_eq!(switch.add_port(green, None), Ok(PortId(4)));
    assert_eq!(send(&mut switch, from_port(4), mac(1), Mac::BROADCAST), [peer(9)]);
    assert_eq!(send(&mut switch, from_peer(9, green), mac(2), mac(1)), [port(4)]);
}

#[test]
fn a_removed_network_takes_its_ports_and_addresses_along() {
    let mut switch = switch();
    switch.add_port(RED, Some(mac(50))).unwrap();
    for (n, from) in (1..).zip([from_port(0), from_port(3), from_peer(3, RED), from_peer(3, BLUE)]) {
        send(&mut switch, from, mac(n), Mac::BROADCAST);
    }
    let removed = switch.remove_network(RED).unwrap();
    assert_eq!(removed.iter().collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert_eq!(switch.ports().map(|port| port.id).collect::<Vec<_>>(), [PortId(3)]);
    assert_eq!(switch.table_size().0, 2);
    assert_eq!(refused(&mut switch, from_peer(3, RED), mac(9), mac(1)), DropReason::NoNetwork);
    assert_eq!(refused(&mut switch, from_port(0), mac(9), mac(1)), DropReason::Closed);
    assert_eq!(switch.remove_network(RED), Err(NoNetwork));
    assert_eq!(switch.set_mtu(RED, 1), Err(NoNetwork));
    // A new network in its place knows nothing of it, but its members.
    switch.add_network(RED, MTU).unwrap();
    assert_eq!(switch.add_port(RED, None), Ok(PortId(0)));
    assert_eq!(send(&mut switch, from_port(0), mac(1), mac(3)), [peer(0), peer(1), peer(3)]);
}

#[test]
fn a_peer_out_of_range_or_in_too_many_networks_is_refused() {
    let mut switch = switch();
    assert_eq!(switch.set_peer(PeerId(256), &[RED]), Err(SetPeer::OutOfRange));
    let many: Vec<NetworkId> = (0..=MAX_NETWORKS as u32).map(NetworkId).collect();
    assert_eq!(switch.set_peer(PeerId(0), &many), Err(SetPeer::TooManyNetworks));
    assert_eq!(switch.set_peer(PeerId(0), &many[1..]), Ok(()));
}

//! Who gets a frame, and which frames nobody gets.

use violin::switch::Limits;

use super::*;

/// VS10.
#[test]
fn a_broadcast_from_a_port_goes_to_the_other_ports_of_its_network_and_once_to_each_member() {
    let mut switch = switch();
    let to = send(&mut switch, from_port(0), mac(1), Mac::BROADCAST);
    assert_eq!(to, [port(1), port(2), peer(0), peer(1), peer(3)]);
}

/// VS10.
#[test]
fn a_broadcast_from_a_peer_goes_to_ports_only() {
    let mut switch = switch();
    let to = send(&mut switch, from_peer(0, RED), mac(1), Mac::BROADCAST);
    assert_eq!(to, [port(0), port(1), port(2)]);
}

/// VS11.
#[test]
fn an_unknown_address_is_flooded_like_a_broadcast_and_then_learned() {
    let mut switch = switch();
    let to = send(&mut switch, from_port(0), mac(1), mac(2));
    assert_eq!(to, [port(1), port(2), peer(0), peer(1), peer(3)]);
    assert_eq!(send(&mut switch, from_peer(1, RED), mac(9), mac(8)), [port(0), port(1), port(2)]);
    assert_eq!(send(&mut switch, from_port(2), mac(2), mac(1)), [port(0)]);
    assert_eq!(send(&mut switch, from_port(0), mac(1), mac(2)), [port(2)]);
}

/// VS4.
#[test]
fn a_frame_between_local_ports_makes_no_datagram() {
    let mut switch = switch();
    send(&mut switch, from_port(1), mac(2), Mac::BROADCAST);
    assert_eq!(send(&mut switch, from_port(0), mac(1), mac(2)), [port(1)]);
}

/// VS5.
#[test]
fn a_frame_for_an_address_behind_a_peer_is_one_datagram() {
    let mut switch = switch();
    send(&mut switch, from_peer(1, RED), mac(2), Mac::BROADCAST);
    assert_eq!(send(&mut switch, from_port(0), mac(1), mac(2)), [peer(1)]);
}

/// VS6, VS10.
#[test]
fn a_frame_from_a_peer_never_goes_to_a_peer() {
    let mut switch = switch();
    send(&mut switch, from_peer(1, RED), mac(2), Mac::BROADCAST);
    for from in [0, 1, 3] {
        let reason = refused(&mut switch, from_peer(from, RED), mac(9), mac(2));
        assert_eq!(reason, DropReason::SplitHorizon);
        assert_eq!(peer_drops(&switch, from, DropReason::SplitHorizon), 1);
    }
}

#[test]
fn a_frame_for_where_it_came_from_is_dropped() {
    let mut switch = switch();
    send(&mut switch, from_port(0), mac(1), Mac::BROADCAST);
    send(&mut switch, from_port(0), mac(2), Mac::BROADCAST);
    assert_eq!(refused(&mut switch, from_port(0), mac(1), mac(2)), DropReason::SamePort);
    assert_eq!(refused(&mut switch, from_port(0), mac(1), mac(1)), DropReason::SamePort);
    assert_eq!(port_drops(&switch, 0, DropReason::SamePort), 2);
}

/// VS12.
#[test]
fn networks_with_the_same_addresses_do_not_see_each_other() {
    let mut switch = switch();
    assert_eq!(switch.add_port(BLUE, None), Ok(PortId(4)));
    send(&mut switch, from_port(0), mac(1), Mac::BROADCAST);
    send(&mut switch, from_port(1), mac(2), Mac::BROADCAST);
    assert_eq!(send(&mut switch, from_port(3), mac(1), Mac::BROADCAST), [port(4), peer(2), peer(3)]);
    assert_eq!(send(&mut switch, from_port(4), mac(2), mac(1)), [port(3)]);
    assert_eq!(send(&mut switch, from_port(3), mac(1), mac(2)), [port(4)]);
    assert_eq!(send(&mut switch, from_port(1), mac(2), mac(1)), [port(0)]);
    // A peer that is in both has its own address in each.
    send(&mut switch, from_peer(3, BLUE), mac(5), Mac::BROADCAST);
    assert_eq!(send(&mut switch, from_port(0), mac(1), mac(5)).len(), 5, "unknown in the other network");
}

/// VS13.
#[test]
fn any_protocol_passes() {
    let mut switch = switch();
    let multicast = Mac([0x33, 0x33, 0, 0, 0, 1]);
    for ethertype in (0..=u16::MAX).step_by(251) {
        send(&mut switch, from_port(1), mac(2), Mac::BROADCAST);
        let unicast = switch.forward(1000, from_port(0), &typed(mac(1), mac(2), ethertype), 64, false);
        assert_eq!(targets(unicast), [port(1)], "ethertype {ethertype:#x}");
        let group = switch.forward(1000, from_port(0), &typed(mac(1), multicast, ethertype), 64, false);
        assert_eq!(targets(group).len(), 5, "ethertype {ethertype:#x}");
    }
}

#[test]
fn what_a_bridge_keeps_to_itself_is_not_forwarded() {
    let mut switch = switch();
    for last in 0..=0x0f {
        let dst = Mac([0x01, 0x80, 0xc2, 0, 0, last]);
        assert_eq!(refused(&mut switch, from_port(0), mac(1), dst), DropReason::LinkLocal);
        assert_eq!(refused(&mut switch, from_peer(0, RED), mac(1), dst), DropReason::LinkLocal);
    }
    assert_eq!(send(&mut switch, from_port(0), mac(1), Mac([0x01, 0x80, 0xc2, 0, 0, 0x10])).len(), 5);
    assert_eq!(network_drops(&switch, RED, DropReason::LinkLocal), 32);
}

#[test]
fn a_group_address_or_zeros_cannot_be_a_source() {
    let mut switch = switch();
    for src in [Mac::BROADCAST, Mac([0x01, 0, 0, 0, 0, 1]), Mac([0; 6])] {
        assert_eq!(refused(&mut switch, from_port(0), src, mac(2)), DropReason::BadSource);
        assert_eq!(refused(&mut switch, from_peer(0, RED), src, mac(2)), DropReason::BadSource);
    }
    assert_eq!(switch.table_size().0, 0, "and is not learned");
    assert_eq!(port_drops(&switch, 0, DropReason::BadSource), 3);
    assert_eq!(peer_drops(&switch, 0, DropReason::BadSource), 3);
    assert_eq!(network_drops(&switch, RED, DropReason::BadSource), 6);
}

#[test]
fn the_mtu_is_of_the_payload_and_a_tag_is_not_part_of_it() {
    let mut switch = switch();
    let mut forward = |ethertype, len, oversize_ok| {
        let header = typed(mac(1), Mac::BROADCAST, ethertype);
        switch.forward(1000, from_port(0), &header, len, oversize_ok)
    };
    let mtu = usize::from(MTU);
    assert!(matches!(forward(0x0800, 14 + mtu, false), Forward::Flood(_)));
    assert_eq!(forward(0x0800, 15 + mtu, false), Forward::Drop(DropReason::TooBig));
    assert!(matches!(forward(0x8100, 18 + mtu, false), Forward::Flood(_)));
    assert_eq!(forward(0x8100, 19 + mtu, false), Forward::Drop(DropReason::TooBig));
    assert!(matches!(forward(0x0800, 65_000, true), Forward::Flood(_)), "GSO");
    assert_eq!(forward(0x0800, 13, false), Forward::Drop(DropReason::Runt));
    assert_eq!(port_drops(&switch, 0, DropReason::TooBig), 2);
    switch.set_mtu(RED, 9000).unwrap();
    assert_eq!(switch.mtu(RED), Some(9000));
    let header = frame(mac(1), Mac::BROADCAST);
    assert!(matches!(switch.forward(1000, from_port(0), &header, 9014, false), Forward::Flood(_)));
}

#[test]
fn a_peer_is_heard_only_in_networks_that_both_have() {
    let mut switch = switch();
    let mut refused = |n, network| refused(&mut switch, from_peer(n, network), mac(1), mac(2));
    assert_eq!(refused(0, BLUE), DropReason::NotMember);
    assert_eq!(refused(0, NetworkId(99)), DropReason::NoNetwork);
    assert_eq!(refused(200, RED), DropReason::NotMember, "no such peer");
    assert_eq!(refused(60_000, RED), DropReason::NotMember, "no such peer ever");
    assert_eq!(peer_drops(&switch, 0, DropReason::NotMember), 1);
    assert_eq!(peer_drops(&switch, 0, DropReason::NoNetwork), 1);
    assert_eq!(network_drops(&switch, BLUE, DropReason::NotMember), 1);
    assert_eq!(switch.stray_drops().get(DropReason::NotMember), 2);
    assert_eq!(switch.table_size().0, 0);
}

#[test]
fn a_port_that_is_gone_says_and_hears_nothing() {
    let mut switch = switch();
    switch.remove_port(PortId(0));
    for n in [0, 200, 60_000] {
        assert_eq!(refused(&mut switch, from_port(n), mac(1), mac(2)), DropReason::Closed);
        switch.count_drop(port(n), DropReason::QueueFull);
    }
    assert_eq!(switch.stray_drops().get(DropReason::Closed), 3);
    assert_eq!(switch.stray_drops().get(DropReason::QueueFull), 3);
    assert!(!send(&mut switch, from_port(1), mac(1), Mac::BROADCAST).contains(&port(0)));
}

#[test]
fn floods_are_limited_by_their_copies_for_each_port_alone() {
    let mut switch = switch_with(Limits { flood_copies_per_second: 1000, ..Limits::default() });
    // Five copies each.
    let mut passed = |n, now| {
        (0..1000)
            .filter(|_| !at(&mut switch, now, from_port(n), mac(1 + n as u8), Mac::BROADCAST).is_empty())
            .count()
    };
    assert_eq!(passed(0, 5000), 200);
    assert_eq!(passed(1, 5000), 200, "another port has its own allowance");
    assert_eq!(passed(0, 5100), 20, "a tenth of a second later");
    assert_eq!(passed(0, 60_000), 200, "no more than a second is saved up");
    assert_eq!(port_drops(&switch, 0, DropReason::FloodLimit), 800 + 980 + 800);
    send(&mut switch, from_port(1), mac(2), mac(1));
    assert_eq!(
        at(&mut switch, 60_000, from_port(0), mac(1), mac(2)),
        [port(1)],
        "a known address is no flood"
    );
    assert_eq!(at(&mut switch, 60_000, from_peer(0, RED), mac(9), Mac::BROADCAST).len(), 3);
}

#[test]
fn every_frame_is_counted_in_once_and_out_as_the_driver_says() {
    let mut switch = switch();
    for target in send(&mut switch, from_port(0), mac(1), Mac::BROADCAST) {
        switch.count_out(target, 60);
    }
    refused(&mut switch, from_port(0), mac(1), mac(1));
    switch.count_drop(port(1), DropReason::QueueFull);
    switch.count_drop(peer(3), DropReason::NoBuffer);
    switch.count_refused(from_peer(3, BLUE), DropReason::Runt);
    let stats = |n: u16| *switch.ports().find(|port| port.id.0 == n).unwrap().counters;
    assert_eq!((stats(0).frames_in, stats(0).bytes_in, stats(0).frames_out), (2, 120, 0));
    assert_eq!((stats(1).frames_in, stats(1).frames_out, stats(1).bytes_out), (0, 1, 60));
    assert_eq!((stats(3).frames_out, stats(3).drops.lost()), (0, 0));
    assert_eq!(stats(1).drops.lost(), 1);
    let outs: Vec<u64> = switch.peers().map(|peer| peer.counters.frames_out).collect();
    assert_eq!(outs, [1, 1, 0, 1]);
    assert_eq!(peer_drops(&switch, 3, DropReason::NoBuffer), 1);
    assert_eq!(network_drops(&switch, RED, DropReason::QueueFull), 1);
    assert_eq!(network_drops(&switch, BLUE, DropReason::Runt), 1);
}

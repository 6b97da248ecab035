//! Where addresses are, move to, and when they are forgotten.

use violin::switch::AGE_MS;

use super::*;

/// Where the switch takes an address to be, seen from port 2.
fn place(switch: &mut Switch, now: u64, n: u8) -> Option<Target> {
    match at(switch, now, from_port(2), mac(200), mac(n))[..] {
        [target] => Some(target),
        _ => None,
    }
}

/// VS8.
#[test]
fn an_address_moves_with_the_first_frame_from_its_new_place() {
    let mut switch = switch();
    for from in [from_port(0), from_port(1), from_peer(0, RED), from_peer(1, RED), from_port(0)] {
        send(&mut switch, from, mac(1), mac(200));
        let expected = match from {
            From::Port(id) => Target::Port(id),
            From::Peer(id, _) => Target::Peer(id),
        };
        assert_eq!(place(&mut switch, 1000, 1), Some(expected));
    }
    assert_eq!(switch.macs(RED).filter(|entry| entry.mac == mac(1)).count(), 1);
    let ports = switch.ports().map(|port| port.macs).collect::<Vec<_>>();
    assert_eq!(ports, [1, 0, 1, 0], "and takes the room of one place only");
    assert!(switch.peers().all(|peer| peer.macs == 0));
    assert_eq!(switch.networks().next().unwrap().macs, 2);
}

#[test]
fn an_address_is_forgotten_300_seconds_after_its_last_frame_swept_or_not() {
    for sweep in [false, true] {
        let mut switch = switch();
        at(&mut switch, 1000, from_port(0), mac(1), Mac::BROADCAST);
        at(&mut switch, 5000, from_port(0), mac(1), Mac::BROADCAST);
        let mut known_at = |now| {
            if sweep {
                switch.tick(now);
            }
            place(&mut switch, now, 1)
        };
        assert_eq!(known_at(5000 + AGE_MS - 1), Some(port(0)));
        assert_eq!(known_at(5000 + AGE_MS), None);
        assert_eq!(switch.macs(RED).any(|entry| entry.mac == mac(1)), !sweep);
    }
}

#[test]
fn sweeping_makes_room_in_several_steps() {
    let limits = Limits { networks: 2, macs_per_port: 2000, macs_per_network: 2000, ..Limits::default() };
    let mut switch = switch_with(limits);
    for n in 0..2000u16 {
        let [a, b] = n.to_be_bytes();
        send(&mut switch, from_port(0), Mac([2, 0, 0, 1, a, b]), mac(200));
    }
    assert_eq!(switch.table_size().0, 2000);
    let mut ticks = 0;
    while switch.table_size().0 > 0 {
        switch.tick(1000 + AGE_MS);
        ticks += 1;
        assert!(ticks <= 8, "{} left", switch.table_size().0);
    }
    assert!(ticks >= 4, "a tick is short");
    assert_eq!(switch.ports().map(|port| port.macs).sum::<usize>(), 0);
}

#[test]
fn a_clock_that_jumps_back_keeps_nothing_for_ever() {
    let mut switch = switch();
    at(&mut switch, 10 * AGE_MS, from_port(0), mac(1), Mac::BROADCAST);
    assert_eq!(place(&mut switch, 10 * AGE_MS - 5, 1), Some(port(0)));
    assert_eq!(place(&mut switch, 1000, 1), None);
    at(&mut switch, 1000, from_port(1), mac(1), Mac::BROADCAST);
    assert_eq!(place(&mut switch, 1000, 1), Some(port(1)));
}

#[test]
fn an_address_that_flaps_stays_put_for_the_rest_of_the_second_and_its_frames_pass() {
    let mut switch = switch();
    let most = u64::from(switch.limits().moves_per_second);
    send(&mut switch, from_port(0), mac(1), Mac::BROADCAST);
    let from = |n: u64| from_port((n % 2) as u16);
    for n in 1..=most {
        assert!(!at(&mut switch, 2000 + n, from(n), mac(1), Mac::BROADCAST).is_empty());
        assert_eq!(place(&mut switch, 2000 + n, 1), Some(port((n % 2) as u16)));
    }
    for n in most + 1..100 {
        assert!(!at(&mut switch, 2000 + n, from(n), mac(1), Mac::BROADCAST).is_empty(), "its frames pass");
        assert_eq!(place(&mut switch, 2000 + n, 1), Some(port((most % 2) as u16)));
    }
    let counted = port_drops(&switch, 0, DropReason::Flapping) + port_drops(&switch, 1, DropReason::Flapping);
    assert_eq!(counted, network_drops(&switch, RED, DropReason::Flapping));
    assert_eq!(counted, (100 - most) / 2);
    // A guest that now really moves is found with its first frame of the next second.
    at(&mut switch, 3100, from_peer(0, RED), mac(1), Mac::BROADCAST);
    assert_eq!(place(&mut switch, 3100, 1), Some(peer(0)));
}

#[test]
fn a_pinned_address_is_on_its_port_before_it_spoke_and_for_ever() {
    let mut switch = switch();
    assert_eq!(switch.add_port(RED, Some(mac(1))), Ok(PortId(4)));
    assert_eq!(place(&mut switch, 0, 1), Some(port(4)));
    switch.tick(10 * AGE_MS);
    assert_eq!(place(&mut switch, 10 * AGE_MS, 1), Some(port(4)));
}

#[test]
fn a_pinned_address_cannot_be_taken_from_elsewhere_nor_its_port_use_another() {
    let mut switch = switch();
    switch.add_port(RED, Some(mac(1))).unwrap();
    for from in [from_port(0), from_peer(0, RED)] {
        assert_eq!(refused(&mut switch, from, mac(1), mac(200)), DropReason::Spoofed);
        assert_eq!(place(&mut switch, 1000, 1), Some(port(4)));
    }
    assert_eq!(refused(&mut switch, from_port(4), mac(2), mac(200)), DropReason::Spoofed);
    assert_eq!(place(&mut switch, 1000, 2), None);
    assert_eq!(send(&mut switch, from_port(4), mac(1), mac(200)), [port(2)]);
    assert_eq!(peer_drops(&switch, 0, DropReason::Spoofed), 1);
    assert_eq!(port_drops(&switch, 0, DropReason::Spoofed), 1);
    assert_eq!(port_drops(&switch, 4, DropReason::Spoofed), 1);
    assert_eq!(network_drops(&switch, RED, DropReason::Spoofed), 3);
}

#[test]
fn when_the_port_is_gone_its_pinned_address_can_live_elsewhere() {
    let mut switch = switch();
    switch.add_port(RED, Some(mac(1))).unwrap();
    switch.remove_port(PortId(4));
    send(&mut switch, from_peer(1, RED), mac(1), Mac::BROADCAST);
    assert_eq!(place(&mut switch, 1000, 1), Some(peer(1)));
}

#[test]
fn pinning_takes_an_address_from_where_it_was_learned() {
    let mut switch = switch();
    send(&mut switch, from_peer(1, RED), mac(1), Mac::BROADCAST);
    switch.add_port(RED, Some(mac(1))).unwrap();
    assert_eq!(place(&mut switch, 1000, 1), Some(port(4)));
    assert_eq!(switch.peers().map(|peer| peer.macs).sum::<usize>(), 0);
}

#[test]
fn an_address_beyond_its_ports_room_is_flooded_not_dropped() {
    let mut switch = switch_with(Limits { macs_per_port: 2, ..Limits::default() });
    for n in 1..=5 {
        assert_eq!(send(&mut switch, from_port(0), mac(n), Mac::BROADCAST).len(), 5);
    }
    assert_eq!((1..=5).map(|n| place(&mut switch, 1000, n).is_some()).filter(|known| *known).count(), 2);
    assert_eq!(port_drops(&switch, 0, DropReason::TableFull), 3);
    assert_eq!(network_drops(&switch, RED, DropReason::TableFull), 3);
    assert_eq!(switch.ports().next().unwrap().counters.drops.lost(), 0);
}

#[test]
fn an_address_that_moves_to_a_port_without_room_is_not_left_where_it_no_longer_is() {
    let mut switch = switch_with(Limits { macs_per_port: 1, ..Limits::default() });
    send(&mut switch, from_port(0), mac(1), Mac::BROADCAST);
    send(&mut switch, from_port(1), mac(2), Mac::BROADCAST);
    send(&mut switch, from_port(1), mac(1), Mac::BROADCAST);
    let flooded = send(&mut switch, from_port(2), mac(3), mac(1));
    assert_eq!(flooded, [port(0), port(1), peer(0), peer(1), peer(3)]);
    assert_eq!(place(&mut switch, 1000, 2), Some(port(1)));
}

#[test]
fn a_peer_fills_its_own_room_in_one_network_and_no_other() {
    let limits = Limits { macs_per_peer: 2, macs_per_network: 5, ..Limits::default() };
    let mut switch = switch_with(limits);
    for n in 1..=4 {
        send(&mut switch, from_peer(3, RED), mac(n), mac(200));
        send(&mut switch, from_peer(3, BLUE), mac(n), mac(200));
    }
    let learned = |network| switch.macs(network).count();
    assert_eq!((learned(RED), learned(BLUE)), (2, 2));
    for n in 5..=9 {
        send(&mut switch, from_port(0), mac(n), mac(200));
    }
    assert_eq!(switch.networks().map(|network| network.macs).collect::<Vec<_>>(), [5, 2]);
    assert_eq!(switch.macs(RED).filter(|entry| entry.place == peer(3)).count(), 2);
}

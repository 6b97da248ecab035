//! The distributed switch: memberships, switches and guests together.

use sim::{Host, Kind, Links, Rng, SwitchedNode, World};
use violin::id::{Mac, NetworkId};

const RED: NetworkId = NetworkId(1);
const BLUE: NetworkId = NetworkId(2);

fn mac(host: Host, guest: usize) -> Mac {
    Mac([0x02, 0, 0, 0, host as u8, guest as u8])
}

/// Hosts that all know each other, each with guests 0 and 1 in the red network.
fn world(hosts: usize) -> World<SwitchedNode> {
    let mut world = World::new(5, hosts, Links::GOOD);
    for host in 0..hosts {
        let mut node = SwitchedNode::new(host, 1, &[0], 0);
        (0..2).for_each(|guest| node.add_guest(0, mac(host, guest), RED));
        world.start(host, node);
    }
    world.run(10_000);
    assert!(world.nodes().all(|(_, node)| node.mesh.up.len() == hosts - 1));
    world
}

fn send(world: &mut World<SwitchedNode>, host: Host, from: Mac, to: Mac, number: u64) {
    world.with(host, |node, now_ms| node.send(now_ms, from, to, number));
    world.run(2);
}

/// How often a frame with this number was received, by each guest.
fn received(world: &World<SwitchedNode>, number: u64) -> Vec<(Host, Mac, usize)> {
    let count = |received: &[(Mac, u64)]| received.iter().filter(|(_, got)| *got == number).count();
    let guests = world.nodes().flat_map(|(host, node)| node.guests.iter().map(move |guest| (host, guest)));
    guests.map(|(host, guest)| (host, guest.mac, count(&guest.received))).filter(|(_, _, n)| *n > 0).collect()
}

fn datagrams(world: &World<SwitchedNode>) -> u64 {
    world.nodes().map(|(_, node)| node.frames_sent).sum()
}

#[test]
fn a_broadcast_reaches_each_guest_once_with_one_datagram_to_each_other_switch() {
    for hosts in [2, 3, 30] {
        let mut world = world(hosts);
        send(&mut world, 1, mac(1, 0), Mac::BROADCAST, 7);
        assert_eq!(datagrams(&world), hosts as u64 - 1);
        let received = received(&world, 7);
        assert_eq!(received.len(), hosts * 2 - 1);
        assert!(received.iter().all(|(_, to, count)| *count == 1 && *to != mac(1, 0)));
    }
}

#[test]
fn a_unicast_passes_one_switch_on_one_host_and_two_between_hosts() {
    let mut world = world(3);
    for (host, guest) in [(0, 1), (2, 1)] {
        send(&mut world, host, mac(host, guest), Mac::BROADCAST, 1);
    }
    let before = datagrams(&world);
    send(&mut world, 0, mac(0, 0), mac(0, 1), 2);
    assert_eq!((received(&world, 2), datagrams(&world)), (vec![(0, mac(0, 1), 1)], before));
    send(&mut world, 0, mac(0, 0), mac(2, 1), 3);
    assert_eq!((received(&world, 3), datagrams(&world)), (vec![(2, mac(2, 1), 1)], before + 1));
}

#[test]
fn the_same_address_in_two_networks_is_two_guests() {
    let mut world = world(2);
    for host in 0..2 {
        world.with(host, |node, now_ms| node.add_guest(now_ms, mac(host, 0), BLUE));
    }
    world.run(3_000);
    send(&mut world, 0, mac(0, 0), Mac::BROADCAST, 1); // the red one: it was there first
    let red = received(&world, 1);
    assert_eq!(red, [(0, mac(0, 1), 1), (1, mac(1, 0), 1), (1, mac(1, 1), 1)]);
    let blue = &world.node(1).unwrap().guests[2];
    assert!(blue.received.is_empty());
}

#[test]
fn all_tables_follow_the_first_frame_of_a_guest_that_moved() {
    let mut world = world(4);
    let guest = mac(1, 0);
    send(&mut world, 1, guest, Mac::BROADCAST, 1);
    world.with(1, |node, _| node.remove_guest(guest));
    world.with(3, |node, now_ms| node.add_guest(now_ms, guest, RED));
    send(&mut world, 3, guest, Mac::BROADCAST, 2);
    for host in [0, 1, 2, 3] {
        let number = 10 + host as u64;
        let before = datagrams(&world);
        send(&mut world, host, mac(host, 1), guest, number);
        assert_eq!(received(&world, number), [(3, guest, 1)]);
        assert_eq!(datagrams(&world) - before, u64::from(host != 3), "no flood from {host}");
    }
}

#[test]
fn both_sides_of_a_split_go_on_switching() {
    let mut world = world(4);
    world.network.split(vec![0, 0, 1, 1]);
    world.run(10_000);
    send(&mut world, 0, mac(0, 0), Mac::BROADCAST, 1);
    send(&mut world, 3, mac(3, 0), Mac::BROADCAST, 2);
    let hosts = |number| received(&world, number).into_iter().map(|(host, ..)| host).collect::<Vec<_>>();
    assert_eq!((hosts(1), hosts(2)), (vec![0, 1, 1], vec![2, 2, 3]));
    assert_eq!(datagrams(&world), 2, "nothing is sent to the other side");
    world.network.heal();
    world.run(40_000);
    send(&mut world, 0, mac(0, 0), Mac::BROADCAST, 3);
    assert_eq!(received(&world, 3).len(), 7);
}

#[test]
fn learned_forwarding_outlasts_an_outage_of_the_control_plane() {
    let mut world = world(3);
    send(&mut world, 2, mac(2, 0), Mac::BROADCAST, 1);
    world.network.set_outage(Kind::Control, true);
    for number in 10..27 {
        send(&mut world, 0, mac(0, 0), mac(2, 0), number);
        assert_eq!(received(&world, number), [(2, mac(2, 0), 1)]);
        world.run(100);
    }
}

#[test]
fn membership_holds_while_all_frames_are_lost() {
    let mut world = world(3);
    world.network.set_outage(Kind::Frame, true);
    for number in 0..100 {
        send(&mut world, 0, mac(0, 0), Mac::BROADCAST, number);
        world.run(500);
    }
    assert!(world.nodes().all(|(_, node)| node.mesh.up.len() == 2 && node.mesh.downs == [0; 3]));
}

#[test]
fn no_guest_gets_a_frame_twice_or_of_another_network_whatever_happens() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let hosts = 5;
        let mut world = world(hosts);
        for number in 0..200 {
            let host = rng.index(hosts);
            match rng.below(20) {
                0 => world.network.split((0..hosts).map(|_| rng.below(2) as u32).collect()),
                1..=3 => world.network.heal(),
                4 => {
                    let mut node = SwitchedNode::new(host, 2 + number, &[(host + 1) % hosts], world.now_ms());
                    (0..2).for_each(|guest| node.add_guest(0, mac(host, guest), RED));
                    world.start(host, node);
                }
                _ => (),
            }
            let to = if rng.chance(300_000) { Mac::BROADCAST } else { mac(rng.index(hosts), rng.index(2)) };
            send(&mut world, host, mac(host, 0), to, number);
            for (at, guest, count) in received(&world, number) {
                assert_eq!(count, 1, "seed {seed}: {number} at {at} {guest}");
                assert_ne!((at, guest), (host, mac(host, 0)));
            }
            world.run(rng.below(400));
        }
        assert!(world.nodes().all(|(_, node)| node.mesh.nonsense.is_none()));
    }
}

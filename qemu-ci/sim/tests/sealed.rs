//! Membership over real sessions: who is not known to a peer must be named by one that is.

use sim::{Host, Links, SealedNode, World};

fn start(world: &mut World<SealedNode>, host: Host, incarnation: u64, seeds: &[Host]) {
    let node = SealedNode::new(host, incarnation, seeds, world.now_ms());
    world.start(host, node);
}

fn all_see(world: &World<SealedNode>, others: usize) -> bool {
    world.nodes().all(|(_, node)| node.up.len() == others)
}

/// Host 0 knows the keys of all, as configured; all others know host 0 only.
fn star(hosts: usize, links: Links) -> World<SealedNode> {
    let mut world = World::new(9, hosts, links);
    let others: Vec<_> = (1..hosts).collect();
    start(&mut world, 0, 1, &others);
    others.iter().for_each(|&host| start(&mut world, host, 1, &[0]));
    world
}

#[test]
fn all_meet_through_the_one_that_they_know() {
    let mut world = star(6, Links::GOOD);
    assert!(world.run_until(5_000, 10, |world| all_see(world, 5)));
    // Through a change of keys.
    world.run(130_000);
    assert!(all_see(&world, 5));
}

#[test]
fn all_meet_when_much_is_lost_late_and_doubled() {
    let mut links = Links::BAD;
    links.delay.late_us = 1_000_000;
    let mut world = star(6, links);
    assert!(world.run_until(120_000, 10, |world| all_see(world, 5)));
}

#[test]
fn who_starts_anew_is_back_within_seconds() {
    let mut world = star(6, Links::GOOD);
    world.run(5_000);
    start(&mut world, 3, 2, &[0]);
    world.run(10);
    let back = |world: &World<SealedNode>| {
        let at_3 = world.node(3).map_or(0, |node| node.up.len());
        let fresh = |node: &SealedNode| node.up.values().filter(|member| member.incarnation == 2).count();
        at_3 == 5 && world.nodes().filter(|(host, _)| *host != 3).all(|(_, node)| fresh(node) == 1)
    };
    assert!(world.run_until(10_000, 10, back));
    assert!(all_see(&world, 5));
}

#[test]
fn a_mesh_that_was_split_merges_again() {
    let mut world = star(4, Links::GOOD);
    world.run(5_000);
    world.network.split((0..4).map(|host| host % 2).collect());
    world.run(100_000);
    assert!(all_see(&world, 1));
    world.network.heal();
    assert!(world.run_until(60_000, 100, |world| all_see(world, 3)));
}

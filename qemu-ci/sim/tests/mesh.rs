//! The mesh as a whole: what joining costs, what trouble does, how it scales.

use std::collections::BTreeMap;

use sim::mesh::MeshNode;
use sim::schedule::converges;
use sim::{Host, Kind, Links, Rng, World};
use violin::id::NetworkId;
use violin::member::{Config, State};

const LEFT: usize = 0;
const FAILED: usize = 1;
const RESTARTED: usize = 2;

/// A world in which all hosts joined through host 0, and all see all.
fn settled(hosts: usize) -> World<MeshNode> {
    let mut world = World::new(1, hosts, Links::GOOD);
    for host in 0..hosts {
        start(&mut world, host, 10, &[0]);
    }
    assert!(world.run_until(10_000, 100, converges));
    world.run(5_000);
    world
}

fn start(world: &mut World<MeshNode>, host: Host, incarnation: u64, seeds: &[Host]) {
    let config = Config { members: world.len().max(256), ..Config::default() };
    let node = MeshNode::new(host, incarnation, config, seeds, world.now_ms());
    world.start(host, node);
}

/// How often any member went down, for a reason.
fn downs(world: &World<MeshNode>, why: usize) -> u64 {
    world.nodes().map(|(_, node)| node.downs[why]).sum()
}

fn sent(world: &World<MeshNode>) -> u64 {
    world.nodes().map(|(_, node)| node.sent).sum()
}

fn sane(world: &World<MeshNode>) {
    for (host, node) in world.nodes() {
        assert_eq!(node.nonsense, None, "host {host}");
    }
}

#[test]
fn a_thousand_switches_that_join_through_random_members_all_see_all() {
    let hosts = 1_000;
    let mut rng = Rng::new(7);
    let mut world = World::new(7, hosts, Links::GOOD);
    for host in 0..hosts {
        let seed = if host == 0 { 0 } else { rng.index(host) };
        start(&mut world, host, 1, &[seed]);
        world.run(rng.below(4));
    }
    assert!(world.run_until(60_000, 500, converges));
    // After that, no switch sends more than 256 messages a second.
    world.run(3_000);
    let before = sent(&world);
    world.run(4_000);
    let each = (sent(&world) - before) / 4 / hosts as u64;
    assert!((240..260).contains(&each), "{each}");
    assert_eq!(downs(&world, FAILED), 0);
    sane(&world);
}

#[test]
fn joining_costs_one_request_to_the_known_member_and_one_to_each_other() {
    for members in [1, 2, 12, 40, 100] {
        let mut world = settled(members + 1);
        world.crash(members);
        world.run(20_000);
        assert!(converges(&world));
        start(&mut world, members, 20, &[members / 2]);
        // Round trips take a millisecond at most, so joining is over after these.
        world.run(5);
        assert!(converges(&world), "{members}");
        let joiner = world.node(members).unwrap();
        assert_eq!(joiner.sent, members as u64, "1 + (N-1)");
        assert_eq!(
            joiner.received,
            joiner.sent + pages(members) - 1,
            "one answer each, and the rest of the list"
        );
    }
}

/// Messages that a list of all members but the one that is asked takes.
fn pages(members: usize) -> u64 {
    (members as u64 - 1).div_ceil(18).max(1)
}

#[test]
fn two_that_join_through_different_members_at_once_meet() {
    let mut world = settled(6);
    world.crash(1);
    world.crash(2);
    world.run(5_000);
    start(&mut world, 1, 20, &[3]);
    start(&mut world, 2, 20, &[5]);
    assert!(world.run_until(3_000, 10, converges));
    sane(&world);
}

#[test]
fn after_random_joins_and_leaves_every_pair_is_connected() {
    let hosts = 40;
    let mut rng = Rng::new(3);
    let mut world = settled(hosts);
    for round in 0..200 {
        let host = rng.index(hosts);
        if world.node(host).is_some_and(|node| !node.has_left()) {
            world.with(host, MeshNode::leave);
        } else {
            let seed = (0..hosts).find(|&h| world.node(h).is_some_and(|node| !node.has_left())).unwrap();
            start(&mut world, host, 20 + round, &[seed]);
        }
        world.run(rng.below(300));
    }
    assert!(world.run_until(10_000, 100, converges));
    assert_eq!(downs(&world, FAILED), 0, "all said goodbye");
    sane(&world);
}

#[test]
fn who_leaves_is_gone_at_once_and_stays_gone() {
    let mut world = settled(8);
    world.with(3, MeshNode::leave);
    world.run(5);
    assert!(converges(&world));
    assert_eq!(downs(&world, LEFT), 7);
    assert!(world.node(3).unwrap().members.is_gone());
    world.run(60_000);
    assert!(converges(&world));
    world.with(3, |node, now_ms| node.join(now_ms, 5));
    world.run(10);
    assert!(converges(&world), "and may come back");
    sane(&world);
}

#[test]
fn two_that_left_and_came_back_through_others_meet_again() {
    let mut world = settled(8);
    world.with(6, MeshNode::leave);
    world.run(2_000);
    world.with(3, MeshNode::leave);
    world.run(2_000);
    world.with(6, |node, now_ms| node.join(now_ms, 1));
    world.run(2_000);
    // Now each knows of the other that it has left. They don't hear each other at first, only of
    // each other.
    world.network.cut(3, 6);
    world.network.cut(6, 3);
    world.with(3, |node, now_ms| node.join(now_ms, 2));
    world.run(1_000);
    world.network.heal();
    assert!(world.run_until(30_000, 100, converges));
    sane(&world);
}

#[test]
fn who_crashes_has_failed_after_three_heartbeats_and_a_half() {
    let mut world = settled(5);
    world.crash(4);
    world.run(2_400);
    assert_eq!(downs(&world, FAILED), 0);
    world.run(1_300);
    assert_eq!(downs(&world, FAILED), 4);
}

#[test]
fn who_starts_anew_replaces_its_old_record_at_once() {
    let mut world = settled(5);
    start(&mut world, 4, 20, &[1]);
    world.run(5);
    assert!(converges(&world));
    assert_eq!([downs(&world, RESTARTED), downs(&world, FAILED)], [4, 0]);
    // Also when the clock that incarnations are made from was set back.
    start(&mut world, 3, 1, &[1]);
    world.run(5_000);
    assert!(converges(&world));
    assert_eq!(world.node(3).unwrap().me().incarnation, 11);
    sane(&world);
}

#[test]
fn networks_are_told_to_all_even_if_most_messages_are_lost() {
    let mut world = settled(5);
    world.network.links.loss = 500_000;
    world.with(2, |node, now_ms| node.set_networks(now_ms, &[NetworkId(7), NetworkId(3)]));
    world.run(2_000);
    world.network.links.loss = 0;
    assert!(world.run_until(5_000, 100, converges));
    let networks = &world.node(0).unwrap().up[&world.node(2).unwrap().me().id].networks;
    assert_eq!(networks[..], [NetworkId(3), NetworkId(7)]);
}

#[test]
fn membership_lives_without_frames_and_outlasts_a_short_outage_of_control() {
    let mut world = settled(6);
    world.network.set_outage(Kind::Frame, true);
    world.run(60_000);
    world.network.set_outage(Kind::Control, true);
    // Two heartbeats are lost; the third comes in time.
    world.run(1_900);
    world.network.set_outage(Kind::Control, false);
    world.run(10_000);
    assert_eq!([downs(&world, LEFT), downs(&world, FAILED), downs(&world, RESTARTED)], [0; 3]);
    assert!(converges(&world));
}

#[test]
fn the_halves_of_a_split_mesh_go_on_and_merge_when_it_heals() {
    let hosts = 20;
    let mut world = settled(hosts);
    world.network.split((0..hosts as u32).map(|host| host % 2).collect());
    world.run(600_000);
    assert!(world.nodes().all(|(_, node)| node.up.len() == hosts / 2 - 1));
    world.network.heal();
    assert!(world.run_until(40_000, 100, converges));
    sane(&world);
}

#[test]
fn one_broken_link_takes_nobody_elses_peers() {
    let mut world = settled(6);
    world.network.cut(1, 2);
    world.network.cut(2, 1);
    world.run(120_000);
    let sees = |world: &World<MeshNode>, host: Host| world.node(host).unwrap().up.len();
    assert_eq!([0, 1, 2, 3].map(|host| sees(&world, host)), [5, 4, 4, 5]);
    assert_eq!(downs(&world, FAILED), 2);
    // The two differ from all others for good: lists are asked for ever less often.
    let before = sent(&world);
    world.run(64_000);
    let beyond_heartbeats = sent(&world) - before - 28 * 64;
    assert!(beyond_heartbeats < 200, "{beyond_heartbeats}");
    world.network.heal();
    assert!(world.run_until(40_000, 100, converges));
}

#[test]
fn a_clock_that_leaps_kills_nobody() {
    let mut world = settled(6);
    world.leap(2, 24 * 3_600_000);
    world.run(10_000);
    assert_eq!(downs(&world, FAILED), 0);
    assert!(converges(&world));
}

#[test]
fn the_dead_are_forgotten_after_a_day_unless_they_are_seeds() {
    let mut world = settled(3);
    world.crash(0);
    world.crash(2);
    world.run(20_000);
    let states = |world: &World<MeshNode>| {
        let members = world.node(1).unwrap().members.members();
        members.map(|peer| (sim::mesh::host(peer.member.at), peer.state)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(states(&world), BTreeMap::from([(0, State::Failed), (2, State::Failed)]));
    world.run(25 * 3_600_000);
    assert_eq!(states(&world), BTreeMap::from([(0, State::Failed)]));
    start(&mut world, 0, 20, &[]);
    assert!(world.run_until(40_000, 100, converges), "a seed is called for ever");
}

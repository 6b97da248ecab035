//! The good path.
#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use vnsnap::Mode;

#[test]
fn all_members_of_a_network_commit_one_snapshot() {
    for mode in [Mode::Together, Mode::Classic] {
        for count in [1, 2, 3, 16, 60] {
            let mut world = World::new(count, 1);
            world.run(500);
            let group = world.begin(1, mode).unwrap();
            world.run(2_000);
            assert_eq!(world.host(1).ended, [(group, Ok(vec![]))], "{count} hosts, {mode:?}");
            world.assert_whole(group, true);
            for host in world.hosts.values() {
                assert_eq!(host.cuts, [1]);
                assert!(host.aborted.is_empty());
            }
        }
    }
}

#[test]
fn snapshots_follow_each_other_with_growing_epochs() {
    let mut world = World::new(4, 2);
    for (round, id) in [1, 3, 3, 2, 4].into_iter().enumerate() {
        world.run(3_000);
        let group = world.begin(id, Mode::Together).unwrap();
        assert_eq!(group.epoch as usize, round + 1);
        world.run(3_000);
        world.assert_whole(group, true);
    }
}

#[test]
fn nothing_is_said_when_nothing_is_to_be_said() {
    let mut world = World::new(4, 3);
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(5_000);
    world.assert_whole(group, true);
    let before = world.messages;
    world.run(60_000);
    assert_eq!(world.messages, before);
    assert_eq!(world.node(1).poll_at(), None);
}

#[test]
fn a_lossy_doubling_disordering_network_is_only_slower() {
    for seed in 0..200 {
        let mut world = World::new(2 + seed % 5, seed);
        world.loss = 20;
        world.doubles = 20;
        world.delay = 40;
        world.run(3_000);
        let mode = if seed % 2 == 0 { Mode::Together } else { Mode::Classic };
        let group = world.begin(1 + seed % 2, mode).unwrap();
        world.run(20_000);
        world.assert_whole(group, true);
    }
}

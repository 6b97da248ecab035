//! The good path.
use crate::world::World;
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
fn what_does_not_come_is_waited_for_a_while_only() {
    for mode in [Mode::Together, Mode::Classic] {
        let mut world = World::new(3, 1);
        world.run(500);
        world.host(2).deaf.insert("expect");
        let group = world.begin(1, mode).unwrap();
        assert!(world.run_until(2, "expect", 1_000));
        let expected = world.now;
        assert!(world.run_until(2, "close", 1_000));
        assert_eq!(world.now - expected, world.config.drain_ms);
        world.run(2_000);
        world.assert_whole(group, true);
    }
}

#[test]
fn the_manifest_is_asked_for_if_it_was_not_given() {
    let mut world = World::new(3, 1);
    world.host(1).deaf.insert("manifest");
    world.run(500);
    let group = world.begin(1, Mode::Together).unwrap();
    assert!(world.run_until(1, "manifest", 3_000));
    let now = world.now;
    world.host(1).disk.insert(group, crate::world::Disk::Committed(b"manifest".to_vec()));
    world.node(1).local(now, vnsnap::Local::Committed { group, manifest: &[] });
    world.run(2_000);
    world.assert_whole(group, true);
    assert_eq!(world.host(3).disk[&group], crate::world::Disk::Committed(b"manifest".to_vec()));
}

#[test]
fn one_that_comes_later_comes_to_the_epoch_of_the_others() {
    let mut world = World::new(4, 1);
    world.stop(4);
    world.tell_peers();
    world.run(500);
    for _ in 0..3 {
        world.begin(1, Mode::Together).unwrap();
        world.run(2_000);
    }
    world.start(4);
    world.tell_peers();
    world.run(100);
    assert_eq!(world.host(4).epoch, 3);
    world.assert_one_epoch();
}

#[test]
fn a_frame_of_a_later_epoch_leads_to_that_epoch() {
    let mut world = World::new(2, 1);
    world.run(500);
    let now = world.now;
    // One comes to know of a later epoch while the other can't hear it.
    world.cut.insert((2, 1));
    world.node(2).raise_epoch(now, crate::world::NET, 9);
    world.run(60_000);
    assert_eq!(world.node(1).epoch(crate::world::NET), 0);
    world.cut.clear();
    let now = world.now;
    world.node(1).ahead(now, crate::world::NET, 2);
    world.run(50);
    assert_eq!(world.host(1).epoch, 9);
}

#[test]
fn on_a_slow_machine_all_times_are_longer() {
    for (scale_percent, committed) in [(100, false), (1_000, true)] {
        let config = vnsnap::Config { scale_percent, ..vnsnap::Config::default() };
        let mut world = World::with(3, 1, config);
        world.run(500);
        world.host(2).deaf.insert("go");
        let group = world.begin(1, Mode::Together).unwrap();
        assert!(world.run_until(2, "go", 1_000));
        // Six seconds until its guests stand still.
        world.run(6_000);
        let now = world.now;
        if committed {
            world.host(2).epoch = group.epoch;
        }
        world.node(2).local(now, vnsnap::Local::Flipped { group, points: &[] });
        world.run(10_000);
        world.assert_whole(group, committed);
    }
}

/// For the table in the report: messages and time, by the number of hosts, with shims that take no time
/// and 1 ms from host to host.
#[test]
#[ignore = "a measurement"]
fn what_it_costs() {
    for count in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
        let mut world = World::new(count, 1);
        world.delay = 1;
        world.run(500);
        let (before, start) = (world.messages, world.now);
        let group = world.begin(1, Mode::Together).unwrap();
        assert!(world.run_until(1, "manifest", 5_000));
        let commit = world.now - start;
        assert!(world.run_until(1, "ended", 60_000));
        let (messages, end) = (world.messages - before, world.now - start);
        println!(
            "{count} hosts: {messages} messages, committed after {commit} ms, known to all after {end} ms"
        );
        world.assert_whole(group, true);
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

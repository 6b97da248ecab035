//! Hosts die, come back, or are cut off, at each step: every host that is up goes on, and of the snapshot
//! there is all or nothing.
use crate::world::{NET, World};
use vnsnap::{Cause, GroupId, Mode};

const STEPS: [&str; 6] = ["prepare", "go", "expect", "close", "manifest", "commit"];

/// Runs to the moment after this host was asked to do this; none if it never is.
fn until(world: &mut World, id: u64, step: &'static str, mode: Mode) -> Option<GroupId> {
    world.run(1_000);
    let group = world.begin(1, mode).unwrap();
    world.run_until(id, step, 10_000).then_some(group)
}

/// The failure detector takes a while.
fn is_noticed(world: &mut World) {
    world.run(3_500);
    world.tell_peers();
}

/// Whether it is committed; no host that is up is undecided, and all of those agree.
fn outcome(world: &World, group: GroupId, context: &str) -> bool {
    let mut found = vec![];
    for id in world.up() {
        let host = &world.hosts[&id];
        assert_eq!(host.node.as_ref().unwrap().running(), None, "{context}: host {id} is busy");
        match host.disk.get(&group) {
            Some(crate::world::Disk::Pending) => panic!("{context}: host {id} is undecided"),
            Some(crate::world::Disk::Committed(_)) => found.push(true),
            None => found.push(false),
        }
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{context}: half a snapshot {found:?}");
    world.assert_one_epoch();
    found[0]
}

fn works_again(world: &mut World) {
    world.run(3_000);
    let id = *world.up().last().unwrap();
    let group = world.begin(id, Mode::Together).unwrap();
    world.run(5_000);
    let up = world.up().len();
    assert_eq!(world.on_disks(group), (up, 0));
}

#[test]
fn a_member_that_dies_at_any_step() {
    for mode in [Mode::Together, Mode::Classic] {
        for step in STEPS {
            for seed in 0..5 {
                let mut world = World::new(4, seed);
                world.delay = 1 + seed * 7;
                let Some(group) = until(&mut world, 3, step, mode) else { continue };
                let context = format!("{step} {mode:?} {seed}");
                world.stop(3);
                is_noticed(&mut world);
                world.run(15_000);
                let committed = outcome(&world, group, &context);
                assert_eq!(committed, step == "commit", "{context}");
                if !committed {
                    let why = world.host(1).ended.pop().unwrap().1.unwrap_err();
                    assert_eq!(why.member, 3, "{context}: {why}");
                    assert!(matches!(why.cause, Cause::Lost | Cause::Silent | Cause::NotFlipped), "{why}");
                } else {
                    // The others have confirmed it; this one died before it could say so.
                    assert_eq!(world.host(1).ended, [(group, Ok(vec![3]))], "{context}");
                }
                works_again(&mut world);
                // What it finds on its disk is settled when it is back.
                world.start(3);
                world.tell_peers();
                world.run(15_000);
                assert_eq!(outcome(&world, group, &context), committed);
            }
        }
    }
}

#[test]
fn a_member_that_starts_anew_at_any_step() {
    for step in STEPS {
        for noticed in [true, false] {
            let mut world = World::new(4, 1);
            let Some(group) = until(&mut world, 3, step, Mode::Together) else { continue };
            let context = format!("{step}, membership {noticed}");
            world.stop(3);
            world.start(3);
            if noticed {
                world.tell_peers();
            } else {
                // The others learn it by its messages alone.
                let now = world.now;
                world.node(3).set_peers(now, NET, &[(1, 1), (2, 1), (4, 1)]);
            }
            world.run(15_000);
            world.tell_peers();
            world.run(15_000);
            let committed = outcome(&world, group, &context);
            assert_eq!(committed, step == "commit", "{context}");
            works_again(&mut world);
        }
    }
}

#[test]
fn a_coordinator_that_dies_for_good_at_any_step() {
    for mode in [Mode::Together, Mode::Classic] {
        for step in STEPS {
            for asked in [1, 2] {
                let mut world = World::new(4, 1);
                let Some(group) = until(&mut world, asked, step, mode) else { continue };
                let context = format!("{step} at {asked} {mode:?}");
                world.stop(1);
                is_noticed(&mut world);
                world.run(30_000);
                let committed = outcome(&world, group, &context);
                // The host that was told to commit has it from the coordinator, and the others from it.
                assert_eq!(committed, step == "commit" && asked == 2, "{context}");
                works_again(&mut world);
            }
        }
    }
}

#[test]
fn a_coordinator_that_starts_anew_at_any_step() {
    for after in [0, 200, 4_000, 60_000] {
        for step in STEPS {
            for asked in [1, 2] {
                let mut world = World::new(4, 1);
                let Some(group) = until(&mut world, asked, step, Mode::Together) else { continue };
                let context = format!("{step} at {asked} after {after}");
                world.stop(1);
                if after > 1_000 {
                    world.run(after / 2);
                    world.tell_peers();
                    world.run(after / 2);
                }
                world.run(after);
                world.start(1);
                world.tell_peers();
                world.run(40_000);
                let committed = outcome(&world, group, &context);
                let wanted = match step {
                    // The manifest is there: those that wait get it, those that could not wait revoke it.
                    "manifest" => 2 * after < 10_000,
                    "commit" => true,
                    _ => false,
                };
                assert_eq!(committed, wanted, "{context}");
                works_again(&mut world);
            }
        }
    }
}

#[test]
fn two_hosts_of_which_the_coordinator_dies() {
    for step in STEPS {
        for back in [false, true] {
            let mut world = World::new(2, 1);
            let Some(group) = until(&mut world, 1, step, Mode::Together) else { continue };
            world.stop(1);
            is_noticed(&mut world);
            world.run(if back { 2_000 } else { 30_000 });
            if back {
                world.start(1);
                world.tell_peers();
                world.run(30_000);
            }
            let committed = outcome(&world, group, step);
            assert_eq!(committed, step == "manifest" && back, "{step} {back}");
        }
    }
}

#[test]
fn once_the_shim_has_the_parts_only_it_knows_how_it_ends() {
    let mut world = World::new(3, 1);
    world.host(1).deaf.insert("manifest");
    let group = until(&mut world, 1, "manifest", Mode::Together).unwrap();
    // One is cut off so long that it promises not to follow the coordinator alone, and says so.
    world.cut.extend([(1, 3), (3, 1), (2, 3), (3, 2)]);
    world.run(15_000);
    world.cut.clear();
    world.run(5_000);
    assert!(world.host(1).ended.is_empty());
    world.host(1).disk.insert(group, crate::world::Disk::Committed(b"manifest".to_vec()));
    let now = world.now;
    world.node(1).local(now, vnsnap::Local::Committed { group, manifest: b"manifest" });
    world.run(10_000);
    assert!(outcome(&world, group, "written late"));
}

#[test]
fn what_nobody_has_confirmed_has_not_ended() {
    let mut world = World::new(3, 1);
    let group = until(&mut world, 1, "manifest", Mode::Together).unwrap();
    for id in 1..=3 {
        world.stop(id);
    }
    world.start(1);
    world.tell_peers();
    world.run(60_000);
    assert!(world.host(1).ended.is_empty());
    for id in [2, 3] {
        world.start(id);
    }
    world.tell_peers();
    world.run(30_000);
    // Those two were started anew, so they have promised not to follow the coordinator alone.
    assert!(!outcome(&world, group, "all anew"));
    assert!(matches!(&world.host(1).ended[..], [(_, Err(why))] if why.cause == Cause::Revoked));
}

#[test]
fn a_network_that_falls_apart_at_any_step_and_heals() {
    for step in STEPS {
        for asked in 1..=4 {
            for far in [vec![4], vec![3, 4], vec![2, 3, 4]] {
                for noticed in [true, false] {
                    let mut world = World::new(4, 1);
                    let Some(group) = until(&mut world, asked, step, Mode::Together) else { continue };
                    let context = format!("{step} at {asked}, {far:?} cut off, noticed {noticed}");
                    for near in (1..=4).filter(|id| !far.contains(id)) {
                        for &far in &far {
                            world.cut.extend([(near, far), (far, near)]);
                        }
                    }
                    if noticed {
                        is_noticed(&mut world);
                    }
                    world.run(40_000);
                    // Guests run on, and nobody stands still, while it is apart.
                    world.cut.clear();
                    world.tell_peers();
                    world.run(40_000);
                    outcome(&world, group, &context);
                    works_again(&mut world);
                }
            }
        }
    }
}

#[test]
fn any_one_lost_message_changes_nothing() {
    for nth in 0.. {
        let mut world = World::new(3, 1);
        world.run(1_000);
        let mut count = 0;
        world.lose = Some(Box::new(move |_, _, _| {
            count += 1;
            count == nth + 1
        }));
        let before = world.messages;
        let group = world.begin(1, Mode::Together).unwrap();
        world.run(4_000);
        world.assert_whole(group, true);
        if world.messages - before < nth {
            break;
        }
    }
}

#[test]
fn clocks_that_leap_cost_nothing() {
    for seed in 0..50 {
        let mut world = World::new(3, seed);
        world.run(1_000);
        let group = world.begin(1, Mode::Together).unwrap();
        for _ in 0..60 {
            // All at once, as the time is the world's: an hour, twenty times longer than any time-out but one.
            let leap = world.random(3_600_000);
            world.step();
            world.now += if leap.is_multiple_of(4) { leap } else { 1 };
        }
        world.run(5_000);
        world.assert_whole(group, true);
    }
}

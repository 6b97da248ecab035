//! One thing goes wrong: one clear error that names the member, nothing left anywhere, and the next
//! snapshot succeeds.
use crate::world::{NET, World};
use vnsnap::{Cause, Config, GroupId, Mode, Refusal, Why};

/// Begins, runs, and returns why it was given up.
fn given_up(world: &mut World, ms: u64) -> (GroupId, Why) {
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(ms);
    world.assert_whole(group, false);
    let ended = world.host(1).ended.pop().expect("an end");
    assert_eq!(ended.0, group);
    let why = ended.1.expect_err("it was committed");
    for (id, host) in &world.hosts {
        let told = host.log.contains(&"prepare");
        assert!(!told || host.aborted == [(group, why.clone())], "host {id}: {:?}", host.aborted);
    }
    (group, why)
}

/// With what was in the way gone, it works.
fn works_again(world: &mut World) {
    for host in world.hosts.values_mut() {
        host.refuse = None;
        host.unready = false;
        host.no_space = false;
        host.deaf.clear();
    }
    world.tell_peers();
    world.run(2_000);
    let group = world.begin(2, Mode::Together).unwrap();
    world.run(4_000);
    world.assert_whole(group, true);
}

#[test]
fn a_host_that_refuses_is_named_with_its_own_words() {
    let mut world = World::new(4, 1);
    world.host(3).refuse = Some("guest g3 is not attached");
    let (group, why) = given_up(&mut world, 3_000);
    assert_eq!(why.member, 3);
    assert!(why.to_string().contains("guest g3 is not attached"), "{why}");
    assert_eq!(world.node(1).epoch(NET), group.epoch, "abort-forward, always");
    works_again(&mut world);
}

#[test]
fn a_shim_that_never_answers_is_named() {
    let mut world = World::new(3, 1);
    world.host(2).deaf.insert("prepare");
    let (_, why) = given_up(&mut world, 70_000);
    assert_eq!((why.member, why.cause), (2, Cause::NotPrepared));
    works_again(&mut world);
}

#[test]
fn a_member_that_is_never_ready_is_named_if_a_time_was_set() {
    let config = Config { ready_ms: Some(30_000), ..Config::default() };
    let mut world = World::with(3, 1, config);
    world.host(3).unready = true;
    let (_, why) = given_up(&mut world, 40_000);
    assert_eq!((why.member, why.cause), (3, Cause::NotReady));
    works_again(&mut world);
}

#[test]
fn without_a_time_set_it_is_waited_for() {
    let mut world = World::new(3, 1);
    world.host(3).unready = true;
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(600_000);
    assert!(world.host(1).ended.is_empty());
    let now = world.now;
    world.node(3).local(now, vnsnap::Local::Ready { group });
    world.run(3_000);
    world.assert_whole(group, true);
}

#[test]
fn a_guest_that_does_not_suspend_costs_the_snapshot_and_all_go_to_the_epoch() {
    let mut world = World::new(4, 1);
    world.host(2).deaf.insert("go");
    let (group, why) = given_up(&mut world, 6_000);
    assert_eq!((why.member, why.cause), (2, Cause::NotFlipped));
    assert_eq!(world.host(2).epoch, group.epoch, "abort-forward");
    assert!(world.host(2).cuts.is_empty(), "without capture");
    works_again(&mut world);
}

#[test]
fn a_host_without_space_is_named_with_its_own_words() {
    let mut world = World::new(4, 1);
    world.host(4).no_space = true;
    let (group, why) = given_up(&mut world, 5_000);
    assert_eq!(why.member, 4);
    assert!(why.to_string().contains("no space left for g1"), "{why}");
    assert_eq!(world.node(1).epoch(NET), group.epoch);
    works_again(&mut world);
}

#[test]
fn storing_may_take_long_but_not_for_ever() {
    let config = Config { store_ms: 120_000, ..Config::default() };
    let mut world = World::with(3, 1, config);
    world.host(3).deaf.insert("close");
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(110_000);
    assert!(world.host(1).ended.is_empty(), "signs of life");
    world.run(20_000);
    let why = world.host(1).ended.pop().unwrap().1.unwrap_err();
    assert_eq!((why.member, why.cause), (3, Cause::NotStored));
    world.assert_whole(group, false);
    works_again(&mut world);
}

#[test]
fn a_shim_that_can_not_write_the_manifest_costs_the_snapshot() {
    let mut world = World::new(3, 1);
    world.host(1).deaf.insert("manifest");
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(60_000);
    assert!(world.host(1).ended.is_empty(), "only the shim knows how it ends");
    let now = world.now;
    world.node(1).local(now, vnsnap::Local::Failed { group, why: "disk full" });
    world.run(3_000);
    world.assert_whole(group, false);
    works_again(&mut world);
}

#[test]
fn whoever_cancels_ends_it() {
    for id in [1, 3] {
        let mut world = World::new(3, 1);
        world.host(2).unready = true;
        world.run(1_000);
        let group = world.begin(1, Mode::Together).unwrap();
        world.run(3_000);
        let now = world.now;
        world.node(id).local(now, vnsnap::Local::Cancel { group });
        world.run(3_000);
        world.assert_whole(group, false);
        let why = world.host(1).ended.pop().unwrap().1.unwrap_err();
        assert_eq!((why.member, why.cause), (id, Cause::Cancelled));
        works_again(&mut world);
    }
}

#[test]
fn a_part_that_is_too_long_costs_the_snapshot() {
    let mut world = World::new(3, 1);
    world.host(2).deaf.insert("close");
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    assert!(world.run_until(2, "close", 3_000));
    let now = world.now;
    world.node(2).local(now, vnsnap::Local::Stored { group, part: &vec![0; vnsnap::PART_MAX + 1] });
    world.run(3_000);
    let why = world.host(1).ended.pop().unwrap().1.unwrap_err();
    assert_eq!((why.member, why.cause), (2, Cause::BadPart));
    works_again(&mut world);
}

#[test]
fn members_that_see_others_are_named() {
    let mut world = World::new(4, 1);
    world.run(1_000);
    let now = world.now;
    // Host 2 does not see host 4.
    world.node(2).set_peers(now, NET, &[(1, 1), (3, 1)]);
    let (_, why) = given_up(&mut world, 8_000);
    assert_eq!(why.member, 2);
    let Cause::View(ids) = &why.cause else { panic!("{why}") };
    assert_eq!(ids.as_slice(), [4]);
    works_again(&mut world);
}

#[test]
fn a_view_that_comes_late_is_waited_for() {
    let mut world = World::new(4, 1);
    world.run(1_000);
    let now = world.now;
    world.node(2).set_peers(now, NET, &[(1, 1), (3, 1)]);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(1_500);
    let now = world.now;
    world.node(2).set_peers(now, NET, &[(1, 1), (3, 1), (4, 1)]);
    world.run(4_000);
    world.assert_whole(group, true);
}

#[test]
fn nothing_begins_while_something_runs_or_in_a_network_that_is_not_here() {
    let mut world = World::new(3, 1);
    world.host(3).unready = true;
    world.run(1_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(100);
    for id in 1..=3 {
        assert_eq!(world.begin(id, Mode::Together), Err(Refusal::Busy(group)));
    }
    let now = world.now;
    let begin = vnsnap::Begin { network: 99, mode: Mode::Together, name: "", options: &[] };
    world.stop(2);
    world.start(2);
    assert_eq!(world.node(2).begin(now, begin), Err(Refusal::NoNetwork));
}

#[test]
fn a_peer_that_has_not_told_its_epoch_is_named() {
    let mut world = World::new(3, 1);
    let refused = world.begin(1, Mode::Together).unwrap_err();
    assert!(matches!(refused, Refusal::Member(why) if why.member == 2 && why.cause == Cause::NoAnswer));
}

#[test]
fn who_was_lost_and_is_back_at_once_takes_part_when_it_is_told_of_anew() {
    let mut world = World::new(3, 1);
    world.run(1_000);
    let now = world.now;
    // In its present life, or in a later one that nothing was heard of yet.
    for incarnation in [1, 9] {
        world.node(1).peer_lost(now, 2, incarnation);
        world.tell_peers();
        world.run(1_000);
        let group = world.begin(1, Mode::Together).unwrap();
        world.run(5_000);
        world.assert_whole(group, true);
        assert_eq!(world.hosts[&1].members[&group], [1, 2, 3]);
    }
}

#[test]
fn a_peer_of_another_version_is_named() {
    let mut world = World::new(3, 1);
    world.run(1_000);
    let now = world.now;
    let old = [0_u8, 1, 2, 3];
    assert_eq!(world.node(1).receive(now, 3, &old), Err(vnsnap::Dropped::Version));
    let refused = world.begin(1, Mode::Together).unwrap_err();
    let versions = format!("version 0 of the group protocol, this one version {}", vnsnap::VERSION);
    assert!(refused.to_string().contains(&versions), "{refused}");
    // It hears ours, and does not answer that.
    let before = world.messages;
    world.run(1_000);
    assert_eq!(world.messages, before + 1);
    // As soon as it speaks ours, it is one of us.
    world.stop(3);
    world.start(3);
    world.tell_peers();
    world.run(1_000);
    assert!(world.begin(1, Mode::Together).is_ok());
}

#[test]
fn a_peer_that_is_mute_from_the_start_is_named() {
    let mut world = World::new(3, 1);
    world.run(1_000);
    world.cut.insert((3, 1));
    let (_, why) = given_up_without_asking_all(&mut world);
    assert_eq!((why.member, why.cause), (3, Cause::NoAnswer));
}

fn given_up_without_asking_all(world: &mut World) -> (GroupId, Why) {
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(20_000);
    let why = world.host(1).ended.pop().unwrap().1.unwrap_err();
    (group, why)
}

#[test]
fn the_last_epoch_is_the_last() {
    let mut world = World::new(2, 1);
    world.run(1_000);
    let now = world.now;
    world.node(1).raise_epoch(now, NET, vnsnap::EPOCH_MAX - 1);
    // A peer's word alone raises by a bounded step, so this takes several.
    world.run(600_000);
    let group = world.begin(1, Mode::Together).unwrap();
    world.run(5_000);
    world.assert_whole(group, true);
    assert_eq!(group.epoch, vnsnap::EPOCH_MAX);
    assert_eq!(world.begin(2, Mode::Together), Err(Refusal::Epochs));
}

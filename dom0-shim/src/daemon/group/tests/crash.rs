//! The daemon is killed, or the stub is gone, at each step: what was not sealed goes, what was sealed
//! is asked about, and what was committed stays.

use super::*;

fn asks(world: &World) -> Vec<(bool, Vec<u8>)> {
    let is_ask = |(order, bulk): &(GroupOrder, Vec<u8>)| match order {
        GroupOrder::Ask { group, committed } if *group == GROUP => Some((*committed, bulk.clone())),
        _ => None,
    };
    lock(&world.fake.heard).iter().filter_map(is_ask).collect()
}

/// The manifest that the stub was told, put together.
fn decided(world: &World) -> Vec<u8> {
    let piece = |(order, bulk): &(GroupOrder, Vec<u8>)| {
        matches!(order, GroupOrder::Decision { committed: true, .. }).then(|| bulk.clone())
    };
    lock(&world.fake.heard).iter().filter_map(piece).flatten().collect()
}

fn connect(world: &mut World) {
    lock(&world.fake.heard).clear();
    world.inbox.connected();
    world.pump();
}

fn switches() -> Vec<u8> {
    [0xau64, OWN].iter().flat_map(|s| s.to_le_bytes()).collect()
}

/// A manifest with the part of this host, and the coordinator's.
fn manifest(part: &[u8]) -> Vec<u8> {
    manifest_of(GROUP, NAME, part)
}

pub(super) fn manifest_of(group: GroupId, name: &str, part: &[u8]) -> Vec<u8> {
    use store::group::{Head, Manifest, Mode};
    let head = Head {
        name: name.parse().unwrap(),
        id: group.into(),
        mode: Mode::Together,
        switches: vec![0xa, OWN],
    };
    let parts = vec![Part::decode(&other(0xa, "right")).unwrap(), Part::decode(part).unwrap()];
    Manifest::new(&head, parts).unwrap().encode().unwrap()
}

#[test]
fn killed_before_it_was_sealed_nothing_is_left() {
    for step in 0..3 {
        let mut world = World::new(&["web", "db"]);
        world.prepare(GROUP, NAME);
        if step > 0 {
            lock(&world.fake.words).insert("web".into(), Word::Finish);
            while world.fake.running.load(Ordering::SeqCst) > 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if step > 1 {
            world.news(GroupNews::Channel { group: GROUP, count: 2 }, &frames(2));
            world.news(GroupNews::Drained { group: GROUP, tally: ChannelTally::default() }, &[]);
        }
        world.kill();
        assert!(world.names().is_empty(), "step {step}: {:?}", world.names());
        connect(&mut world);
        assert!(asks(&world).is_empty());
    }
}

#[test]
fn killed_after_it_was_sealed_the_others_are_asked_and_say_committed() {
    let mut world = World::new(&["web"]);
    let jobs = world.prepare(GROUP, NAME);
    let part = world.store(GROUP, &jobs);
    world.kill();
    assert_eq!(world.whole(), ["blue!", "web!"]);
    connect(&mut world);
    assert_eq!(asks(&world), [(false, switches())]);
    let manifest = manifest(&part);
    world.commit(GROUP, &manifest);
    assert!(world.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
    assert_eq!(world.whole(), ["blue", "web"]);
    connect(&mut world);
    assert!(asks(&world).is_empty());
}

/// The stub, which knows of it, asks each daemon that comes what it has.
#[test]
fn what_is_sealed_is_not_denied_to_a_stub_that_asks_for_it() {
    let mut world = World::new(&["web"]);
    let jobs = world.prepare(GROUP, NAME);
    world.store(GROUP, &jobs);
    let denied = |o: &GroupOrder| matches!(o, GroupOrder::Decision { committed: false, .. });
    world.news(GroupNews::Question { group: GROUP }, &[]);
    assert!(!world.heard(denied));
    world.kill();
    world.news(GroupNews::Question { group: GROUP }, &[]);
    assert!(!world.heard(denied));
    assert!(asks(&world).contains(&(false, switches())));
    // What there is nothing of, is denied.
    world.news(GroupNews::Question { group: GroupId { epoch: 99, ..GROUP } }, &[]);
    assert!(world.heard(denied));
}

#[test]
fn killed_after_it_was_sealed_the_others_are_asked_and_say_given_up() {
    let mut world = World::new(&["web"]);
    let jobs = world.prepare(GROUP, NAME);
    world.store(GROUP, &jobs);
    world.kill();
    connect(&mut world);
    world.news(GroupNews::Abort { group: GROUP, why: "no".try_into().unwrap() }, &[]);
    assert!(world.names().is_empty(), "{:?}", world.names());
}

#[test]
fn without_its_stub_what_is_sealed_waits_and_all_else_goes() {
    let mut world = World::new(&["web"]);
    world.prepare(GROUP, NAME);
    world.inbox.lost();
    world.pump();
    let until = Instant::now() + Duration::from_secs(10);
    while world.desk.active.is_some() {
        assert!(Instant::now() < until);
        world.pump();
    }
    assert!(world.names().is_empty());
    lock(&world.fake.heard).clear();
    let jobs = world.prepare(GROUP, NAME);
    let part = world.store(GROUP, &jobs);
    world.inbox.lost();
    world.pump();
    assert_eq!(world.whole(), ["blue!", "web!"]);
    connect(&mut world);
    assert_eq!(asks(&world), [(false, switches())]);
    world.commit(GROUP, &manifest(&part));
    assert_eq!(world.whole(), ["blue", "web"]);
}

#[test]
fn a_coordinator_without_its_manifest_gives_up_by_itself() {
    for killed in [false, true] {
        let mut world = World::new(&["web"]);
        let events = world.ask();
        world.news(GroupNews::Begun { group: GROUP }, &[]);
        let jobs = world.prepare(GROUP, NAME);
        world.store(GROUP, &jobs);
        if killed {
            world.kill();
        } else {
            world.inbox.lost();
            world.pump();
            let Event::Failed { error } = last(&events) else { panic!() };
            assert!(error.message.contains("stub domain went away"), "{error}");
        }
        assert!(world.names().is_empty(), "{:?}", world.names());
        connect(&mut world);
        assert!(asks(&world).is_empty());
    }
}

#[test]
fn a_coordinator_that_was_killed_after_the_commit_wants_to_hear_that_others_have_it() {
    for answer in ["ended", "committed", "given up"] {
        let mut world = World::new(&["web"]);
        world.ask();
        world.news(GroupNews::Begun { group: GROUP }, &[]);
        let jobs = world.prepare(GROUP, NAME);
        let part = world.store(GROUP, &jobs);
        world.manifest(GROUP, &World::joined(&[(0xa, &part), (OWN, &other(OWN, "right"))]));
        world.kill();
        assert_eq!(world.whole(), ["blue", "web"]);
        connect(&mut world);
        assert_eq!(asks(&world), [(true, switches())]);
        // Those who gave it up will never ask for its manifest: it goes with the question.
        let file = std::fs::read(world.fake.images.join("groups").join(NAME).join("manifest.json")).unwrap();
        assert_eq!(decided(&world), file);
        match answer {
            "ended" => world.news(GroupNews::Ended { group: GROUP }, &[]),
            "committed" => {
                let text =
                    std::fs::read(world.fake.images.join("groups").join(NAME).join("manifest.json")).unwrap();
                world.commit(GROUP, &text);
            }
            _ => world.news(GroupNews::Abort { group: GROUP, why: "nobody has it".try_into().unwrap() }, &[]),
        }
        if answer == "given up" {
            assert!(world.names().is_empty(), "{:?}", world.names());
        } else {
            assert_eq!(world.whole(), ["blue", "web"]);
        }
        connect(&mut world);
        assert!(asks(&world).is_empty(), "{answer}");
        world.kill();
        connect(&mut world);
        assert!(asks(&world).is_empty(), "{answer}");
    }
}

#[test]
fn a_group_of_one_host_has_nobody_to_ask() {
    let mut world = World::new(&["web"]);
    world.ask();
    world.news(GroupNews::Begun { group: GROUP }, &[]);
    let options = told::encode(&SnapshotOptions::default(), None).unwrap();
    let (name, mode) = (GroupName::try_from(NAME).unwrap(), GroupMode::Together);
    world.news(GroupNews::Prepare { group: GROUP, mode, name, options }, &0xau64.to_le_bytes());
    world.await_order("Prepared", |o| matches!(o, GroupOrder::Prepared { .. }));
    let part = world.store(GROUP, &[1]);
    world.manifest(GROUP, &World::joined(&[(0xa, &part)]));
    assert_eq!(world.whole(), ["blue", "web"]);
    world.kill();
    connect(&mut world);
    assert!(asks(&world).is_empty());
    assert_eq!(world.whole(), ["blue", "web"]);
}

#[test]
fn every_stub_that_connects_hears_of_the_epochs_that_were_in_use() {
    let mut world = World::new(&["web"]);
    let raised = |world: &World| {
        let raise = |(order, _): &(GroupOrder, Vec<u8>)| match order {
            GroupOrder::Raise { network, epoch } => Some((*network, *epoch)),
            _ => None,
        };
        lock(&world.fake.heard).iter().filter_map(raise).collect::<Vec<_>>()
    };
    connect(&mut world);
    assert!(raised(&world).is_empty());
    world.prepare(GROUP, NAME);
    // Also of a group that was given up; and a lower one changes nothing.
    world.news(GroupNews::Abort { group: GROUP, why: "no".try_into().unwrap() }, &[]);
    world.kill();
    world.prepare(GroupId { epoch: 2, ..GROUP }, "blue@20261122T081501Z");
    world.prepare_only(GroupId { network: 9, epoch: 1, initiator: 5 }, "red@20261122T081502Z");
    world.kill();
    connect(&mut world);
    assert_eq!(raised(&world), [(7, 3)]);
}

//! Group snapshots that end well.

use super::*;

/// As the coordinator, whose switch is the group's initiator.
fn coordinate(world: &mut World) -> Receiver<Event> {
    let events = world.ask();
    assert!(
        world.heard(|o| matches!(o, GroupOrder::Begin { network: 7, name, .. } if name.as_str() == NAME))
    );
    world.news(GroupNews::Begun { group: GROUP }, &[]);
    events
}

#[test]
fn the_coordinator_makes_the_manifest_names_the_images_and_tells_the_client() {
    let mut world = World::new(&["web", "db"]);
    let events = coordinate(&mut world);
    let jobs = world.prepare(GROUP, NAME);
    assert_eq!(jobs.len(), 2);
    assert_eq!(world.whole(), ["blue!"]);
    let part = world.store(GROUP, &jobs);
    assert_eq!(world.whole(), ["blue!", "db!", "web!"]);
    let other = other(OWN, "right");
    world.manifest(GROUP, &World::joined(&[(0xa, &part), (OWN, &other)]));
    assert!(world.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
    assert_eq!(world.whole(), ["blue", "db", "web"]);
    let Event::Done { result } = last(&events) else { panic!() };
    assert_eq!(result["group"], NAME);
    assert_eq!(result["members"].as_array().unwrap().len(), 3);
    assert_eq!(result["channel"]["recorded"], 2);
    assert_eq!(result["channel"]["held"], 4);
    // Cut at 2.001, 2.002 and 4.5 ms.
    assert!((result["spread_ms"].as_f64().unwrap() - 2.499).abs() < 1e-6, "{result}");
}

#[test]
fn another_host_stores_the_same_octets_when_it_is_told() {
    let mut here = World::new(&["web"]);
    let jobs = here.prepare(GROUP, NAME);
    let part = here.store(GROUP, &jobs);
    assert_eq!(Part::decode(&part).unwrap().switch_id(), OWN);
    let mut there = World::new(&[]);
    coordinate(&mut there);
    assert!(there.prepare(GROUP, NAME).is_empty());
    let empty = there.store(GROUP, &[]);
    there.manifest(GROUP, &World::joined(&[(0xa, &empty), (OWN, &part)]));
    // As the stub asks the coordinator's shim for the manifest.
    lock(&there.fake.heard).clear();
    there.news(GroupNews::Question { group: GROUP }, &[]);
    let mut manifest = Vec::new();
    for (order, piece) in lock(&there.fake.heard).iter() {
        if let GroupOrder::Ask { committed: true, .. } = order {
            continue; // With the members.
        }
        let GroupOrder::Decision { committed: true, first, total, .. } = *order else { panic!("{order:?}") };
        assert_eq!(first as usize, manifest.len());
        manifest.extend_from_slice(piece);
        assert!(manifest.len() <= total as usize);
    }
    here.commit(GROUP, &manifest);
    assert!(here.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
    assert_eq!(here.whole(), ["blue", "web"]);
    let file = |world: &World| {
        std::fs::read(world.fake.images.join("groups").join(NAME).join("manifest.json")).unwrap()
    };
    assert_eq!(file(&here), manifest);
    assert_eq!(file(&there), manifest);
    // Told once more, it says so once more.
    lock(&here.fake.heard).clear();
    here.commit(GROUP, &manifest);
    assert!(here.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
}

#[test]
fn a_host_that_knows_nothing_of_a_group_says_so() {
    let mut world = World::new(&[]);
    world.news(GroupNews::Question { group: GROUP }, &[]);
    let no = GroupOrder::Decision { group: GROUP, committed: false, first: 0, total: 0 };
    assert!(world.heard(|o| *o == no));
}

#[test]
fn one_group_after_the_other_and_never_two() {
    let mut world = World::new(&["web"]);
    let events = coordinate(&mut world);
    let refused = world.ask();
    let Event::Failed { error } = last(&refused) else { panic!() };
    assert!(error.message.contains("another group snapshot"), "{error}");
    world.prepare(GROUP, NAME);
    let second = GroupId { epoch: 4, initiator: OWN, ..GROUP };
    world.prepare_only(second, "blue@20261122T081501Z");
    assert!(world.heard(|o| matches!(o, GroupOrder::Failed { group, .. } if *group == second)));
    assert!(!matches!(last(&events), Event::Failed { .. }));
}

#[test]
fn what_comes_while_the_former_group_is_being_given_up_waits_for_it() {
    let mut world = World::new(&["web"]);
    world.prepare(GROUP, NAME);
    lock(&world.fake.heard).clear();
    world.news(GroupNews::Abort { group: GROUP, why: "no".try_into().unwrap() }, &[]);
    let second = GroupId { epoch: 4, ..GROUP };
    let jobs = world.prepare(second, "blue@20261122T081501Z");
    assert_eq!(jobs, [2]);
    world.store(second, &jobs);
    assert_eq!(world.whole(), ["blue!", "web!"]);
}

#[test]
fn of_a_schedule_as_many_groups_stay_as_its_own_host_keeps() {
    let mut world = World::new(&["web"]);
    world.keep = Some(2);
    // One that the operator asked for is none of them.
    let all = [(None, 0), (Some(2), 1), (Some(2), 2), (Some(2), 3)];
    for (keep, n) in all {
        world.keep = keep;
        lock(&world.fake.words).clear();
        lock(&world.fake.heard).clear();
        let (group, name) = (GroupId { epoch: 3 + n, ..GROUP }, format!("blue@20261122T08150{n}Z"));
        let jobs = world.prepare(group, &name);
        let part = world.store(group, &jobs);
        world.commit(group, &super::crash::manifest_of(group, &name, &part));
        assert!(world.heard(|o| *o == GroupOrder::Committed { group }));
    }
    let groups: Vec<String> = world.names().into_iter().filter(|name| name.starts_with("blue")).collect();
    assert_eq!(groups, ["blue@20261122T081500Z", "blue@20261122T081502Z", "blue@20261122T081503Z"]);
    assert_eq!(world.names().iter().filter(|name| name.starts_with("web")).count(), 3);
}

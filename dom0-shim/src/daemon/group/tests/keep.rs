//! Groups whose images another host keeps: two directories of images, and a daemon for each.

use super::super::running::State;
use super::*;

/// The host without guests, which coordinates: its switch is the group's initiator.
fn vault() -> World {
    let mut vault = World::new(&[]);
    vault.to = Some("vault".into());
    vault.ask();
    vault.news(GroupNews::Begun { group: GROUP }, &[]);
    assert!(vault.prepare(GROUP, NAME).is_empty());
    vault
}

/// The host with guests, and where its images go.
fn member(vault: &World, wire: Wire) -> World {
    let mut member = World::new(&["web", "db"]);
    member.to = Some("vault".into());
    *lock(&member.fake.vault) = Ok(vault.fake.images.clone());
    *lock(&member.fake.wire) = wire;
    member
}

/// From the cut to what is said to the stub; all is sent by then.
fn cut(world: &mut World, jobs: &[Job]) {
    for job in jobs {
        let times = CutTimes { ready_us: 900, asked_us: 1000, cut_us: 2000, resumed_us: 9000 };
        world.news(GroupNews::Cut { group: GROUP, job: *job, times }, &[]);
    }
    world.say(Word::Finish);
    world.news(GroupNews::Drained { group: GROUP, tally: ChannelTally::default() }, &[]);
}

fn await_sending(world: &mut World) {
    let until = Instant::now() + Duration::from_secs(10);
    let is_sending = |world: &World| {
        let sending = world.desk.active.as_ref().is_some_and(|a| matches!(a.state, State::Sending(_)));
        sending && world.fake.reading.load(Ordering::SeqCst)
    };
    while !is_sending(world) {
        assert!(Instant::now() < until, "nothing is being sent");
        std::thread::sleep(Duration::from_millis(1));
        world.pump();
    }
}

fn failed(world: &mut World) -> String {
    let told = world.await_order("Failed", |o| matches!(o, GroupOrder::Failed { .. }));
    let GroupOrder::Failed { why, .. } = told.0 else { panic!() };
    why.as_str().to_owned()
}

fn abort(world: &mut World) {
    world.news(GroupNews::Abort { group: GROUP, why: "no".try_into().unwrap() }, &[]);
    let until = Instant::now() + Duration::from_secs(10);
    while world.desk.active.is_some() {
        assert!(Instant::now() < until, "still there");
        std::thread::sleep(Duration::from_millis(1));
        world.pump();
    }
}

/// The manifest, as the coordinator makes it.
fn committed_on(vault: &mut World, own: &[u8], part: &[u8]) -> Vec<u8> {
    vault.manifest(GROUP, &World::joined(&[(0xa, own), (OWN, part)]));
    assert!(vault.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
    std::fs::read(vault.fake.images.join("groups").join(NAME).join("manifest.json")).unwrap()
}

/// The images in the vault's folder of the group.
fn kept(vault: &World) -> usize {
    store::group::keep::kept(&vault.fake.images).unwrap().iter().filter(|kept| kept.manifest.is_ok()).count()
}

#[test]
fn the_stub_hears_that_all_is_stored_when_the_other_host_has_it_and_the_own_images_go_at_the_commit() {
    let mut vault = vault();
    let own = vault.store(GROUP, &[]);
    let mut member = member(&vault, Wire::Good);
    let jobs = member.prepare(GROUP, NAME);
    cut(&mut member, &jobs);
    let (_, part) = member.await_order("Stored", |o| *o == GroupOrder::Stored { group: GROUP });
    assert_eq!(Part::decode(&part).unwrap().kept_on, Some(switch_text(0xa)));
    assert_eq!(member.whole(), ["blue!", "db!", "web!"], "nothing goes before the commit");
    let manifest = committed_on(&mut vault, &own, &part);
    assert_eq!(kept(&vault), 2);
    assert_eq!(vault.whole(), ["blue"]);
    member.commit(GROUP, &manifest);
    assert!(member.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
    assert_eq!(member.whole(), ["blue"]);
}

#[test]
fn a_host_that_does_not_know_the_way_or_finds_no_group_there_begins_with_no_guest() {
    for known in [false, true] {
        let mut member = World::new(&["web"]);
        member.to = Some("vault".into());
        let nothing = World::new(&[]);
        if known {
            *lock(&member.fake.vault) = Ok(nothing.fake.images.clone());
        }
        member.prepare_only(GROUP, NAME);
        let why = failed(&mut member);
        assert!(why.starts_with("left: storage `vault`") && why.contains('('), "{why}");
        assert_eq!(member.fake.jobs.load(Ordering::SeqCst), 0, "a guest was begun with");
        abort(&mut member);
        assert!(member.names().is_empty(), "{:?}", member.names());
    }
}

#[test]
fn what_does_not_arrive_as_it_was_ends_the_group_and_leaves_nothing_on_either_host() {
    for wire in [Wire::Flips, Wire::CutOff, Wire::Lies] {
        let mut vault = vault();
        vault.store(GROUP, &[]);
        let mut member = member(&vault, wire);
        let jobs = member.prepare(GROUP, NAME);
        cut(&mut member, &jobs);
        let why = failed(&mut member);
        assert!(why.starts_with("left: "), "{why}");
        assert!(!member.heard(|o| matches!(o, GroupOrder::Stored { .. })));
        abort(&mut member);
        abort(&mut vault);
        assert!(member.names().is_empty() && vault.names().is_empty(), "{wire:?}: {:?}", vault.names());
    }
}

#[test]
fn given_up_while_it_is_being_sent_the_sending_ends_and_nothing_is_left() {
    for killed in [false, true] {
        let mut vault = vault();
        vault.store(GROUP, &[]);
        let mut member = member(&vault, Wire::Stuck);
        let jobs = member.prepare(GROUP, NAME);
        cut(&mut member, &jobs);
        await_sending(&mut member);
        if killed {
            member.kill();
            assert_eq!(member.whole(), ["blue!", "db!", "web!"], "the others decide");
        }
        abort(&mut member);
        abort(&mut vault);
        assert!(member.names().is_empty() && vault.names().is_empty());
    }
}

#[test]
fn without_its_stub_a_host_that_has_not_sent_all_gives_up() {
    let mut vault = vault();
    vault.store(GROUP, &[]);
    let mut member = member(&vault, Wire::Stuck);
    let jobs = member.prepare(GROUP, NAME);
    cut(&mut member, &jobs);
    await_sending(&mut member);
    member.inbox.lost();
    abort(&mut member);
    assert!(member.names().is_empty(), "{:?}", member.names());
}

/// A member whose host began the group takes part until its part is stored, which is returned.
fn stored_by_initiator(member: &mut World) -> Vec<u8> {
    member.ask();
    member.news(GroupNews::Begun { group: GROUP }, &[]);
    let jobs = member.prepare(GROUP, NAME);
    cut(member, &jobs);
    member.await_order("Stored", |o| *o == GroupOrder::Stored { group: GROUP }).1
}

#[test]
fn a_vault_that_is_killed_keeps_what_it_has_until_it_is_decided() {
    for commit in [false, true] {
        // Another host coordinates: it is the vault that is asked.
        let mut vault = World::new(&[]);
        vault.to = Some("vault".into());
        assert!(vault.prepare(GROUP, NAME).is_empty());
        let own = vault.store(GROUP, &[]);
        let mut member = member(&vault, Wire::Good);
        // Its switch is the group's initiator.
        let part = stored_by_initiator(&mut member);
        assert_eq!(Part::decode(&part).unwrap().kept_on, Some(switch_text(OWN)));
        vault.kill();
        assert_eq!(vault.whole(), ["blue!"]);
        if commit {
            member.manifest(GROUP, &World::joined(&[(0xa, &part), (OWN, &own)]));
            assert_eq!(member.whole(), ["blue"]);
            let manifest =
                std::fs::read(member.fake.images.join("groups").join(NAME).join("manifest.json")).unwrap();
            vault.commit(GROUP, &manifest);
            assert_eq!((kept(&vault), vault.whole()), (2, vec!["blue".to_owned()]));
        } else {
            abort(&mut vault);
            assert!(vault.names().is_empty());
        }
    }
}

#[test]
fn a_vault_that_has_lost_what_it_kept_says_so_and_commits_nothing() {
    let mut vault = World::new(&[]);
    vault.prepare(GROUP, NAME);
    let own = vault.store(GROUP, &[]);
    let mut member = member(&vault, Wire::Good);
    let part = stored_by_initiator(&mut member);
    std::fs::remove_dir_all(vault.fake.images.join("groups").join(format!("{NAME}.pending")).join("kept"))
        .unwrap();
    member.manifest(GROUP, &World::joined(&[(0xa, &part), (OWN, &own)]));
    let manifest = std::fs::read(member.fake.images.join("groups").join(NAME).join("manifest.json")).unwrap();
    vault.commit(GROUP, &manifest);
    assert!(failed(&mut vault).contains("has no complete image"));
    assert!(!vault.heard(|o| *o == GroupOrder::Committed { group: GROUP }));
}

#[test]
fn a_storage_that_is_the_host_itself_by_another_name_is_refused() {
    let mut member = World::new(&["web"]);
    member.to = Some("vault".into());
    *lock(&member.fake.vault) = Ok(member.fake.images.clone());
    member.prepare_only(GROUP, NAME);
    let why = failed(&mut member);
    assert!(why.contains("this host itself") && why.contains("--to left"), "{why}");
    // By its own name its images stay where they are.
    let mut member = World::new(&["web"]);
    member.to = Some("left".into());
    let jobs = member.prepare(GROUP, NAME);
    let part = member.store(GROUP, &jobs);
    assert_eq!(Part::decode(&part).unwrap().kept_on, None);
}

//! Group snapshots that fail: nothing is left, every member is let go, and the words name who it was.

use super::*;

fn failed(world: &mut World) -> String {
    let told = world.await_order("Failed", |o| matches!(o, GroupOrder::Failed { .. }));
    let GroupOrder::Failed { why, .. } = told.0 else { panic!() };
    why.as_str().to_owned()
}

fn abort(world: &mut World, why: &str) {
    world.news(GroupNews::Abort { group: GROUP, why: why.try_into().unwrap() }, &[]);
    let until = Instant::now() + Duration::from_secs(10);
    while world.desk.active.is_some() {
        assert!(Instant::now() < until, "still there");
        std::thread::sleep(Duration::from_millis(1));
        world.pump();
    }
}

#[test]
fn a_guest_that_can_not_take_part_is_named_with_its_host() {
    let mut world = World::new(&[]);
    *lock(&world.fake.guests) =
        Err(Error::new("`web` is not attached").hint("Attach it first: luthier attach web"));
    world.prepare_only(GROUP, NAME);
    let why = failed(&mut world);
    assert_eq!(why, "left: `web` is not attached (Attach it first: luthier attach web)");
    abort(&mut world, &why);
    assert!(world.names().is_empty());
}

#[test]
fn an_error_with_a_long_path_is_told_to_the_other_hosts_with_its_next_step() {
    let mut world = World::new(&[]);
    let path = format!("/var/lib/luthier/images/groups/{}", "n".repeat(100));
    let step = "Mount it read-write, or use a directory that this user may write to";
    *lock(&world.fake.guests) = Err(Error::new(format!("{path} can't be written")).hint(step));
    world.prepare_only(GROUP, NAME);
    let why = failed(&mut world);
    assert!(why.ends_with(&format!("({step})")) && why.len() <= 240, "{why}");
    abort(&mut world, &why);
}

#[test]
fn what_the_stub_says_to_do_when_it_refuses_is_the_next_step() {
    let mut world = World::new(&["web"]);
    let mut refused = |group, why: &str| {
        let events = world.ask();
        world.news(GroupNews::Refused { group, why: why.try_into().unwrap() }, &[]);
        let Event::Failed { error } = last(&events) else { panic!() };
        (error.message, error.hint.unwrap())
    };
    let (message, hint) = refused(None, "host b speaks version 1, this one version 2; install one release");
    assert_eq!(message, "host b speaks version 1, this one version 2");
    assert_eq!(hint, "Install one release");
    let (message, hint) = refused(None, "no word of what to do");
    assert!(message == "no word of what to do" && hint.contains("luthier net peers"), "{hint}");
    let (_, hint) = refused(Some(GROUP), "group snapshot 7/3 is under way; try again after it");
    assert_eq!(hint, "Wait until that one has ended");
}

#[test]
fn a_member_that_fails_ends_the_others_and_leaves_nothing() {
    let mut world = World::new(&["web", "db", "mail"]);
    let events = world.ask();
    world.news(GroupNews::Begun { group: GROUP }, &[]);
    world.prepare(GROUP, NAME);
    lock(&world.fake.words).insert("db".into(), Word::Finish);
    lock(&world.fake.words).insert("web".into(), Word::Fail);
    let why = failed(&mut world);
    assert!(why.starts_with("left: `web`: the guest did not suspend"), "{why}");
    abort(&mut world, &why);
    assert_eq!(world.fake.running.load(Ordering::SeqCst), 0);
    assert!(world.names().is_empty(), "{:?}", world.names());
    // The client hears the whole error, with its next step.
    let Event::Failed { error } = last(&events) else { panic!() };
    assert_eq!(error.message, "`web`: the guest did not suspend");
    assert_eq!(error.hint.as_deref(), Some("Look at it"));
}

#[test]
fn given_up_elsewhere_at_any_step_nothing_is_left_here() {
    for step in 0..4 {
        let mut world = World::new(&["web", "db"]);
        let events = world.ask();
        world.news(GroupNews::Begun { group: GROUP }, &[]);
        if step > 0 {
            let jobs = world.prepare(GROUP, NAME);
            if step == 2 {
                lock(&world.fake.words).insert("web".into(), Word::Finish);
            }
            if step == 3 {
                world.store(GROUP, &jobs);
            }
        }
        abort(&mut world, "right: `mail` never got ready");
        assert!(world.names().is_empty(), "step {step}: {:?}", world.names());
        let Event::Failed { error } = last(&events) else { panic!() };
        assert!(error.message.contains("right: `mail`") && error.hint.is_some(), "{error}");
    }
}

#[test]
fn who_hangs_up_cancels_also_before_it_has_begun() {
    let mut world = World::new(&["web"]);
    let events = world.ask();
    world.inbox.cancel(NAME);
    world.news(GroupNews::Begun { group: GROUP }, &[]);
    assert!(world.heard(|o| *o == GroupOrder::Cancel { group: GROUP }));
    abort(&mut world, "cancelled");
    assert!(matches!(last(&events), Event::Failed { .. }));
    let mut world = World::new(&["web"]);
    world.ask();
    world.news(GroupNews::Begun { group: GROUP }, &[]);
    world.inbox.cancel(NAME);
    world.pump();
    assert!(world.heard(|o| *o == GroupOrder::Cancel { group: GROUP }));
}

#[test]
fn malformed_frames_of_the_cut_end_the_group_and_not_the_daemon() {
    for bulk in [&frames(1)[..], &frames(3), &[0; 5], &[0xff; 200]] {
        let mut world = World::new(&["web"]);
        world.prepare(GROUP, NAME);
        world.news(GroupNews::Channel { group: GROUP, count: 2 }, bulk);
        failed(&mut world);
    }
}

#[test]
fn the_parts_must_be_of_who_sent_them_and_have_a_guest_at_all() {
    for (parts, why) in [(vec![], "no guests"), (vec![other(0xe, "right")], "told the part of")] {
        let mut world = World::new(&[]);
        let events = world.ask();
        world.news(GroupNews::Begun { group: GROUP }, &[]);
        world.prepare(GROUP, NAME);
        let own = world.store(GROUP, &[]);
        let mut all: Vec<(u64, &[u8])> = vec![(0xa, &own)];
        all.extend(parts.iter().map(|part| (0xc, &part[..])));
        let joined = World::joined(&all);
        world.manifest(GROUP, &joined);
        let told = failed(&mut world);
        assert!(told.contains(why), "{told}");
        abort(&mut world, &told);
        assert!(matches!(last(&events), Event::Failed { .. }));
        assert!(world.names().is_empty());
    }
}

#[test]
fn a_group_of_before_is_not_touched_by_one_of_its_name_that_fails() {
    let mut world = World::new(&["web"]);
    world.ask();
    world.news(GroupNews::Begun { group: GROUP }, &[]);
    let jobs = world.prepare(GROUP, NAME);
    let part = world.store(GROUP, &jobs);
    world.manifest(GROUP, &World::joined(&[(0xa, &part), (OWN, &other(OWN, "right"))]));
    let before = world.names();
    lock(&world.fake.words).clear();
    let second = GroupId { epoch: 9, initiator: 0xc, ..GROUP };
    world.prepare_only(second, NAME);
    failed(&mut world);
    world.news(GroupNews::Abort { group: second, why: "no".try_into().unwrap() }, &[]);
    assert_eq!(world.names(), before);
    assert_eq!(world.whole(), ["blue", "web"]);
}

#[test]
fn a_stub_that_does_not_answer_is_not_waited_for_for_ever() {
    let mut world = World::new(&["web"]);
    let events = world.ask();
    world.desk.tick(Instant::now() + Duration::from_secs(60));
    let Event::Failed { error } = last(&events) else { panic!() };
    assert!(error.message.contains("does not begin"), "{error}");
    world.prepare(GROUP, NAME);
    lock(&world.fake.words).insert("web".into(), Word::Fail);
    failed(&mut world);
    world.desk.tick(Instant::now() + Duration::from_secs(120));
    assert!(world.desk.active.is_none());
    assert!(world.names().is_empty());
}

#[test]
fn a_manifest_that_says_something_else_of_this_host_is_refused_and_told_of() {
    let mut world = World::new(&["web"]);
    let jobs = world.prepare(GROUP, NAME);
    world.store(GROUP, &jobs);
    let elsewhere = other(OWN, "left");
    world.commit(GROUP, &super::crash::manifest_of(GROUP, NAME, &elsewhere));
    assert!(!world.heard(|o| matches!(o, GroupOrder::Committed { .. })));
    let why = failed(&mut world);
    assert!(why.contains("another part of this host"), "{why}");
    assert_eq!(world.whole(), ["blue!", "web!"]);
    abort(&mut world, &why);
    assert!(world.names().is_empty());
}

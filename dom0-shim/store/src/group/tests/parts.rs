//! What hosts say of their members, and what is not believed.

use super::*;

fn refused(made: crate::Result<impl std::fmt::Debug>) -> String {
    match made {
        Err(Error::Group(e)) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

/// As many members, each another guest.
fn crowd(part: &Part, count: usize) -> Vec<Member> {
    let ms = Some(12345.678);
    let member = |n| Member {
        guest: format!("guest-with-a-rather-long-name-{n}"),
        uuid: format!("00000000-0000-0000-0000-0000000000{n:02x}"),
        image: format!("guest-with-a-rather-long-name-{n}@20261122T081500Z"),
        vifs: vec!["00:16:3e:00:00:01".into()],
        ready_ms: ms,
        suspend_ms: ms,
        cut_ms: ms,
        resume_ms: ms,
        suspended_ms: ms,
        ..part.members[0].clone()
    };
    (0..count).map(member).collect()
}

#[test]
fn a_part_that_cannot_be_true_is_refused_and_names_its_host() {
    let good = their_part();
    assert_eq!(Part::decode(&good.encode().unwrap()).unwrap(), good);
    type Change = fn(&mut Part);
    let changes: [Change; 15] = [
        |p| p.switch = "B2".into(),
        |p| p.switch = "0000000000000000".into(),
        |p| p.switch.push('0'),
        |p| p.members[0].guest = "a\nb".into(),
        |p| p.members[0].guest = "x".repeat(300),
        |p| p.members[0].uuid = "uuid".into(),
        |p| p.members[0].image = "../../etc/passwd".into(),
        |p| p.members[0].image = "g@19700101T000000Z.pending".into(),
        |p| p.members[0].contents = "5A".repeat(32),
        |p| p.members[0].vifs = vec!["00-16-3e-00-00-01".into()],
        |p| p.members[0].vifs = vec!["00:16:3e:00:00:01".into(); 17],
        |p| p.members[0].cut_ms = Some(-1.0),
        |p| p.channel.sha256 = "x".into(),
        |p| p.members = vec![p.members[0].clone(); 2],
        |p| p.members = crowd(p, 49),
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut part = good.clone();
        change(&mut part);
        let text = serde_json::to_vec(&part).unwrap();
        let why = refused(Part::decode(&text));
        assert!(why.contains("hostb") && !why.contains("octets"), "{n}: {why}");
        let mut both = part.clone();
        both.host = "hostc".into();
        assert!(Manifest::new(&head(), vec![both]).is_err(), "{n}");
    }
    let mut shown = good.clone();
    shown.host = "\u{1b}[2Jhost".into();
    let why = refused(Part::decode(&serde_json::to_vec(&shown).unwrap()));
    assert!(!why.contains('\u{1b}'), "{why:?}");
    assert!(Part::decode(&vec![b' '; handoff::MAX_PART + 1]).is_err());
    assert!(Part::decode(b"[]").is_err());
}

#[test]
fn a_part_of_as_many_members_as_a_stub_has_jobs_fits() {
    let mut part = their_part();
    part.members = crowd(&part, handoff::MAX_GROUP_JOBS);
    let length = part.encode().unwrap().len();
    assert!(length < handoff::MAX_PART * 7 / 8, "{length}");
    part.members[0].disks = vec![Value::from("x".repeat(handoff::MAX_PART))];
    assert!(refused(part.encode()).contains("members"));
}

#[test]
fn parts_that_are_not_of_one_group_make_no_manifest() {
    let ours = || {
        let mut part = their_part();
        part.switch = switch_text(HERE);
        part.host = "hosta".into();
        part.members[0].uuid = "00000000-0000-0000-0000-000000000002".into();
        part
    };
    Manifest::new(&head(), vec![their_part(), ours()]).unwrap();
    let why = refused(Manifest::new(&head(), vec![ours(), ours()]));
    assert!(why.contains("two parts of one switch"), "{why}");
    let why = refused(Manifest::new(&head(), vec![their_part()]));
    assert!(why.contains("coordinator"), "{why}");
    let all = Head { switches: vec![HERE, THERE], ..head() };
    Manifest::new(&all, vec![their_part(), ours()]).unwrap();
    let why = refused(Manifest::new(&all, vec![ours()]));
    assert!(why.contains("00000000000000b2 is missing"), "{why}");
    let mut same = ours();
    same.members[0].uuid = their_part().members[0].uuid.clone();
    let why = refused(Manifest::new(&head(), vec![same, their_part()]));
    assert!(why.contains("`db`") && why.contains("twice"), "{why}");
    let none = |mut part: Part| {
        part.members.clear();
        part
    };
    let why = refused(Manifest::new(&head(), vec![none(ours()), none(their_part())]));
    assert!(why.contains("no member"), "{why}");
    // A host without members is part of the group all the same.
    Manifest::new(&head(), vec![none(ours()), their_part()]).unwrap();
}

#[test]
fn a_manifest_has_the_same_octets_whatever_order_the_parts_came_in() {
    let mut ours = their_part();
    ours.switch = switch_text(HERE);
    ours.members.clear();
    let make = |parts| Manifest::new(&head(), parts).unwrap().encode().unwrap();
    assert_eq!(make(vec![ours.clone(), their_part()]), make(vec![their_part(), ours]));
}

#[test]
fn a_group_is_not_sealed_without_the_image_of_each_member() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    let part = our_part(images);
    let seal = |part: Part| GroupWriter::create(images, head(), HERE).unwrap().seal(part);
    let mut changed = part.clone();
    changed.members[1].contents = "00".repeat(32);
    assert!(refused(seal(changed)).contains("web2"));
    let mut missing = part.clone();
    missing.members[1].image.push('9');
    assert!(refused(seal(missing)).contains("web2"));
    let mut other = part.clone();
    other.switch = switch_text(THERE);
    assert!(refused(seal(other)).contains("switch"));
    assert!(entries(&images.join(GROUPS)).is_empty());
    seal(part).unwrap();
}

#[test]
fn a_format_of_the_future_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let pending = sealed(dir.path());
    let mut manifest = Manifest::new(&head(), vec![pending.own().part.clone()]).unwrap();
    manifest.format = 2;
    let text = manifest.encode().unwrap();
    let refused = pending.commit(&text);
    assert!(matches!(refused, Err(Error::Group(GroupError::Version { found: 2, known: 1, .. }))));
}

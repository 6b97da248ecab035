//! A host's side of a group snapshot, its crashes, and what damage does.

mod crash;
mod damage;
mod keep;
mod parts;

use std::fs;
use std::path::Path;

use handoff::ChannelRecord;
use serde_json::{Map, Value};

use super::*;
use crate::writer::tests::ready;
use crate::{Error, Image, Pending, pendings};

pub(super) const NAME: &str = "blue@20261122T081500Z";
const HERE: u64 = 0xa1;
const THERE: u64 = 0xb2;

fn name() -> GroupName {
    NAME.parse().unwrap()
}

fn head() -> Head {
    let id = GroupId { network: 7, epoch: 3, initiator: HERE };
    Head { name: name(), id, mode: Mode::Together, switches: vec![HERE] }
}

fn member(guest: &str, uuid_end: u8, pending: &Pending) -> Member {
    Member {
        guest: guest.into(),
        uuid: format!("e5d4d218-9b32-4a04-971e-bb65229d0f{uuid_end:02x}"),
        image: pending.id().to_string(),
        contents: pending.contents().into(),
        vifs: vec!["00:16:3e:00:00:01".into()],
        ready_ms: Some(1200.5),
        suspend_ms: Some(1300.0),
        cut_ms: Some(1303.25),
        resume_ms: Some(1310.0),
        suspended_ms: Some(6.75),
        disks: vec![serde_json::json!({ "vdev": "xvda", "snapshot": "vg/web-1" })],
        more: Map::new(),
    }
}

fn part(host: &str, switch: u64, members: Vec<Member>) -> Part {
    let channel = Channel { lost: 1, held: 5, ..Channel::default() };
    let more = [("clock".to_owned(), Value::from("tsc"))].into_iter().collect();
    Part { host: host.into(), switch: switch_text(switch), members, channel, kept_on: None, more }
}

/// The other host's part: one guest, whose image has a name that this host uses as well.
fn their_part() -> Part {
    let contents = "5a".repeat(32);
    let uuid = "00000000-0000-0000-0000-000000000001".into();
    let member = Member {
        guest: "db".into(),
        uuid,
        image: "g@19700101T000000Z".into(),
        contents: contents.clone(),
        ..Member::default()
    };
    let mut part = part("hostb", THERE, vec![member]);
    part.channel.sha256 = contents;
    part
}

/// A record and its frame.
fn record(seed: u8, len: u32) -> Vec<u8> {
    let record = ChannelRecord {
        time_us: u64::from(seed) * 1000,
        network: 7,
        mac: [0, 0x16, 0x3e, 0, 0, seed],
        checksum: 2,
        gso: 4,
        gso_size: 1398,
        len,
    };
    [&record.emit()[..], &vec![seed; len as usize]].concat()
}

/// A group of two guests here, with three frames.
fn sealed(images: &Path) -> PendingGroup {
    let mut writer = GroupWriter::create(images, head(), HERE).unwrap();
    writer.channel(2, &[record(1, 60), record(2, 60_000)].concat()).unwrap();
    writer.channel(1, &record(3, 0)).unwrap();
    writer.channel(0, &[]).unwrap();
    writer.seal(our_part(images)).unwrap()
}

fn our_part(images: &Path) -> Part {
    let members = [1, 2].map(|n| {
        let pending = ready(images, None).prepare(Value::Null).unwrap();
        member(&format!("web{n}"), n, &pending)
    });
    part("hosta", HERE, members.into())
}

fn manifest(pending: &PendingGroup) -> Vec<u8> {
    Manifest::new(&head(), vec![their_part(), pending.own().part.clone()]).unwrap().encode().unwrap()
}

fn committed(images: &Path) -> Group {
    let pending = sealed(images);
    let manifest = manifest(&pending);
    let group = pending.commit(&manifest).unwrap();
    assert_eq!(group.publish().unwrap().len(), 2);
    group
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const IMAGES: [&str; 2] = ["g@19700101T000000Z", "g@19700101T000000Z-2"];

#[test]
fn a_group_is_one_from_its_commit_on_and_its_images_are_from_their_names_on() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    let pending = sealed(images);
    let again = || matches!(GroupWriter::create(images, head(), HERE), Err(Error::Exists { .. }));
    assert!(again(), "while it is undecided");
    assert!(matches!(PendingGroup::open(images, &name()), Err(Error::InUse { .. })));
    assert!(matches!(Group::open(images, &name()), Err(Error::Group(GroupError::Undecided { .. }))));
    assert!(crate::list(images).unwrap().is_empty());
    assert_eq!(Part::decode(&pending.part().unwrap()).unwrap(), pending.own().part);
    drop(pending);
    let pending = PendingGroup::open(images, &name()).unwrap();
    assert_eq!((pending.own().id(), pending.own().is_coordinator()), (head().id, true));
    assert_eq!(pending.own().switches(), [HERE]);
    let text = manifest(&pending);
    let group = pending.commit(&text).unwrap();
    assert!(again(), "when it is one");
    assert!(crate::list(images).unwrap().is_empty());
    assert_eq!(group.publish().unwrap().len(), 2);
    assert!(group.publish().unwrap().is_empty(), "a second time there is nothing to do");
    assert_eq!(crate::list(images).unwrap().len(), 2);
    assert_eq!(group.manifest_octets(), text);
    let m = group.manifest();
    assert_eq!((m.id(), m.created.as_str()), (head().id, "2026-11-22T08:15:00Z"));
    assert_eq!(m.members().count(), 3);
    assert_eq!(m.hosts[0].more["clock"], "tsc", "what the shim adds is kept");
    for (host, member) in m.members() {
        match group.place(host, member) {
            Place::Here(path) => {
                Image::open(&path).map(|i| i.verify(&mut |_, _| {}).unwrap()).map(drop).unwrap()
            }
            // Of the same name as one of ours, and not ours.
            Place::Elsewhere => assert_eq!(member.guest, "db"),
            other => panic!("{other:?}"),
        }
    }
    assert!(!group.is_confirmed());
    group.confirm().unwrap();
    group.confirm().unwrap();
    assert!(Group::open(images, &name()).unwrap().is_confirmed());
}

#[test]
fn recorded_frames_come_back_as_they_were_and_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let group = committed(dir.path());
    let own = &group.own().part;
    assert_eq!((own.channel.frames, own.channel.bytes), (3, 60_060));
    let mut reader = group.channels(own).unwrap().unwrap();
    let mut lengths = Vec::new();
    while let Some((record, frame)) = reader.frame().unwrap() {
        assert_eq!(record.len as usize, frame.len());
        assert!(frame.iter().all(|octet| *octet == record.mac[5]));
        lengths.push(record.len);
    }
    assert_eq!(lengths, [60, 60_000, 0]);
    // All fit one bulk here, and it is what the stub sent.
    let bulk = group.channels(own).unwrap().unwrap().bulk().unwrap().unwrap();
    assert_eq!(bulk.count, 3);
    assert_eq!(bulk.octets, [record(1, 60), record(2, 60_000), record(3, 0)].concat());
    group.channels(own).unwrap().unwrap().verify(&own.channel).unwrap();
    let theirs = group.manifest().part(&switch_text(THERE)).unwrap();
    assert!(group.channels(theirs).unwrap().is_none());
}

#[test]
fn bulks_hold_whole_frames_and_no_more_than_the_stub_takes() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = GroupWriter::create(dir.path(), head(), HERE).unwrap();
    for seed in 0..20 {
        writer.channel(1, &record(seed, 65_535 >> (seed % 5))).unwrap();
    }
    let pending = writer.seal(our_part(dir.path())).unwrap();
    let text = manifest(&pending);
    let group = pending.commit(&text).unwrap();
    let mut reader = group.channels(&group.own().part).unwrap().unwrap();
    let (mut count, mut octets) = (0, Vec::new());
    while let Some(bulk) = reader.bulk().unwrap() {
        assert!(bulk.octets.len() <= handoff::CHANNEL_BULK);
        count += bulk.count;
        octets.extend(bulk.octets);
    }
    assert_eq!(count, 20);
    let all: Vec<u8> = (0..20).flat_map(|seed| record(seed, 65_535 >> (seed % 5))).collect();
    assert_eq!(octets, all);
}

#[test]
fn a_name_means_a_group_or_an_image_and_never_both() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    let when = std::time::UNIX_EPOCH;
    assert_eq!(GroupName::unused(images, "g", when).unwrap().as_str(), "g@19700101T000000Z");
    let writer = ready(images, None);
    assert_eq!(GroupName::unused(images, "g", when).unwrap().as_str(), "g@19700101T000000Z-2");
    let name = GroupName::unused(images, "g", when).unwrap();
    let group = GroupWriter::create(images, Head { name: name.clone(), ..head() }, HERE).unwrap();
    assert_eq!(crate::ImageId::unused(images, "g", when).as_str(), "g@19700101T000000Z-3");
    let again = GroupWriter::create(images, Head { name, ..head() }, HERE);
    assert!(matches!(again, Err(Error::Exists { .. })));
    drop((writer, group));
    assert!(entries(&images.join(GROUPS)).is_empty());
    for bad in ["Web", "", "a b", "../x", "sixteen-letters-", "-"] {
        let made = GroupName::unused(images, bad, when);
        assert!(matches!(made, Err(Error::Group(GroupError::BadName { .. }))), "{bad}: {made:?}");
    }
    for bad in ["blue", "blue@now", "blue@20261122T081500Z.pending", "groups/blue@20261122T081500Z"] {
        assert!(bad.parse::<GroupName>().is_err(), "{bad}");
    }
}

#[test]
fn a_member_is_removed_with_its_group_and_not_alone() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    let group = committed(images);
    for image in IMAGES {
        let Err(Error::Group(GroupError::InGroup { group, .. })) = crate::remove(&images.join(image)) else {
            panic!("removed")
        };
        assert_eq!(group, NAME);
    }
    assert!(matches!(remove(images, &name()), Err(Error::InUse { .. })));
    drop(group);
    // What others build on stays, and so does the group.
    let child = ready(images, Some(&images.join(IMAGES[1]))).commit(Value::Null).unwrap();
    let path = child.path().to_path_buf();
    drop(child);
    assert!(matches!(remove(images, &name()), Err(Error::HasChildren { .. })));
    assert_eq!(crate::list(images).unwrap().len(), 3);
    assert!(of_image(images, path.file_name().unwrap().to_str().unwrap()).unwrap().is_none());
    crate::remove(&path).unwrap();
    assert_eq!(remove(images, &name()).unwrap().len(), 2);
    assert_eq!(entries(images), [GROUPS]);
    assert!(entries(&images.join(GROUPS)).is_empty());
    assert!(matches!(remove(images, &name()), Err(Error::Group(GroupError::NotFound { .. }))));
}

#[test]
fn what_is_not_of_the_group_is_not_removed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    drop(committed(images));
    // Somebody put another image in the place of a member.
    fs::remove_dir_all(images.join(IMAGES[0])).unwrap();
    let mut writer = ready(images, None);
    writer.put_zero(5).unwrap();
    assert_eq!(writer.commit(Value::Null).unwrap().manifest().id, IMAGES[0]);
    let group = Group::open(images, &name()).unwrap();
    let own = &group.own().part;
    assert!(matches!(group.place(own, &own.members[0]), Place::Changed));
    drop(group);
    assert_eq!(remove(images, &name()).unwrap().len(), 1);
    assert_eq!(entries(images), [IMAGES[0], GROUPS]);
}

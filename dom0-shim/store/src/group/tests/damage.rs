//! Every file of a group, damaged.

use super::*;

/// Flips each bit of a file, or some of them where there are many.
fn each_flip(file: &Path, mut then: impl FnMut(usize)) {
    let octets = fs::read(file).unwrap();
    let step = (octets.len() * 8 / 1000).max(1);
    for bit in (0..octets.len() * 8).step_by(step) {
        let mut changed = octets.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(file, &changed).unwrap();
        then(bit);
    }
    for length in [0, 1, 7, octets.len() / 2, octets.len() - 1] {
        fs::write(file, &octets[..length]).unwrap();
        then(usize::MAX);
    }
    fs::write(file, &octets).unwrap();
}

#[test]
fn every_flipped_bit_of_a_group_is_found() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let images = dir.path();
    drop(committed(images));
    let folder = images.join(GROUPS).join(NAME);
    for file in ["manifest.json", "group.json"] {
        each_flip(&folder.join(file), |bit| {
            assert!(Group::open(images, &name()).is_err(), "bit {bit} of {file}");
        });
    }
    let group = Group::open(images, &name()).unwrap();
    let own = &group.own().part;
    each_flip(&folder.join("channels-00000000000000a1"), |bit| {
        let verified = group.channels(own).and_then(|reader| reader.unwrap().verify(&own.channel));
        assert!(matches!(verified, Err(Error::Group(GroupError::BadChannel { .. }))), "bit {bit}");
    });
    let verify = |told: &Channel| group.channels(own).unwrap().unwrap().verify(told);
    verify(&own.channel).unwrap();
    verify(&Channel { frames: 4, ..own.channel.clone() }).unwrap_err();
    verify(&Channel { bytes: 1, ..own.channel.clone() }).unwrap_err();
    fs::remove_file(folder.join("channels-00000000000000a1")).unwrap();
    assert!(matches!(group.channels(own), Err(Error::Group(GroupError::Malformed { .. }))));
    drop(group);
    for file in ["manifest.json", "group.json"] {
        let octets = fs::read(folder.join(file)).unwrap();
        fs::remove_file(folder.join(file)).unwrap();
        assert!(matches!(Group::open(images, &name()), Err(Error::Group(GroupError::Malformed { .. }))));
        fs::write(folder.join(file), octets).unwrap();
    }
    Group::open(images, &name()).unwrap();
}

#[test]
fn a_group_that_is_damaged_is_listed_and_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    drop(committed(images));
    let folder = images.join(GROUPS).join(NAME);
    fs::write(folder.join("manifest.json"), b"{}").unwrap();
    let listed = list(images).unwrap();
    assert!(matches!(listed[..], [Listed { state: State::Broken(_), .. }]));
    // Its members are known by this host's own file still.
    assert_eq!(of_image(images, IMAGES[0]).unwrap(), Some(name()));
    assert_eq!(remove(images, &name()).unwrap().len(), 2);
    assert_eq!(entries(images), [GROUPS]);
}

#[test]
fn a_manifest_that_is_not_the_groups_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path();
    let own = sealed(images).own().part.clone();
    let make = |head: &Head, parts| Manifest::new(head, parts).unwrap().encode().unwrap();
    let mut others = own.clone();
    others.members[0].contents = "77".repeat(32);
    let elsewhere = Head { id: GroupId { initiator: THERE, ..head().id }, switches: Vec::new(), ..head() };
    let later = Head { id: GroupId { epoch: 4, ..head().id }, ..head() };
    let renamed = Head { name: "blue@20261122T081501Z".parse().unwrap(), ..head() };
    let classic = Head { mode: Mode::Classic, ..head() };
    let mut wrong = vec![
        make(&head(), vec![their_part(), others]),
        make(&elsewhere, vec![their_part()]),
        make(&elsewhere, vec![their_part(), own.clone()]),
        make(&later, vec![their_part(), own.clone()]),
        make(&renamed, vec![their_part(), own.clone()]),
        make(&classic, vec![their_part(), own.clone()]),
        b"{}".to_vec(),
        Vec::new(),
    ];
    let right = make(&head(), vec![their_part(), own]);
    wrong.push(right[..right.len() - 1].to_vec());
    for (n, text) in wrong.iter().enumerate() {
        let pending = PendingGroup::open(images, &name()).unwrap();
        let refused = pending.commit(text).unwrap_err();
        assert!(matches!(refused, Error::Group(_)), "{n}: {refused}");
        assert_eq!(entries(&images.join(GROUPS)), [format!("{NAME}.pending")], "{n}");
    }
    PendingGroup::open(images, &name()).unwrap().commit(&right).unwrap();
}

#[test]
fn frames_that_are_not_whole_are_refused_when_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = GroupWriter::create(dir.path(), head(), HERE).unwrap();
    let good = record(1, 60);
    let mut long = good.clone();
    long[24..28].copy_from_slice(&70_000u32.to_le_bytes());
    for (count, bulk) in [
        (1, &good[..91]),
        (2, &good[..]),
        (0, &good[..]),
        (1, &[good.clone(), vec![0]].concat()[..]),
        (1, &long[..]),
    ] {
        let refused = writer.channel(count, bulk);
        assert!(matches!(refused, Err(Error::Group(GroupError::BadChannel { .. }))), "{count}: {refused:?}");
    }
    writer.channel(1, &good).unwrap();
    let pending = writer.seal(our_part(dir.path())).unwrap();
    assert_eq!((pending.own().part.channel.frames, pending.own().part.channel.bytes), (1, 60));
}

//! A host that keeps what another one has: two directories of images, and a stream between them.

use super::*;
use crate::group::keep;
use std::time::Duration;

/// The host that keeps.
const VAULT: u64 = 0xc3;

fn both() -> Head {
    Head { switches: vec![HERE, VAULT], ..head() }
}

/// The group is pending on both hosts; what the first one has is to be kept by the second.
struct Hosts {
    member: tempfile::TempDir,
    vault: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Hosts {
        Self::with(switch_text(VAULT), both())
    }

    /// Whoever is said to keep it, and the group as the vault knows it.
    fn with(keeper: String, vaults: Head) -> Hosts {
        let hosts = Hosts { member: tempfile::tempdir().unwrap(), vault: tempfile::tempdir().unwrap() };
        let mut writer = GroupWriter::create(hosts.member.path(), both(), HERE).unwrap();
        writer.channel(1, &record(1, 60)).unwrap();
        let part = Part { kept_on: Some(keeper), ..our_part(hosts.member.path()) };
        drop(writer.seal(part).unwrap());
        let writer = GroupWriter::create(hosts.vault.path(), vaults, VAULT).unwrap();
        drop(writer.seal(super::part("vault", VAULT, Vec::new())).unwrap());
        hosts
    }

    fn stream(&self) -> Vec<u8> {
        let mut stream = Vec::new();
        keep::send(self.member.path(), &name(), &mut stream).unwrap();
        stream
    }

    fn receive(&self, stream: &[u8]) -> crate::Result<keep::Received> {
        keep::receive(self.vault.path(), &mut &*stream, Duration::ZERO)
    }

    fn own(images: &Path) -> Part {
        PendingGroup::open(images, &name()).unwrap().own().part.clone()
    }

    fn manifest(&self) -> Vec<u8> {
        let parts = vec![Self::own(self.member.path()), Self::own(self.vault.path())];
        Manifest::new(&both(), parts).unwrap().encode().unwrap()
    }

    fn commit(images: &Path, manifest: &[u8]) -> crate::Result<Group> {
        let group = PendingGroup::open(images, &name())?.commit(manifest)?;
        group.publish()?;
        Ok(group)
    }

    /// What is in the vault's folder of the group.
    fn kept(&self) -> Vec<String> {
        let kept = self.vault.path().join(GROUPS).join(format!("{NAME}.pending")).join("kept");
        if kept.is_dir() { entries(&kept) } else { Vec::new() }
    }
}

#[test]
fn what_is_kept_is_whole_there_and_gone_here_once_it_is_committed() {
    let hosts = Hosts::new();
    let received = hosts.receive(&hosts.stream()).unwrap();
    let part = Hosts::own(hosts.member.path());
    assert!(received.is(&part));
    assert_eq!(pendings(hosts.member.path()).unwrap().len(), 2, "nothing goes before the commit");
    let manifest = hosts.manifest();
    // Also when the vault hears of it last.
    let here = Hosts::commit(hosts.member.path(), &manifest).unwrap();
    assert_eq!(entries(hosts.member.path()), [GROUPS]);
    assert!(matches!(here.place(&part, &part.members[0]), Place::Elsewhere));
    assert_eq!(here.manifest().keeper(&part).host, "vault");
    let there = Hosts::commit(hosts.vault.path(), &manifest).unwrap();
    for member in &part.members {
        let Place::Here(path) = there.place(&part, member) else { panic!() };
        let image = Image::open(&path).unwrap();
        image.verify(&mut |_, _| {}).unwrap();
        assert_eq!(image.manifest().contents(), Some(&*member.contents));
    }
    there.channels(&part).unwrap().unwrap().verify(&part.channel).unwrap();
    let kept = keep::kept(hosts.vault.path()).unwrap();
    assert_eq!(kept.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), IMAGES);
    assert!(kept.iter().all(|l| l.manifest.is_ok()));
    assert_eq!(recover(hosts.vault.path()).unwrap().failed.len(), 0);
}

#[test]
fn an_image_that_is_kept_goes_with_its_group_alone() {
    let hosts = Hosts::new();
    hosts.receive(&hosts.stream()).unwrap();
    let manifest = hosts.manifest();
    let there = Hosts::commit(hosts.vault.path(), &manifest).unwrap();
    let part = there.manifest().part(&switch_text(HERE)).unwrap().clone();
    let Place::Here(path) = there.place(&part, &part.members[0]) else { panic!() };
    drop(there);
    assert!(matches!(crate::remove(&path), Err(Error::Group(GroupError::InGroup { .. }))));
    let reader = Image::open(&path).unwrap();
    assert!(matches!(remove(hosts.vault.path(), &name()), Err(Error::InUse { .. })));
    drop(reader);
    remove(hosts.vault.path(), &name()).unwrap();
    assert_eq!(entries(hosts.vault.path()), [GROUPS]);
    assert!(entries(&hosts.vault.path().join(GROUPS)).is_empty());
    Hosts::commit(hosts.member.path(), &manifest).unwrap();
    assert!(remove(hosts.member.path(), &name()).unwrap().is_empty());
    assert!(entries(&hosts.member.path().join(GROUPS)).is_empty());
}

#[test]
fn a_stream_cut_off_or_damaged_anywhere_leaves_nothing_and_can_come_again() {
    let hosts = Hosts::new();
    let stream = hosts.stream();
    for end in (0..stream.len()).step_by(503).chain([stream.len() - 1]) {
        assert!(hosts.receive(&stream[..end]).is_err(), "{end}");
        assert!(hosts.kept().is_empty(), "{end}: {:?}", hosts.kept());
    }
    for at in (0..stream.len()).step_by(509) {
        let mut bad = stream.clone();
        bad[at] ^= 4;
        assert!(hosts.receive(&bad).is_err(), "{at}");
        assert!(hosts.kept().is_empty(), "{at}: {:?}", hosts.kept());
    }
    // A frame has no checksum of its own: its file has.
    let mut bad = stream.clone();
    bad[stream.windows(60).position(|frame| frame == [1; 60]).unwrap() + 9] ^= 4;
    assert!(matches!(hosts.receive(&bad), Err(Error::Group(GroupError::BadChannel { .. }))));
    assert!(hosts.kept().is_empty());
    hosts.receive(&stream).unwrap();
    assert_eq!(hosts.kept(), [switch_text(HERE)]);
    assert!(matches!(hosts.receive(&stream), Err(Error::Exists { .. })));
}

#[test]
fn a_receiver_that_was_killed_leaves_what_goes_with_the_group() {
    let hosts = Hosts::new();
    let pending = hosts.vault.path().join(GROUPS).join(format!("{NAME}.pending"));
    let half = pending.join("kept").join(format!("{}.partial", switch_text(HERE)));
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("channels"), b"half").unwrap();
    let found = recover(hosts.vault.path()).unwrap();
    let [group] = <[PendingGroup; 1]>::try_from(found.undecided).unwrap();
    group.discard().unwrap();
    assert!(entries(&hosts.vault.path().join(GROUPS)).is_empty());
    assert!(matches!(hosts.receive(&hosts.stream()), Err(Error::Group(GroupError::NotPending { .. }))));
}

#[test]
fn what_is_kept_goes_when_its_group_is_given_up() {
    let hosts = Hosts::new();
    hosts.receive(&hosts.stream()).unwrap();
    PendingGroup::open(hosts.vault.path(), &name()).unwrap().discard().unwrap();
    assert_eq!(entries(hosts.vault.path()), [GROUPS]);
    assert!(entries(&hosts.vault.path().join(GROUPS)).is_empty());
    PendingGroup::open(hosts.member.path(), &name()).unwrap().discard().unwrap();
    assert_eq!(entries(hosts.member.path()), [GROUPS]);
}

#[test]
fn only_what_is_of_this_group_and_to_be_kept_here_is_taken() {
    let third = 0xd4;
    let other_epoch = Head { id: GroupId { epoch: 4, ..both().id }, ..both() };
    let without = Head { switches: vec![VAULT, third], ..both() };
    for hosts in [
        Hosts::with(switch_text(third), both()),
        Hosts::with(switch_text(VAULT), other_epoch),
        Hosts::with(switch_text(VAULT), without),
    ] {
        let told = hosts.receive(&hosts.stream());
        assert!(matches!(told, Err(Error::Group(GroupError::BadPart { .. }))), "{told:?}");
        assert!(hosts.kept().is_empty());
    }
}

#[test]
fn a_manifest_that_says_more_than_is_kept_is_not_committed() {
    let hosts = Hosts::new();
    let manifest = hosts.manifest();
    let none = Hosts::commit(hosts.vault.path(), &manifest).unwrap_err();
    assert!(matches!(none, Error::Group(GroupError::NoImage { .. })), "{none}");
    hosts.receive(&hosts.stream()).unwrap();
    let kept = hosts.vault.path().join(GROUPS).join(format!("{NAME}.pending")).join("kept");
    fs::remove_dir_all(kept.join(switch_text(HERE)).join(IMAGES[1])).unwrap();
    assert!(Hosts::commit(hosts.vault.path(), &manifest).is_err());
    // And nobody keeps for whom nobody keeps.
    let mut parts = vec![Hosts::own(hosts.member.path()), Hosts::own(hosts.vault.path())];
    parts[1].kept_on = Some(switch_text(HERE));
    assert!(Manifest::new(&both(), parts).is_err());
    assert!(Manifest::new(&head(), vec![Hosts::own(hosts.member.path())]).is_err());
}

#[test]
fn a_kill_between_the_commit_and_the_removal_here_is_repaired() {
    let hosts = Hosts::new();
    hosts.receive(&hosts.stream()).unwrap();
    let manifest = hosts.manifest();
    drop(PendingGroup::open(hosts.member.path(), &name()).unwrap().commit(&manifest).unwrap());
    assert_eq!(pendings(hosts.member.path()).unwrap().len(), 2);
    let found = recover(hosts.member.path()).unwrap();
    assert!(found.failed.is_empty() && found.published.is_empty());
    assert_eq!(entries(hosts.member.path()), [GROUPS]);
}

#[test]
fn a_group_that_has_begun_is_waited_for_and_its_host_is_known() {
    let hosts = Hosts::new();
    let stream = hosts.stream();
    let vault = tempfile::tempdir().unwrap();
    let begun = || keep::begun(vault.path(), &name()).unwrap();
    assert_eq!(begun(), None);
    let writer = GroupWriter::create(vault.path(), both(), VAULT).unwrap();
    assert_eq!(begun(), Some(switch_text(VAULT)));
    std::thread::scope(|scope| {
        let path = vault.path();
        let receiver = scope.spawn(|| keep::receive(path, &mut &stream[..], Duration::from_secs(20)));
        std::thread::sleep(Duration::from_millis(120));
        assert!(!receiver.is_finished());
        drop(writer.seal(super::part("vault", VAULT, Vec::new())).unwrap());
        receiver.join().unwrap().unwrap();
    });
    assert_eq!(begun(), Some(switch_text(VAULT)));
}

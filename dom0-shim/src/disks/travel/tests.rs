//! Disks that are files, from one folder to another. Volumes go the same way in the lab.

mod qcow2;

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::leave::traveller;
use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("luthier-travel-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for inner in ["images", "here/luthier-disks", "there"] {
            fs::create_dir_all(path.join(inner)).unwrap();
        }
        Self(path)
    }

    fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// A disk of an image here, and where it goes.
    fn disk(&self, vdev: &str, contents: &[u8]) -> Traveller {
        let source = self.0.join(format!("here/{vdev}.raw"));
        let snapshot = file_name_in(&self.0.join("here"), &id("web@20261122T081500Z"), vdev);
        let file = File::create(&snapshot).unwrap();
        file.set_len(1 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, contents, 300_000).unwrap();
        let record = Record { vdev: vdev.into(), kept: Kept::Reflink { source, snapshot, qcow2: false } };
        let mut disk = traveller(record).unwrap();
        assert_eq!(disk.to, Some(Place::Folder(self.0.join("here"))));
        disk.send_to(Place::Folder(self.0.join("there"))).unwrap();
        disk
    }

    fn there(&self) -> usize {
        fs::read_dir(self.0.join("there")).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(text: &str) -> ImageId {
    text.parse().unwrap()
}

fn sent(disks: &[Traveller]) -> Vec<u8> {
    let mut out = Vec::new();
    Leaving::prepare(disks.to_vec()).unwrap().send(&mut out).unwrap();
    out
}

const NEW: &str = "web@20261122T091500Z";

#[test]
fn disks_of_an_image_stay_with_it_on_the_other_host() {
    let folder = Folder::new("stay");
    let disks = [folder.disk("xvda", b"one"), folder.disk("xvdb", b"two")];
    assert_eq!(disks[0].octets, 1 << 20);
    assert!(disks[0].used < 1 << 17, "{}", disks[0].used);
    let new = id(NEW);
    let arrived = Arrived::receive(&folder.images(), &new, &disks, &mut &sent(&disks)[..]).unwrap();
    assert!(arrived.records().iter().all(|r| r.is_of(&new)));
    // As import does it.
    fs::create_dir(folder.images().join(new.as_str())).unwrap();
    let records = arrived.records().to_vec();
    drop(arrived);
    assert!(Notes::of(&folder.images()).all().is_empty());
    for (disk, record) in disks.iter().zip(&records) {
        let (Kept::Reflink { snapshot: from, .. }, Kept::Reflink { snapshot: to, source, .. }) =
            (&disk.record.kept, &record.kept)
        else {
            panic!()
        };
        assert_eq!(fs::read(from).unwrap(), fs::read(to).unwrap());
        assert!(source.starts_with(folder.0.join("there")));
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 17);
        assert_eq!(to.metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn without_the_image_nothing_of_its_disks_stays() {
    let folder = Folder::new("gone");
    let disks = [folder.disk("xvda", b"one"), folder.disk("xvdb", b"two")];
    let whole = sent(&disks);
    drop(Arrived::receive(&folder.images(), &id(NEW), &disks, &mut &whole[..]).unwrap());
    assert_eq!(folder.there(), 0);
    // Cut anywhere: in the first, in the second, before its end.
    for end in [0, 100, whole.len() / 2 + 20, whole.len() - 1] {
        let error = Arrived::receive(&folder.images(), &id(NEW), &disks, &mut &whole[..end]).unwrap_err();
        assert!(error.message.starts_with("disk xvd") && error.message.contains("was cut"), "{error}");
        assert_eq!(folder.there(), 0, "{end}");
    }
    assert!(Notes::of(&folder.images()).all().is_empty());
}

#[test]
fn what_a_killed_import_has_left_is_settled_by_its_note() {
    let folder = Folder::new("killed");
    let disks = [folder.disk("xvda", b"one")];
    let mut arrived = Arrived::receive(&folder.images(), &id(NEW), &disks, &mut &sent(&disks)[..]).unwrap();
    // Killed: the lock of the note goes, nothing else is done.
    arrived.note = None;
    drop(arrived);
    assert_eq!(folder.there(), 1);
    super::super::settle_all(&folder.images());
    assert_eq!(folder.there(), 0);
}

#[test]
fn what_is_missing_on_the_other_host_is_told_before_anything_is_made() {
    let folder = Folder::new("missing");
    let mut disk = folder.disk("xvda", b"one");
    check(&[&disk]).unwrap();
    disk.used = u64::MAX / 4;
    let error = check(&[&disk]).unwrap_err();
    assert!(error.message.starts_with("disk xvda: ") && error.message.contains("are needed in"), "{error}");
    disk.send_to(Place::Folder("/nowhere/disks".into())).unwrap();
    assert_eq!(check(&[&disk]).unwrap_err().message, "disk xvda: there is no folder /nowhere/disks");
    let error = Arrived::receive(&folder.images(), &id(NEW), &[disk], &mut &[][..]).unwrap_err();
    assert!(error.message.contains("there is no folder"), "{error}");
    let left_out = Traveller {
        record: Record { vdev: "xvdc".into(), kept: Kept::ReadOnly { source: "/nowhere/cd.iso".into() } },
        to: None,
        octets: 0,
        used: 0,
        size: 0,
    };
    assert!(check(&[&left_out]).unwrap_err().message.contains("/nowhere/cd.iso is not here"));
}

#[test]
fn disks_of_one_place_need_room_for_all_of_them() {
    let folder = Folder::new("room");
    let stat = statvfs(&folder.0).unwrap();
    let half = stat.f_bavail * stat.f_frsize / 100 * 60;
    let mut disks = [folder.disk("xvda", b"one"), folder.disk("xvdb", b"two")];
    disks.iter_mut().for_each(|d| d.used = half);
    check(&[&disks[0]]).unwrap();
    let error = check(&disks.iter().collect::<Vec<_>>()).unwrap_err();
    assert!(error.message.starts_with("disk xvdb: "), "{error}");
}

#[test]
fn a_disk_goes_to_a_place_of_its_own_kind() {
    let folder = Folder::new("kind");
    let mut disk = folder.disk("xvda", b"one");
    assert!(disk.send_to("vg/pool".parse().unwrap()).unwrap_err().message.contains("goes to a folder"));
    let thin = Kept::Thin { source: "vg/web".into(), snapshot: "vg/luthier_web".into() };
    let mut volume = Traveller {
        record: Record { vdev: "xvda".into(), kept: thin },
        to: Some("vg/pool".parse().unwrap()),
        octets: 1 << 20,
        used: 1,
        size: 0,
    };
    assert!(volume.send_to("/srv".parse().unwrap()).is_err());
    volume.send_to("fast/thin".parse().unwrap()).unwrap();
    let there = volume.record_there(&id(NEW));
    assert!(there.is_of(&id(NEW)));
    assert_eq!(
        there.kept,
        Kept::Thin { source: "fast/web".into(), snapshot: "fast/luthier_web_20261122T091500Z_xvda".into() }
    );
    assert!(volume.send_to("vg/".parse().unwrap()).unwrap_err().message.contains("goes to a thin pool"));
    for bad in ["", "vg", "vg/a/b"] {
        assert!(bad.parse::<Place>().is_err(), "{bad}");
    }
    // What goes to the other host as text comes back from it.
    let text = serde_json::to_string(&volume).unwrap();
    assert_eq!(serde_json::from_str::<Traveller>(&text).unwrap(), volume);
}

#[test]
fn an_ordinary_volume_goes_to_a_volume_group() {
    let thick = Kept::Thick { source: "vg/web".into(), snapshot: "vg/luthier_web".into() };
    let mut volume = Traveller {
        record: Record { vdev: "xvda".into(), kept: thick },
        to: Some("vg/".parse().unwrap()),
        octets: 1 << 20,
        used: 2 << 20,
        size: 0,
    };
    assert!(
        volume.send_to("vg/pool".parse().unwrap()).unwrap_err().message.contains("goes to a volume group")
    );
    volume.send_to("fast/".parse().unwrap()).unwrap();
    assert_eq!(volume.to.as_ref().unwrap().to_string(), "fast/");
    let there = volume.record_there(&id(NEW));
    assert!(there.is_of(&id(NEW)));
    assert_eq!(
        there.kept,
        Kept::Thick { source: "fast/web".into(), snapshot: "fast/luthier_web_20261122T091500Z_xvda".into() }
    );
    let text = serde_json::to_string(&volume).unwrap();
    assert_eq!(serde_json::from_str::<Traveller>(&text).unwrap(), volume);
}

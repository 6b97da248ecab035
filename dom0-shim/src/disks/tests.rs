use std::path::PathBuf;

use serde_json::json;
use store::GroupName;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("luthier-disks-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("images")).unwrap();
        Self(path)
    }

    fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The record of a file's copy, and the copy.
    fn copy(&self, id: &ImageId) -> Record {
        let record = file_record(&self.0, id);
        let Kept::Reflink { snapshot, .. } = &record.kept else { unreachable!() };
        fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
        fs::write(snapshot, "as it was").unwrap();
        record
    }

    fn copies(&self) -> usize {
        fs::read_dir(self.0.join("luthier-disks")).map_or(0, Iterator::count)
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

fn file_record(dir: &Path, id: &ImageId) -> Record {
    let snapshot = record::file_name_in(dir, id, "xvda");
    Record {
        vdev: "xvda".into(),
        kept: Kept::Reflink { source: dir.join("web.raw"), snapshot, qcow2: false },
    }
}

#[test]
fn what_an_image_says_of_its_disks_reads_back() {
    let id = id("web@20261122T081500Z-2");
    let thin =
        Kept::Thin { source: "vg/web".into(), snapshot: format!("vg/{}", record::volume_name(&id, "xvdb")) };
    let thick =
        Kept::Thick { source: "vg/web".into(), snapshot: format!("vg/{}", record::volume_name(&id, "xvdd")) };
    let records = vec![
        file_record(Path::new("/srv"), &id),
        Record { vdev: "xvdb".into(), kept: thin },
        Record { vdev: "xvdc".into(), kept: Kept::LeftOut { source: "/dev/sdb".into() } },
        Record { vdev: "xvdd".into(), kept: thick },
    ];
    let report = json!({"disks": records});
    assert_eq!(report["disks"][1]["how"], "thin");
    assert_eq!(report["disks"][1]["snapshot"], "vg/luthier_web_20261122T081500Z-2_xvdb");
    assert_eq!(report["disks"][3]["how"], "thick");
    assert_eq!(of_report(&report), records);
    assert!(records.iter().all(|r| r.is_of(&id)));
    assert_eq!(records.iter().filter(|r| r.has_snapshot()).count(), 3);
    assert_eq!(of_report(&json!({"rounds": []})), []);
}

#[test]
fn only_names_that_the_image_gives_are_its_own() {
    let (own, other) = (id("web@20261122T081500Z"), id("db@20261122T081500Z"));
    let record = file_record(Path::new("/srv"), &own);
    assert!(record.is_of(&own) && !record.is_of(&other));
    let file = |snapshot: &str| Record {
        vdev: "xvda".into(),
        kept: Kept::Reflink { source: "/srv/web.raw".into(), snapshot: snapshot.into(), qcow2: false },
    };
    for path in
        ["/srv/web.raw", "/srv/web@20261122T081500Z-xvda.raw", "luthier-disks/web@20261122T081500Z-xvda.raw"]
    {
        assert!(!file(path).is_of(&own), "{path}");
    }
    let volume = |snapshot: &str| Record {
        vdev: "xvda".into(),
        kept: Kept::Thin { source: "vg/web".into(), snapshot: snapshot.into() },
    };
    assert!(volume("vg/luthier_web_20261122T081500Z_xvda").is_of(&own));
    for name in ["vg/web", "luthier_web_20261122T081500Z_xvda", "vg/luthier_web_20261122T081500Z_xvdb"] {
        assert!(!volume(name).is_of(&own), "{name}");
    }
}

#[test]
fn snapshots_of_an_image_that_never_came_are_removed_and_others_stay() {
    let folder = Folder::new("settle");
    let (gone, there, waits) = (id("a@20261122T081500Z"), id("b@20261122T081500Z"), id("c@20261122T081500Z"));
    for id in [&gone, &there, &waits] {
        Notes::of(&folder.images()).put(id, &[folder.copy(id)]).unwrap();
    }
    fs::create_dir(folder.images().join(there.as_str())).unwrap();
    fs::create_dir(folder.images().join(format!("{waits}.pending"))).unwrap();
    assert_eq!(folder.copies(), 3);
    settle_all(&folder.images());
    assert_eq!(folder.copies(), 2);
    // Its group has not decided yet: the note stays.
    assert_eq!(Notes::of(&folder.images()).all(), std::slice::from_ref(&waits));
    fs::rename(folder.images().join(format!("{waits}.pending")), folder.images().join(waits.as_str()))
        .unwrap();
    settle(&folder.images(), &waits).unwrap();
    assert_eq!((folder.copies(), Notes::of(&folder.images()).all().len()), (2, 0));
    // Without a note there is nothing to decide.
    settle(&folder.images(), &gone).unwrap();
    assert_eq!(folder.copies(), 2);
}

#[test]
fn a_note_never_has_a_file_removed_that_is_not_the_images() {
    let folder = Folder::new("foreign");
    let (own, victim) = (id("a@20261122T081500Z"), id("b@20261122T081500Z"));
    let record = folder.copy(&victim);
    Notes::of(&folder.images()).put(&own, &[record]).unwrap();
    settle_all(&folder.images());
    assert_eq!(folder.copies(), 1);
}

#[test]
fn a_note_that_somebody_has_is_left_alone_and_one_just_let_go_is_claimed() {
    let folder = Folder::new("claim");
    let (own, notes) = (id("a@20261122T081500Z"), Notes::of(&folder.images()));
    let held = notes.put(&own, &[folder.copy(&own)]).unwrap();
    settle(&folder.images(), &own).unwrap();
    assert_eq!((folder.copies(), notes.all().len()), (1, 1));
    // As when a child that was forked meanwhile has not yet become another program.
    let holder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        drop(held);
    });
    settle(&folder.images(), &own).unwrap();
    assert_eq!((folder.copies(), notes.all().len()), (0, 0));
    holder.join().unwrap();
}

#[test]
fn an_images_snapshots_go_with_it() {
    let folder = Folder::new("remove");
    let (own, other) = (id("a@20261122T081500Z"), id("b@20261122T081500Z"));
    let image = folder.images().join(own.as_str());
    fs::create_dir(&image).unwrap();
    // A manifest that names, beside its own disk, another image's.
    let report = json!({"disks": [folder.copy(&own), folder.copy(&other)]});
    fs::write(image.join("manifest.json"), json!({"report": report}).to_string()).unwrap();
    assert_eq!(folder.copies(), 2);
    remove_image(&image).unwrap().unwrap();
    assert!(!image.exists());
    assert_eq!(folder.copies(), 1);
    assert!(Notes::of(&folder.images()).all().is_empty());
    // One that is not there fails as ever.
    assert!(remove_image(&image).is_err());
}

#[test]
fn a_file_system_without_reflinks_is_told_and_nothing_is_left() {
    // The memory's own file system has none.
    let dir = PathBuf::from(format!("/dev/shm/luthier-disks-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (file, own) = (dir.join("web.raw"), id("web@20261122T081500Z"));
    fs::write(&file, [1; 4096]).unwrap();
    let error = reflink::Copy::prepare(&file, &record::file_name_in(&dir, &own, "xvda")).unwrap_err();
    assert!(error.message.contains("can't share blocks"), "{error}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn only_clones_are_taken_back() {
    let folder = Folder::new("clones");
    let (clone, disk) = (folder.0.join("restored_web_xvda_20261122T081500Z.raw"), folder.0.join("web.raw"));
    fs::write(&clone, "").unwrap();
    fs::write(&disk, "").unwrap();
    let error = restore::remove(&json!([{"vdev": "xvdb", "path": disk}, {"vdev": "xvda", "path": clone}]));
    assert!(error.unwrap_err().message.contains("no clone"));
    assert!(disk.exists() && !clone.exists());
    restore::remove(&json!([])).unwrap();
}

/// A group with one member here, whose image another host keeps; committed, and its image gone.
fn kept_elsewhere(images: &Path, record: impl FnOnce(&ImageId) -> Record) -> (GroupName, ImageId) {
    use store::group::{Channel, GroupWriter, Head, Manifest, Member, Mode, Part, switch_text};
    let meta = store::Meta {
        guest: "web".into(),
        uuid: "e5d4d218-9b32-4a04-971e-bb65229d0f12".into(),
        created: std::time::SystemTime::now(),
        xen: store::XenVersion { major: 4, minor: 17 },
        vcpus: 1,
        memory: store::MemoryFigures::default(),
        extents: store::Extents::new([store::Extent { pfn: 0, count: 1 }]).unwrap(),
        policy: Value::Null,
    };
    let uuid = meta.uuid.clone();
    let id = ImageId::unused(images, "web", meta.created);
    let record = record(&id);
    let mut writer = store::ImageWriter::create(images, id.clone(), meta).unwrap();
    writer.put_zero(0).unwrap();
    let mut state = store::State::new();
    let mut put = |kind, body| state.insert(kind, body).unwrap();
    put(store::StateKind::TscInfo, store::state::tsc_info(0, 1, 1, 1).to_vec());
    put(store::StateKind::HvmParams, store::state::hvm_params(&[(1, 0), (17, 0)]));
    put(store::StateKind::HvmContext, vec![1; 32]);
    put(store::StateKind::DomainConfig, br#"{"c_info": {}, "b_info": {}}"#.to_vec());
    writer.set_state(state);
    let pending = writer.prepare(json!({"disks": [record]})).unwrap();
    let member = json!({
        "guest": "web", "uuid": uuid, "image": id.as_str(), "contents": pending.contents(), "disks": [record],
    });
    drop(pending);
    let member: Member = serde_json::from_value(member).unwrap();
    let part = |switch, members: Vec<Member>, kept_on| Part {
        host: "left".into(),
        switch: switch_text(switch),
        members,
        channel: Channel::default(),
        kept_on,
        more: Default::default(),
    };
    let name: GroupName = "blue@20261122T081500Z".parse().unwrap();
    let group = store::GroupId { network: 7, epoch: 1, initiator: 1 };
    let head = Head { name: name.clone(), id: group, mode: Mode::Together, switches: vec![1, 2] };
    let writer = GroupWriter::create(images, head.clone(), 1).unwrap();
    let pending = writer.seal(part(1, vec![member], Some(switch_text(2)))).unwrap();
    let parts = vec![pending.own().part.clone(), part(2, Vec::new(), None)];
    let manifest = Manifest::new(&head, parts).unwrap().encode().unwrap();
    pending.commit(&manifest).unwrap().publish().unwrap();
    (name, id)
}

#[test]
fn snapshots_of_an_image_that_another_host_keeps_stay_and_go_with_its_group() {
    let folder = Folder::new("kept");
    let images = folder.images();
    let note = |id: &ImageId| {
        let record = folder.copy(id);
        drop(Notes::of(&images).put(id, std::slice::from_ref(&record)).unwrap());
        record
    };
    let (name, id) = kept_elsewhere(&images, note);
    assert!(!images.join(id.as_str()).exists());
    // As after a crash before the daemon has settled them.
    settle_all(&images);
    assert_eq!((folder.copies(), Notes::of(&images).all().len()), (1, 0));
    let (removed, snapshots) = remove_group(&images, &name).unwrap();
    snapshots.unwrap();
    assert_eq!((removed.len(), folder.copies()), (0, 0));
}

#[test]
fn what_another_release_keeps_is_told_and_not_taken_for_nothing() {
    let folder = Folder::new("unknown");
    let own = id("a@20261122T081500Z");
    let report = json!({"disks": [folder.copy(&own), {"vdev": "xvdb", "how": "by-magic", "spell": [1, 2]}]});
    let records = of_report(&report);
    assert_eq!((records.len(), &records[1].kept), (2, &Kept::Unknown));
    assert!(records[1].has_snapshot() && !records[1].is_of(&own));
    let image = folder.images().join(own.as_str());
    fs::create_dir(&image).unwrap();
    fs::write(image.join("manifest.json"), json!({"report": report}).to_string()).unwrap();
    // The image goes with what is known, and the rest is named.
    let left = remove_image(&image).unwrap().unwrap_err();
    assert!(left.message.contains("disk xvdb: it is kept in a way that this release"), "{left}");
    assert!(!image.exists() && folder.copies() == 0);
}

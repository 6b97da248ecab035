//! Disks that are snapshots in qcow2 files, with a `qemu-img` that makes what the test says.

use serde_json::{Value, json};

use super::*;
use crate::disks::qcow2::header_of;
use crate::disks::tool::fake;

const SIZE: u64 = 64 << 20;
const NAME: &str = "luthier_web_20261122T081500Z_xvda";

/// What the snapshot has, as a file of its own.
fn contents() -> Vec<u8> {
    let mut file = header_of(SIZE);
    file.resize(300_001, 0);
    file[200_000..200_006].copy_from_slice(b"inside");
    file
}

/// From now on `qemu-img` takes this out of a file.
fn qemu_img(taken_out: Vec<u8>) {
    fake::set("/nowhere", move |_, args| {
        let path = args.last().unwrap();
        match args[0] {
            "measure" => return Ok(json!({"required": taken_out.len()}).to_string()),
            "convert" => fs::write(path, &taken_out).unwrap(),
            _ => {}
        }
        // What the file itself has, or of the source its snapshots.
        Ok(json!({"virtual-size": SIZE, "snapshots": [{"name": NAME}]}).to_string())
    });
}

/// A disk of an image here, and where it goes.
fn disk(folder: &Folder) -> Traveller {
    qemu_img(contents());
    let source = folder.0.join("here/web.qcow2");
    fs::write(&source, "the guest's own").unwrap();
    let record = Record { vdev: "xvda".into(), kept: Kept::Qcow2 { source, snapshot: NAME.into() } };
    let mut disk = traveller(record).unwrap();
    assert_eq!(disk.to, Some(Place::Folder(folder.0.join("here"))));
    assert_eq!((disk.octets, disk.used), (contents().len() as u64, contents().len() as u64 * 2));
    disk.send_to(Place::Folder(folder.0.join("there"))).unwrap();
    disk
}

/// What the other host is told, and gets.
fn sent(disk: &Traveller) -> (Vec<Traveller>, Vec<u8>) {
    let leaving = Leaving::prepare(vec![disk.clone()]).unwrap();
    let mut out = Vec::new();
    leaving.send(&mut out).unwrap();
    (leaving.disks().to_vec(), out)
}

fn receive(folder: &Folder, disks: &[Traveller], input: &[u8]) -> Result<Arrived> {
    Arrived::receive(&folder.images(), &id(NEW), disks, &mut &*input)
}

#[test]
fn a_qcow2_disk_is_a_file_of_the_images_on_the_other_host() {
    let folder = Folder::new("qcow2");
    let disk = disk(&folder);
    check(&[&disk]).unwrap();
    let (disks, stream) = sent(&disk);
    assert_eq!((disks[0].octets, disks[0].size), (contents().len() as u64, SIZE));
    // Nothing is left, nor ever had a name.
    assert_eq!(fs::read_dir(folder.0.join("here")).unwrap().count(), 2);
    let arrived = receive(&folder, &disks, &stream).unwrap();
    let record = arrived.records()[0].clone();
    assert!(record.is_of(&id(NEW)));
    let Kept::Reflink { source, snapshot, qcow2: true } = &record.kept else { panic!("{record:?}") };
    assert_eq!(*source, folder.0.join("there/web.qcow2"));
    assert_eq!(fs::read(snapshot).unwrap(), contents());
    assert_eq!(snapshot.metadata().unwrap().mode() & 0o777, 0o600);
    fs::create_dir(folder.images().join(NEW)).unwrap();
    drop(arrived);
    // It goes on from there as it came.
    let mut again = traveller(record.clone()).unwrap();
    assert_eq!((again.size, again.octets), (SIZE, contents().len() as u64));
    fs::create_dir(folder.0.join("third")).unwrap();
    again.send_to(Place::Folder(folder.0.join("third"))).unwrap();
    let (disks, stream) = sent(&again);
    fs::remove_dir(folder.images().join(NEW)).unwrap();
    drop(receive(&folder, &disks, &stream).unwrap());
    // Its image goes, and takes it along.
    record.remove_snapshot().unwrap();
    assert_eq!(folder.there(), 0);
}

#[test]
fn a_release_before_takes_it_for_a_file_and_does_the_right_thing() {
    let folder = Folder::new("qcow2-older");
    let record = disk(&folder).record_there(&id(NEW));
    let told = serde_json::to_value(&record).unwrap();
    // All that a release before knows, and as it names its files.
    assert_eq!((&told["how"], &told["qcow2"]), (&json!("reflink"), &json!(true)));
    assert!(
        told["snapshot"].as_str().unwrap().ends_with(&format!("/luthier-disks/{NEW}-xvda.raw")),
        "{told}"
    );
    assert_eq!(serde_json::from_value::<Record>(told).unwrap(), record);
    // And what is not one has no such field.
    let raw = folder.disk("xvdb", b"two").record_there(&id(NEW));
    assert_eq!(serde_json::to_value(&raw).unwrap().get("qcow2"), None);
}

#[test]
fn whatever_ends_it_leaves_nothing() {
    let folder = Folder::new("qcow2-ends");
    let disk = disk(&folder);
    let (disks, stream) = sent(&disk);
    for end in [0, 100, stream.len() / 2, stream.len() - 1] {
        let error = receive(&folder, &disks, &stream[..end]).unwrap_err();
        assert!(error.message.contains("was cut"), "{error}");
        assert_eq!(folder.there(), 0, "{end}");
    }
    // Killed: the lock of the note goes, nothing else is done.
    let mut arrived = receive(&folder, &disks, &stream).unwrap();
    arrived.note = None;
    drop(arrived);
    assert_eq!(folder.there(), 1);
    crate::disks::settle_all(&folder.images());
    assert_eq!(folder.there(), 0);
    assert!(Notes::of(&folder.images()).all().is_empty());
}

#[test]
fn a_file_that_is_not_the_whole_disk_is_not_used_and_not_kept() {
    let folder = Folder::new("qcow2-hostile");
    let (mut disks, _) = sent(&disk(&folder));
    let hostile = |at: usize, octet: u8| {
        let mut file = contents();
        file[at] = octet;
        let path = folder.0.join("hostile");
        fs::write(&path, &file).unwrap();
        let mut out = Vec::new();
        sparse::send(&File::open(path).unwrap(), file.len() as u64, &mut out).unwrap();
        out
    };
    for (at, octet, words) in [
        (15, 104, "has a backing file"),
        (79, 4, "data in another file"),
        (63, 3, "snapshots inside"),
        (1, 0, "no qcow2"),
    ] {
        let error = receive(&folder, &disks, &hostile(at, octet)).unwrap_err();
        assert!(
            error.message.starts_with("disk xvda: the file that came ") && error.message.contains(words),
            "{error}"
        );
        assert_eq!(folder.there(), 0);
    }
    disks[0].size = SIZE + 512;
    let error = receive(&folder, &disks, &hostile(0, b'Q')).unwrap_err();
    assert!(error.message.contains("octets, not of"), "{error}");
    assert_eq!(folder.there(), 0);
    assert!(Notes::of(&folder.images()).all().is_empty());
}

#[test]
fn a_name_that_is_taken_is_not_written_over() {
    let folder = Folder::new("qcow2-taken");
    let (disks, stream) = sent(&disk(&folder));
    let victim = folder.0.join("victim");
    fs::write(&victim, "another's").unwrap();
    let taken = file_name_in(&folder.0.join("there"), &id(NEW), "xvda");
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&victim, &taken).unwrap();
    let error = receive(&folder, &disks, &stream).unwrap_err();
    assert!(error.message.contains("making ") && error.message.contains("File exists"), "{error}");
    assert_eq!(fs::read(&victim).unwrap(), b"another's");
}

#[test]
fn what_sending_needs_and_has_not_is_told_before_anything_is_made() {
    let folder = Folder::new("qcow2-room");
    let mut one = disk(&folder);
    check_room_to_leave(&[&one]).unwrap();
    let stat = statvfs(&folder.0).unwrap();
    one.octets = stat.f_bavail * stat.f_frsize / 100 * 60;
    check_room_to_leave(&[&one]).unwrap();
    let error = check_room_to_leave(&[&one, &one]).unwrap_err();
    assert!(
        error.message.starts_with("disk xvda: to send it, ") && error.message.contains("/here for a while"),
        "{error}"
    );
    fake::set("/nowhere", |_, _| Err(Error::new("running qemu-img: not here")));
    one.octets = 1;
    assert!(check(&[&one]).unwrap_err().message.contains("running qemu-img"));
    // A snapshot that somebody has removed.
    fake::set("/nowhere", |_, _| Ok(json!({"snapshots": Value::Null}).to_string()));
    let error = traveller(one.record).unwrap_err();
    assert!(error.message.contains("is not here"), "{error}");
}

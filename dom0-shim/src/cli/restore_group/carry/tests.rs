//! Images from one folder to another, with what can go wrong on the way.

use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::cli::images::tests::Images;

fn cli(images: &Images) -> Cli {
    let dir = images.0.to_string_lossy();
    Cli::try_parse_from(["luthier", "--images", &*dir, "list"]).unwrap()
}

/// Where the disk of the image is to be on the other host.
fn there(images: &Images) -> PathBuf {
    let there = images.0.join("srv");
    std::fs::create_dir_all(&there).unwrap();
    there
}

/// An image with a disk.
fn with_disk(images: &Images) -> String {
    let writer = images.writer(None);
    let snapshot = images.0.join("disk.raw");
    std::fs::write(&snapshot, vec![7; 200_000]).unwrap();
    let disks =
        json!([{"vdev": "xvda", "how": "reflink", "source": images.0.join("web.raw"), "snapshot": snapshot}]);
    let report = json!({"disks": disks, "networks": [{"name": "blue", "id": 7}], "suspended_ms": 3.5});
    writer.commit(report).unwrap().manifest().id.clone()
}

fn exported(images: &Images, image: &str) -> Vec<u8> {
    let mut out = Vec::new();
    export(&cli(images), image, &mut out).unwrap();
    out
}

fn place(to: &Images) -> Vec<(String, String)> {
    vec![("xvda".into(), there(to).to_string_lossy().into_owned())]
}

#[test]
fn an_image_comes_with_its_disks_and_what_is_known_of_it() {
    let (from, to) = (Images::new("carry-from"), Images::new("carry-to"));
    let name = with_disk(&from);
    let stream = exported(&from, &name);
    let made = import(&cli(&to), &place(&to), &stream[..]).unwrap();
    let (old, new) = (
        images::open(&cli(&from), &name).unwrap(),
        images::open(&cli(&to), print::text(&made, "image")).unwrap(),
    );
    assert_eq!(made["contents"].as_str(), old.manifest().contents());
    assert_eq!(new.manifest().contents(), old.manifest().contents());
    assert_eq!(new.manifest().xen, old.manifest().xen);
    let report = &new.manifest().report;
    assert_eq!((&report["networks"][0]["id"], &report["suspended_ms"]), (&json!(7), &json!(3.5)));
    let disks = crate::disks::of_report(report);
    assert!(disks[0].is_of(&new.manifest().id.parse().unwrap()), "{disks:?}");
    travel::are_here(&new).unwrap();
    let path = report["disks"][0]["snapshot"].as_str().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), vec![7; 200_000]);
    // They go together.
    drop(new);
    images::rm(&cli(&to), &[print::text(&made, "image").to_owned()], false).unwrap();
    assert_eq!(std::fs::read_dir(there(&to)).unwrap().count(), 0);
}

#[test]
fn a_stream_that_is_cut_anywhere_leaves_nothing() {
    let (from, to) = (Images::new("cut-from"), Images::new("cut-to"));
    let stream = exported(&from, &with_disk(&from));
    for end in [0, 10, 600, 100_000, stream.len() - 10_000, stream.len() - 1] {
        import(&cli(&to), &place(&to), &stream[..end]).unwrap_err();
        assert_eq!(std::fs::read_dir(there(&to)).unwrap().count(), 0, "{end}");
        let left: Vec<_> = std::fs::read_dir(&to.0).unwrap().flatten().map(|f| f.file_name()).collect();
        assert_eq!(left, ["srv"], "{end}");
    }
}

#[test]
fn streams_of_others_are_refused_with_a_next_step() {
    let to = Images::new("other-release");
    for bad in [
        "",
        "Xen saved domain, xl format\n",
        "{}\n",
        "{\"luthier_image\": 2, \"guest\": \"web\", \"disks\": [], \"report\": {}}\n",
    ] {
        let error = import(&cli(&to), &[], bad.as_bytes()).unwrap_err();
        assert!(error.message.contains("came") || error.hint.unwrap().contains("same releases"), "{bad}");
    }
}

#[test]
fn the_member_whose_disk_has_no_place_is_named() {
    let from = Images::new("room");
    let disks = disks(&cli(&from), json!({"images": [with_disk(&from)]}).to_string().as_bytes()).unwrap();
    let mut lost = disks["disks"][0].clone();
    let asked = |disks: &Value| json!({"members": [{"guest": "db", "disks": disks}]}).to_string();
    room(asked(&lost).as_bytes()).unwrap();
    lost[0]["to"]["folder"] = "/nowhere/disks".into();
    assert_eq!(
        room(asked(&lost).as_bytes()).unwrap_err().message,
        "`db` can't come here: disk xvda: there is no folder /nowhere/disks"
    );
}

//! Writing, reading, listing and removing images.

mod common;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use common::{fill, image, meta, names, page, pages, state, writer};
use serde_json::Value;
use store::{
    Error, Extent, Extents, Image, ImageId, ImageWriter, PAGE_SIZE, PageState, State, StateKind, list,
    page_checksum, remove, sweep,
};

#[test]
fn what_was_put_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let made = image(dir.path());
    assert_eq!(names(dir.path()), ["web@20261121T202439Z"]);
    assert_eq!(names(made.path()), ["manifest.json", "memory", "pages", "state"]);
    drop(made);

    let image = Image::open(&dir.path().join("web@20261121T202439Z")).unwrap();
    let m = image.manifest();
    assert_eq!((m.guest.as_str(), m.vcpus, m.pages, m.zero_pages), ("web", 2, 40, 14));
    assert_eq!(m.created, "2026-11-21T20:24:39Z");
    assert_eq!(m.policy["nested"]["a"][1], 2);
    assert_eq!(image.extents(), &common::extents());
    assert_eq!(image.state().unwrap(), state());
    for (slot, found) in pages(&image).iter().enumerate() {
        let seed = if slot % 3 == 0 { 0 } else { slot as u64 };
        assert!(found == &page(seed), "slot {slot}");
    }
    let mut last = 0;
    let verified = image.verify(&mut |done, all| last = done * 100 / all).unwrap();
    assert_eq!((verified.pages, verified.zero_pages, verified.data_pages, verified.records), (40, 14, 26, 6));
    assert_eq!(last, 100);
}

#[test]
fn the_manifest_is_plain_json() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let text = std::fs::read_to_string(image.path().join("manifest.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["format"], 2);
    assert!(json["checksum"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(json["parent"], Value::Null);
}

#[test]
fn the_last_write_of_a_page_wins() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = writer(dir.path());
    fill(&mut w, 100);
    fill(&mut w, 0);
    let p = page(77);
    w.put_page(3, &p, page_checksum(&p)).unwrap();
    w.put_zero(4).unwrap();
    w.put_zero(5).unwrap();
    w.put_page(5, &p, page_checksum(&p)).unwrap();
    let image = w.commit(Value::Null).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    let found = pages(&image);
    assert!(found[3] == p && found[4] == page(0) && found[5] == p && found[7] == page(7));
}

#[test]
fn pages_written_through_the_descriptor_count_when_they_are_announced() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = writer(dir.path());
    fill(&mut w, 0);
    let p = page(1234);
    let offset = w.offset(6).unwrap();
    w.memory_fd().write_all_at(&p, offset).unwrap();
    w.put_data_at(6, page_checksum(&p)).unwrap();
    // Written, and then not announced but declared zero.
    let offset = w.offset(9).unwrap();
    w.memory_fd().write_all_at(&p, offset).unwrap();
    w.put_zero(9).unwrap();
    let image = w.commit(Value::Null).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    assert!(pages(&image)[6] == p && pages(&image)[9] == page(0));
}

#[test]
fn zero_pages_take_no_room_even_where_data_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = meta();
    m.extents = Extents::new([Extent { pfn: 0, count: 2048 }, Extent { pfn: 0xfeff8, count: 8 }]).unwrap();
    let mut w = ImageWriter::create(dir.path(), "a@20261121T202439Z".parse().unwrap(), m).unwrap();
    let p = page(5);
    for slot in 0..2056 {
        w.put_page(slot, &p, page_checksum(&p)).unwrap();
    }
    for slot in 0..2056 {
        w.put_zero(slot).unwrap();
    }
    w.put_page(1000, &p, page_checksum(&p)).unwrap();
    assert_eq!((w.stored().zero, w.stored().raw), (2055, 1));
    w.set_state(state());
    let image = w.commit(Value::Null).unwrap();
    let memory = std::fs::metadata(image.path().join("memory")).unwrap();
    assert_eq!(memory.len(), 2056 * PAGE_SIZE as u64);
    assert!(memory.blocks() * 512 <= 64 << 10, "{} blocks", memory.blocks());
    assert_eq!(image.verify(&mut |_, _| {}).unwrap().data_pages, 1);
}

#[test]
fn an_image_that_lacks_a_page_is_not_committed_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = writer(dir.path());
    for slot in (0..40).filter(|s| *s != 17 && *s != 30) {
        w.put_zero(slot).unwrap();
    }
    w.set_state(state());
    match w.commit(Value::Null).unwrap_err() {
        Error::Incomplete { absent: 2, slot: 17, pfn: 18 } => {}
        e => panic!("{e}"),
    }
    assert!(names(dir.path()).is_empty());
}

#[test]
fn an_image_that_lacks_a_record_is_not_committed() {
    for missing in StateKind::ALL.into_iter().filter(|k| k.required()) {
        let dir = tempfile::tempdir().unwrap();
        let mut w = writer(dir.path());
        fill(&mut w, 0);
        let mut partial = State::new();
        for (kind, body) in state().iter().filter(|(k, _)| *k != missing) {
            partial.insert(kind, body.to_vec()).unwrap();
        }
        w.set_state(partial);
        match w.commit(Value::Null).unwrap_err() {
            Error::MissingRecord(kind) => assert_eq!(kind, missing),
            e => panic!("{e}"),
        }
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn a_console_or_xenstore_page_outside_the_guest_is_noticed_at_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = writer(dir.path());
    fill(&mut w, 0);
    let mut wrong = state();
    wrong.insert(StateKind::HvmParams, store::state::hvm_params(&[(17, 0xff000)])).unwrap();
    w.set_state(wrong);
    let e = w.commit(Value::Null).unwrap_err().to_string();
    assert!(e.contains("0xff000"), "{e}");
}

#[test]
fn records_of_the_wrong_form_are_refused() {
    let mut s = State::new();
    for (kind, body) in [
        (StateKind::CpuidPolicy, vec![0; 25]),
        (StateKind::MsrPolicy, vec![]),
        (StateKind::TscInfo, vec![0; 23]),
        (StateKind::HvmParams, vec![1, 0, 0, 0, 0, 0, 0, 0]),
        (StateKind::HvmContext, vec![]),
        (StateKind::DomainConfig, b"{}".to_vec()),
        (StateKind::DomainConfig, b"name='web'".to_vec()),
        (StateKind::HvmContext, vec![0; store::state::MAX_BODY + 1]),
    ] {
        assert!(matches!(s.insert(kind, body), Err(Error::BadRecord { kind: k, .. }) if k == kind));
    }
}

#[test]
fn slots_and_descriptions_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = writer(dir.path());
    for slot in [40, u64::MAX] {
        assert!(matches!(w.put_zero(slot), Err(Error::NoSuchSlot { pages: 40, .. })));
        assert!(w.offset(slot).is_err() && w.put_data_at(slot, 1).is_err());
    }
    let id: ImageId = "x@20261121T202439Z".parse().unwrap();
    let mut bad = meta();
    bad.uuid = "not a uuid".into();
    assert!(matches!(ImageWriter::create(dir.path(), id.clone(), bad), Err(Error::BadMeta(_))));
    let nowhere = dir.path().join("nowhere");
    assert!(matches!(ImageWriter::create(&nowhere, id.clone(), meta()), Err(Error::NoDirectory { .. })));
    assert!(matches!(list(&nowhere), Err(Error::NoDirectory { .. })));
    let mut bad = meta();
    bad.vcpus = 0;
    assert!(matches!(ImageWriter::create(dir.path(), id, bad), Err(Error::BadMeta(_))));
}

#[test]
fn a_name_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let id: ImageId = "web@20261121T202439Z".parse().unwrap();
    let again = || ImageWriter::create(dir.path(), id.clone(), meta());
    let w = again().unwrap();
    assert!(matches!(again(), Err(Error::Exists { .. })));
    drop(w);
    let image = image(dir.path());
    assert!(matches!(again(), Err(Error::Exists { .. })));
    drop(image);
    assert_eq!(list(dir.path()).unwrap().len(), 1);
}

#[test]
fn a_dropped_or_aborted_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = writer(dir.path());
    fill(&mut w, 0);
    assert_eq!(names(dir.path()), ["web@20261121T202439Z.partial"]);
    assert!(list(dir.path()).unwrap().is_empty());
    w.abort();
    drop(writer(dir.path()));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn sweeping_removes_what_the_dead_left_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let living = writer(dir.path());
    for name in [
        "dead@20261121T202439Z.partial",
        "dead@20261121T202439Z.removed.partial",
        "dead@20261121T202439Z.merged.partial",
        "download.partial",
        "lost+found",
    ] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("dead@20261121T202439Z.partial/memory"), b"x").unwrap();
    let kept = image(dir.path());
    let mut swept = sweep(dir.path()).unwrap();
    swept.sort();
    assert_eq!(swept.len(), 3);
    assert_eq!(
        names(dir.path()),
        ["download.partial", "lost+found", "web@20261121T202439Z-2", "web@20261121T202439Z.partial"]
    );
    drop((living, kept));
}

#[test]
fn unfinished_images_are_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path()).path().to_path_buf();
    let partial = dir.path().join("web@20261121T202439Z.partial");
    std::fs::rename(&path, &partial).unwrap();
    assert!(matches!(Image::open(&partial), Err(Error::Malformed { .. })));
    assert!(list(dir.path()).unwrap().is_empty());
}

#[test]
fn an_image_in_use_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let first = image(dir.path());
    let path = first.path().to_path_buf();
    // A removal that was cut short doesn't stand in the way.
    std::fs::create_dir_all(dir.path().join("web@20261121T202439Z.removed.partial/x")).unwrap();
    let second = Image::open(&path).unwrap();
    drop(first);
    assert!(matches!(remove(&path), Err(Error::InUse { .. })));
    drop(second);
    remove(&path).unwrap();
    assert!(names(dir.path()).is_empty());
    assert!(matches!(remove(&path), Err(Error::NotFound { .. })));
    assert!(matches!(Image::open(&path), Err(Error::NotFound { .. })));
}

#[test]
fn only_directories_with_an_images_name_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("precious");
    std::fs::create_dir(&other).unwrap();
    for path in [other.as_path(), &dir.path().join(".."), Path::new("/")] {
        assert!(matches!(remove(path), Err(Error::BadId { .. })), "{}", path.display());
    }
    assert!(other.exists());
}

#[test]
fn a_list_says_which_images_are_unreadable_and_why() {
    let dir = tempfile::tempdir().unwrap();
    drop(image(dir.path()));
    let broken = image(dir.path()).path().to_path_buf();
    std::fs::remove_file(broken.join("pages")).unwrap();
    std::fs::create_dir(dir.path().join("empty@20261121T202439Z")).unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    let found = list(dir.path()).unwrap();
    let found: Vec<(&str, String)> = found
        .iter()
        .map(|l| (l.id.as_str(), l.manifest.as_ref().map_or_else(|e| e.to_string(), |m| m.guest.clone())))
        .collect();
    assert_eq!(found.len(), 3);
    assert!(found[0].0 == "empty@20261121T202439Z" && found[0].1.contains("manifest.json"));
    assert_eq!(found[1].1, "web");
    assert!(found[2].1.contains("`pages` is missing"), "{}", found[2].1);
    // What can't be read can be removed.
    remove(&broken).unwrap();
}

#[test]
fn several_images_are_written_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..4u64 {
            let dir = dir.path();
            scope.spawn(move || {
                let id = format!("g{n}@20261121T202439Z").parse().unwrap();
                let mut w = ImageWriter::create(dir, id, meta()).unwrap();
                for round in 0..20 {
                    fill(&mut w, n * 1000 + round);
                }
                w.commit(Value::Null).unwrap();
            });
        }
    });
    for (n, listed) in list(dir.path()).unwrap().iter().enumerate() {
        let image = Image::open(&listed.path).unwrap();
        image.verify(&mut |_, _| {}).unwrap();
        assert!(pages(&image)[1] == page(n as u64 * 1000 + 20));
    }
}

#[test]
fn a_single_page_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let slots = image.slots().unwrap();
    let mut out = page(1);
    assert_eq!(slots.read(3, &mut out).unwrap(), PageState::Zero);
    assert!(out == page(0));
    assert!(matches!(slots.read(4, &mut out).unwrap(), PageState::Raw { .. }));
    assert!(matches!(slots.read(40, &mut out), Err(Error::NoSuchSlot { .. })));
}

//! Incremental images: what is read through a chain and what may be on what.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{
    Random, child, child_of, extents, forge, image, memory_dir, meta, names, page, pages, record, soft_page,
    state, verify, writer, writer_of,
};
use serde_json::{Value, json};
use store::{
    Error, ExportOptions, Extent, Extents, Image, ImageWriter, MAX_CHAIN, Meta, PAGE_SIZE, PageState, Rest,
    children, diff, export_xl, list, merge, page_checksum, remove,
};

#[test]
fn a_child_has_only_what_differs_and_reads_as_a_whole() {
    let dir = memory_dir();
    let parent = image(dir.path()).path().to_path_buf();
    let path = child(&parent, 500);
    let image = Image::open(&path).unwrap();
    let m = image.manifest();
    let stored = m.stored.unwrap();
    assert_eq!((stored.raw, stored.parent, stored.zero, stored.octets), (1, 39, 0, 4096));
    assert_eq!((m.pages, m.zero_pages, image.depth()), (40, 14, 2));
    assert_eq!(m.parent.as_ref().unwrap().image, "web@20261121T202439Z");
    assert_eq!(image.parents().next().unwrap().id, "web@20261121T202439Z");
    let found = pages(&image);
    assert!(found[1] == page(500) && found[2] == page(2) && found[3] == page(0));
    let verified = image.verify(&mut |_, _| {}).unwrap();
    assert_eq!((verified.pages, verified.zero_pages, verified.images), (40, 14, 2));
    assert_eq!((verified.data_pages, verified.parent_pages), (26, 25));
}

#[test]
fn one_percent_of_changes_takes_less_than_one_and_a_fifth_percent_of_memory() {
    let dir = memory_dir();
    let frames = Extents::new([(0, 16_384), (0xfeff8, 8)].map(Extent::from)).unwrap();
    let mut w = writer_of(dir.path(), frames);
    for slot in 0..w.extents().pages() {
        let page = page(slot % 1000 + 1);
        w.put_page(slot, &page, page_checksum(&page)).unwrap();
    }
    w.set_state(state());
    let parent = w.commit(Value::Null).unwrap().path().to_path_buf();
    let mut w = child_of(&parent, Rest::AsInParent);
    let mut random = Random(7);
    for _ in 0..164 {
        let page = page(2000 + random.below(1000));
        w.put_page(random.below(16_384), &page, page_checksum(&page)).unwrap();
    }
    let image = w.commit(Value::Null).unwrap();
    let limit = 16_384 * 4096 * 12 / 1000;
    assert!(image.disk_octets() <= limit, "{} of {limit}", image.disk_octets());
}

#[test]
fn what_is_as_in_the_parent_is_not_stored_however_it_is_put() {
    let dir = memory_dir();
    let parent = image(dir.path()).path().to_path_buf();
    let mut w = child_of(&parent, Rest::Required);
    for slot in 0..40 {
        let seed = if slot % 3 == 0 { 0 } else { slot };
        let page = page(seed);
        // First something else, in all forms: what was is void.
        let other = soft_page(slot + 1);
        w.compress(slot % 2 == 0);
        w.put_page(slot, &other, page_checksum(&other)).unwrap();
        assert!(!w.may_be_as_in_parent(slot, page_checksum(&other)));
        match seed {
            0 => w.put_zero(slot).unwrap(),
            _ => {
                assert!(w.may_be_as_in_parent(slot, page_checksum(&page)));
                w.put_page(slot, &page, page_checksum(&page)).unwrap();
            }
        }
    }
    assert_eq!((w.stored().parent, w.stored().octets), (40, 0));
    let image = w.commit(Value::Null).unwrap();
    let memory = fs::metadata(image.path().join("memory")).unwrap();
    assert_eq!((memory.len(), memory.blocks()), (40 * 4096, 0));
    assert_eq!(fs::metadata(image.path().join("pages")).unwrap().len(), 0);
    assert!(pages(&image) == pages(&Image::open(&parent).unwrap()));
    assert_eq!(image.manifest().contents(), Image::open(&parent).unwrap().manifest().contents());
}

#[test]
fn pages_of_one_checksum_are_compared_octet_for_octet() {
    let dir = memory_dir();
    let parent = image(dir.path()).path().to_path_buf();
    let mut w = child_of(&parent, Rest::AsInParent);
    // As if it had the checksum of the parent's page.
    let sum = page_checksum(&page(4));
    let other = soft_page(9);
    assert!(w.may_be_as_in_parent(4, sum));
    w.put_page(4, &other, sum).unwrap();
    w.put_lz4(5, &record(&other), page_checksum(&page(5))).unwrap();
    assert_eq!((w.stored().raw, w.stored().lz4, w.stored().parent), (1, 1, 38));
}

#[test]
fn with_required_pages_an_unput_one_is_missing() {
    let dir = memory_dir();
    let parent = image(dir.path()).path().to_path_buf();
    let mut w = child_of(&parent, Rest::Required);
    for slot in (0..40).filter(|s| *s != 17) {
        w.put_zero(slot).unwrap();
    }
    assert!(matches!(w.commit(Value::Null), Err(Error::Incomplete { absent: 1, slot: 17, .. })));
}

#[test]
fn a_resized_guest_a_foreign_directory_and_too_long_a_chain_are_refused() {
    let dir = memory_dir();
    let parent = image(dir.path());
    let path = parent.path().to_path_buf();
    let on = |dir: &Path, extents, parent| {
        let id = "web@20261121T202439Z-9".parse().unwrap();
        ImageWriter::create_on(dir, id, Meta { extents, ..meta() }, parent, Rest::AsInParent)
    };
    let smaller = Extents::new([(0, 16), (0xfeff8, 8)].map(Extent::from)).unwrap();
    let e = on(dir.path(), smaller, parent).unwrap_err();
    assert!(matches!(e, Error::UnfitParent { .. }), "{e}");
    assert!(e.to_string().contains("resized") && e.to_string().contains("full snapshot"), "{e}");
    let elsewhere = memory_dir();
    let e = on(elsewhere.path(), extents(), Image::open(&path).unwrap()).unwrap_err();
    assert!(e.to_string().contains("another directory"), "{e}");
    assert_eq!((names(dir.path()).len(), names(elsewhere.path()).len()), (1, 0));

    let mut last = child(&path, 255);
    let contents_of_child = Image::open(&last).unwrap().manifest().contents().unwrap().to_owned();
    for n in 3..=MAX_CHAIN {
        // The same pages again, on the one before.
        let id = last.file_name().unwrap().to_str().unwrap().to_owned();
        let next = last.with_file_name(format!("web@20261121T202439Z-{n}"));
        fs::create_dir(&next).unwrap();
        for file in names(&last) {
            fs::copy(last.join(&file), next.join(&file)).unwrap();
        }
        forge(&next, |m| m["parent"] = json!({ "image": id, "contents": contents_of_child }));
        last = next;
    }
    let image = Image::open(&last).unwrap();
    assert_eq!(image.depth(), MAX_CHAIN);
    assert_eq!(image.verify(&mut |_, _| {}).unwrap().images, MAX_CHAIN as u64);
    assert!(pages(&image)[1] == page(255) && pages(&image)[2] == page(2));
    let e = on(dir.path(), extents(), image).unwrap_err();
    let name = last.file_name().unwrap().to_str().unwrap();
    assert!(matches!(e, Error::ChainTooLong { .. }));
    assert!(e.to_string().contains(&format!("luthier merge {name}")), "{e}");
    // One that came from elsewhere, or builds on itself, does not hang or overflow anything.
    let contents = Image::open(&path).unwrap().manifest().contents().unwrap().to_owned();
    let own = child(&path, 1);
    let id = own.file_name().unwrap().to_str().unwrap();
    forge(&own, |m| {
        m["parent"] = json!({ "image": "web@20261121T202439Z-256", "contents": contents_of_child })
    });
    assert!(matches!(Image::open(&own), Err(Error::ChainTooLong { .. })));
    let contents_of_child = {
        forge(&own, |m| m["parent"] = json!({ "image": "web@20261121T202439Z", "contents": contents }));
        Image::open(&own).unwrap().manifest().contents().unwrap().to_owned()
    };
    forge(&own, |m| m["parent"] = json!({ "image": id, "contents": contents_of_child }));
    assert!(matches!(Image::open(&own), Err(Error::ChainTooLong { .. })));
    assert!(list(dir.path()).unwrap().iter().any(|l| l.id.as_str() == id && l.manifest.is_err()));
    forge(&own, |m| m["parent"] = json!({ "image": "web@20261121T202439Z", "contents": contents }));
    verify(&own).unwrap();
    for bad in ["../x@20261121T202439Z", "web", "/etc", ""] {
        forge(&own, |m| m["parent"] = json!({ "image": bad, "contents": contents }));
        assert!(matches!(Image::open(&own), Err(Error::Malformed { .. })), "{bad}");
    }
}

#[test]
fn a_missing_a_replaced_and_a_broken_parent_are_named() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    let second = child(&first, 500);
    let third = child(&second, 600);
    let away = dir.path().join("away");
    fs::rename(&first, &away).unwrap();
    for path in [&second, &third] {
        let e = Image::open(path).unwrap_err();
        assert!(matches!(&e, Error::MissingParent { parent, .. } if parent == "web@20261121T202439Z"), "{e}");
    }
    let unusable = |n: usize| list(dir.path()).unwrap()[n].manifest.as_ref().err().map(|e| e.to_string());
    assert!(unusable(0).unwrap().contains("web@20261121T202439Z, which is not there"));
    assert!(unusable(1).is_some());
    // Another image of the same guest, of the same name.
    let mut other = writer(dir.path());
    common::fill(&mut other, 7);
    drop(other.commit(Value::Null).unwrap());
    let e = Image::open(&third).unwrap_err();
    assert!(matches!(&e, Error::ParentChanged { parent, .. } if parent == "web@20261121T202439Z"), "{e}");
    assert!(unusable(1).unwrap().contains("another web@20261121T202439Z"));
    // The same pages, at other frames.
    fs::remove_dir_all(&first).unwrap();
    fs::rename(&away, &first).unwrap();
    let whole = fs::read(first.join("manifest.json")).unwrap();
    forge(&first, |m| m["extents"] = json!([[0, 16], [18, 15], [0xfc000, 1], [0xfeff8, 8]]));
    assert!(matches!(Image::open(&third), Err(Error::ParentChanged { .. })));
    fs::write(first.join("manifest.json"), whole).unwrap();
    verify(&third).unwrap();
    // One that was made anew and has the same pages is as good.
    fs::remove_dir_all(&first).unwrap();
    drop(image(dir.path()));
    verify(&third).unwrap();
    fs::remove_file(first.join("pages")).unwrap();
    let e = Image::open(&third).unwrap_err();
    assert!(matches!(&e, Error::BadParent { parent, .. } if parent == "web@20261121T202439Z"), "{e}");
    assert!(e.to_string().contains("`pages` is missing"), "{e}");
    assert!(unusable(0).unwrap().contains("`pages` is missing"));
    assert_eq!(list(dir.path()).unwrap().len(), 3);
    let e = merge(&third, &mut |_, _| {}).unwrap_err();
    assert!(matches!(e, Error::BadParent { .. }));
}

#[test]
fn an_image_on_which_others_build_is_not_removed() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    let second = child(&first, 500);
    let third = child(&first, 600);
    let e = remove(&first).unwrap_err();
    assert!(matches!(&e, Error::HasChildren { children, .. } if children.len() == 2), "{e}");
    for part in [
        "web@20261121T202439Z-2 and web@20261121T202439Z-3 build on it",
        "`luthier merge web@20261121T202439Z-3`",
    ] {
        assert!(e.to_string().contains(part), "{e}");
    }
    remove(&second).unwrap();
    assert_eq!(children(dir.path(), "web@20261121T202439Z").unwrap().len(), 1);
    assert!(remove(&first).unwrap_err().to_string().contains("web@20261121T202439Z-3 builds on it"));
    merge(&third, &mut |_, _| {}).unwrap();
    remove(&first).unwrap();
    verify(&third).unwrap();
    assert_eq!(names(dir.path()), ["web@20261121T202439Z-3"]);
}

#[test]
fn a_whole_chain_is_locked_while_it_is_read_or_built_on() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    let second = child(&first, 500);
    let in_use = || {
        for path in [&first, &second] {
            assert!(matches!(remove(path), Err(Error::InUse { .. })));
            assert!(matches!(merge(path, &mut |_, _| {}), Err(Error::InUse { .. })));
        }
    };
    let open = Image::open(&second).unwrap();
    let writer = child_of(&second, Rest::AsInParent);
    in_use();
    drop(open);
    in_use();
    let third = writer.commit(Value::Null).unwrap();
    in_use();
    drop(third);
    merge(&second, &mut |_, _| {}).unwrap();
    assert!(matches!(remove(&second), Err(Error::HasChildren { .. })));
}

#[test]
fn streams_and_comparisons_go_through_the_chain() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    let second = child(&child(&first, 500), 600);
    let image = Image::open(&second).unwrap();
    let mut stream = Vec::new();
    export_xl(&image, &mut stream, ExportOptions::default()).unwrap();
    assert!(diff(&image, &stream[..]).unwrap().is_same());
    let imported = store::import_xl(dir.path(), std::io::Cursor::new(&stream), Default::default()).unwrap();
    assert!(pages(&imported) == pages(&image));
    assert_eq!(imported.manifest().contents(), image.manifest().contents());
    assert_eq!(diff(&Image::open(&first).unwrap(), &stream[..]).unwrap().differing.first, [1]);
}

#[test]
fn a_list_opens_each_image_once_and_shows_parents() {
    let dir = memory_dir();
    let first = image(dir.path()).path().to_path_buf();
    child(&first, 500);
    let found = list(dir.path()).unwrap();
    let parents: Vec<Option<String>> =
        found.iter().map(|l| l.manifest.as_ref().unwrap().parent.clone().map(|p| p.image)).collect();
    assert_eq!(parents, [None, Some("web@20261121T202439Z".to_owned())]);
    assert!(found[0].disk_octets > 26 * 4096 && found[1].disk_octets < 26 * 4096);
    assert!(found[1].disk_octets >= 4096);
}

#[test]
fn a_writer_reads_back_what_it_has() {
    let dir = memory_dir();
    let parent = image(dir.path()).path().to_path_buf();
    let mut w = child_of(&parent, Rest::AsInParent);
    let mut out = [9; PAGE_SIZE];
    assert_eq!(w.read(4, &mut out).unwrap(), PageState::Parent);
    assert!(out == page(4));
    w.put_zero(4).unwrap();
    assert_eq!(w.read(4, &mut out).unwrap(), PageState::Zero);
    assert!(out == page(0));
    let soft = soft_page(2);
    w.put_lz4(4, &record(&soft), page_checksum(&soft)).unwrap();
    assert!(matches!(w.read(4, &mut out).unwrap(), PageState::Lz4 { .. }));
    assert!(out == soft);
    w.put_page(4, &page(77), 1).unwrap();
    assert!(matches!(w.read(4, &mut out), Err(Error::Damaged { .. })));
    assert!(matches!(w.read(40, &mut out), Err(Error::NoSuchSlot { .. })));
    let mut w = child_of(&parent, Rest::Required);
    assert_eq!(w.read(4, &mut out).unwrap(), PageState::Absent);
    assert!(out == page(0));
    w.put_zero(4).unwrap();
}

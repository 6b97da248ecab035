//! LZ4 records: what is written comes back, and gives its room back; images of format 1 are still read.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::mixed::{RECORDS, forge_entry, mixed, mixed_child, mixed_image, model, reading_fails};
use common::{forge, image, memory_dir, names, page, pages, record, soft_page, state, verify, writer_of};
use serde_json::{Value, json};
use store::{
    Error, Extent, Extents, Image, ImageWriter, PAGE_SIZE, PageState, StateKind, list, merge, page_checksum,
};

#[test]
fn raw_lz4_and_zero_pages_come_back_and_are_counted() {
    let dir = memory_dir();
    let path = mixed_image(dir.path());
    let image = Image::open(&path).unwrap();
    assert!(pages(&image) == model());
    let stored = image.manifest().stored.unwrap();
    assert_eq!((stored.zero, stored.raw, stored.lz4, stored.parent), (1, 2, 3, 0));
    let records = record(&soft_page(3)).len() * 2 + record(&soft_page(5)).len();
    assert_eq!(stored.octets, 2 * 4096 + records as u64);
    let length = fs::metadata(path.join("memory")).unwrap().len();
    assert_eq!(length, RECORDS + records as u64 + 4096);
    let verified = image.verify(&mut |_, _| {}).unwrap();
    assert_eq!((verified.zero_pages, verified.data_pages, verified.images), (1, 5, 1));
    let mut out = [0; PAGE_SIZE];
    let at = image.slots().unwrap().read(3, &mut out).unwrap();
    assert!(
        matches!(at, PageState::Lz4 { offset, .. } if offset == RECORDS + record(&soft_page(3)).len() as u64)
    );
    let at = image.slots().unwrap().read(4, &mut out).unwrap();
    assert!(matches!(at, PageState::RawAt { offset, .. } if offset == length - 4096));
    let child = Image::open(&mixed_child(&path)).unwrap();
    let mut now = model();
    (now[1], now[2], now[3]) = (soft_page(7), page(70), page(0));
    assert!(pages(&child) == now);
}

#[test]
fn a_page_that_gets_hardly_shorter_stays_as_it_is() {
    let dir = memory_dir();
    let mut w = mixed(dir.path());
    let mut hardly = page(9);
    hardly[4096 - 500..].fill(0);
    w.put_page(1, &hardly, page_checksum(&hardly)).unwrap();
    let mut well = page(9);
    well[4096 - 600..].fill(0);
    w.put_page(5, &well, page_checksum(&well)).unwrap();
    assert_eq!((w.stored().raw, w.stored().lz4), (3, 2));
    let image = w.commit(Value::Null).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    assert!(pages(&image)[1] == hardly && pages(&image)[5] == well);
}

#[test]
fn two_images_with_the_same_pages_have_the_same_contents_however_they_are_stored() {
    let dir = memory_dir();
    let contents = |path: &Path| Image::open(path).unwrap().manifest().contents().unwrap().to_owned();
    let first = mixed_image(dir.path());
    let mut w = mixed(dir.path());
    w.compress(false);
    for (slot, page) in model().iter().enumerate().filter(|(slot, _)| *slot != 2) {
        w.put_page(slot as u64, page, page_checksum(page)).unwrap();
    }
    let raw = w.commit(Value::Null).unwrap().path().to_path_buf();
    assert_eq!(contents(&first), contents(&raw));
    let table = Image::open(&raw).unwrap().manifest().files.pages.sha256.clone();
    assert_eq!(table.unwrap(), contents(&raw), "it is the SHA-256 of format 1's table");
    let child = mixed_child(&first);
    assert_ne!(contents(&child), contents(&first));
    let before = contents(&child);
    merge(&child, &mut |_, _| {}).unwrap();
    assert_eq!(contents(&child), before);
}

#[test]
fn what_a_record_spans_is_not_given_back_with_its_neighbours() {
    let dir = memory_dir();
    let mut w = writer_of(dir.path(), Extents::new([(0, 64), (0xfeff8, 8)].map(Extent::from)).unwrap());
    w.set_state(state());
    let soft = |slot| {
        let mut page = page(slot + 1);
        page[2900..].fill(0);
        page
    };
    for slot in 0..72 {
        w.put_lz4(slot, &record(&soft(slot)), page_checksum(&soft(slot))).unwrap();
    }
    // One in five stays: it reaches from a block into the next, with nothing else in either.
    for slot in (0..72).filter(|slot| slot % 5 != 0) {
        w.put_zero(slot).unwrap();
    }
    let image = w.commit(Value::Null).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    assert!((0..72).step_by(5).all(|slot| pages(&image)[slot] == soft(slot as u64)));
    let used = fs::metadata(image.path().join("memory")).unwrap().blocks() * 512;
    assert!((15 * 4096..=15 * 2 * 4096).contains(&used), "{used}");
}

#[test]
fn nothing_is_given_back_of_the_room_that_the_caller_is_writing_to() {
    let dir = memory_dir();
    let mut w = mixed(dir.path());
    let (hard, soft) = (page(31), soft_page(4));
    let room = w.append(4 * PAGE_SIZE).unwrap();
    assert_eq!(room % PAGE_SIZE as u64, 0);
    w.memory_fd().write_all_at(&hard, room + PAGE_SIZE as u64).unwrap();
    for _ in 0..20 {
        // Each supersedes the one before, and there is more of them than a quarter of memory.
        w.put_lz4(1, &record(&soft), page_checksum(&soft)).unwrap();
    }
    w.put_raw_at(0, room + PAGE_SIZE as u64, page_checksum(&hard)).unwrap();
    let mut out = [0; PAGE_SIZE];
    assert!(matches!(w.read(0, &mut out).unwrap(), PageState::RawAt { .. }));
    assert!(out == hard);
    let image = w.commit(Value::Null).unwrap();
    image.verify(&mut |_, _| {}).unwrap();
    assert!(pages(&image)[0] == hard);
    // Merged or not, a raw page needs no more than its room.
    assert!(image.disk_octets() <= 10 * 4096, "{}", image.disk_octets());
}

#[test]
fn records_are_told_of_within_the_last_room_only() {
    let dir = memory_dir();
    let mut w = mixed(dir.path());
    let first = w.append(100).unwrap();
    let second = w.append(5000).unwrap();
    assert_eq!(second, first + 100);
    // Records that are written one by one lie elsewhere, and leave the room as it is.
    let soft = soft_page(4);
    w.put_lz4(0, &record(&soft), page_checksum(&soft)).unwrap();
    w.put_lz4_at(1, second, 4095, 1).unwrap();
    w.put_lz4_at(1, second + 5000 - 1, 1, 1).unwrap();
    for (offset, length) in [
        (first, 100),
        (second - 1, 10),
        (second + 4999, 2),
        (second, 0),
        (second, 4096),
        (second, 1 << 40),
        (u64::MAX, 1),
        (0, 1),
    ] {
        let e = w.put_lz4_at(1, offset, length, 1).unwrap_err();
        assert!(matches!(e, Error::NoRoom { .. }), "{offset} {length}: {e}");
    }
    w.put_raw_at(1, second + 904, 1).unwrap();
    for offset in [second - 1, second + 905, first, u64::MAX, 0] {
        assert!(matches!(w.put_raw_at(1, offset, 1), Err(Error::NoRoom { .. })), "{offset}");
    }
    assert!(matches!(w.put_lz4_at(6, second, 10, 1), Err(Error::NoSuchSlot { .. })));
    assert!(matches!(w.put_lz4(1, &[0; 4096], 1), Err(Error::NoRoom { .. })));
    assert!(matches!(w.put_lz4(1, &[], 1), Err(Error::NoRoom { .. })));
    assert!(matches!(w.append(1 << 48), Err(Error::NoRoom { .. })));
}

#[test]
fn superseded_records_and_pages_give_their_room_back() {
    let dir = memory_dir();
    let mut w = writer_of(dir.path(), Extents::new([(0, 1024), (0xfeff8, 8)].map(Extent::from)).unwrap());
    w.set_state(state());
    let soft = |seed| {
        let mut page = page(seed);
        page[1000..].fill(0);
        page
    };
    let used = |w: &ImageWriter| w.memory_fd().metadata().unwrap().blocks() * 512;
    let mut most = 0;
    for round in 0..20 {
        for first in (0..1032).step_by(8) {
            // As a message comes: one room, one write, and one record for each page.
            let records: Vec<(Vec<u8>, u64)> = (first..first + 8)
                .map(|slot| soft(slot * 100 + round + 1))
                .map(|page| (record(&page), page_checksum(&page)))
                .collect();
            let all: Vec<u8> = records.iter().flat_map(|(record, _)| record.clone()).collect();
            let mut offset = w.append(all.len()).unwrap();
            w.memory_fd().write_all_at(&all, offset).unwrap();
            for ((record, sum), slot) in records.iter().zip(first..) {
                w.put_lz4_at(slot, offset, record.len(), *sum).unwrap();
                offset += record.len() as u64;
            }
        }
        most = most.max(used(&w));
    }
    // 20 rounds of about a MiB. What counts, a quarter of memory, and what the last room and
    // half-used blocks take.
    assert!(most < (1032 * 1100) + 1032 * 4096 / 4 + (64 << 10), "{most}");
    for slot in 0..1000 {
        let page = page(slot + 1);
        w.put_page(slot, &page, page_checksum(&page)).unwrap();
    }
    for slot in 0..999 {
        w.put_zero(slot).unwrap();
    }
    let image = w.commit(Value::Null).unwrap();
    let memory = fs::metadata(image.path().join("memory")).unwrap();
    assert!(memory.blocks() * 512 <= 33 * 1100 + 4096 * 4, "{}", memory.blocks() * 512);
    image.verify(&mut |_, _| {}).unwrap();
    assert!(pages(&image)[1031] == soft(1031 * 100 + 20) && pages(&image)[999] == page(1000));
}

/// An image that the last release has written.
fn format1(dir: &Path) -> PathBuf {
    let name = "web@20261121T202439Z";
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format1").join(name);
    let to = dir.join(name);
    fs::create_dir(&to).unwrap();
    for file in names(&from) {
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
    to
}

#[test]
fn an_image_of_format_1_is_read_verified_and_built_on() {
    let dir = memory_dir();
    let path = format1(dir.path());
    let image = Image::open(&path).unwrap();
    let m = image.manifest();
    assert_eq!((m.format, m.guest.as_str(), m.pages, m.zero_pages, image.depth()), (1, "web", 6, 2, 1));
    assert_eq!((m.stored, m.parent.clone(), m.contents()), (None, None, m.files.pages.sha256.as_deref()));
    assert_eq!(image.verify(&mut |_, _| {}).unwrap().data_pages, 4);
    let model = [page(0), page(1), page(2), page(0), page(4), page(5)];
    assert!(pages(&image) == model);
    let (found, want) = (image.state().unwrap(), state());
    for (kind, body) in want.iter() {
        let found = found.get(kind).unwrap();
        if kind == StateKind::DomainConfig {
            // The order of its keys is that of the JSON library's features.
            let json = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
            assert_eq!(json(found), json(body));
        } else {
            assert_eq!(found, body);
        }
    }
    drop(image);
    let child = mixed_child(&path);
    let mut now = model;
    (now[1], now[2], now[3]) = (soft_page(7), page(70), page(0));
    verify(&child).unwrap();
    assert!(pages(&Image::open(&child).unwrap()) == now);
    assert_eq!(Image::open(&child).unwrap().manifest().stored.unwrap().parent, 4);
    assert!(list(dir.path()).unwrap().iter().all(|l| l.manifest.is_ok()));
    merge(&child, &mut |_, _| {}).unwrap();
    fs::remove_dir_all(&path).unwrap();
    verify(&child).unwrap();
    assert!(pages(&Image::open(&child).unwrap()) == now);
}

#[test]
fn format_1_knows_no_records_parents_or_contents() {
    let dir = memory_dir();
    let path = format1(dir.path());
    let whole = fs::read(path.join("manifest.json")).unwrap();
    let contents = Image::open(&path).unwrap().manifest().contents().unwrap().to_owned();
    for (field, value) in [
        ("contents", json!(contents)),
        ("parent", json!({ "image": "web@20261121T202439Z-2", "contents": contents })),
        ("stored", json!({ "zero": 2, "raw": 4, "lz4": 0, "parent": 0, "octets": 16384 })),
    ] {
        forge(&path, |m| m[field] = value);
        assert!(matches!(Image::open(&path), Err(Error::Malformed { .. })), "{field}");
        fs::write(path.join("manifest.json"), &whole).unwrap();
    }
    forge_entry(&path, 1, PageState::Lz4 { checksum: 0, offset: 0, length: 4095 });
    assert!(verify(&path).is_err() && reading_fails(&path));
    let whole = image(dir.path());
    assert_eq!(whole.manifest().format, 2);
}

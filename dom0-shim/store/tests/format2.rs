//! LZ4 records and sparse tables: what is written comes back, what is damaged is found; and images of
//! format 1 are still read.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::{
    Random, child_of, forge, image, memory_dir, names, page, pages, record, soft_page, state, verify,
    with_flip, writer_of,
};
use serde_json::{Value, json};
use store::table::ENTRY_SIZE;
use store::{
    Damage, Error, ExportOptions, Extent, Extents, Image, ImageWriter, PAGE_SIZE, Page, PageState, Rest,
    export_xl, list, merge, page_checksum,
};

const RECORDS: u64 = 6 * PAGE_SIZE as u64;

/// Six pages: raw, LZ4, zero, LZ4, raw, LZ4.
fn mixed(dir: &Path) -> ImageWriter {
    let mut w = writer_of(dir, Extents::new([(0, 2), (0xfeffc, 4)].map(Extent::from)).unwrap());
    w.set_state(state());
    let (soft, hard) = (soft_page(3), page(8));
    w.put_page(0, &hard, page_checksum(&hard)).unwrap();
    w.put_lz4(1, &record(&soft), page_checksum(&soft)).unwrap();
    w.put_zero(2).unwrap();
    w.compress(true);
    for slot in 3..6 {
        let page = if slot == 4 { hard } else { soft_page(slot) };
        w.put_page(slot, &page, page_checksum(&page)).unwrap();
    }
    w
}

fn mixed_image(dir: &Path) -> PathBuf {
    mixed(dir).commit(Value::Null).unwrap().path().to_path_buf()
}

/// A sparse table: slots 1 (LZ4), 2 (raw), 3 (zero) on a [`mixed_image`].
fn mixed_child(parent: &Path) -> PathBuf {
    let mut w = child_of(parent, Rest::AsInParent);
    let (soft, hard) = (soft_page(7), page(70));
    w.put_lz4(1, &record(&soft), page_checksum(&soft)).unwrap();
    w.put_page(2, &hard, page_checksum(&hard)).unwrap();
    w.put_zero(3).unwrap();
    w.commit(Value::Null).unwrap().path().to_path_buf()
}

fn model() -> Vec<Page> {
    vec![page(8), soft_page(3), page(0), soft_page(3), page(8), soft_page(5)]
}

/// Whether reading every page, or the state, finds something.
fn reading_fails(path: &Path) -> bool {
    let Ok(image) = Image::open(path) else { return true };
    export_xl(&image, std::io::sink(), ExportOptions::default()).is_err()
}

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
    assert_eq!(fs::metadata(path.join("memory")).unwrap().len(), RECORDS + records as u64);
    let verified = image.verify(&mut |_, _| {}).unwrap();
    assert_eq!((verified.zero_pages, verified.data_pages, verified.images), (1, 5, 1));
    let mut out = [0; PAGE_SIZE];
    let at = image.slots().unwrap().read(3, &mut out).unwrap();
    assert!(
        matches!(at, PageState::Lz4 { offset, .. } if offset == RECORDS + record(&soft_page(3)).len() as u64)
    );
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

#[test]
fn every_flipped_bit_of_tables_with_records_is_found_by_verify_and_by_reading() {
    let dir = memory_dir();
    let parent = mixed_image(dir.path());
    let child = mixed_child(&parent);
    for path in [&parent, &child] {
        let file = path.join("pages");
        for bit in 0..fs::metadata(&file).unwrap().len() as usize * 8 {
            with_flip(&file, bit, || {
                assert!(matches!(verify(path), Err(Error::Damaged { .. })), "bit {bit}");
                // Who only reads looks at a dense table entry by entry: a record's place or length may
                // change so that the record still decodes to the page, and then nothing is lost.
                assert!(reading_fails(path) || path == &parent && is_harmless(path), "bit {bit}");
            });
        }
        verify(path).unwrap();
    }
}

fn is_harmless(path: &Path) -> bool {
    pages(&Image::open(path).unwrap()) == model()
}

#[test]
fn a_flipped_bit_of_memory_is_found_or_harmless() {
    let dir = memory_dir();
    let path = mixed_image(dir.path());
    let file = path.join("memory");
    let length = fs::metadata(&file).unwrap().len() as usize;
    // All bits of the records, and some of the pages'.
    let bits = (0..RECORDS as usize * 8).step_by(1009).chain(RECORDS as usize * 8..length * 8);
    let mut harmless = 0;
    for bit in bits {
        with_flip(&file, bit, || match verify(&path) {
            Err(Error::Damaged { first, total: 1, .. }) => {
                assert!(matches!(first[..], [Damage::Page { .. }]), "bit {bit}: {first:?}");
                assert!(
                    reading_fails(&path) || first == [Damage::Page { pfn: 0xfeffc, slot: 2 }],
                    "bit {bit}"
                );
            }
            Ok(_) => {
                // The place of a slot whose page is a record, or an offset in a record that finds the
                // same octets elsewhere.
                let slot = bit / 8 / PAGE_SIZE;
                assert!(matches!(slot, 1 | 3 | 5..) && is_harmless(&path), "bit {bit}");
                harmless += usize::from(slot > 5);
            }
            other => panic!("bit {bit}: {other:?}"),
        });
    }
    assert!(harmless * 4 < (length - RECORDS as usize) * 8, "{harmless}");
}

/// Writes another entry for a slot, with right checksums of everything, as someone would who wants to
/// be believed.
fn forge_entry(path: &Path, slot: usize, entry: PageState) {
    let file = path.join("pages");
    let mut table = fs::read(&file).unwrap();
    table[slot * ENTRY_SIZE..(slot + 1) * ENTRY_SIZE].copy_from_slice(&entry.encode());
    fs::write(&file, &table).unwrap();
    believe(path, &table);
}

fn believe(path: &Path, table: &[u8]) {
    use sha2::{Digest, Sha256};
    let sum: String = Sha256::digest(table).iter().map(|b| format!("{b:02x}")).collect();
    let length = table.len();
    forge(path, |m| m["files"]["pages"] = json!({ "length": length, "sha256": sum }));
}

#[test]
fn forged_records_spoil_their_own_page_and_nothing_else() {
    let sum = page_checksum(&soft_page(3));
    let length = record(&soft_page(3)).len() as u16;
    let end = {
        let dir = memory_dir();
        fs::metadata(mixed_image(dir.path()).join("memory")).unwrap().len()
    };
    for (offset, length, entry) in [
        (RECORDS, length - 1, false),
        (RECORDS, length + 1, false),
        (RECORDS, 1, false),
        (RECORDS + 1, length, false),
        (0, 4095, false),
        (end - 1, 2, true),
        (end, 1, true),
        ((1 << 48) - 1, 4095, true),
    ] {
        let dir = memory_dir();
        let path = mixed_image(dir.path());
        forge_entry(&path, 1, PageState::Lz4 { checksum: sum, offset, length });
        let damage = match entry {
            true => Damage::Entry { pfn: 1, slot: 1 },
            false => Damage::Page { pfn: 1, slot: 1 },
        };
        match verify(&path) {
            Err(Error::Damaged { first, .. }) => assert_eq!(first[0], damage, "{offset} {length}"),
            other => panic!("{offset} {length}: {other:?}"),
        }
        let image = Image::open(&path).unwrap();
        let slots = image.slots().unwrap();
        let mut out = [0; PAGE_SIZE];
        for (slot, page) in model().iter().enumerate() {
            match slots.read(slot as u64, &mut out) {
                Ok(_) => assert!(slot != 1 && &out == page),
                Err(Error::Damaged { first, .. }) => assert_eq!((slot, first), (1, vec![damage.clone()])),
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn records_that_decode_to_another_length_than_a_page_are_damage() {
    let dir = memory_dir();
    let long: Vec<u8> = {
        // A literal, then a match of some 60,000 octets: LZ4's bomb.
        let mut out = vec![0x1f, 7, 1, 0];
        out.extend([255; 240]);
        out.extend([0, 0x50, 1, 2, 3, 4, 5]);
        out
    };
    let short = record(&soft_page(3))[..0].iter().copied().chain([0x50, 1, 2, 3, 4, 5]).collect::<Vec<u8>>();
    let mut random = Random(5);
    let noise = (0..300).map(|n| (0..n + 1).map(|_| random.below(256) as u8).collect());
    let mut w = mixed(dir.path());
    for record in [long, short].into_iter().chain(noise) {
        w.put_lz4(5, &record, 1).unwrap();
        let mut out = [0; PAGE_SIZE];
        assert!(matches!(w.read(5, &mut out), Err(Error::Damaged { .. })));
    }
    let image = w.commit(Value::Null).unwrap();
    let e = image.verify(&mut |_, _| {}).unwrap_err();
    assert!(
        matches!(e, Error::Damaged { first, total: 1, .. } if first == [Damage::Page { pfn: 0xfefff, slot: 5 }])
    );
}

#[test]
fn records_may_overlap() {
    let dir = memory_dir();
    let path = mixed_image(dir.path());
    let sum = page_checksum(&soft_page(3));
    let length = record(&soft_page(3)).len() as u16;
    forge_entry(&path, 3, PageState::Lz4 { checksum: sum, offset: RECORDS, length });
    assert!(pages(&Image::open(&path).unwrap()) == model());
}

#[test]
fn entries_that_only_a_writer_knows_are_damage() {
    let dir = memory_dir();
    for state in [PageState::Absent, PageState::Parent] {
        let path = mixed_image(dir.path());
        forge_entry(&path, 4, state);
        match verify(&path) {
            Err(Error::Damaged { first, .. }) => {
                assert_eq!(first[0], Damage::Entry { pfn: 0xfeffe, slot: 4 })
            }
            other => panic!("{other:?}"),
        }
        assert!(reading_fails(&path));
        let id = "x@20261121T202439Z".parse().unwrap();
        let meta = store::Meta { extents: Image::open(&path).unwrap().extents().clone(), ..common::meta() };
        let e = ImageWriter::create_on(dir.path(), id, meta, Image::open(&path).unwrap(), Rest::AsInParent);
        assert!(matches!(e, Err(Error::Damaged { .. })));
        fs::remove_dir_all(&path).unwrap();
    }
    let parent = mixed_image(dir.path());
    for state in [PageState::Absent, PageState::Parent] {
        let path = mixed_child(&parent);
        let mut table = fs::read(path.join("pages")).unwrap();
        table[8..24].copy_from_slice(&state.encode());
        fs::write(path.join("pages"), &table).unwrap();
        believe(&path, &table);
        assert!(matches!(verify(&path), Err(Error::Damaged { first, .. })
            if first[0] == Damage::Entry { pfn: 1, slot: 1 }));
        assert!(reading_fails(&path));
    }
}

#[test]
fn a_page_of_another_slot_and_a_swapped_table_are_found_by_the_contents() {
    let dir = memory_dir();
    let parent = mixed_image(dir.path());
    let path = mixed_child(&parent);
    let mut table = fs::read(path.join("pages")).unwrap();
    // Slot 3's entry, which is zero, for slot 4; all else is as it was.
    table[48] = 4;
    fs::write(path.join("pages"), &table).unwrap();
    assert!(matches!(Image::open(&path).unwrap().slots(), Err(Error::Damaged { first, .. })
        if first == [Damage::File("pages")]));
    believe(&path, &table);
    match verify(&path) {
        Err(Error::Damaged { first, .. }) => assert_eq!(first, [Damage::Contents]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(merge(&path, &mut |_, _| {}), Err(Error::Malformed { .. })));
    assert_eq!(names(dir.path()).len(), 2);
    // Rows out of order, twice, or of no slot.
    for rows in [[3u8, 2, 1], [1, 1, 2], [1, 2, 6]] {
        for (row, slot) in table.chunks_mut(24).zip(rows) {
            row[0] = slot;
        }
        fs::write(path.join("pages"), &table).unwrap();
        believe(&path, &table);
        assert!(
            matches!(verify(&path), Err(Error::Damaged { first, .. }) if first == [Damage::File("pages")])
        );
    }
    believe(&path, &table[..71]);
    fs::write(path.join("pages"), &table[..71]).unwrap();
    assert!(matches!(verify(&path), Err(Error::Damaged { .. })));
}

#[test]
fn a_forged_manifest_of_format_2_is_not_believed() {
    type Change = Box<dyn Fn(&mut Value)>;
    let changes: Vec<(&str, Change)> = vec![
        ("memory is shorter than its pages", Box::new(|m| m["files"]["memory"]["length"] = json!(5 * 4096))),
        ("memory is longer than any", Box::new(|m| m["files"]["memory"]["length"] = json!(1u64 << 50))),
        ("format 1 with contents", Box::new(|m| m["format"] = json!(1))),
        ("no contents", Box::new(|m| m["contents"] = Value::Null)),
        ("parent without contents", Box::new(|m| m["parent"] = json!({ "image": "web@20261121T202439Z" }))),
        ("a field of stored", Box::new(|m| m["stored"]["hole"] = json!(1))),
        ("format 0", Box::new(|m| m["format"] = json!(0))),
    ];
    for (what, change) in changes {
        let dir = memory_dir();
        let path = mixed_image(dir.path());
        forge(&path, change);
        match Image::open(&path) {
            Err(Error::Malformed { .. } | Error::Version { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    for (what, change) in [
        ("contents", json!({ "contents": "00" })),
        ("zero pages", json!({ "zero_pages": 2 })),
        ("stored", json!({ "stored": { "zero": 1, "raw": 2, "lz4": 3, "parent": 0, "octets": 1 } })),
    ] {
        let dir = memory_dir();
        let path = mixed_image(dir.path());
        forge(&path, |m| m.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        assert!(matches!(verify(&path), Err(Error::Damaged { .. })), "{what}");
    }
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
    assert_eq!(image.state().unwrap(), state());
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
fn format_1_knows_no_records() {
    let dir = memory_dir();
    let path = format1(dir.path());
    forge_entry(&path, 1, PageState::Lz4 { checksum: 0, offset: 0, length: 4095 });
    assert!(verify(&path).is_err() && reading_fails(&path));
    let whole = image(dir.path());
    assert_eq!(whole.manifest().format, 2);
}

//! Damaged and forged LZ4 records, entries and sparse tables: found by who verifies and by who reads.

mod common;

use std::fs;
use std::path::Path;

use common::mixed::{RECORDS, believe, forge_entry, mixed, mixed_child, mixed_image, model, reading_fails};
use common::{Random, forge, memory_dir, names, page, pages, record, soft_page, verify, with_flip};
use serde_json::{Value, json};
use store::{Damage, Error, Image, ImageWriter, PAGE_SIZE, PageState, Rest, merge, page_checksum};

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
    // All bits of the LZ4 records, and some of the pages'.
    let (records, raw) = (RECORDS as usize * 8, (length - PAGE_SIZE) * 8);
    let bits = (0..records).step_by(1009).chain(records..raw).chain((raw..length * 8).step_by(1009));
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
                // The place of a slot whose page is elsewhere, or an offset in a record that finds the
                // same octets elsewhere.
                let slot = bit / 8 / PAGE_SIZE;
                assert!(matches!(slot, 1 | 3..) && is_harmless(&path), "bit {bit}");
                harmless += usize::from(slot > 5);
            }
            other => panic!("bit {bit}: {other:?}"),
        });
    }
    assert!(harmless * 4 < (length - RECORDS as usize) * 8, "{harmless}");
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
fn forged_raw_pages_spoil_their_own_page_and_nothing_else() {
    let dir = memory_dir();
    let sum = page_checksum(&page(8));
    let path = mixed_image(dir.path());
    let end = fs::metadata(path.join("memory")).unwrap().len();
    // The right one first: anything with the checksum's page will do.
    forge_entry(&path, 0, PageState::RawAt { checksum: sum, offset: end - 4096 });
    assert!(pages(&Image::open(&path).unwrap()) == model());
    for (offset, entry) in [(end - 4097, false), (1, false), (end - 4095, true), ((1 << 48) - 1, true)] {
        forge_entry(&path, 0, PageState::RawAt { checksum: sum, offset });
        let damage = match entry {
            true => Damage::Entry { pfn: 0, slot: 0 },
            false => Damage::Page { pfn: 0, slot: 0 },
        };
        match verify(&path) {
            Err(Error::Damaged { first, .. }) => assert_eq!(first[0], damage, "{offset}"),
            other => panic!("{offset}: {other:?}"),
        }
        let mut out = [0; PAGE_SIZE];
        let slots = Image::open(&path).unwrap().slots().unwrap();
        assert!(slots.read(0, &mut out).is_err() && slots.read(1, &mut out).is_ok());
    }
}

#[test]
fn records_far_apart_in_a_vast_file_take_no_memory() {
    let dir = memory_dir();
    let path = mixed_image(dir.path());
    let vast = 1u64 << 40;
    fs::File::options().write(true).open(path.join("memory")).unwrap().set_len(vast).unwrap();
    forge(&path, |m| m["files"]["memory"]["length"] = json!(vast));
    // Slots 3, 4 and 5 now ascend, with nearly a TiB of nothing before the last.
    let entry = PageState::RawAt { checksum: page_checksum(&[0; PAGE_SIZE]), offset: vast - 4096 };
    forge_entry(&path, 5, entry);
    match verify(&path) {
        // Each page has its checksum; it is only not the page that was committed.
        Err(Error::Damaged { first, .. }) => assert_eq!(first, [Damage::Contents]),
        other => panic!("{other:?}"),
    }
    let mut now = model();
    now[5] = [0; PAGE_SIZE];
    assert!(pages(&Image::open(&path).unwrap()) == now);
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

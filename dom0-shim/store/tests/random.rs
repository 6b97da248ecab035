//! Whatever octets come, the reader of streams neither panics nor takes memory without bound.

mod common;

use std::io::Cursor;
use std::sync::OnceLock;

use proptest::prelude::*;
use store::xl::reader::{Item, XlReader};
use store::{ExportOptions, ImportOptions, export_xl, import_xl};

fn whole() -> &'static [u8] {
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    STREAM.get_or_init(|| {
        let dir = common::memory_dir();
        let mut out = Vec::new();
        export_xl(&common::image(dir.path()), &mut out, ExportOptions::default()).unwrap();
        out
    })
}

/// Reads to the end or to the first error, and says how many items there were.
fn read(stream: &[u8]) -> usize {
    let mut reader = XlReader::new(stream);
    let mut items = 0;
    while let Ok(item) = reader.next_item() {
        if matches!(item, Item::End) {
            break;
        }
        items += 1;
    }
    items
}

proptest! {
    #[test]
    fn random_octets(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        read(&octets);
    }

    #[test]
    fn random_octets_after_good_headers(octets in proptest::collection::vec(any::<u8>(), 0..2000), keep in 0..400usize) {
        let mut stream = whole()[..keep.min(whole().len())].to_vec();
        stream.extend_from_slice(&octets);
        read(&stream);
    }

    #[test]
    fn random_records(records in proptest::collection::vec((0u32..20, any::<bool>(), 0u32..200, any::<u8>()), 0..40)) {
        // The headers end where the first libxc record starts.
        let mut stream = whole()[..libxc_start()].to_vec();
        for (kind, optional, length, fill) in records {
            let kind = if optional { kind | 0x8000_0000 } else { kind };
            stream.extend_from_slice(&kind.to_le_bytes());
            stream.extend_from_slice(&length.to_le_bytes());
            stream.resize(stream.len() + length as usize, fill);
        }
        read(&stream);
    }
}

proptest! {
    // Each case writes, reads and checks an image.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn changed_octets(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut stream = whole().to_vec();
        for (at, to) in changes {
            // Where the structure is: the first KiB, and what follows the pages.
            let at = at.index(2000);
            let at = if at < 1000 { at } else { stream.len() - 1 - (at - 1000) };
            stream[at] = to;
        }
        read(&stream);
        let dir = common::memory_dir();
        match import_xl(dir.path(), Cursor::new(&stream), ImportOptions::default()) {
            Ok(image) => { image.verify(&mut |_, _| {}).unwrap(); }
            Err(_) => prop_assert!(common::names(dir.path()).is_empty()),
        }
    }
}

fn libxc_start() -> usize {
    let at = whole().windows(8).position(|w| w == b"LibxlFmt").unwrap();
    at + 16 + 8 + 24 + 16
}

#[test]
fn the_good_stream_is_read_to_its_end() {
    assert_eq!(read(whole()), 1 + 1 + 40 + 5);
}

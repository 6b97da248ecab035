//! A small image with pages in all forms, and one that builds on it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::table::ENTRY_SIZE;
use store::{
    ExportOptions, Extent, Extents, Image, ImageWriter, PAGE_SIZE, Page, PageState, Rest, export_xl,
    page_checksum,
};

use super::{child_of, forge, page, record, soft_page, state, writer_of};

/// Where its records begin.
pub(crate) const RECORDS: u64 = 6 * PAGE_SIZE as u64;

/// Six pages: raw, LZ4, zero, LZ4, raw, LZ4; the second raw one is among the records.
pub(crate) fn mixed(dir: &Path) -> ImageWriter {
    let mut w = writer_of(dir, Extents::new([(0, 2), (0xfeffc, 4)].map(Extent::from)).unwrap());
    w.set_state(state());
    let (soft, hard) = (soft_page(3), page(8));
    w.put_page(0, &hard, page_checksum(&hard)).unwrap();
    w.put_lz4(1, &record(&soft), page_checksum(&soft)).unwrap();
    w.put_zero(2).unwrap();
    w.compress(true);
    for slot in [3, 5] {
        let page = soft_page(slot);
        w.put_page(slot, &page, page_checksum(&page)).unwrap();
    }
    // Not at a multiple of a page.
    let room = w.append(PAGE_SIZE + 1).unwrap();
    w.memory_fd().write_all_at(&hard, room).unwrap();
    w.put_raw_at(4, room, page_checksum(&hard)).unwrap();
    w
}

pub(crate) fn mixed_image(dir: &Path) -> PathBuf {
    mixed(dir).commit(Value::Null).unwrap().path().to_path_buf()
}

/// A sparse table: slots 1 (LZ4), 2 (raw), 3 (zero) on a [`mixed_image`].
pub(crate) fn mixed_child(parent: &Path) -> PathBuf {
    let mut w = child_of(parent, Rest::AsInParent);
    let (soft, hard) = (soft_page(7), page(70));
    w.put_lz4(1, &record(&soft), page_checksum(&soft)).unwrap();
    w.put_page(2, &hard, page_checksum(&hard)).unwrap();
    w.put_zero(3).unwrap();
    w.commit(Value::Null).unwrap().path().to_path_buf()
}

pub(crate) fn model() -> Vec<Page> {
    vec![page(8), soft_page(3), page(0), soft_page(3), page(8), soft_page(5)]
}

/// Writes another entry for a slot, with right checksums of everything, as someone would who wants to
/// be believed.
pub(crate) fn forge_entry(path: &Path, slot: usize, entry: PageState) {
    let file = path.join("pages");
    let mut table = fs::read(&file).unwrap();
    table[slot * ENTRY_SIZE..(slot + 1) * ENTRY_SIZE].copy_from_slice(&entry.encode());
    fs::write(&file, &table).unwrap();
    believe(path, &table);
}

pub(crate) fn believe(path: &Path, table: &[u8]) {
    let sum: String = Sha256::digest(table).iter().map(|b| format!("{b:02x}")).collect();
    let length = table.len();
    forge(path, |m| m["files"]["pages"] = json!({ "length": length, "sha256": sum }));
}

/// Whether reading every page, or the state, finds something.
pub(crate) fn reading_fails(path: &Path) -> bool {
    let Ok(image) = Image::open(path) else { return true };
    export_xl(&image, std::io::sink(), ExportOptions::default()).is_err()
}

//! The snapshot image on disk, and the stream of stock `xl`.
//!
//! An image is a directory named `guest@20261121T202439Z`:
//!
//! | file | what it holds |
//! | --- | --- |
//! | `memory` | one 4096-byte slot for each populated frame of the guest; then the pages that are stored as LZ4 records; holes wherever nothing is |
//! | `pages` | one 16-byte entry for each slot: state, place and xxh3-64 of the page ([`table`]) |
//! | `state` | CPU policy, TSC, HVM parameters and context, xl's configuration ([`state`]) |
//! | `manifest.json` | what the image is, and the SHA-256 of `pages` and `state` ([`manifest`]) |
//!
//! A guest's populated frames are a sorted list of extents. A *slot* is the rank of a frame in
//! that list, so pages in their places cost at most the guest's RAM however often one was written,
//! and a guest with holes in its address space has none in its image. Records, and raw pages that were
//! written among them, are appended; when those that are superseded exceed a quarter of RAM, and at
//! the commit, their room is given back.
//!
//! An *incremental* image builds on another one in the same directory, its parent, and has only the
//! pages that differ. Whoever reads it reads through the chain, and [`merge()`] makes it stand alone. A
//! child knows the contents of its parent, so a parent that was replaced is noticed.
//!
//! An image exists under its own name only when every byte of it is on the disk. While it is
//! written it is called `….partial`, and nothing here takes such a directory for an image.
//!
//! A commit may have two steps, so that images of several guests and hosts come together or not at
//! all: [`ImageWriter::prepare`] leaves an image that is complete and called `….pending`, and
//! [`Pending::commit`] gives it its name.
//!
//! A group snapshot has a folder of its own in `groups/`: see [`group`].
//!
//! Locks (`flock`) tell what is in use: a writer holds its directory exclusively, an open image holds
//! its own and those of all that it builds on shared. They end with the process, and need a local
//! file system.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let meta: store::Meta = todo!(); let state: store::State = todo!();
//! # let (slot, checksum, page): (u64, u64, store::Page) = todo!();
//! use std::os::unix::fs::FileExt;
//! use store::{ImageId, ImageWriter, sweep};
//!
//! let dir = std::path::Path::new("/var/lib/luthier/images");
//! sweep(dir)?; // once, when the daemon starts
//! let id = ImageId::unused(dir, &meta.guest, meta.created);
//! let mut writer = ImageWriter::create(dir, id, meta)?;
//! // For each page, as often as it comes:
//! let offset = writer.offset(slot)?;
//! writer.memory_fd().write_all_at(&page, offset).map_err(|e| writer.write_error(e))?;
//! writer.put_data_at(slot, checksum)?;
//! // And when all is there:
//! writer.set_state(state);
//! let image = writer.commit(serde_json::json!({ "rounds": 3 }))?;
//! # drop(image); Ok(()) }
//! ```
//!
//! What this crate must never do: talk to Xen, read guest memory, or trust a file that it did
//! not check. Files come from other machines and from broken disks; every length is bounded by
//! what is really there before anything is allocated for it.

mod directory;
mod error;
mod extents;
pub mod group;
mod id;
mod image;
mod layer;
mod lz4;
pub mod manifest;
mod merge;
mod pending;
mod reader;
mod sealed;
pub mod state;
pub mod table;
mod time;
pub mod transfer;
mod verify;
mod writer;
pub mod xl;

pub use directory::{Listed, children, list, remove, sweep};
pub use error::{Damage, Error, Result};
pub use extents::{Extent, Extents, MAX_PAGES};
pub use group::{GroupId, GroupName};
pub use id::ImageId;
pub use image::{Image, MAX_CHAIN};
pub use manifest::{Manifest, MemoryFigures, Meta, Parent, Stored, XenVersion};
pub use merge::{Merged, merge};
pub use pending::{Pending, discard_pending, pendings};
pub use reader::SlotReader;
pub use state::{State, StateKind};
pub use table::PageState;
pub use time::utc_text;
pub use verify::Verified;
pub use writer::{ImageWriter, Rest};
pub use xl::diff::{DiffReport, diff};
pub use xl::export::{ExportOptions, Exported, export_xl};
pub use xl::import::{ImportOptions, import_xl, spool};

/// Octets in a page of guest memory.
pub const PAGE_SIZE: usize = 4096;

/// The contents of one page of guest memory.
pub type Page = [u8; PAGE_SIZE];

/// The checksum of a page that an image records: xxh3-64 with seed 0.
///
/// The stub computes it from its own copy of the page, and the store writes down what it is
/// told, so a page that changes anywhere on its way is found by [`Image::verify`].
pub fn page_checksum(page: &Page) -> u64 {
    xxhash_rust::xxh3::xxh3_64(page)
}

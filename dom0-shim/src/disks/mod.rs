//! The disks of guests: which there are, how each is snapshotted, what an image says of them, and what
//! becomes of their snapshots.
//!
//! Two kinds of disks have snapshots that cost next to nothing and can be cloned again: thin volumes of
//! LVM ([`lvm`]), and files on a file system with reflinks ([`reflink`]). Ordinary volumes of LVM have some
//! that cost room and a copy for a restored guest ([`lvm::thick`]); qcow2 files have some inside them, and
//! a restored guest gets a copy, too ([`qcow2`]). All others are refused, or left
//! out when the operator says so ([`find`]). The snapshots of an image are named by its manifest
//! ([`Record`]) and go with it ([`remove_image`]); a restored guest gets writable clones of them
//! ([`restore`]). An image that is copied to another host takes them along ([`travel`]). When they are
//! taken, and why they fit the memory, says `daemon::disks`.
//!
//! Snapshots that no image names yet are noted beside the images ([`notes`]), so that a daemon that
//! was killed leaves none behind.
//!
//! What this module must never do: remove or change a volume or a file that it did not make (their
//! names are derived from the image's, and volumes have a tag), or open a guest's disk for writing.

pub mod find;
mod group;
pub mod lvm;
pub mod notes;
pub mod qcow2;
mod record;
pub mod reflink;
pub mod restore;
pub mod sparse;
mod tool;
pub mod travel;

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use store::ImageId;

use crate::error::{Context, Error, Result};
pub use group::remove_group;
use notes::{Claim, Notes};
pub use record::{Kept, Record};

/// The longest manifest that is read for its disks.
const MAX_MANIFEST: u64 = 64 << 20;

/// Removes an image, and then the snapshots of its disks. The outer result is the image's; the inner
/// one says what of the snapshots could not be removed, which `luthierd` tries again when it starts.
pub fn remove_image(path: &Path) -> store::Result<Result<()>> {
    let (dir, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().and_then(|n| n.to_str()));
    let Some(id) = name.and_then(|name| name.parse::<ImageId>().ok()) else {
        return store::remove(path).map(Ok);
    };
    let mut records = of_folder(path);
    let unknown = records.iter().find(|r| r.kept == Kept::Unknown).cloned();
    records.retain(|r| r.has_snapshot() && r.is_of(&id));
    // What can't be removed is told, once the image is gone.
    let told = unknown.map_or(Ok(()), |record| record.remove_snapshot());
    if records.is_empty() {
        return store::remove(path).map(|()| told);
    }
    let notes = Notes::of(dir);
    // Held until the image is gone: who settles notes meanwhile would find it there, and forget the note.
    let noted = notes.put(&id, &records);
    if let Err(e) = store::remove(path) {
        let _ = notes.remove(&id);
        return Err(e);
    }
    Ok(noted.and_then(|claim| settle_claimed(dir, &id, claim)).and(told))
}

/// Decides about the snapshots that were noted for an image: they stay where it is there, or is to be
/// (`.pending`), or is a group's whose images another host keeps, and go where it isn't. Without a note, or while somebody has it, it does nothing.
pub fn settle(images: &Path, id: &ImageId) -> Result<()> {
    if images.join(format!("{id}.pending")).exists() {
        return Ok(());
    }
    // A snapshot in progress decides itself.
    Notes::of(images).claim(id).map_or(Ok(()), |claim| settle_claimed(images, id, claim))
}

/// The same by whoever has the note: nobody else can have decided.
pub(crate) fn settle_claimed(images: &Path, id: &ImageId, _claim: Claim) -> Result<()> {
    let notes = Notes::of(images);
    let is_there = images.join(id.as_str()).exists();
    if !is_there && !store::group::is_kept_elsewhere(images, id.as_str()).map_err(Error::from)? {
        for record in notes.get(id).iter().filter(|record| record.is_of(id)) {
            record.remove_snapshot()?;
        }
    }
    notes.remove(id)
}

/// The same for all images with notes: when the daemon starts and half-written images are gone. It takes
/// seconds with LVM.
pub fn settle_all(images: &Path) {
    for id in Notes::of(images).all() {
        if let Err(e) = settle(images, &id) {
            tracing::error!(image = id.as_str(), error = %e.message, "snapshots of disks are left");
        }
    }
}

/// What an image's manifest says of its disks: nothing where it was made without.
pub fn of_report(report: &Value) -> Vec<Record> {
    let disks = report.get("disks").cloned().unwrap_or_default();
    serde_json::from_value(disks).unwrap_or_default()
}

/// The same of an image that may be damaged: which of these are its own, their names tell.
fn of_folder(image: &Path) -> Vec<Record> {
    let read = || -> Result<Value> {
        let path = image.join("manifest.json");
        let mut text = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(MAX_MANIFEST).read_to_end(&mut text))
            .context(format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).context("reading a manifest")
    };
    read().map(|manifest| of_report(manifest.get("report").unwrap_or(&Value::Null))).unwrap_or_default()
}

#[cfg(test)]
mod tests;

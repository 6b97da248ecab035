//! The disks' snapshots of a group's images: they go with the group.

use std::path::Path;

use store::{GroupName, ImageId};

use super::notes::Notes;
use super::{Record, of_folder, settle};
use crate::error::Result;

/// Removes a group with its images here, and then the snapshots of their disks. Returns the images, and
/// what of the snapshots could not be removed: `luthierd` tries that again when it starts.
///
/// The group must not be open.
pub fn remove_group(images: &Path, name: &GroupName) -> store::Result<(Vec<ImageId>, Result<()>)> {
    let members = store::group::images_of(images, name)?;
    let mut snapshots = Ok(());
    for id in &members {
        let own = |record: &Record| record.has_snapshot() && record.is_of(id);
        let records: Vec<Record> = of_folder(&images.join(id.as_str())).into_iter().filter(own).collect();
        if !records.is_empty() {
            snapshots = snapshots.and(Notes::of(images).put(id, &records).map(drop));
        }
    }
    let removed = store::group::remove(images, name);
    // Of images that stay, the snapshots stay.
    for id in &members {
        snapshots = snapshots.and(settle(images, id));
    }
    Ok((removed?, snapshots))
}

//! The disks' snapshots of a group's images: they go with the group, also those of images that another host
//! keeps.

use std::path::Path;

use serde_json::Value;
use store::group::Group;
use store::{GroupName, ImageId};

use super::notes::Notes;
use super::{Kept, Record, of_folder, settle_claimed};
use crate::error::Result;

/// Removes a group with its images here, and then the snapshots of their disks. Returns the images, and
/// what of the snapshots could not be removed: `luthierd` tries that again when it starts.
///
/// The group must not be open.
pub fn remove_group(images: &Path, name: &GroupName) -> store::Result<(Vec<ImageId>, Result<()>)> {
    let here = store::group::images_of(images, name)?;
    let here = here.into_iter().map(|id| (of_folder(&images.join(id.as_str())), id));
    let members: Vec<(Vec<Record>, ImageId)> = here.chain(kept_elsewhere(images, name)).collect();
    let mut snapshots = Ok(());
    // Held until the images are gone: who settles notes meanwhile would find them there.
    let mut notes = Vec::new();
    for (records, id) in &members {
        let own = |record: &&Record| record.has_snapshot() && record.is_of(id);
        if let Some(unknown) = records.iter().find(|record| record.kept == Kept::Unknown) {
            snapshots = snapshots.and(unknown.remove_snapshot());
        }
        let records: Vec<Record> = records.iter().filter(own).cloned().collect();
        if !records.is_empty() {
            snapshots = snapshots.and(Notes::of(images).put(id, &records).map(|note| notes.push((id, note))));
        }
    }
    let removed = store::group::remove(images, name);
    // Of images that stay, the snapshots stay.
    for (id, note) in notes {
        snapshots = snapshots.and(settle_claimed(images, id, note));
    }
    Ok((removed?, snapshots))
}

/// This host's members of a group whose images another host keeps, with what the group says of their disks.
fn kept_elsewhere(images: &Path, name: &GroupName) -> Vec<(Vec<Record>, ImageId)> {
    let Ok(group) = Group::open(images, name) else { return Vec::new() };
    let own = &group.own().part;
    let members = own.members.iter().filter(|_| own.kept_on.is_some());
    let disks =
        |disks: &[Value]| disks.iter().filter_map(|d| serde_json::from_value(d.clone()).ok()).collect();
    members.filter_map(|member| Some((disks(&member.disks), member.image_id().ok()?))).collect()
}

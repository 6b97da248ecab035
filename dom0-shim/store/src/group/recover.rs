//! After a restart: brings every group and every image to a state that is decided, or that only other
//! hosts can decide.

use std::path::{Path, PathBuf};

use super::whole::{named, names};
use super::{Group, GroupName, PendingGroup, folder};
use crate::directory::REMOVED;
use crate::error::{At, Error, Result};
use crate::id::{ImageId, PARTIAL, PENDING};
use crate::layer::{Lock, lock};
use crate::pending::{discard_pending, pendings};

/// What [`recover`] found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Groups that other hosts have to decide.
    pub undecided: Vec<PendingGroup>,
    /// Groups that were committed and coordinated here, and of which it is not known that another
    /// host has them, too: [`Group::confirm`] or [`super::remove`].
    pub unconfirmed: Vec<Group>,
    /// Images that were given their names now, for their group was committed.
    pub published: Vec<ImageId>,
    /// Images and folders of groups that were removed: no group can need them.
    pub removed: Vec<PathBuf>,
    /// What could not be dealt with, and stays.
    pub failed: Vec<(PathBuf, Error)>,
}

/// Looks at all groups and undecided images of a directory, once, when the daemon starts and before
/// anything new does. What a living process holds stays.
///
/// An image that is undecided and of no group here is removed: the process ended before its group
/// was durable, so no other host can have committed it. Unless a group can't be read: then nothing
/// is known, and all images stay.
pub fn recover(images: &Path) -> Result<Recovered> {
    let mut found = Recovered { removed: sweep(images)?, ..Recovered::default() };
    let mut claimed: Vec<String> = Vec::new();
    for (name, path) in named(images, PENDING)? {
        match PendingGroup::open(images, &name) {
            Ok(group) => {
                claimed.extend(group.own().part.members.iter().map(|member| member.image.clone()));
                found.undecided.push(group);
            }
            Err(e) => found.failed.push((path, e)),
        }
    }
    for (name, path) in named(images, "")? {
        let opened = Group::open(images, &name);
        match opened.and_then(|group| Ok((group.publish()?, group))) {
            Ok((published, group)) => {
                found.published.extend(published);
                if group.own().is_coordinator() && !group.is_confirmed() {
                    found.unconfirmed.push(group);
                }
            }
            Err(e) => found.failed.push((path, e)),
        }
    }
    // Of a group that could not be read, or whose images have no names yet.
    if !found.failed.is_empty() {
        return Ok(found);
    }
    for id in pendings(images)?.into_iter().filter(|id| !claimed.iter().any(|name| name == id.as_str())) {
        match discard_pending(images, &id) {
            Ok(()) => found.removed.push(images.join(format!("{id}{PENDING}"))),
            Err(Error::InUse { .. }) => {}
            Err(e) => found.failed.push((images.join(id.as_str()), e)),
        }
    }
    Ok(found)
}

/// Removes folders of groups that killed processes left unfinished, and returns their paths.
pub fn sweep(images: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in names(images)? {
        let Some(group) = name.strip_suffix(PARTIAL) else { continue };
        if group.strip_suffix(REMOVED).unwrap_or(group).parse::<GroupName>().is_err() {
            continue;
        }
        let path = folder(images).join(&name);
        match lock(&path, Lock::Exclusive) {
            Ok(_lock) => std::fs::remove_dir_all(&path).at("removing", &path)?,
            Err(Error::InUse { .. }) => continue,
            Err(e) => return Err(e),
        }
        removed.push(path);
    }
    Ok(removed)
}

//! A directory of images: listing them, removing them, sweeping up what was left unfinished.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};
use crate::group::{self, GroupError};
use crate::id::{ImageId, PARTIAL, PENDING};
use crate::image::{Image, MAX_CHAIN, disk_octets, fit};
use crate::layer::{Layer, Lock, lock, name_of, read_bounded};
use crate::manifest::{MAX_FILE, Manifest};
use crate::writer::sync_dir;

/// What the name of a directory has before [`PARTIAL`] while an image is being removed.
pub(crate) const REMOVED: &str = ".removed";
/// The same while an image is being merged: the new one before they are exchanged, the old one after.
pub(crate) const MERGED: &str = ".merged";

/// An entry of [`list`].
#[derive(Debug)]
pub struct Listed {
    /// The image's name.
    pub id: ImageId,
    /// Its directory.
    pub path: PathBuf,
    /// Octets that its own files take on the disk.
    pub disk_octets: u64,
    /// What it is, or why it can't be used.
    pub manifest: Result<Manifest>,
}

/// The committed images of a directory by name, usable or not. Whatever doesn't have an image's
/// name is passed over, unfinished images among it.
pub fn list(dir: &Path) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let Ok(id) = name.parse::<ImageId>() else {
            continue;
        };
        let path = dir.join(&name);
        found.push((id, Layer::open(&path, Lock::Shared), path));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    // Each is opened once, however long the chains are. Only who has a fault is opened as a whole.
    let layers: HashMap<&str, &Layer> =
        found.iter().filter_map(|(id, layer, _)| Some((id.as_str(), layer.as_ref().ok()?))).collect();
    let usable: Vec<bool> = found
        .iter()
        .map(|(_, layer, _)| layer.as_ref().is_ok_and(|layer| is_usable(layer, &layers)))
        .collect();
    let listed = found.into_iter().zip(usable).map(|((id, layer, path), usable)| Listed {
        id,
        disk_octets: disk_octets(&path),
        manifest: match layer {
            Ok(_) if !usable => Image::open(&path).map(|image| image.manifest().clone()),
            layer => layer.map(|layer| layer.manifest),
        },
        path,
    });
    Ok(listed.collect())
}

/// Whether all that an image builds on is there, and as it was.
fn is_usable<'a>(mut layer: &'a Layer, layers: &HashMap<&str, &'a Layer>) -> bool {
    for _ in 0..MAX_CHAIN {
        let Some(wanted) = &layer.manifest.parent else { return true };
        match layers.get(wanted.image.as_str()) {
            Some(parent) if fit(layer, Ok(&parent.manifest)).is_none() => layer = parent,
            _ => return false,
        }
    }
    false
}

/// The images of a directory that build directly on the image `name` there. Only manifests are
/// read; one that is damaged names no parent.
pub fn children(dir: &Path, name: &str) -> Result<Vec<ImageId>> {
    children_named(dir, name, "")
}

/// Those whose directory's name ends in a certain way after their own.
fn children_named(dir: &Path, name: &str, end: &str) -> Result<Vec<ImageId>> {
    let mut found = Vec::new();
    for other in names(dir)? {
        let Some(Ok(id)) = other.strip_suffix(end).map(str::parse::<ImageId>) else {
            continue;
        };
        let path = dir.join(&other);
        let manifest =
            read_bounded(&path, "manifest.json", MAX_FILE).and_then(|text| Manifest::decode(&path, &text));
        if manifest.is_ok_and(|m| m.parent.is_some_and(|parent| parent.image == name)) {
            found.push(id);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes an image, or a directory with an image's name that can't be read as one.
///
/// It loses its name at once, so a crash leaves a whole image or none. Fails with
/// [`Error::InUse`] while someone has it open, [`Error::HasChildren`] while others build on it,
/// [`GroupError::InGroup`] while it is of a group, [`Error::NotFound`], or [`Error::BadId`] when the
/// directory doesn't have an image's name.
pub fn remove(path: &Path) -> Result<()> {
    let name = name_of(path);
    name.parse::<ImageId>()?;
    if path.symlink_metadata().is_err() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let group = match group::keep::group_of(path) {
        None => group::of_image(directory_of(path), &name)?,
        keeper => keeper,
    };
    if let Some(group) = group {
        let path = path.to_path_buf();
        return Err(GroupError::InGroup { path, group: group.to_string() }.into());
    }
    remove_member(path)
}

/// The same for an image whose group goes, too.
pub(crate) fn remove_member(path: &Path) -> Result<()> {
    let _lock = check_unused(path)?;
    destroy(path, &path.with_file_name(format!("{}{REMOVED}{PARTIAL}", name_of(path))))
}

/// Makes sure that nobody uses an image and nothing builds on it, for as long as the lock is held.
pub(crate) fn check_unused(path: &Path) -> Result<File> {
    let name = name_of(path);
    // Whoever is making a child holds this lock too, so no child appears after this.
    let lock = lock(path, Lock::Exclusive)?;
    let dir = directory_of(path);
    let children = children(dir, &name)?;
    if !children.is_empty() {
        let children = children.iter().map(ImageId::to_string).collect();
        return Err(Error::HasChildren { path: path.to_path_buf(), children });
    }
    if let Some(child) = children_named(dir, &name, PENDING)?.first() {
        return Err(Error::HasUndecidedChild { path: path.to_path_buf(), child: child.to_string() });
    }
    Ok(lock)
}

/// Removes a directory that the caller has locked. It loses its name first, so a crash leaves the
/// whole or what [`sweep`] knows by the other name as unfinished.
pub(crate) fn destroy(path: &Path, doomed: &Path) -> Result<()> {
    clear(doomed)?;
    fs::rename(path, doomed).at("renaming", path)?;
    sync_dir(directory_of(path))?;
    fs::remove_dir_all(doomed).at("removing", doomed)
}

/// Removes what an operation that was cut short left under the name that another one needs now.
pub(crate) fn clear(partial: &Path) -> Result<()> {
    match partial.is_dir() {
        true => fs::remove_dir_all(partial).at("removing", partial),
        false => Ok(()),
    }
}

/// The directory that a path is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what killed processes left unfinished in a directory, and returns its paths. What a
/// living process is writing is locked, and stays, and so does what is complete and undecided.
pub fn sweep(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in names(dir)? {
        let Some(id) = name.strip_suffix(PARTIAL) else {
            continue;
        };
        let id = id.strip_suffix(REMOVED).or(id.strip_suffix(MERGED)).unwrap_or(id);
        if id.parse::<ImageId>().is_err() {
            continue;
        }
        let path = dir.join(&name);
        match lock(&path, Lock::Exclusive) {
            Ok(_lock) => fs::remove_dir_all(&path).at("removing", &path)?,
            Err(Error::InUse { .. }) => continue,
            Err(e) => return Err(e),
        }
        removed.push(path);
    }
    Ok(removed)
}

/// What is in a directory.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>> {
    if !dir.is_dir() {
        return Err(Error::NoDirectory { path: dir.to_path_buf() });
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("listing", dir)? {
        // A name that is not UTF-8 is no image's.
        if let Ok(name) = entry.at("listing", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

//! Images that are complete and undecided: between the two steps of a commit.
//!
//! Whether such an image is to be one is decided elsewhere, for all images of a group at once. Until
//! then it is called `….pending`, is no image to anybody, and survives the end of the process. Nothing
//! here ever decides: [`crate::sweep`] leaves them alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::directory::{REMOVED, destroy, directory_of, names};
use crate::error::{At, Error, Result};
use crate::id::{ImageId, PARTIAL, PENDING, is_there};
use crate::image::Image;
use crate::layer::{Layer, Lock, lock, read_bounded};
use crate::manifest::{MAX_FILE, Manifest};
use crate::writer::sync_dir;

/// A complete and undecided image, locked for as long as this value lives. Dropping it decides
/// nothing: it stays on the disk.
#[derive(Debug)]
pub struct Pending {
    id: ImageId,
    image: Image,
}

impl Pending {
    /// Opens one again, say after a restart, and checks its structure as [`Image::open`] does.
    ///
    /// Fails with [`Error::NotFound`] when there is none, with [`Error::InUse`] while another
    /// value of it lives, and as [`Image::open`] does when it can't be used.
    pub fn open(dir: &Path, id: &ImageId) -> Result<Pending> {
        let own = Layer::open_any(&pending_path(dir, id), Lock::Exclusive)?;
        Ok(Pending { id: id.clone(), image: Image::with_parents(own)? })
    }

    /// The name that it will have.
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// What its pages are, as one SHA-256: [`Manifest::contents`].
    pub fn contents(&self) -> &str {
        self.manifest().contents().unwrap_or_default()
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        self.image.manifest()
    }

    /// Its contents, to verify or to read them.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Gives it its name. It has it for good when this returns; after a failure it is undecided as
    /// before, and this may be tried again after [`Pending::open`].
    pub fn commit(self) -> Result<Image> {
        self.commit_observed(&mut || {})
    }

    pub(crate) fn commit_observed(self, observe: &mut dyn FnMut()) -> Result<Image> {
        let from = self.image.path().to_path_buf();
        let to = directory_of(&from).join(self.id.as_str());
        fs::rename(&from, &to).at("renaming into place", &to)?;
        observe();
        if let Err(e) = sync_dir(directory_of(&to)) {
            // Not known to survive a power cut.
            let _ = fs::rename(&to, &from);
            return Err(e);
        }
        drop(self);
        Image::open(&to)
    }

    /// Removes it.
    pub fn discard(self) -> Result<()> {
        let path = self.image.path().to_path_buf();
        let id = self.id.clone();
        drop(self);
        discard_pending(directory_of(&path), &id)
    }
}

/// Removes an undecided image, also one that can't be opened. Fails with [`Error::NotFound`], and with
/// [`Error::InUse`] while a [`Pending`] of it lives.
pub fn discard_pending(dir: &Path, id: &ImageId) -> Result<()> {
    let path = pending_path(dir, id);
    if !is_there(&path) {
        return Err(Error::NotFound { path });
    }
    let _lock = lock(&path, Lock::Exclusive)?;
    destroy(&path, &dir.join(format!("{id}{REMOVED}{PARTIAL}")))
}

/// The names of a directory's undecided images, sorted. Whether they can be used is not looked at.
pub fn pendings(dir: &Path) -> Result<Vec<ImageId>> {
    let mut found: Vec<ImageId> =
        names(dir)?.iter().filter_map(|name| name.strip_suffix(PENDING)?.parse().ok()).collect();
    found.sort();
    Ok(found)
}

/// The contents of an image, or of a directory like one, by its manifest alone.
pub(crate) fn contents_of(path: &Path) -> Result<String> {
    let text = read_bounded(path, "manifest.json", MAX_FILE)?;
    let manifest = Manifest::decode(path, &text)?;
    manifest.contents().map(str::to_owned).ok_or_else(|| Error::malformed(path, "it has no contents"))
}

/// Whether an image is there, complete and undecided, with these contents; if not, why.
pub(crate) fn check(dir: &Path, id: &ImageId, contents: &str) -> std::result::Result<(), String> {
    match contents_of(&pending_path(dir, id)) {
        Ok(found) if found == contents => Ok(()),
        Ok(_) => Err("it has other pages".into()),
        Err(e) => Err(e.to_string()),
    }
}

fn pending_path(dir: &Path, id: &ImageId) -> PathBuf {
    dir.join(format!("{id}{PENDING}"))
}

#[cfg(test)]
mod tests;

//! An image that is there, with the images that it builds on.
//!
//! An open image holds a shared lock on its directory and on those of all that it builds on, so that
//! nobody removes or merges them meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Damage, Error, Result};
use crate::extents::Extents;
use crate::layer::{Layer, Lock, read_bounded};
use crate::manifest::Manifest;
use crate::reader::SlotReader;
use crate::state::{self, State, StateFault};

/// Most images in a chain: 256. Each takes two file descriptors while it is read, and a process has
/// 1024 by default.
pub const MAX_CHAIN: usize = 256;

/// A committed image, locked against removal for as long as this value lives.
#[derive(Debug)]
pub struct Image {
    own: Layer,
    /// What it builds on: its parent, the parent's parent, and so on.
    parents: Vec<Layer>,
}

impl Image {
    /// Opens an image directory and those that it builds on, and checks their structure: each
    /// manifest's checksum and fields, the length of every file, and that each parent has the pages
    /// that its child was made on. The contents are checked by [`Image::verify`], and page by
    /// page by everything that reads them.
    ///
    /// Fails with [`Error::NotFound`], [`Error::Malformed`], [`Error::Version`], with
    /// [`Error::InUse`] when the image is being removed or merged, and with
    /// [`Error::MissingParent`], [`Error::ParentChanged`], [`Error::BadParent`] or
    /// [`Error::ChainTooLong`] when it can't be used for what it builds on.
    pub fn open(path: &Path) -> Result<Image> {
        Self::open_as(path, Lock::Shared)
    }

    /// The same, with another lock on its own directory.
    pub(crate) fn open_as(path: &Path, how: Lock) -> Result<Image> {
        Self::with_parents(Layer::open(path, how)?)
    }

    /// Opens what a layer builds on.
    pub(crate) fn with_parents(own: Layer) -> Result<Image> {
        let mut image = Image { own, parents: Vec::new() };
        while let Some(layer) = image.next_parent()? {
            if image.depth() >= MAX_CHAIN {
                return Err(Error::ChainTooLong { image: image.own.name() });
            }
            image.parents.push(layer);
        }
        Ok(image)
    }

    /// Opens what the last of the chain so far builds on.
    fn next_parent(&self) -> Result<Option<Layer>> {
        let child = self.parents.last().unwrap_or(&self.own);
        let Some(wanted) = &child.manifest.parent else { return Ok(None) };
        // The manifest's check has made sure that it is a name, not a path.
        let opened = Layer::open(&child.path.with_file_name(&wanted.image), Lock::Shared);
        let fit = fit(child, opened.as_ref().map(|parent| &parent.manifest));
        match (fit, opened) {
            (None, Ok(parent)) => Ok(Some(parent)),
            (Some(e), _) => Err(e),
            (None, Err(source)) => Err(Error::BadParent {
                path: child.path.clone(),
                parent: wanted.image.clone(),
                source: Box::new(source),
            }),
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.own.path
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.own.manifest
    }

    /// Its populated frames with their slots.
    pub fn extents(&self) -> &Extents {
        &self.own.extents
    }

    /// What it builds on: the manifests of its parent, the parent's parent, and so on. Empty for an
    /// image that stands alone.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = &Manifest> {
        self.parents.iter().map(|layer| &layer.manifest)
    }

    /// How many images it takes to read it: 1 if it stands alone, at most [`MAX_CHAIN`].
    pub fn depth(&self) -> usize {
        1 + self.parents.len()
    }

    /// Octets that its own files take on the disk.
    pub fn disk_octets(&self) -> u64 {
        disk_octets(self.path())
    }

    /// Reads the state records, each checked against its checksum.
    pub fn state(&self) -> Result<State> {
        let file = read_bounded(self.path(), "state", state::MAX_FILE)?;
        State::decode(&file).map_err(|fault| match fault {
            StateFault::Form(why) => Error::malformed(self.path(), format!("file `state`: {why}")),
            StateFault::Record(kind) => self.damaged(Damage::Record(kind)),
        })
    }

    /// Opens the memory for reading by slot. What that costs is bounded by the pages and by what
    /// each image of the chain has changed; reading a page afterwards costs the same at any depth.
    ///
    /// Fails with [`Error::Damaged`] when the table of an incremental image is not what was written.
    pub fn slots(&self) -> Result<SlotReader> {
        SlotReader::open(self.layers(), self.extents())
    }

    /// Itself, its parent, and so on.
    pub(crate) fn layers(&self) -> impl ExactSizeIterator<Item = &Layer> + Clone {
        Layers(self, 0)
    }

    pub(crate) fn damaged(&self, damage: Damage) -> Error {
        Error::Damaged { path: self.path().to_path_buf(), first: vec![damage], total: 1 }
    }
}

#[derive(Clone)]
struct Layers<'a>(&'a Image, usize);

impl<'a> Iterator for Layers<'a> {
    type Item = &'a Layer;

    fn next(&mut self) -> Option<&'a Layer> {
        let at = self.1;
        self.1 += 1;
        match at.checked_sub(1) {
            None => Some(&self.0.own),
            Some(at) => self.0.parents.get(at),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.0.depth().saturating_sub(self.1);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Layers<'_> {}

/// Why what was found under the name of a layer's parent won't do; `None` if it will, and for errors
/// that say nothing by themselves of the child.
pub(crate) fn fit(child: &Layer, found: std::result::Result<&Manifest, &Error>) -> Option<Error> {
    let wanted = child.manifest.parent.as_ref()?;
    let (path, parent) = (child.path.clone(), wanted.image.clone());
    match found {
        Err(Error::NotFound { .. }) => Some(Error::MissingParent { path, parent }),
        Err(_) => None,
        Ok(found)
            if found.contents() != Some(&wanted.contents) || found.extents != child.manifest.extents =>
        {
            Some(Error::ParentChanged { path, parent })
        }
        Ok(_) => None,
    }
}

/// Octets that the files of a directory take on the disk: holes cost nothing.
pub(crate) fn disk_octets(dir: &Path) -> u64 {
    let Ok(files) = fs::read_dir(dir) else { return 0 };
    files.flatten().filter_map(|f| f.metadata().ok()).map(|m| m.blocks() * 512).sum()
}

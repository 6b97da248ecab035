//! The parent of an image that is being written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::directory::directory_of;
use crate::error::{At, Error, Result};
use crate::extents::Extents;
use crate::image::{Image, MAX_CHAIN};
use crate::layer::name_of;
use crate::manifest::Parent;
use crate::reader::{CHUNK, Located, SlotReader};
use crate::table::PageState;
use crate::{PAGE_SIZE, Page};

/// What becomes of pages that are never put to an incremental image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The image is incomplete: all pages are sent, and those that are as in the parent are found.
    Required,
    /// They are as in the parent: only pages that were written to since are sent.
    AsInParent,
}

/// The parent, and what it has in each slot.
#[derive(Debug)]
pub(super) struct Base {
    image: Image,
    reader: SlotReader,
    checksums: Vec<u64>,
    zero: Vec<bool>,
}

impl Base {
    /// Checks that an image of these frames in `dir` can build on `image`, and reads its table.
    pub(super) fn new(dir: &Path, extents: &Extents, image: Image) -> Result<Base> {
        let name = name_of(image.path());
        let unfit = |why| Err(Error::UnfitParent { parent: name.clone(), why });
        if image.extents() != extents {
            return unfit("the guest's memory was resized since");
        }
        let id = |dir: &Path| fs::metadata(dir).map(|m| (m.dev(), m.ino())).at("looking at", dir);
        if id(directory_of(image.path()))? != id(dir)? {
            return unfit("it is in another directory than the new image");
        }
        if name.parse::<crate::ImageId>().is_err() {
            return unfit("its directory does not have an image's name");
        }
        if image.depth() >= MAX_CHAIN {
            return Err(Error::ChainTooLong { image: name });
        }
        let reader = image.slots()?;
        let pages = extents.pages();
        let (mut checksums, mut zero) = (Vec::new(), Vec::new());
        let mut located = [Located::default(); CHUNK];
        let mut first = 0;
        while first < pages {
            let count = (pages - first).min(CHUNK as u64) as usize;
            let Some(located) = located.get_mut(..count) else { break };
            reader.locate(first, located, None)?;
            for (at, slot) in located.iter().zip(first..) {
                let (checksum, is_zero) = match at.state.map(PageState::canonical) {
                    Some(PageState::Zero) => (0, true),
                    Some(PageState::Raw { checksum }) => (checksum, false),
                    _ => return Err(reader.damaged(reader.entry_damage(slot, *at))),
                };
                checksums.push(checksum);
                zero.push(is_zero);
            }
            first += count as u64;
        }
        Ok(Base { image, reader, checksums, zero })
    }

    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// How a child names it.
    pub(super) fn as_parent(&self) -> Parent {
        let contents = self.image.manifest().contents().unwrap_or_default().to_owned();
        Parent { image: name_of(self.image.path()), contents }
    }

    /// The checksum of its page; `None` for a zero page.
    pub(super) fn checksum(&self, slot: u64) -> Option<u64> {
        let index = usize::try_from(slot).ok()?;
        self.checksums.get(index).copied().filter(|_| !self.is_zero(slot))
    }

    /// Whether its page is zero.
    pub(super) fn is_zero(&self, slot: u64) -> bool {
        usize::try_from(slot).ok().and_then(|index| self.zero.get(index)) == Some(&true)
    }

    /// What its page is, in the form of format 1.
    pub(super) fn canonical(&self, slot: u64) -> PageState {
        match self.checksum(slot) {
            Some(checksum) => PageState::Raw { checksum },
            None if self.is_zero(slot) => PageState::Zero,
            None => PageState::Absent,
        }
    }

    /// Whether its page has these octets. A page that can't be read does not: the child then gets
    /// one of its own.
    pub(super) fn has(&self, slot: u64, page: &Page) -> bool {
        let mut there = [0; PAGE_SIZE];
        self.reader.read(slot, &mut there).is_ok() && there == *page
    }

    /// Reads its page.
    pub(super) fn read(&self, slot: u64, page: &mut Page) -> Result<PageState> {
        self.reader.read(slot, page)
    }
}

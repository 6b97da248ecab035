//! The complete check of an image: every page wherever in the chain it is, every record, every file.

use sha2::{Digest, Sha256};

use crate::PAGE_SIZE;
use crate::error::{Damage, Error, Result};
use crate::image::Image;
use crate::layer::read_bounded;
use crate::manifest::Stored;
use crate::reader::{CHUNK, Located};
use crate::sealed::hex;
use crate::state::{self, State, StateFault};
use crate::table::PageState;

/// Findings that an error lists one by one.
const LISTED: usize = 8;

/// What [`Image::verify`] found sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Pages in all.
    pub pages: u64,
    /// Pages that are zero.
    pub zero_pages: u64,
    /// Pages whose checksum was compared.
    pub data_pages: u64,
    /// Those of them that images hold on which this one builds.
    pub parent_pages: u64,
    /// State records.
    pub records: u64,
    /// Images that were read: 1 if it stands alone.
    pub images: u64,
}

struct Findings {
    first: Vec<Damage>,
    total: u64,
}

impl Findings {
    fn add(&mut self, damage: Damage) {
        self.total += 1;
        if self.first.len() < LISTED {
            self.first.push(damage);
        }
    }
}

impl Image {
    /// Checks the whole image: each page against its checksum, each zero page to be zero, each
    /// state record against its checksum, the files `pages` and `state` against the manifest, and
    /// all pages together against its contents. `progress` is called with pages done and pages in
    /// all, about once a MiB.
    ///
    /// A page is read once, from the image of the chain that has it; pages there that this image
    /// does not use are not looked at, nor is the state there. Memory is bounded by 2 octets a
    /// page and what [`Image::slots`] takes.
    ///
    /// Fails with [`Error::Damaged`], which names the pages and records, or with an error of the
    /// file system.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified> {
        let mut found = Findings { first: Vec::new(), total: 0 };
        let records = self.verify_state(&mut found)?;
        let counted = self.verify_pages(&mut found, progress)?;
        if found.total == 0 && !self.is_as_told(&counted) {
            found.add(Damage::File("pages"));
        }
        if found.total > 0 {
            return Err(Error::Damaged {
                path: self.path().to_path_buf(),
                first: found.first,
                total: found.total,
            });
        }
        Ok(Verified { records, images: self.depth() as u64, ..counted.verified })
    }

    fn verify_state(&self, found: &mut Findings) -> Result<u64> {
        let file = read_bounded(self.path(), "state", state::MAX_FILE)?;
        let decoded = State::decode(&file);
        let sum = hex(&Sha256::digest(&file));
        match decoded {
            Err(StateFault::Record(kind)) => found.add(Damage::Record(kind)),
            Err(StateFault::Form(_)) => found.add(Damage::File("state")),
            Ok(_) if self.manifest().files.state.sha256.as_ref() != Some(&sum) => {
                found.add(Damage::File("state"));
            }
            Ok(state) => {
                state.check_complete()?;
                return Ok(state.iter().count() as u64);
            }
        }
        Ok(0)
    }

    fn verify_pages(&self, found: &mut Findings, progress: &mut dyn FnMut(u64, u64)) -> Result<Counted> {
        let reader = self.slots()?;
        let pages = self.extents().pages();
        let mut memory = vec![[0u8; PAGE_SIZE]; CHUNK];
        let mut located = [Located::default(); CHUNK];
        let mut counted = Counted::default();
        let (mut table, mut contents) = (Sha256::new(), Sha256::new());
        let mut first = 0;
        while first < pages {
            let count = (pages - first).min(CHUNK as u64) as usize;
            let (Some(located), Some(memory)) = (located.get_mut(..count), memory.get_mut(..count)) else {
                break;
            };
            reader.locate(first, located, Some(&mut table))?;
            reader.load(first, located, memory, &mut |damage| found.add(damage))?;
            for at in &*located {
                counted.add(*at);
                contents.update(at.state.unwrap_or(PageState::Absent).canonical().encode());
            }
            first += count as u64;
            progress(first, pages);
        }
        // A sparse table was compared when it was read.
        if self.depth() == 1 && self.manifest().files.pages.sha256 != Some(hex(&table.finalize())) {
            found.add(Damage::File("pages"));
        } else if self.manifest().contents() != Some(&hex(&contents.finalize())) {
            found.add(Damage::Contents);
        }
        Ok(counted)
    }

    /// Whether the manifest's figures are those that were counted.
    fn is_as_told(&self, counted: &Counted) -> bool {
        let stored = self.manifest().stored.is_none_or(|told| told == counted.stored);
        counted.verified.zero_pages == self.manifest().zero_pages && stored
    }
}

/// Figures of an image's pages, as [`Image::verify`] counts them.
struct Counted {
    verified: Verified,
    stored: Stored,
}

impl Default for Counted {
    fn default() -> Self {
        let verified =
            Verified { pages: 0, zero_pages: 0, data_pages: 0, parent_pages: 0, records: 0, images: 0 };
        Counted { verified, stored: Stored::default() }
    }
}

impl Counted {
    fn add(&mut self, at: Located) {
        let (verified, own) = (&mut self.verified, at.is_own());
        verified.pages += 1;
        match at.state {
            Some(PageState::Zero) => verified.zero_pages += 1,
            _ => {
                verified.data_pages += 1;
                verified.parent_pages += u64::from(!own);
            }
        }
        self.stored.add(if own { at.state.unwrap_or(PageState::Absent) } else { PageState::Parent });
    }
}

impl Stored {
    /// Counts a page of an image in the form that it has there.
    pub(crate) fn add(&mut self, state: PageState) {
        match state {
            PageState::Absent => {}
            PageState::Zero => self.zero += 1,
            PageState::Parent => self.parent += 1,
            PageState::Raw { .. } | PageState::RawAt { .. } => {
                self.raw += 1;
                self.octets += PAGE_SIZE as u64;
            }
            PageState::Lz4 { length, .. } => {
                self.lz4 += 1;
                self.octets += u64::from(length);
            }
        }
    }
}

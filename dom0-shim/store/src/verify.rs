//! The complete check of an image: every page, every record, every file.

use sha2::{Digest, Sha256};

use crate::error::{Damage, Error, Result};
use crate::image::{Image, read_bounded};
use crate::manifest::hex;
use crate::state::{self, State, StateFault};
use crate::table::PageState;
use crate::{PAGE_SIZE, page_checksum};

/// Slots that are read at once: 1 MiB of memory.
const CHUNK: usize = 256;
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
    /// State records.
    pub records: u64,
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
    /// state record against its checksum, and the files `pages` and `state` against the
    /// manifest. `progress` is called with pages done and pages in all, about once a MiB.
    ///
    /// Fails with [`Error::Damaged`], which names the pages and records, or with an error of the
    /// file system.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified> {
        let mut found = Findings { first: Vec::new(), total: 0 };
        let records = self.verify_state(&mut found)?;
        let (zero_pages, data_pages) = self.verify_pages(&mut found, progress)?;
        if found.total == 0 && zero_pages != self.manifest().zero_pages {
            found.add(Damage::File("pages"));
        }
        if found.total > 0 {
            return Err(Error::Damaged {
                path: self.path().to_path_buf(),
                first: found.first,
                total: found.total,
            });
        }
        Ok(Verified { pages: self.manifest().pages, zero_pages, data_pages, records })
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

    fn verify_pages(&self, found: &mut Findings, progress: &mut dyn FnMut(u64, u64)) -> Result<(u64, u64)> {
        let reader = self.slots()?;
        let pages = self.extents().pages();
        let mut memory = vec![0u8; CHUNK * PAGE_SIZE];
        let mut entries = [None; CHUNK];
        let (mut zero, mut data) = (0, 0);
        let mut hash = Sha256::new();
        let mut pfns = self.extents().pfns();
        let mut first = 0;
        while first < pages {
            let count = (pages - first).min(CHUNK as u64) as usize;
            let (Some(entries), Some(memory)) =
                (entries.get_mut(..count), memory.get_mut(..count * PAGE_SIZE))
            else {
                break;
            };
            reader.entries(first, entries, Some(&mut hash))?;
            // A hole reads as zeros, so nothing need be read.
            let end = (first + count as u64) * PAGE_SIZE as u64;
            if reader.next_data(first * PAGE_SIZE as u64) >= end {
                memory.fill(0);
            } else {
                reader.memory(first, memory)?;
            }
            let slots = first..;
            for (((entry, page), slot), pfn) in
                entries.iter().zip(memory.as_chunks().0).zip(slots).zip(&mut pfns)
            {
                match entry {
                    Some(PageState::Zero) => {
                        zero += 1;
                        if page != &[0; PAGE_SIZE] {
                            found.add(Damage::Page { pfn, slot });
                        }
                    }
                    Some(PageState::Data { checksum }) => {
                        data += 1;
                        if page_checksum(page) != *checksum {
                            found.add(Damage::Page { pfn, slot });
                        }
                    }
                    Some(PageState::Absent) | None => found.add(Damage::Entry { pfn, slot }),
                }
            }
            first += count as u64;
            progress(first, pages);
        }
        let sum = hex(&hash.finalize());
        if self.manifest().files.pages.sha256.as_ref() != Some(&sum) {
            found.add(Damage::File("pages"));
        }
        Ok((zero, data))
    }
}

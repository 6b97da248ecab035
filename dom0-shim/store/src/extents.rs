//! A guest's populated frames, and the slots that they have in an image.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Pages that an image may have: 2^30, which is 4 TiB of memory.
pub const MAX_PAGES: u64 = 1 << 30;

/// Frame numbers have 52 bits in the stream of libxc, and so they have here.
pub(crate) const MAX_PFN: u64 = (1 << 52) - 1;

/// A run of populated frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Extent {
    /// First frame.
    pub pfn: u64,
    /// How many frames; at least 1.
    pub count: u64,
}

impl From<(u64, u64)> for Extent {
    fn from((pfn, count): (u64, u64)) -> Self {
        Extent { pfn, count }
    }
}

impl From<Extent> for (u64, u64) {
    fn from(e: Extent) -> Self {
        (e.pfn, e.count)
    }
}

/// All populated frames of a guest: ascending, without overlap, neighbours joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extents {
    runs: Vec<Extent>,
    /// The slot of each run's first frame.
    slots: Vec<u64>,
    pages: u64,
}

impl Extents {
    /// Takes a list of extents that must be ascending and free of overlap, with 1 to
    /// [`MAX_PAGES`] pages in all. Neighbours are joined.
    pub fn new(list: impl IntoIterator<Item = Extent>) -> Result<Extents> {
        let bad = |why: String| Err(Error::BadMeta(why));
        let mut out = Extents { runs: Vec::new(), slots: Vec::new(), pages: 0 };
        let mut next_pfn = 0u64;
        for e in list {
            if e.count == 0 {
                return bad(format!("the extent at frame {:#x} is empty", e.pfn));
            }
            let end = match e.pfn.checked_add(e.count) {
                Some(end) if end <= MAX_PFN + 1 => end,
                _ => return bad(format!("the extent at frame {:#x} ends beyond 2^52", e.pfn)),
            };
            if e.pfn < next_pfn {
                return bad(format!(
                    "the extent at frame {:#x} is out of order or overlaps the one before it",
                    e.pfn
                ));
            }
            let pages = sum_pages(out.pages, e.count)?;
            match out.runs.last_mut() {
                Some(last) if e.pfn == next_pfn => last.count += e.count,
                _ => {
                    out.slots.push(out.pages);
                    out.runs.push(e);
                }
            }
            out.pages = pages;
            next_pfn = end;
        }
        if out.pages == 0 {
            return bad("it has no pages".into());
        }
        Ok(out)
    }

    /// How many pages there are; slots run from 0 to one less.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The runs, ascending.
    pub fn runs(&self) -> &[Extent] {
        &self.runs
    }

    /// The slot of a frame; `None` when the frame is not populated.
    pub fn slot_of(&self, pfn: u64) -> Option<u64> {
        let i = self.runs.partition_point(|e| e.pfn <= pfn).checked_sub(1)?;
        let (run, slot) = (self.runs.get(i)?, self.slots.get(i)?);
        let into = pfn.checked_sub(run.pfn)?;
        (into < run.count).then(|| slot + into)
    }

    /// The frame of a slot; `None` when there is no such slot.
    pub fn pfn_of(&self, slot: u64) -> Option<u64> {
        let i = self.slots.partition_point(|&s| s <= slot).checked_sub(1)?;
        let (run, first) = (self.runs.get(i)?, self.slots.get(i)?);
        let into = slot.checked_sub(*first)?;
        (into < run.count).then(|| run.pfn + into)
    }

    /// All frames, ascending; the n-th has slot n.
    pub fn pfns(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().flat_map(|e| e.pfn..e.pfn + e.count)
    }
}

fn sum_pages(pages: u64, count: u64) -> Result<u64> {
    match pages.checked_add(count) {
        Some(sum) if sum <= MAX_PAGES => Ok(sum),
        _ => Err(Error::BadMeta(format!("it has more than {MAX_PAGES} pages"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(list: &[(u64, u64)]) -> Result<Extents> {
        Extents::new(list.iter().map(|&e| e.into()))
    }

    #[test]
    fn slots_are_ranks_and_frames_come_back_from_them() {
        let e = extents(&[(0, 3), (10, 2), (0xfeff0, 1)]).unwrap();
        assert_eq!(e.pages(), 6);
        let pfns: Vec<u64> = e.pfns().collect();
        assert_eq!(pfns, [0, 1, 2, 10, 11, 0xfeff0]);
        for (slot, pfn) in pfns.iter().enumerate() {
            assert_eq!(e.slot_of(*pfn), Some(slot as u64));
            assert_eq!(e.pfn_of(slot as u64), Some(*pfn));
        }
        for absent in [3, 9, 12, 0xfefef, 0xfeff1, u64::MAX] {
            assert_eq!(e.slot_of(absent), None);
        }
        assert_eq!(e.pfn_of(6), None);
        assert_eq!(e.pfn_of(u64::MAX), None);
    }

    #[test]
    fn neighbours_are_joined() {
        let e = extents(&[(4, 2), (6, 1), (8, 1)]).unwrap();
        assert_eq!(e.runs().len(), 2);
        assert_eq!(e.slot_of(6), Some(2));
    }

    #[test]
    fn disorder_overlap_emptiness_and_excess_are_refused() {
        for list in [
            &[][..],
            &[(0, 0)],
            &[(5, 2), (3, 1)],
            &[(5, 2), (6, 1)],
            &[(0, MAX_PAGES + 1)],
            &[(u64::MAX, 1)],
            &[(MAX_PFN, 2)],
            &[(0, u64::MAX), (1, u64::MAX)],
        ] {
            assert!(extents(list).is_err(), "{list:?}");
        }
    }
}

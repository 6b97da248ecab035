//! The page table: file `pages`, which says where each page is and what it must be.
//!
//! An entry has 16 octets, all integers little-endian:
//!
//! | octets | field |
//! | --- | --- |
//! | 0–7 | xxh3-64 of the page; 0 for a zero page |
//! | 8–15, bits 0–3 | state: 1 zero, 2 raw, 3 LZ4 |
//! | bits 4–15 | LZ4: length of the record in `memory`, less 1; otherwise 0 |
//! | bits 16–63 | offset of the record or of the raw page in `memory`, in octets; otherwise 0 |
//!
//! A raw page without an offset lies at its slot's own place in `memory`.
//!
//! The table of an image that stands alone is *dense*: an entry for each slot, in their order. The
//! table of an incremental image is *sparse*: it lists only the pages that it has itself, each with
//! its slot (8 octets) before the entry, ascending. All others are as in the parent.
//!
//! The file as a whole is covered by a SHA-256 in the manifest. Format 1 is the dense table without
//! LZ4; so the table that an image of format 1 with the same pages would have is what
//! [`crate::Manifest::contents`] is the SHA-256 of, whatever the image's own form.

use crate::PAGE_SIZE;
use crate::lz4::MAX_RECORD;

/// Octets in an entry.
pub const ENTRY_SIZE: usize = 16;

/// Octets in a row of a sparse table: the slot and its entry.
pub const ROW_SIZE: usize = 8 + ENTRY_SIZE;

/// Offsets of records are below this.
pub const MAX_OFFSET: u64 = 1 << 48;

/// What an image knows of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Nothing was ever put here. A committed image has no such page.
    Absent,
    /// All octets are zero; `memory` has a hole or zeros there.
    Zero,
    /// `memory` has the contents at the slot's own place.
    Raw {
        /// xxh3-64 of the page.
        checksum: u64,
    },
    /// `memory` has the contents elsewhere: behind the slots' places, among the records.
    RawAt {
        /// xxh3-64 of the page.
        checksum: u64,
        /// Where in `memory` it is, 1 to 2^48 - 1.
        offset: u64,
    },
    /// `memory` has the contents coded as an LZ4 block.
    Lz4 {
        /// xxh3-64 of the page, not of the record.
        checksum: u64,
        /// Where in `memory` the record is, below 2^48.
        offset: u64,
        /// Its length, 1 to 4095.
        length: u16,
    },
    /// The same as in the parent. In a writer only: no table has such an entry.
    Parent,
}

impl PageState {
    /// The entry as it stands in the file.
    pub fn encode(self) -> [u8; ENTRY_SIZE] {
        let (checksum, state) = match self {
            PageState::Absent => (0, 0),
            PageState::Zero => (0, 1),
            PageState::Raw { checksum } => (checksum, 2),
            PageState::RawAt { checksum, offset } => (checksum, 2 | offset << 16),
            PageState::Lz4 { checksum, offset, length } => {
                (checksum, 3 | u64::from(length.wrapping_sub(1) & 0xfff) << 4 | offset << 16)
            }
            PageState::Parent => (0, 4),
        };
        (u128::from(state) << 64 | u128::from(checksum)).to_le_bytes()
    }

    /// Reads an entry; `None` for one that is not of the form above.
    pub fn decode(entry: &[u8; ENTRY_SIZE]) -> Option<PageState> {
        let word = u128::from_le_bytes(*entry);
        let (checksum, state) = (word as u64, (word >> 64) as u64);
        match (state, checksum) {
            (0, 0) => Some(PageState::Absent),
            (1, 0) => Some(PageState::Zero),
            (2, checksum) => Some(PageState::Raw { checksum }),
            (state, checksum) if state & 0xffff == 2 => {
                Some(PageState::RawAt { checksum, offset: state >> 16 })
            }
            (4, 0) => Some(PageState::Parent),
            (state, checksum) if state & 0xf == 3 => {
                let length = (state >> 4 & 0xfff) as u16 + 1;
                let lz4 = PageState::Lz4 { checksum, offset: state >> 16, length };
                (usize::from(length) <= MAX_RECORD).then_some(lz4)
            }
            _ => None,
        }
    }

    /// What the page is, whatever its form at rest: the entry that format 1 would have.
    pub(crate) fn canonical(self) -> PageState {
        match self {
            PageState::RawAt { checksum, .. } | PageState::Lz4 { checksum, .. } => {
                PageState::Raw { checksum }
            }
            other => other,
        }
    }

    /// Where among the records it is, and how many octets it has there; `None` if it is not there.
    pub(crate) fn record(self) -> Option<(u64, usize)> {
        match self {
            PageState::RawAt { offset, .. } => Some((offset, PAGE_SIZE)),
            PageState::Lz4 { offset, length, .. } => Some((offset, usize::from(length))),
            _ => None,
        }
    }
}

/// A row of a sparse table as it stands in the file.
pub(crate) fn row(slot: u64, entry: &[u8; ENTRY_SIZE]) -> [u8; ROW_SIZE] {
    let mut out = [0; ROW_SIZE];
    let (head, tail) = out.split_at_mut(8);
    head.copy_from_slice(&slot.to_le_bytes());
    tail.copy_from_slice(entry);
    out
}

/// A sparse table in memory.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    slots: Vec<u32>,
    entries: Vec<[u8; ENTRY_SIZE]>,
}

impl Sparse {
    /// Reads a file's contents. `None` if it isn't one: rows must be whole, ascending, and of slots
    /// below `pages`.
    pub(crate) fn decode(file: &[u8], pages: u64) -> Option<Sparse> {
        let (rows, rest) = file.as_chunks::<ROW_SIZE>();
        let mut table =
            Sparse { slots: Vec::with_capacity(rows.len()), entries: Vec::with_capacity(rows.len()) };
        for row in rows {
            let (slot, entry) = row.split_first_chunk::<8>()?;
            let slot = u64::from_le_bytes(*slot);
            // Slots are below `MAX_PAGES`, so they fit.
            let narrow = u32::try_from(slot).ok().filter(|_| slot < pages)?;
            if table.slots.last().is_some_and(|&last| last >= narrow) {
                return None;
            }
            table.slots.push(narrow);
            table.entries.push(*entry.first_chunk()?);
        }
        rest.is_empty().then_some(table)
    }

    /// The entry of a slot; `None` if the table has none.
    pub(crate) fn get(&self, slot: u64) -> Option<&[u8; ENTRY_SIZE]> {
        let at = self.slots.binary_search(&u32::try_from(slot).ok()?).ok()?;
        self.entries.get(at)
    }

    /// Its slots, ascending.
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        for state in [
            PageState::Absent,
            PageState::Zero,
            PageState::Parent,
            PageState::Raw { checksum: 0 },
            PageState::Raw { checksum: 0x0123_4567_89ab_cdef },
            PageState::RawAt { checksum: 0, offset: 1 },
            PageState::RawAt { checksum: u64::MAX, offset: MAX_OFFSET - 1 },
            PageState::Lz4 { checksum: 0, offset: 0, length: 1 },
            PageState::Lz4 { checksum: u64::MAX, offset: MAX_OFFSET - 1, length: 4095 },
        ] {
            assert_eq!(PageState::decode(&state.encode()), Some(state));
        }
        let mut odd = PageState::Zero.encode();
        odd[3] = 1;
        assert_eq!(PageState::decode(&odd), None);
        odd[8] = 7;
        assert_eq!(PageState::decode(&odd), None);
        // A record is shorter than a page, only a record has a length, and a zero page no place.
        assert_eq!(PageState::decode(&(0xfff3u128 << 64).to_le_bytes()), None);
        assert_eq!(PageState::decode(&(0x1_0012u128 << 64).to_le_bytes()), None);
        assert_eq!(PageState::decode(&(0x1_0001u128 << 64).to_le_bytes()), None);
    }

    #[test]
    fn entries_of_raw_and_zero_pages_are_those_of_format_1() {
        assert_eq!(PageState::Zero.encode(), [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let raw = PageState::Raw { checksum: 0x0807_0605_0403_0201 };
        assert_eq!(raw.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 2, 0, 0, 0, 0, 0, 0, 0]);
        let lz4 =
            PageState::Lz4 { checksum: 0x0807_0605_0403_0201, offset: 0x1234_5678_9abc, length: 0x0abd };
        assert_eq!(lz4.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 0xc3, 0xab, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12]);
        assert_eq!(lz4.canonical(), raw);
    }

    #[test]
    fn sparse_tables_must_be_whole_ascending_and_in_bounds() {
        let rows = |slots: &[u64]| -> Vec<u8> {
            slots.iter().flat_map(|&s| row(s, &PageState::Raw { checksum: s }.encode())).collect()
        };
        let table = Sparse::decode(&rows(&[0, 3, 9]), 10).unwrap();
        assert_eq!(table.slots(), [0, 3, 9]);
        assert_eq!(table.get(3), Some(&PageState::Raw { checksum: 3 }.encode()));
        assert_eq!((table.get(4), table.get(1 << 40)), (None, None));
        assert!(Sparse::decode(&[], 10).is_some());
        for bad in [&[3u64, 3][..], &[4, 3], &[10], &[1 << 32]] {
            assert!(Sparse::decode(&rows(bad), 10).is_none(), "{bad:?}");
        }
        assert!(Sparse::decode(&rows(&[0, 3])[..47], 10).is_none());
    }
}

//! Builds the page tables: the image W^X in pages of 4 KiB, everything else readable and writable
//! but never executable, in pages of 2 MiB where they fit. Virtual equals physical.
//!
//! Only tables are written here; entry.rs switches to them. A page is mapped once or not at all:
//! mapping it a second time is an error, never a silent change of rights.

use crate::span::{PAGE, Span};
use core::fmt;

/// Bytes in a large page.
const LARGE: u64 = 2 << 20;
/// What a PML4 entry covers; we use the first one only.
const TOP: u64 = 512 << 30;
/// Where the address is in an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bits of an entry. Intel SDM volume 3, 4.5; AMD APM volume 2, 5.4.
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
/// Set beforehand, so that the processor never needs to write an entry.
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// What may be done with a page. There is no variant for "write and execute".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Code.
    ReadExecute,
    /// Constants.
    Read,
    /// Data, stacks, free RAM.
    ReadWrite,
}

impl Rights {
    fn bits(self) -> u64 {
        let bits = match self {
            Rights::ReadExecute => 0,
            Rights::Read => NO_EXECUTE,
            Rights::ReadWrite => WRITABLE | NO_EXECUTE,
        };
        bits | PRESENT | ACCESSED_DIRTY
    }
}

/// One page of 512 entries.
pub type Table = [u64; 512];

/// Where tables come from and are reached.
pub trait Tables {
    /// A fresh page for a table, all zero: its physical address. `None` when there are no more.
    fn take(&mut self) -> Option<u64>;
    /// The table at a physical address that [`Tables::take`] gave.
    fn at(&mut self, address: u64) -> &mut Table;
}

/// Why a range can't be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Not in whole pages, or beyond 512 GiB.
    BadRange(Span),
    /// A page at or above this address is mapped already.
    Twice(u64),
    /// No memory for a table.
    OutOfTables,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadRange(span) => write!(f, "page tables: {span:?} can't be mapped"),
            Self::Twice(at) => write!(f, "page tables: {at:#x} would be mapped twice"),
            Self::OutOfTables => write!(f, "page tables: no free RAM for them; give the domain more memory"),
        }
    }
}

/// Page tables being built.
pub struct PageTables<T: Tables> {
    tables: T,
    root: u64,
}

impl<T: Tables> PageTables<T> {
    /// Tables in which nothing is mapped.
    pub fn new(mut tables: T) -> Result<PageTables<T>, MapError> {
        let root = tables.take().ok_or(MapError::OutOfTables)?;
        Ok(PageTables { tables, root })
    }

    /// The value for CR3, and the source of the tables back.
    pub fn finish(self) -> (u64, T) {
        (self.root, self.tables)
    }

    /// Maps `span` (in whole pages, below 512 GiB), with large pages where they fit.
    pub fn map(&mut self, span: Span, rights: Rights) -> Result<(), MapError> {
        self.map_with(span, rights, LARGE)
    }

    /// As [`PageTables::map`], in pages of 4 KiB only.
    pub fn map_small(&mut self, span: Span, rights: Rights) -> Result<(), MapError> {
        self.map_with(span, rights, PAGE)
    }

    fn map_with(&mut self, span: Span, rights: Rights, largest: u64) -> Result<(), MapError> {
        if !span.start.is_multiple_of(PAGE) || !span.end.is_multiple_of(PAGE) || span.end > TOP {
            return Err(MapError::BadRange(span));
        }
        let mut at = span.start;
        while at < span.end {
            let fits = at.is_multiple_of(LARGE) && span.end - at >= LARGE;
            if fits && largest == LARGE {
                self.map_page(at, at | rights.bits() | PAGE_SIZE, 1)?;
                at += LARGE;
            } else {
                self.map_page(at, at | rights.bits(), 0)?;
                at += PAGE;
            }
        }
        Ok(())
    }

    /// Writes the entry for the page at `at` in a table of `level` (0: 4 KiB, 1: 2 MiB).
    fn map_page(&mut self, at: u64, entry: u64, level: u32) -> Result<(), MapError> {
        let mut table = self.root;
        for above in (level + 1..=3).rev() {
            let next = self.entry(table, at, above);
            table = if *next & PRESENT == 0 {
                let fresh = self.tables.take().ok_or(MapError::OutOfTables)?;
                // The rights of the lowest entry decide: allow all up here.
                *self.entry(table, at, above) = fresh | PRESENT | WRITABLE | ACCESSED_DIRTY;
                fresh
            } else if *next & PAGE_SIZE != 0 {
                return Err(MapError::Twice(at));
            } else {
                *next & ADDRESS
            };
        }
        let slot = self.entry(table, at, level);
        if *slot & PRESENT != 0 {
            return Err(MapError::Twice(at));
        }
        *slot = entry;
        Ok(())
    }

    /// The entry for `at` in the table at `table`, which is one of `level` (3: PML4 ... 0).
    fn entry(&mut self, table: u64, at: u64, level: u32) -> &mut u64 {
        // 9 bits: always below 512.
        let index = (at >> (12 + 9 * level)) as usize % 512;
        &mut self.tables.at(table)[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Tables at made-up physical addresses 0x1000, 0x2000 ...
    struct Fake {
        tables: Vec<Table>,
        limit: usize,
    }

    impl Tables for Fake {
        fn take(&mut self) -> Option<u64> {
            (self.tables.len() < self.limit).then(|| {
                self.tables.push([0; 512]);
                self.tables.len() as u64 * PAGE
            })
        }
        fn at(&mut self, address: u64) -> &mut Table {
            &mut self.tables[(address / PAGE) as usize - 1]
        }
    }

    fn tables(limit: usize) -> PageTables<Fake> {
        PageTables::new(Fake { tables: Vec::new(), limit }).unwrap()
    }

    /// Walks as a processor does: the physical address, whether writable, whether executable, and
    /// the size of the page.
    fn walk(tables: &mut PageTables<Fake>, at: u64) -> Option<(u64, bool, bool, u64)> {
        let (mut table, mut writable, mut executable) = (tables.root, true, true);
        for level in (0..=3).rev() {
            let entry = *tables.entry(table, at, level);
            if entry & PRESENT == 0 {
                return None;
            }
            writable &= entry & WRITABLE != 0;
            executable &= entry & NO_EXECUTE == 0;
            table = entry & ADDRESS;
            let size = PAGE << (9 * level);
            if level == 0 || entry & PAGE_SIZE != 0 {
                assert!(level < 2, "no pages of 1 GiB");
                return Some((table + at % size, writable, executable, size));
            }
        }
        unreachable!()
    }

    #[test]
    fn rights_are_what_was_asked_for_and_nothing_around_is_mapped() {
        let mut t = tables(100);
        t.map_small(Span::new(0x10_0000, 0x10_2000), Rights::ReadExecute).unwrap();
        t.map_small(Span::new(0x10_2000, 0x10_3000), Rights::Read).unwrap();
        t.map_small(Span::new(0x10_3000, 0x10_4000), Rights::ReadWrite).unwrap();
        assert_eq!(walk(&mut t, 0x10_1008), Some((0x10_1008, false, true, PAGE)));
        assert_eq!(walk(&mut t, 0x10_2000), Some((0x10_2000, false, false, PAGE)));
        assert_eq!(walk(&mut t, 0x10_3fff), Some((0x10_3fff, true, false, PAGE)));
        assert_eq!(walk(&mut t, 0xf_ffff), None);
        assert_eq!(walk(&mut t, 0x10_4000), None);
        assert_eq!(walk(&mut t, 0), None);
    }

    #[test]
    fn large_pages_are_used_where_they_fit_and_small_ones_at_the_edges() {
        let mut t = tables(100);
        t.map(Span::new(0x1f_f000, 0x60_1000), Rights::ReadWrite).unwrap();
        assert_eq!(walk(&mut t, 0x1f_f123), Some((0x1f_f123, true, false, PAGE)));
        assert_eq!(walk(&mut t, 0x20_0000), Some((0x20_0000, true, false, LARGE)));
        assert_eq!(walk(&mut t, 0x5f_ffff), Some((0x5f_ffff, true, false, LARGE)));
        assert_eq!(walk(&mut t, 0x60_0fff), Some((0x60_0fff, true, false, PAGE)));
        assert_eq!(walk(&mut t, 0x60_1000), None);
        assert_eq!(walk(&mut t, 0x1f_efff), None);
    }

    #[test]
    fn large_pages_are_not_used_where_small_ones_are_asked_for() {
        let mut t = tables(100);
        t.map_small(Span::new(0x20_0000, 0x60_0000), Rights::ReadExecute).unwrap();
        assert_eq!(walk(&mut t, 0x40_0000), Some((0x40_0000, false, true, PAGE)));
    }

    #[test]
    fn four_gib_of_ram_cost_six_tables() {
        let mut t = tables(6);
        t.map(Span::new(0, 4 << 30), Rights::ReadWrite).unwrap();
        for at in [0, 0x1234_5678, 0xffff_ffff] {
            assert_eq!(walk(&mut t, at), Some((at, true, false, LARGE)));
        }
        assert_eq!(walk(&mut t, 4 << 30), None);
    }

    #[test]
    fn nothing_is_mapped_twice() {
        let mut t = tables(100);
        t.map_small(Span::new(0x20_3000, 0x20_4000), Rights::Read).unwrap();
        let small = t.map(Span::new(0x20_3000, 0x20_4000), Rights::ReadWrite);
        assert_eq!(small, Err(MapError::Twice(0x20_3000)));
        let large = t.map(Span::new(0x20_0000, 0x40_0000), Rights::ReadWrite);
        assert_eq!(large, Err(MapError::Twice(0x20_0000)));
        t.map(Span::new(0x40_0000, 0x60_0000), Rights::ReadWrite).unwrap();
        let inside = t.map(Span::new(0x40_1000, 0x40_2000), Rights::ReadExecute);
        assert_eq!(inside, Err(MapError::Twice(0x40_1000)));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let mut t = tables(3);
        for span in [Span::new(1, PAGE), Span::new(0, PAGE + 1), Span::new(TOP, TOP + PAGE)] {
            assert_eq!(t.map(span, Rights::Read), Err(MapError::BadRange(span)));
        }
        let result = t.map(Span::new(0, 4 << 30), Rights::Read);
        assert_eq!(result, Err(MapError::OutOfTables));
        assert_eq!(t.map(Span::new(5, 5), Rights::Read), Err(MapError::BadRange(Span::new(5, 5))));
    }
}

//! Where LZ4 records go, and raw pages that are not in their places: behind the places of the slots
//! in `memory`, one after the other. Both are called records here.
//!
//! A record that is superseded stays where it is. When superseded ones take more than a quarter of the
//! guest's memory, and again at the commit, blocks of the file in which no record counts any more are
//! given back to the file system.

use std::ops::Range;

use rustix::fs::FallocateFlags;

use super::ImageWriter;
use crate::PAGE_SIZE;
use crate::error::{Error, Result};
use crate::lz4::MAX_RECORD;
use crate::table::MAX_OFFSET;

/// Blocks that are given back: those of the common file systems, and of pages.
const BLOCK: u64 = 4096;

/// The part of `memory` that has records.
#[derive(Debug)]
pub(super) struct Records {
    /// Where it begins: behind the last slot's place.
    start: u64,
    /// Where the next record goes.
    tail: u64,
    /// Room that the caller is writing to; empty when there is none.
    room: Range<u64>,
    /// Octets that don't count any more, or not yet.
    dead: u64,
}

impl Records {
    pub(super) fn new(start: u64) -> Records {
        Records { start, tail: start, room: start..start, dead: 0 }
    }

    /// Makes room for the caller to write to. Whole pages come to lie as those of the file system's
    /// cache do, so that none of these is written twice.
    pub(super) fn append(&mut self, length: usize) -> Result<u64> {
        if length.is_multiple_of(PAGE_SIZE) {
            self.tail = self.tail.next_multiple_of(BLOCK);
        }
        self.room = self.extend(length as u64)?;
        self.dead += length as u64;
        Ok(self.room.start)
    }

    /// Takes a record in that room for one.
    pub(super) fn announce(&mut self, offset: u64, length: usize) -> Result<()> {
        let end = offset.checked_add(length as u64);
        if offset < self.room.start || end.is_none_or(|end| end > self.room.end) {
            return Err(Error::NoRoom { offset, length: length as u64 });
        }
        self.dead = self.dead.saturating_sub(length as u64);
        Ok(())
    }

    /// Takes room for a record that is written at once, and leaves the caller's room alone.
    pub(super) fn take(&mut self, length: usize) -> Result<u64> {
        Ok(self.extend(length as u64)?.start)
    }

    /// A record counts no more.
    pub(super) fn forget(&mut self, length: usize) {
        self.dead += length as u64;
    }

    /// Whether it is time to give room back.
    pub(super) fn is_wasteful(&self) -> bool {
        self.dead > self.start / 4
    }

    /// Where the records end of which all is known that will be told.
    pub(super) fn settled(&self) -> u64 {
        if self.room.is_empty() { self.tail } else { self.room.start }
    }

    fn extend(&mut self, length: u64) -> Result<Range<u64>> {
        let start = self.tail;
        match start.checked_add(length) {
            Some(end) if end <= MAX_OFFSET => {
                self.tail = end;
                Ok(start..end)
            }
            _ => Err(Error::NoRoom { offset: start, length }),
        }
    }
}

/// The length of an LZ4 record, if it can be one.
pub(super) fn lz4_length(offset: u64, length: usize) -> Result<u16> {
    match u16::try_from(length) {
        Ok(narrow) if (1..=MAX_RECORD).contains(&length) => Ok(narrow),
        _ => Err(Error::NoRoom { offset, length: length as u64 }),
    }
}

impl ImageWriter {
    /// Where the last record that counts ends; the end of the slots' places when there is none.
    pub(super) fn end_of_records(&self) -> u64 {
        self.live_records().map(|record| record.end).max().unwrap_or(self.records.start)
    }

    fn live_records(&self) -> impl Iterator<Item = Range<u64>> {
        (0..self.slots.len())
            .filter_map(|i| self.state_of(i).record().map(|(offset, length)| offset..offset + length as u64))
    }

    /// Makes holes of the blocks before `end` in which no record counts. A file system that can't
    /// keeps them: they harm nobody.
    pub(super) fn punch_records(&mut self, end: u64) {
        let mut live: Vec<Range<u64>> = self.live_records().collect();
        live.sort_unstable_by_key(|record| record.start);
        live.push(end..end);
        let mut at = self.records.start;
        for record in live {
            let (from, to) = (at.next_multiple_of(BLOCK), record.start.min(end) / BLOCK * BLOCK);
            if from < to {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = rustix::fs::fallocate(&self.memory, how, from, to - from);
            }
            at = at.max(record.end);
        }
        self.records.dead = 0;
    }
}

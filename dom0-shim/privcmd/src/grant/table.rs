//! Writing and taking back entries, over Xen's frames or over a model of them. Sans-I/O.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::GrantEntry;
use super::{ENTRIES_PER_FRAME, GrantError, Revoked};
use crate::DomId;
use crate::device::Mapping;

/// Where the entries are: a mapping of Xen's frames, or a model in tests.
pub(super) trait Entries {
    /// The entries, in order.
    fn entries(&self) -> &[AtomicU64];
}

impl Entries for Mapping {
    fn entries(&self) -> &[AtomicU64] {
        let count = self.len() / size_of::<AtomicU64>();
        // SAFETY: (1) the mapping is readable and writable for its whole length and lives as long
        // as `self`; (2) it is aligned to a page; (3) the memory is only ever reached through
        // these atomics here, and what others (Xen, the guest) do to it is covered by atomics'
        // interior mutability.
        unsafe { std::slice::from_raw_parts(self.addr().as_ptr().cast::<AtomicU64>(), count) }
    }
}

#[derive(Debug)]
pub(super) struct Table<M> {
    memory: M,
    first: u32,
    /// What we seeded, by entry; 0 where nothing is ours.
    ours: Vec<u64>,
    pub(super) seeded: u32,
}

impl<M: Entries> Table<M> {
    pub(super) fn new(memory: M, first_frame: u32, frames: u32) -> Table<M> {
        let count = frames.saturating_mul(ENTRIES_PER_FRAME);
        let first = first_frame.saturating_mul(ENTRIES_PER_FRAME);
        Table { memory, first, ours: vec![0; count as usize], seeded: 0 }
    }

    pub(super) fn references(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.ours.len() as u32)
    }

    /// The entry and our note of it.
    fn slot(&mut self, index: u32) -> Result<(&AtomicU64, &mut u64, &mut u32), GrantError> {
        let at = index.checked_sub(self.first).map(|at| at as usize);
        let entry = at.and_then(|at| self.memory.entries().get(at));
        let ours = at.and_then(|at| self.ours.get_mut(at));
        match (entry, ours) {
            (Some(entry), Some(ours)) => Ok((entry, ours, &mut self.seeded)),
            _ => Err(GrantError::OutOfRange(index)),
        }
    }

    pub(super) fn seed(&mut self, index: u32, pfn: u64, reader: DomId) -> Result<(), GrantError> {
        let new = GrantEntry::seeded(pfn, reader)?.to_word();
        if *self.slot(index)?.1 != 0 {
            self.revoke(index)?;
        }
        let (entry, ours, seeded) = self.slot(index)?;
        let old = entry.load(Ordering::Acquire);
        if !GrantEntry::from_word(old).free() {
            return Err(GrantError::Occupied(index));
        }
        // Frame, domid and flags appear in one atomic step: Xen never sees flags without frame,
        // and a guest that takes the entry at this moment wins.
        if entry.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Err(GrantError::Occupied(index));
        }
        *ours = new;
        *seeded += 1;
        Ok(())
    }

    pub(super) fn revoke(&mut self, index: u32) -> Result<(), GrantError> {
        self.take_back(index, false).map(drop)
    }

    /// `force`: also when its reader uses it; `Ok(true)` if it did.
    fn take_back(&mut self, index: u32, force: bool) -> Result<bool, GrantError> {
        let (entry, ours, seeded) = self.slot(index)?;
        if *ours == 0 {
            return Err(GrantError::NotSeeded(index));
        }
        let idle = *ours;
        let in_use = GrantEntry::from_word(idle).in_use_by_reader().to_word();
        let clear = |from| entry.compare_exchange(from, 0, Ordering::AcqRel, Ordering::Acquire);
        let result = match clear(idle) {
            Ok(_) => Ok(false),
            Err(now) if now != in_use => Err(GrantError::Changed(index)),
            Err(_) if !force => return Err(GrantError::InUse(index)),
            // The reader may be done at this moment.
            Err(_) => match clear(in_use).or_else(|_| clear(idle)) {
                Ok(_) => Ok(true),
                Err(_) => Err(GrantError::Changed(index)),
            },
        };
        *ours = 0;
        *seeded = seeded.saturating_sub(1);
        result
    }

    pub(super) fn revoke_range(&mut self, references: Range<u32>, force: bool) -> Revoked {
        let mut report = Revoked::default();
        let all = self.references();
        for index in references.start.max(all.start)..references.end.min(all.end) {
            match self.take_back(index, force) {
                Ok(false) => report.revoked += 1,
                Ok(true) | Err(GrantError::InUse(_)) => report.in_use += 1,
                Err(GrantError::Changed(_)) => report.changed += 1,
                Err(_) => {}
            }
        }
        report
    }

    pub(super) fn adopt(&mut self, references: Range<u32>, reader: DomId) -> u32 {
        let all = self.references();
        let mut adopted = 0;
        for index in references.start.max(all.start)..references.end.min(all.end) {
            let Ok((entry, ours, seeded)) = self.slot(index) else { continue };
            let alleged = GrantEntry::from_word(entry.load(Ordering::Acquire)).idle();
            if *ours == 0 && alleged.like_seeded(reader) {
                *ours = alleged.to_word();
                *seeded += 1;
                adopted += 1;
            }
        }
        adopted
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, GrantEntry)> + '_ {
        let words = self.memory.entries().iter().map(|entry| entry.load(Ordering::Acquire));
        self.references().zip(words.map(GrantEntry::from_word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUB: DomId = 7;
    /// `GTF_reading`
    const READING: u64 = 1 << 3;

    impl Entries for Vec<AtomicU64> {
        fn entries(&self) -> &[AtomicU64] {
            self
        }
    }

    /// Two frames of a table, from frame 3 on.
    fn table() -> Table<Vec<AtomicU64>> {
        let entries = (0..2 * ENTRIES_PER_FRAME).map(|_| AtomicU64::new(0)).collect();
        Table::new(entries, 3, 2)
    }

    fn guest_writes(table: &Table<Vec<AtomicU64>>, index: u32, word: u64) {
        table.memory[(index - 3 * 512) as usize].store(word, Ordering::SeqCst);
    }

    fn word(table: &Table<Vec<AtomicU64>>, index: u32) -> u64 {
        table.memory[(index - 3 * 512) as usize].load(Ordering::SeqCst)
    }

    #[test]
    fn a_seeded_entry_has_the_layout_of_version_1_and_is_read_only() {
        let mut table = table();
        table.seed(1600, 0xfeff8, STUB).unwrap();
        let bytes = word(&table, 1600).to_le_bytes();
        assert_eq!(bytes, [0x05, 0, 7, 0, 0xf8, 0xef, 0x0f, 0]);
        assert_eq!(table.seeded, 1);
    }

    #[test]
    fn seeding_again_replaces_what_was_seeded() {
        let mut table = table();
        table.seed(1536, 1, STUB).unwrap();
        table.seed(1536, 2, STUB).unwrap();
        assert_eq!(GrantEntry::from_word(word(&table, 1536)).frame, 2);
        assert_eq!(table.seeded, 1);
    }

    #[test]
    fn an_entry_of_the_guest_is_never_overwritten() {
        let mut table = table();
        let theirs = GrantEntry { flags: 1, domid: 0, frame: 99 }.to_word();
        guest_writes(&table, 1540, theirs);
        assert!(matches!(table.seed(1540, 1, STUB), Err(GrantError::Occupied(1540))));
        assert!(matches!(table.revoke(1540), Err(GrantError::NotSeeded(1540))));
        assert_eq!(word(&table, 1540), theirs);
    }

    #[test]
    fn an_entry_in_use_stays_until_its_reader_is_done() {
        let mut table = table();
        table.seed(1537, 5, STUB).unwrap();
        let seeded = word(&table, 1537);
        guest_writes(&table, 1537, seeded | READING);
        assert!(matches!(table.revoke(1537), Err(GrantError::InUse(1537))));
        assert!(matches!(table.seed(1537, 6, STUB), Err(GrantError::InUse(1537))));
        guest_writes(&table, 1537, seeded);
        table.revoke(1537).unwrap();
        assert_eq!(word(&table, 1537), 0);
    }

    #[test]
    fn an_entry_that_the_guest_changed_is_reported_and_left_alone() {
        let mut table = table();
        for index in 1536..1540 {
            table.seed(index, u64::from(index), STUB).unwrap();
        }
        let theirs = GrantEntry { flags: 1, domid: 3, frame: 4 }.to_word();
        guest_writes(&table, 1537, theirs);
        guest_writes(&table, 1538, 0);
        let report = table.revoke_range(0..u32::MAX, false);
        assert_eq!(report, Revoked { revoked: 2, in_use: 0, changed: 2 });
        assert_eq!(word(&table, 1537), theirs);
        assert_eq!(table.seeded, 0);
        assert_eq!(table.revoke_range(0..u32::MAX, false), Revoked::default());
    }

    #[test]
    fn references_outside_of_the_mapped_frames_are_refused() {
        let mut table = table();
        assert_eq!(table.references(), 1536..2560);
        for index in [0, 1535, 2560, u32::MAX] {
            assert!(matches!(table.seed(index, 1, STUB), Err(GrantError::OutOfRange(_))));
            assert!(matches!(table.revoke(index), Err(GrantError::OutOfRange(_))));
        }
    }

    #[test]
    fn frames_beyond_32_bits_are_refused() {
        let error = table().seed(1536, 1 << 32, STUB);
        assert!(matches!(error, Err(GrantError::FrameTooLarge(_))));
    }

    #[test]
    fn what_an_earlier_process_seeded_is_adopted_but_not_the_guests_own() {
        let mut earlier = table();
        earlier.seed(2000, 1, STUB).unwrap();
        earlier.seed(2001, 2, STUB).unwrap();
        earlier.seed(1536, 3, STUB).unwrap();
        guest_writes(&earlier, 2001, word(&earlier, 2001) | READING);
        let writable = GrantEntry { flags: 1, domid: STUB, frame: 9 }.to_word();
        guest_writes(&earlier, 2002, writable);
        let mut table = Table::new(earlier.memory, 3, 2);
        assert_eq!(table.adopt(1900..2560, STUB), 2);
        assert_eq!(table.adopt(1900..2560, STUB), 0);
        let report = table.revoke_range(0..u32::MAX, false);
        assert_eq!(report, Revoked { revoked: 1, in_use: 1, changed: 0 });
        assert_eq!(word(&table, 2002), writable);
        assert_ne!(word(&table, 1536), 0);
    }

    #[test]
    fn force_takes_back_what_is_in_use_but_never_what_the_guest_changed() {
        let mut table = table();
        for index in 1536..1540 {
            table.seed(index, u64::from(index), STUB).unwrap();
        }
        // A reader at work, or a guest that pretends one.
        guest_writes(&table, 1536, word(&table, 1536) | READING);
        guest_writes(&table, 1537, word(&table, 1537) | READING | 1 << 40);
        let report = table.revoke_range(0..u32::MAX, true);
        assert_eq!(report, Revoked { revoked: 2, in_use: 1, changed: 1 });
        assert_eq!((word(&table, 1536), table.seeded), (0, 0));
        assert_ne!(word(&table, 1537), 0);
    }
}

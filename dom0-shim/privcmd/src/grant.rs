//! A guest's grant table, seen from Dom0: seeding read-only grants for a stub domain at its top,
//! and taking them back.
//!
//! The guest shares this memory and may write it at any time; Xen does too. So each entry is one
//! atomic 64-bit word, every value read is an allegation, and an entry is changed only by
//! compare-and-swap from exactly what we expect there. A guest that spoils entries spoils its own
//! snapshot: it is detected, reported, and never overwritten.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::abi::xen::{
    GNTST_BAD_DOMAIN, GNTTABOP_GET_VERSION, GNTTABOP_QUERY_SIZE, GnttabGetVersion, GnttabQuerySize,
    HYPERVISOR_GRANT_TABLE_OP, XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
};
use crate::device::Mapping;
use crate::{DomId, Error, Hypervisor, PAGE_SIZE};

/// `GTF_permit_access`
const GTF_PERMIT_ACCESS: u16 = 1;
/// `GTF_type_mask`
const GTF_TYPE_MASK: u16 = 3;
/// `GTF_readonly`
const GTF_READONLY: u16 = 1 << 2;
/// `GTF_reading`: set by Xen while the grant is mapped or copied from
const GTF_READING: u16 = 1 << 3;
/// `GTF_writing`
const GTF_WRITING: u16 = 1 << 4;

/// Entries (version 1) in a frame of the table.
pub const ENTRIES_PER_FRAME: u32 = (PAGE_SIZE / size_of::<u64>()) as u32;
/// Most frames of a table that are believed (Xen's default limit is 64).
const MAX_TABLE_FRAMES: u32 = 1 << 16;

/// Why a grant could not be seeded or taken back.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Xen refused.
    #[error(transparent)]
    Xen(#[from] Error),
    /// The guest uses version 2 of the grant table, whose layout is different.
    #[error(
        "domain {0} uses grant table version 2: set max_grant_version=1 in its configuration and restart it"
    )]
    Version2(DomId),
    /// Frames beyond the guest's limit.
    #[error(
        "grant-table frames {first} to {end} are beyond the {max} that domain {domid} may have: raise max_grant_frames in its configuration"
    )]
    Limit {
        /// The guest.
        domid: DomId,
        /// First frame asked for.
        first: u32,
        /// The frame after the last.
        end: u64,
        /// The guest's limit.
        max: u32,
    },
    /// The reference is outside of the mapped frames.
    #[error("grant reference {0} is outside of the mapped part of the table")]
    OutOfRange(u32),
    /// The entry is in use by the guest.
    #[error("grant reference {0} is in use by the guest: the top of its table is not free")]
    Occupied(u32),
    /// The reader has the page mapped, or is copying it right now.
    #[error("grant reference {0} is still in use by its reader")]
    InUse(u32),
    /// The guest changed or revoked an entry that was seeded.
    #[error("the guest changed grant reference {0}, which was seeded for its snapshot")]
    Changed(u32),
    /// Nothing of ours was in this entry.
    #[error("grant reference {0} was not seeded")]
    NotSeeded(u32),
    /// A frame number that does not fit into an entry.
    #[error("frame {0:#x} does not fit into a grant entry")]
    FrameTooLarge(u64),
}

/// A version 1 grant entry (`struct grant_entry_v1`) as read: an allegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantEntry {
    /// `GTF_*`
    pub flags: u16,
    /// Who may use it.
    pub domid: DomId,
    /// The guest's frame.
    pub frame: u32,
}

impl GrantEntry {
    fn seeded(pfn: u64, reader: DomId) -> Result<GrantEntry, GrantError> {
        let frame = u32::try_from(pfn).map_err(|_| GrantError::FrameTooLarge(pfn))?;
        Ok(GrantEntry { flags: GTF_PERMIT_ACCESS | GTF_READONLY, domid: reader, frame })
    }

    /// Little-endian: flags at byte 0, domid at 2, frame at 4.
    fn to_word(self) -> u64 {
        u64::from(self.flags) | u64::from(self.domid) << 16 | u64::from(self.frame) << 32
    }

    fn from_word(word: u64) -> GrantEntry {
        GrantEntry { flags: word as u16, domid: (word >> 16) as u16, frame: (word >> 32) as u32 }
    }

    /// Grants access to someone.
    pub fn permits_access(self) -> bool {
        self.flags & GTF_TYPE_MASK == GTF_PERMIT_ACCESS
    }

    /// Reading only.
    pub fn read_only(self) -> bool {
        self.flags & GTF_READONLY != 0
    }

    /// Mapped, or being copied.
    pub fn in_use(self) -> bool {
        self.flags & (GTF_READING | GTF_WRITING) != 0
    }

    fn free(self) -> bool {
        self.flags == 0
    }
}

/// How far a guest's grant table reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantLimits {
    /// Frames that it has now.
    pub nr_frames: u32,
    /// Frames that it may have.
    pub max_frames: u32,
}

/// What became of seeded entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Taken back.
    pub revoked: u32,
    /// Still mapped or being copied by their reader; they stay seeded and ours.
    pub in_use: u32,
    /// Changed or revoked by the guest; not touched, and ours no longer.
    pub changed: u32,
}

impl Hypervisor {
    /// How many frames a domain's grant table has and may have.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn grant_limits(&self, domid: DomId) -> Result<GrantLimits, Error> {
        let name = "GNTTABOP_query_size";
        self.with_page(|buffer| {
            buffer.put(GnttabQuerySize { dom: domid, ..GnttabQuerySize::default() });
            self.call(name, HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_QUERY_SIZE, buffer.addr(), 1, 0, 0])?;
            let size = buffer.get::<GnttabQuerySize>();
            match size.status {
                0 if size.max_nr_frames <= MAX_TABLE_FRAMES => {
                    Ok(GrantLimits { nr_frames: size.nr_frames, max_frames: size.max_nr_frames })
                }
                GNTST_BAD_DOMAIN => Err(Error::NoSuchDomain(domid)),
                _ => Err(Error::Nonsense { op: name }),
            }
        })
    }

    /// The version of the grant table that a domain uses now, 1 or 2.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn grant_version(&self, domid: DomId) -> Result<u32, Error> {
        self.with_page(|buffer| {
            buffer.put(GnttabGetVersion { dom: domid, ..GnttabGetVersion::default() });
            self.call(
                "GNTTABOP_get_version",
                HYPERVISOR_GRANT_TABLE_OP,
                [GNTTABOP_GET_VERSION, buffer.addr(), 1, 0, 0],
            )
            .map_err(|error| error.or_gone(domid))?;
            Ok(buffer.get::<GnttabGetVersion>().version)
        })
    }
}

/// Frames of a guest's grant table, mapped. Dropping it leaves the entries as they are.
#[derive(Debug)]
pub struct GrantTable {
    table: Table<Mapping>,
}

impl GrantTable {
    /// Maps `frames` frames from `first_frame` on. Xen grows the table up to there, within the
    /// guest's limit; each frame costs Xen about 28 KiB of its own memory.
    ///
    /// # Errors
    /// [`GrantError::Version2`], [`GrantError::Limit`], [`GrantError::Xen`].
    pub fn map(
        hypervisor: &Hypervisor,
        domid: DomId,
        first_frame: u32,
        frames: u32,
    ) -> Result<GrantTable, GrantError> {
        let limits = hypervisor.grant_limits(domid)?;
        let end = u64::from(first_frame) + u64::from(frames);
        if frames == 0 || end > u64::from(limits.max_frames) {
            return Err(GrantError::Limit { domid, first: first_frame, end, max: limits.max_frames });
        }
        if hypervisor.grant_version(domid)? != 1 {
            return Err(GrantError::Version2(domid));
        }
        let mapping = hypervisor.map_resource(
            domid,
            XENMEM_RESOURCE_GRANT_TABLE,
            XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
            first_frame,
            frames,
        )?;
        Ok(GrantTable { table: Table::new(mapping, first_frame, frames) })
    }

    /// Maps the top of the table: the last `frames` frames below the guest's limit, or all of it
    /// but frame 0 if the limit is lower. Frame 0 holds the entries that guests always use.
    ///
    /// # Errors
    /// As [`GrantTable::map`].
    pub fn map_top(hypervisor: &Hypervisor, domid: DomId, frames: u32) -> Result<GrantTable, GrantError> {
        let max = hypervisor.grant_limits(domid)?.max_frames;
        let first = max.saturating_sub(frames).max(1);
        GrantTable::map(hypervisor, domid, first, max.saturating_sub(first))
    }

    /// Maps all frames that the table has now, without growing it: to look at every entry.
    ///
    /// # Errors
    /// As [`GrantTable::map`].
    pub fn map_existing(hypervisor: &Hypervisor, domid: DomId) -> Result<GrantTable, GrantError> {
        let frames = hypervisor.grant_limits(domid)?.nr_frames;
        GrantTable::map(hypervisor, domid, 0, frames)
    }

    /// The grant references that are mapped.
    pub fn references(&self) -> Range<u32> {
        self.table.references()
    }

    /// How many entries are seeded now.
    pub fn seeded(&self) -> u32 {
        self.table.seeded
    }

    /// Lets `reader` read frame `pfn` through reference `index`. Only an entry that is free, or
    /// one that was seeded here before and that its reader does not use, is written.
    ///
    /// # Errors
    /// [`GrantError::OutOfRange`], [`GrantError::FrameTooLarge`], [`GrantError::Occupied`],
    /// [`GrantError::InUse`], [`GrantError::Changed`].
    pub fn seed(&mut self, index: u32, pfn: u64, reader: DomId) -> Result<(), GrantError> {
        self.table.seed(index, pfn, reader)
    }

    /// Seeds references `first`, `first + 1`, … for `pfns`. On an error, the entries before the
    /// one that failed stay seeded: revoke them.
    ///
    /// # Errors
    /// As [`GrantTable::seed`].
    pub fn seed_all(&mut self, first: u32, pfns: &[u64], reader: DomId) -> Result<(), GrantError> {
        (first..=u32::MAX).zip(pfns).try_for_each(|(index, &pfn)| self.seed(index, pfn, reader))
    }

    /// Takes a seeded entry back.
    ///
    /// # Errors
    /// [`GrantError::InUse`] (it stays seeded), [`GrantError::Changed`] (the guest did that; it
    /// is not touched and no longer ours), [`GrantError::NotSeeded`], [`GrantError::OutOfRange`].
    pub fn revoke(&mut self, index: u32) -> Result<(), GrantError> {
        self.table.revoke(index)
    }

    /// Takes back all seeded entries among these references; ones not seeded are passed over.
    pub fn revoke_range(&mut self, references: Range<u32>) -> Revoked {
        self.table.revoke_range(references)
    }

    /// Takes back all seeded entries.
    pub fn revoke_all(&mut self) -> Revoked {
        self.table.revoke_range(self.references())
    }

    /// Treats read-only entries for `reader` among these references as seeded by us: what an
    /// earlier process left behind. Use it for the window's references only: the guest's own
    /// grants to the stub (its network) are below. Returns how many there are.
    pub fn adopt(&mut self, references: Range<u32>, reader: DomId) -> u32 {
        self.table.adopt(references, reader)
    }

    /// Every entry that is mapped, free ones included, by reference.
    pub fn entries(&self) -> impl Iterator<Item = (u32, GrantEntry)> + '_ {
        self.table.entries()
    }
}

/// Where the entries are: a mapping of Xen's frames, or a model in tests.
trait Entries {
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
struct Table<M> {
    memory: M,
    first: u32,
    /// What we seeded, by entry; 0 where nothing is ours.
    ours: Vec<u64>,
    seeded: u32,
}

impl<M: Entries> Table<M> {
    fn new(memory: M, first_frame: u32, frames: u32) -> Table<M> {
        let count = frames.saturating_mul(ENTRIES_PER_FRAME);
        let first = first_frame.saturating_mul(ENTRIES_PER_FRAME);
        Table { memory, first, ours: vec![0; count as usize], seeded: 0 }
    }

    fn references(&self) -> Range<u32> {
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

    fn seed(&mut self, index: u32, pfn: u64, reader: DomId) -> Result<(), GrantError> {
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

    fn revoke(&mut self, index: u32) -> Result<(), GrantError> {
        let (entry, ours, seeded) = self.slot(index)?;
        if *ours == 0 {
            return Err(GrantError::NotSeeded(index));
        }
        match entry.compare_exchange(*ours, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                *ours = 0;
                *seeded = seeded.saturating_sub(1);
                Ok(())
            }
            Err(now) if now == *ours | u64::from(GTF_READING) => Err(GrantError::InUse(index)),
            Err(_) => {
                *ours = 0;
                *seeded = seeded.saturating_sub(1);
                Err(GrantError::Changed(index))
            }
        }
    }

    fn revoke_range(&mut self, references: Range<u32>) -> Revoked {
        let mut report = Revoked::default();
        let all = self.references();
        for index in references.start.max(all.start)..references.end.min(all.end) {
            match self.revoke(index) {
                Ok(()) => report.revoked += 1,
                Err(GrantError::InUse(_)) => report.in_use += 1,
                Err(GrantError::Changed(_)) => report.changed += 1,
                Err(_) => {}
            }
        }
        report
    }

    fn adopt(&mut self, references: Range<u32>, reader: DomId) -> u32 {
        let all = self.references();
        let mut adopted = 0;
        for index in references.start.max(all.start)..references.end.min(all.end) {
            let Ok((entry, ours, seeded)) = self.slot(index) else { continue };
            let idle = entry.load(Ordering::Acquire) & !u64::from(GTF_READING);
            let alleged = GrantEntry::from_word(idle);
            let like_ours = alleged.flags == GTF_PERMIT_ACCESS | GTF_READONLY;
            if *ours == 0 && like_ours && alleged.domid == reader {
                *ours = idle;
                *seeded += 1;
                adopted += 1;
            }
        }
        adopted
    }

    fn entries(&self) -> impl Iterator<Item = (u32, GrantEntry)> + '_ {
        let words = self.memory.entries().iter().map(|entry| entry.load(Ordering::Acquire));
        self.references().zip(words.map(GrantEntry::from_word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUB: DomId = 7;

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
        guest_writes(&table, 1537, seeded | u64::from(GTF_READING));
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
        let report = table.revoke_range(0..u32::MAX);
        assert_eq!(report, Revoked { revoked: 2, in_use: 0, changed: 2 });
        assert_eq!(word(&table, 1537), theirs);
        assert_eq!(table.seeded, 0);
        assert_eq!(table.revoke_range(0..u32::MAX), Revoked::default());
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
        guest_writes(&earlier, 2001, word(&earlier, 2001) | u64::from(GTF_READING));
        let writable = GrantEntry { flags: 1, domid: STUB, frame: 9 }.to_word();
        guest_writes(&earlier, 2002, writable);
        let mut table = Table::new(earlier.memory, 3, 2);
        assert_eq!(table.adopt(1900..2560, STUB), 2);
        assert_eq!(table.adopt(1900..2560, STUB), 0);
        let report = table.revoke_range(0..u32::MAX);
        assert_eq!(report, Revoked { revoked: 1, in_use: 1, changed: 0 });
        assert_eq!(word(&table, 2002), writable);
        assert_ne!(word(&table, 1536), 0);
    }
}

//! A guest's grant table, seen from Dom0: seeding read-only grants for a stub domain at its top,
//! and taking them back.
//!
//! The guest shares this memory and may write it at any time; Xen does too. So each entry is one
//! atomic 64-bit word, every value read is an allegation, and an entry is changed only by
//! compare-and-swap from exactly what we expect there. A guest that spoils entries spoils its own
//! snapshot: it is detected, reported, and never overwritten.

mod entry;
mod table;

use std::ops::Range;

pub use entry::GrantEntry;
use table::Table;

use crate::abi::xen::{
    GNTST_BAD_DOMAIN, GNTTABOP_GET_VERSION, GNTTABOP_QUERY_SIZE, GnttabGetVersion, GnttabQuerySize,
    HYPERVISOR_GRANT_TABLE_OP, XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
};
use crate::device::Mapping;
use crate::{DomId, Error, Hypervisor, PAGE_SIZE};

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
    /// Still mapped or being copied by their reader; they stay seeded and ours (unless by force).
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
        self.table.revoke_range(references, false)
    }

    /// Takes back all seeded entries.
    pub fn revoke_all(&mut self) -> Revoked {
        self.table.revoke_range(self.references(), false)
    }

    /// Takes back all seeded entries, also those in use, which it reports as such: for the end of
    /// a snapshot, when the reader hangs, or the guest pretends that it reads. No new use is
    /// possible then; a page that the reader has mapped stays mapped until it unmaps it.
    pub fn revoke_all_by_force(&mut self) -> Revoked {
        self.table.revoke_range(self.references(), true)
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

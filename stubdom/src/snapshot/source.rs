//! The guest's pages: by grants of the window, or out of a view that was made ahead.
//!
//! A page is copied out of the guest once; everything else (is it zero, its checksum, its coding,
//! its sending) is done on the copy, which no one else can change.
//!
//! Copies for most, as to map a grant and unmap it again costs twice as much as `GNTTABOP_copy` of
//! the page. Mappings for what the last round will read: they are made while the guest still runs,
//! and a page is then read at the speed of memory while it stands still.

use alloc::vec::Vec;

use xen::grant::{Copier, Gref, View};
use xen::page::{Page, PagePool, PoolPage};
use xen::{DomId, GrantStatus};

use handoff::{Failure, MAX_COPY_BATCH};

/// Copies pages of one guest.
pub(super) struct Source {
    guest: DomId,
    copier: Copier,
    statuses: Vec<GrantStatus>,
    prepared: Option<Prepared>,
    /// Microseconds spent copying.
    pub(super) micros: u64,
}

/// Pages that are mapped: `slots`, ascending, and their places in the view.
struct Prepared {
    slots: Vec<(u32, u32)>,
    view: View,
}

impl Source {
    /// Sets memory aside for copying `batch` pages by one hypercall.
    pub(super) fn new(guest: DomId, batch: usize) -> Result<Self, Failure> {
        let mut statuses = Vec::new();
        let batch = batch.clamp(1, MAX_COPY_BATCH.into());
        statuses.try_reserve_exact(batch).map_err(|_| Failure::NoMemory)?;
        statuses.resize(batch, GrantStatus::GeneralError);
        Ok(Self { guest, copier: Copier::new(), statuses, prepared: None, micros: 0 })
    }

    /// Copies each slot's page, by its grant, into a page of ours.
    pub(super) fn copy(&mut self, from: &[(u32, Gref)], into: &mut [PoolPage]) -> Result<(), Failure> {
        let began = xen::time::now();
        let batch = self.statuses.len();
        for (from, into) in from.chunks(batch).zip(into.chunks_mut(batch)) {
            let count = from.len().min(into.len());
            let statuses = self.statuses.get_mut(..count).unwrap_or_default();
            let pairs = from.iter().zip(into.iter_mut()).map(|((_, gref), page)| (*gref, &mut **page));
            let copied = self.copier.copy_from(self.guest, pairs, statuses);
            copied.map_err(|_| Failure::Copy { slot: u32::MAX, status: 0 })?;
            let bad = from.iter().zip(statuses.iter()).find(|(_, status)| **status != GrantStatus::Okay);
            if let Some(((slot, _), status)) = bad {
                return Err(Failure::Copy { slot: *slot, status: *status as i16 });
            }
        }
        self.micros += began.elapsed().as_micros() as u64;
        Ok(())
    }

    /// Makes room for so many mapped pages. `false`: there is none, and nothing is to be prepared.
    pub(super) fn begin_view(&mut self, pages: usize) -> bool {
        let mut slots = Vec::new();
        self.prepared = match (slots.try_reserve_exact(pages), View::new(self.guest, pages)) {
            (Ok(()), Some(view)) => Some(Prepared { slots, view }),
            _ => None,
        };
        self.prepared.is_some()
    }

    /// Maps these slots' pages, by grants that follow each other from `first`.
    pub(super) fn map(&mut self, slots: &[u32], first: Gref) {
        let Some(Prepared { slots: known, view }) = &mut self.prepared else { return };
        let at = view.len() as u32;
        view.map(first, slots.len());
        // As many as there is room for, as in the view.
        let room = known.capacity() - known.len();
        known.extend(slots.iter().copied().zip(at..).take(room));
    }

    /// All is mapped: now slots can be found.
    pub(super) fn end_view(&mut self) {
        if let Some(prepared) = &mut self.prepared {
            prepared.slots.sort_unstable();
        }
    }

    /// Whether a slot's page is in the view, mapped or refused.
    pub(super) fn is_prepared(&self, slot: u32) -> bool {
        let Some(prepared) = &self.prepared else { return false };
        prepared.slots.binary_search_by_key(&slot, |(slot, _)| *slot).is_ok()
    }

    /// Reads a slot's page out of the view. `false`: it is not there.
    pub(super) fn read(&self, slot: u32, into: &mut Page) -> bool {
        let Some(prepared) = &self.prepared else { return false };
        let found = prepared.slots.binary_search_by_key(&slot, |(slot, _)| *slot);
        let place = found.ok().and_then(|i| prepared.slots.get(i));
        place.is_some_and(|(_, place)| prepared.view.read(*place as usize, into))
    }

    /// Unmaps everything.
    pub(super) fn end(&mut self) {
        self.prepared = None;
    }

    /// Hypercalls so far that copied pages.
    pub(super) fn hypercalls(&self) -> u64 {
        self.copier.counters().0
    }
}

/// Takes pages from the pool. `None`: it has too few; those taken go back.
pub(super) fn take(pool: &'static PagePool, count: usize) -> Option<Vec<PoolPage>> {
    let mut pages = Vec::new();
    pages.try_reserve_exact(count).ok()?;
    while pages.len() < count {
        pages.push(pool.take()?);
    }
    Some(pages)
}

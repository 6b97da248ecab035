//! The sender's memory of what it sent last for a slot.
//!
//! Pre-copy comes to the dirty pages in ascending order, round after round. Whatever replaces the
//! oldest page first (FIFO, LRU) has thrown each page away just before it comes again, unless all
//! fit. So a page that is here stays as long as it is of use, as in QEMU's XBZRLE cache
//! (`migration/page_cache.c`: an entry is protected for two rounds after its last use), and:
//! a page that was sent again takes the place of one that was sent only once.
//!
//! Slots share sets of four places. The part of RAM that a guest writes to all the time is often
//! in one piece: then no two of its pages share a place until all are in use.

use alloc::vec::Vec;

use super::config::{NoMemory, PageMemory, take, zeroes};
use super::{Class, Page};

const WAYS: usize = 4;

/// Rounds for which a page is protected after it was sent.
const LIFETIME: u32 = 2;

/// A place of the store.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The slot, plus one; 0: free.
    slot: u32,
    /// The round in which it was sent last.
    round: u32,
    /// It was sent more than once.
    again: bool,
}

pub(super) struct Store<P> {
    places: Vec<Place>,
    pages: Vec<P>,
    round: u32,
    /// Broken on purpose: bases stay as they were first.
    #[cfg(test)]
    pub(super) stale: bool,
}

impl<P: PageMemory> Store<P> {
    pub(super) const fn heap_bytes(pages: u32) -> usize {
        pages as usize * size_of::<Place>()
    }

    pub(super) fn new(pages: u32, from: impl FnMut() -> Option<P>) -> Result<Self, NoMemory> {
        let pages = pages as usize;
        Ok(Self {
            places: zeroes(pages)?,
            pages: take(pages, from)?,
            round: 0,
            #[cfg(test)]
            stale: false,
        })
    }

    pub(super) fn reset(&mut self) {
        self.places.fill(Place::default());
    }

    pub(super) fn next_round(&mut self) {
        self.round = self.round.saturating_add(1);
    }

    /// Where the set of a slot begins, and how many places it has.
    fn set(&self, slot: u32) -> core::ops::Range<usize> {
        let ways = WAYS.min(self.places.len());
        match self.places.len().checked_div(ways) {
            Some(sets @ 1..) => {
                let first = slot as usize % sets * ways;
                first..first + ways
            }
            _ => 0..0,
        }
    }

    fn find(&self, slot: u32) -> Option<usize> {
        self.set(slot).find(|at| self.places.get(*at).is_some_and(|place| place.slot == slot.wrapping_add(1)))
    }

    /// What was sent last for this slot.
    pub(super) fn get(&self, slot: u32) -> Option<&Page> {
        self.pages.get(self.find(slot)?).map(|page| &***page)
    }

    /// Something else than what is here is what was sent last for this slot.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(at) = self.find(slot)
            && let Some(place) = self.places.get_mut(at)
        {
            *place = Place::default();
        }
    }

    /// This was sent for this slot. Keeps it if it was here, or if there is a place that it may have.
    pub(super) fn put(&mut self, slot: u32, page: &Page, class: Class) {
        #[cfg(test)]
        if self.stale && self.find(slot).is_some() {
            return;
        }
        let Some(at) = self.find(slot).or_else(|| self.victim(slot, class)) else { return };
        if let (Some(place), Some(mine)) = (self.places.get_mut(at), self.pages.get_mut(at)) {
            let again = class == Class::Again;
            // Slot numbers end far below this: a page of that number is never found again.
            *place = Place { slot: slot.wrapping_add(1), round: self.round, again };
            mine.copy_from_slice(page);
        }
    }

    /// A place that a slot which has none may take.
    fn victim(&self, slot: u32, class: Class) -> Option<usize> {
        let cost = |place: &Place| match place {
            Place { slot: 0, .. } => Some((0, 0)),
            Place { again: false, .. } if class == Class::Again => Some((1, place.round)),
            Place { round, .. } if self.round.saturating_sub(*round) > LIFETIME => Some((2, *round)),
            _ => None,
        };
        let set = self.set(slot);
        let places = set.clone().zip(self.places.get(set)?);
        places.filter_map(|(at, place)| Some((cost(place)?, at))).min().map(|(_, at)| at)
    }
}

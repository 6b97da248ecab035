//! From the guest's grants into our pages, and from our pages to the shim.
//!
//! A page is copied out of the guest once; everything else (is it zero, its checksum, its
//! sending) is done on the copy, which no one else can change.
//!
//! Copies, not mappings: to map a grant and unmap it again costs twice as much as `GNTTABOP_copy`
//! of the page (in the lab 51,000 and 59,000 cycles against 55,000 to 75,000), needs a place in our
//! address space and an entry of the guest's that stays in use meanwhile. A mapping would win for a
//! page that is read again and again; no policy yet reads one often enough.

use alloc::vec::Vec;

use handoff::{Content, Job, PAGE_ENTRY_LEN, PAGES_PER_MESSAGE, PageEntry, ToShim};
use livesave::{checksum, is_zero};
use xen::grant::{Copier, Gref};
use xen::page::{PagePool, PoolPage};
use xen::{DomId, GrantStatus};

use crate::link::{Link, LinkError};

/// Pages copied by one hypercall. In the lab a page alone costs 70 to 220 µs, in batches of 64 to
/// 512 it costs 16 to 23 µs: more than 128 gains nothing.
pub(crate) const COPY_BATCH: usize = 128;

/// Why pages could not be had.
pub(crate) enum CopyError {
    /// This page's status.
    Page { slot: u32, status: i16 },
    /// The hypercall as a whole.
    Call,
}

/// Copies pages of one guest.
pub(crate) struct Source {
    guest: DomId,
    copier: Copier,
    statuses: Vec<GrantStatus>,
    /// Microseconds spent copying.
    pub(crate) micros: u64,
}

impl Source {
    /// Sets memory aside.
    pub(crate) fn new(guest: DomId) -> Self {
        let statuses = alloc::vec![GrantStatus::GeneralError; COPY_BATCH];
        Self { guest, copier: Copier::new(), statuses, micros: 0 }
    }

    /// Copies each slot's page, by its grant, into a page of ours. At most [`COPY_BATCH`].
    pub(crate) fn copy(&mut self, from: &[(u32, Gref)], into: &mut [PoolPage]) -> Result<(), CopyError> {
        let began = xen::time::now();
        let count = from.len().min(into.len()).min(COPY_BATCH);
        let statuses = self.statuses.get_mut(..count).unwrap_or_default();
        let pairs = from.iter().zip(into.iter_mut()).map(|((_, gref), page)| (*gref, &mut **page));
        let copied = self.copier.copy_from(self.guest, pairs, statuses);
        self.micros += began.elapsed().as_micros() as u64;
        copied.map_err(|_| CopyError::Call)?;
        match from.iter().zip(statuses.iter()).find(|(_, status)| **status != GrantStatus::Okay) {
            Some(((slot, _), status)) => Err(CopyError::Page { slot: *slot, status: *status as i16 }),
            None => Ok(()),
        }
    }

    /// Hypercalls so far.
    pub(crate) fn hypercalls(&self) -> u64 {
        self.copier.counters().0
    }
}

/// Takes pages from the pool. `None`: it has too few; those taken go back.
pub(crate) fn take(pool: &'static PagePool, count: usize) -> Option<Vec<PoolPage>> {
    let mut pages = Vec::new();
    pages.try_reserve_exact(count).ok()?;
    while pages.len() < count {
        pages.push(pool.take()?);
    }
    Some(pages)
}

/// Sends pages, as many messages as it takes. Returns how many were zero.
pub(crate) async fn send(
    link: &Link,
    job: Job,
    pages: impl IntoIterator<Item = (u32, &PoolPage)>,
) -> Result<u32, LinkError> {
    let mut pages = pages.into_iter();
    let mut zeros = 0;
    loop {
        let mut entries = [0; PAGES_PER_MESSAGE * PAGE_ENTRY_LEN];
        let mut count: usize = 0;
        let mut contents: heapless::Vec<&[u8], PAGES_PER_MESSAGE> = heapless::Vec::new();
        for ((slot, page), entry) in pages.by_ref().take(PAGES_PER_MESSAGE).zip(entries.as_chunks_mut().0) {
            let zero = is_zero(&page.0);
            let content = if zero { Content::Zero } else { Content::Raw };
            let checksum = if zero { 0 } else { checksum(&page.0) };
            *entry = PageEntry { slot, content, checksum }.emit();
            count += 1;
            match zero {
                true => zeros += 1,
                // As many places as pages are taken.
                false => drop(contents.push(&page.0)),
            }
        }
        if count == 0 {
            return Ok(zeros);
        }
        let mut bulk: heapless::Vec<&[u8], { PAGES_PER_MESSAGE + 1 }> = heapless::Vec::new();
        let _ = bulk.push(entries.get(..count * PAGE_ENTRY_LEN).unwrap_or_default());
        let _ = bulk.extend_from_slice(&contents);
        link.send(&ToShim::Pages { job, count: count as u16 }, &bulk).await?;
    }
}

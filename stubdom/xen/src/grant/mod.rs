//! Grants: ours to others ([`grant`], [`GrantedPage`]), copying by those of others to us
//! ([`Copier`] whole pages, [`Relay`] pieces), mapping them where both sides write: rings
//! ([`MappedPage`]), and pages that stay granted for data ([`OutPage`], [`InPage`]).
//!
//! A frame that another domain may still be using is never used for anything else: ending a
//! grant fails while Xen has the entry marked as in use, and the frame and its entry are then
//! kept, or lost, but not reused.

mod buffer;
mod copy;
mod map;
mod relay;
mod table;
mod view;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;
use xen_sys::DomId;
use xen_sys::grant_table::GrantEntryV1;

pub use buffer::{InPage, OutPage};
pub use copy::{Batch, Copier, MAX_BATCH};
pub use map::{MapError, MappedPage, set_window};
pub use relay::{Batch as RelayBatch, Full, Relay, Remote};
use table::Table;
pub use view::View;
pub use xen_sys::unpaged::allow as allow_unpaged;

use crate::page::PoolPage;

/// A grant reference: the index of an entry of some domain's grant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gref(pub u32);

/// What a grant permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read the frame.
    ReadOnly,
    /// To read and write the frame.
    ReadWrite,
}

/// Why nothing was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// No entry is free.
    TableFull,
    /// The frame number does not fit into an entry of version 1 (memory beyond 16 TiB).
    FrameTooHigh,
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GrantError::TableFull => "our grant table is full",
            GrantError::FrameTooHigh => "a frame above 16 TiB cannot be granted",
        })
    }
}

impl core::error::Error for GrantError {}

/// The other domain has the frame mapped, or copies from or to it, right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other domain still uses the granted page")
    }
}

impl core::error::Error for InUse {}

static TABLE: Mutex<Table> = Mutex::new(Table::empty());
static LEAKED: AtomicU64 = AtomicU64::new(0);

/// Takes over the table's memory. Part of [`crate::init()`].
///
/// # Safety
/// `entries` are `count` entries of our grant table, mapped for good, and nobody else writes to
/// those above the reserved ones.
pub(crate) unsafe fn adopt(entries: *mut GrantEntryV1, count: usize) {
    // SAFETY: the caller's.
    unsafe { TABLE.lock().adopt(entries, count) };
}

/// Grants `dom` access to `frame` of ours.
///
/// # Errors
/// See [`GrantError`].
///
/// # Safety
/// Until [`end`] has succeeded, the frame is used for nothing that must not be read (or, with
/// [`Access::ReadWrite`], changed at any time) by `dom`, and is touched through raw pointers only.
pub unsafe fn grant(dom: DomId, frame: u64, access: Access) -> Result<Gref, GrantError> {
    TABLE.lock().grant(dom, frame, access)
}

/// Takes back a grant of ours.
///
/// # Errors
/// [`InUse`]: nothing was changed; try again when the other side has let go.
pub fn end(gref: Gref) -> Result<(), InUse> {
    TABLE.lock().end(gref)
}

/// Changes the flags of a grant of ours, even while it is in use. The entry is never given out
/// again once they were 0.
///
/// # Safety
/// The frame stays the other domain's to use, whatever the flags say.
#[cfg(feature = "hostile")]
pub(crate) unsafe fn set_flags(gref: Gref, flags: u16) {
    TABLE.lock().set_flags(gref, flags);
}

/// Entries of our table that are free.
pub fn free_entries() -> u32 {
    TABLE.lock().free()
}

/// Pages lost because the other side still used them when their owner was dropped.
pub fn leaked_pages() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// A page of a pool that another domain may access. While it is granted there is only a raw
/// pointer to it.
pub struct GrantedPage {
    /// `None` only while it is taken apart.
    page: Option<PoolPage>,
    gref: Gref,
}

impl GrantedPage {
    /// Grants `dom` access to the page.
    ///
    /// # Errors
    /// See [`GrantError`]; the page goes back to its pool.
    pub fn new(page: PoolPage, dom: DomId, access: Access) -> Result<GrantedPage, GrantError> {
        // SAFETY: `page` is owned here until `end` succeeds and no reference to it is given out.
        let gref = unsafe { grant(dom, page.frame(), access) }?;
        let page = Some(page);
        Ok(GrantedPage { page, gref })
    }

    /// The reference, for the other domain.
    pub fn gref(&self) -> Gref {
        self.gref
    }

    /// The page's first byte. The other domain reads, and may write, at any time.
    pub fn as_ptr(&self) -> *mut u8 {
        (self.page.as_ref()).map_or(core::ptr::null_mut(), |page| page.as_ptr())
    }

    /// Ends access and gives the page back.
    ///
    /// # Errors
    /// The page, still granted, if the other domain uses it.
    pub fn end(mut self) -> Result<PoolPage, GrantedPage> {
        if end(self.gref).is_err() {
            return Err(self);
        }
        match self.page.take() {
            Some(page) => Ok(page),
            None => Err(self),
        }
    }
}

impl Drop for GrantedPage {
    fn drop(&mut self) {
        if let Some(page) = self.page.take()
            && end(self.gref).is_err()
        {
            LEAKED.fetch_add(1, Ordering::Relaxed);
            core::mem::forget(page);
        }
    }
}

//! Grants: ours to others ([`grant`], [`GrantedPage`]) and copying by those of others to us
//! ([`Copier`]).
//!
//! A frame that another domain may still be using is never used for anything else: ending a
//! grant fails while Xen has the entry marked as in use, and the frame and its entry are then
//! kept, or lost, but not reused.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use spin::Mutex;
use xen_sys::errno::Errno;
use xen_sys::grant_table as sys;
use xen_sys::grant_table::{GnttabCopy, GnttabCopyPtr, GrantEntryV1, GrantStatus};
use xen_sys::{DOMID_SELF, DomId, PAGE_SIZE};

use crate::page::{Page, PoolPage};

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

const MAX_ENTRIES: usize = crate::init::GRANT_FRAMES * sys::ENTRIES_PER_FRAME;

/// Our table: the entries, and which of them are free.
struct Table {
    entries: *mut GrantEntryV1,
    /// Entries that were never used start here.
    fresh: u32,
    count: u32,
    /// Entries that came back, linked through `next`; 0 ends the list (entry 0 is reserved).
    returned: u16,
    next: [u16; MAX_ENTRIES],
    free: u32,
}

// SAFETY: the entries are memory of ours that only this table writes to, under its lock.
unsafe impl Send for Table {}

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

impl Table {
    const fn empty() -> Table {
        Table {
            entries: core::ptr::null_mut(),
            fresh: 0,
            count: 0,
            returned: 0,
            next: [0; MAX_ENTRIES],
            free: 0,
        }
    }

    /// # Safety
    /// As [`adopt`].
    unsafe fn adopt(&mut self, entries: *mut GrantEntryV1, count: usize) {
        self.entries = entries;
        self.count = count.min(MAX_ENTRIES) as u32;
        self.fresh = sys::RESERVED_ENTRIES.min(self.count);
        self.returned = 0;
        self.free = self.count - self.fresh;
    }

    fn grant(&mut self, dom: DomId, frame: u64, access: Access) -> Result<Gref, GrantError> {
        let frame = u32::try_from(frame).map_err(|_| GrantError::FrameTooHigh)?;
        let index = match self.returned {
            0 if self.fresh < self.count => {
                self.fresh += 1;
                self.fresh - 1
            }
            0 => return Err(GrantError::TableFull),
            head => {
                self.returned = self.next[head as usize];
                u32::from(head)
            }
        };
        self.free -= 1;
        let flags = match access {
            Access::ReadWrite => sys::GTF_PERMIT_ACCESS,
            Access::ReadOnly => sys::GTF_PERMIT_ACCESS | sys::GTF_READONLY,
        };
        // SAFETY: the index is within the table. Xen reads the entry at any time, so the flags,
        // which make it valid, come last.
        unsafe {
            let entry = self.entries.add(index as usize);
            (&raw mut (*entry).domid).write_volatile(dom);
            (&raw mut (*entry).frame).write_volatile(frame);
            AtomicU16::from_ptr(&raw mut (*entry).flags).store(flags, Ordering::Release);
        }
        Ok(Gref(index))
    }

    fn end(&mut self, gref: Gref) -> Result<(), InUse> {
        if gref.0 < sys::RESERVED_ENTRIES || gref.0 >= self.fresh {
            // Not one of ours: nothing to end.
            return Ok(());
        }
        // SAFETY: the index is within the table; Xen changes the flags atomically too.
        let flags = unsafe {
            let entry = self.entries.add(gref.0 as usize);
            AtomicU16::from_ptr(&raw mut (*entry).flags)
        };
        let mut seen = flags.load(Ordering::Relaxed);
        loop {
            if seen & (sys::GTF_READING | sys::GTF_WRITING) != 0 {
                return Err(InUse);
            }
            if seen == 0 {
                // Ended before.
                return Ok(());
            }
            match flags.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.next[gref.0 as usize] = self.returned;
        self.returned = gref.0 as u16;
        self.free += 1;
        Ok(())
    }
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

/// Entries of our table that are free.
pub fn free_entries() -> u32 {
    TABLE.lock().free
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

/// The most pages that one hypercall copies here.
pub const MAX_BATCH: usize = 512;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Pages copied.
    pub copied: usize,
    /// Pages not copied; the statuses say why.
    pub failed: usize,
}

/// Copies whole pages from another domain by its grants, many with one hypercall. Has the
/// memory for the largest batch; nothing is allocated later.
pub struct Copier {
    ops: Box<[GnttabCopy]>,
    hypercalls: u64,
    pages: u64,
    failed: u64,
}

impl Default for Copier {
    fn default() -> Self {
        Copier::new()
    }
}

impl Copier {
    /// Sets memory aside: 20 KiB.
    pub fn new() -> Copier {
        let end = GnttabCopyPtr { ref_or_frame: 0, domid: DOMID_SELF, offset: 0 };
        let op = GnttabCopy {
            source: end,
            dest: end,
            len: PAGE_SIZE as u16,
            flags: sys::GNTCOPY_SOURCE_GREF,
            status: GrantStatus::GeneralError as i16,
        };
        Copier { ops: vec![op; MAX_BATCH].into_boxed_slice(), hypercalls: 0, pages: 0, failed: 0 }
    }

    /// Copies each page that `dom` granted us into a page of ours, with one hypercall.
    ///
    /// Takes as many pairs as `statuses` has room for, at most [`MAX_BATCH`], and writes the
    /// status of each to the same place in `statuses`. A page whose status is not `Okay` holds
    /// anything.
    ///
    /// # Errors
    /// Xen refused the call as a whole; no status is of use then.
    pub fn copy_from<'a>(
        &mut self,
        dom: DomId,
        pages: impl IntoIterator<Item = (Gref, &'a mut Page)>,
        statuses: &mut [GrantStatus],
    ) -> Result<Batch, Errno> {
        let limit = statuses.len().min(MAX_BATCH);
        let mut count = 0;
        for ((gref, page), op) in pages.into_iter().zip(&mut self.ops[..limit]) {
            op.source.ref_or_frame = gref.0.into();
            op.source.domid = dom;
            op.dest.ref_or_frame = page.frame();
            op.status = GrantStatus::GeneralError as i16;
            count += 1;
        }
        let ops = &mut self.ops[..count];
        if ops.is_empty() {
            return Ok(Batch::default());
        }
        self.hypercalls += 1;
        // SAFETY: every destination is a page that the caller lent us for `'a`, which is longer
        // than the call.
        unsafe { sys::copy(ops) }?;
        let mut batch = Batch::default();
        for (op, status) in ops.iter().zip(statuses) {
            *status = GrantStatus::from_raw(op.status);
            match *status {
                GrantStatus::Okay => batch.copied += 1,
                _ => batch.failed += 1,
            }
        }
        self.pages += batch.copied as u64;
        self.failed += batch.failed as u64;
        Ok(batch)
    }

    /// Hypercalls made, pages copied and pages not copied, since it was made.
    pub fn counters(&self) -> (u64, u64, u64) {
        (self.hypercalls, self.pages, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: GrantEntryV1 = GrantEntryV1 { flags: 0, domid: 0, frame: 0 };

    fn table(entries: &mut [GrantEntryV1]) -> Table {
        let mut table = Table::empty();
        // SAFETY: nothing but this table and Xen's part below touches the entries.
        unsafe { table.adopt(entries.as_mut_ptr(), entries.len()) };
        table
    }

    #[test]
    fn the_toolstack_s_entries_are_left_alone() {
        let mut entries = [FREE; 16];
        let mut table = table(&mut entries);
        let gref = table.grant(3, 0x1234, Access::ReadOnly).unwrap();
        assert_eq!(gref, Gref(8));
        assert_eq!(entries[8].flags, sys::GTF_PERMIT_ACCESS | sys::GTF_READONLY);
        assert_eq!((entries[8].domid, entries[8].frame), (3, 0x1234));
    }

    #[test]
    fn the_table_fills_up_and_entries_come_back() {
        let mut entries = [FREE; 10];
        let mut table = table(&mut entries);
        let a = table.grant(0, 1, Access::ReadWrite).unwrap();
        let b = table.grant(0, 2, Access::ReadWrite).unwrap();
        assert_eq!(table.grant(0, 3, Access::ReadWrite), Err(GrantError::TableFull));
        table.end(a).unwrap();
        table.end(b).unwrap();
        assert_eq!(table.free, 2);
        assert_eq!(table.grant(0, 4, Access::ReadWrite), Ok(b));
        assert_eq!(table.grant(0, 5, Access::ReadWrite), Ok(a));
    }

    #[test]
    fn a_grant_that_is_in_use_does_not_end() {
        let mut entries = [FREE; 10];
        let mut table = table(&mut entries);
        let gref = table.grant(0, 1, Access::ReadWrite).unwrap();
        entries[8].flags |= sys::GTF_WRITING | sys::GTF_READING;
        assert_eq!(table.end(gref), Err(InUse));
        assert_eq!(table.free, 1);
        entries[8].flags &= !(sys::GTF_WRITING | sys::GTF_READING);
        assert_eq!(table.end(gref), Ok(()));
        assert_eq!(entries[8].flags, 0);
    }

    #[test]
    fn ending_twice_or_ending_what_is_not_ours_changes_nothing() {
        let mut entries = [FREE; 10];
        let mut table = table(&mut entries);
        let gref = table.grant(0, 1, Access::ReadWrite).unwrap();
        table.end(gref).unwrap();
        table.end(gref).unwrap();
        table.end(Gref(0)).unwrap();
        table.end(Gref(u32::MAX)).unwrap();
        assert_eq!(table.free, 2);
    }

    #[test]
    fn without_xen_a_batch_is_refused_as_a_whole() {
        let mut page = Page([0; PAGE_SIZE]);
        let mut statuses = [GrantStatus::Okay; 1];
        let mut copier = Copier::new();
        let result = copier.copy_from(1, [(Gref(8), &mut page)], &mut statuses);
        assert_eq!(result, Err(Errno::ENOSYS));
        assert_eq!(copier.copy_from(1, [], &mut statuses), Ok(Batch::default()));
    }
}

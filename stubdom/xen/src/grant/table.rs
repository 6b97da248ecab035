//! Our own grant table, version 1: giving out entries and taking them back.

use core::sync::atomic::{AtomicU16, Ordering};

use xen_sys::DomId;
use xen_sys::grant_table as sys;
use xen_sys::grant_table::GrantEntryV1;

use super::{Access, GrantError, Gref, InUse};

const MAX_ENTRIES: usize = crate::init::GRANT_FRAMES * sys::ENTRIES_PER_FRAME;

/// The entries, and which of them are free.
pub(super) struct Table {
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

impl Table {
    pub(super) const fn empty() -> Table {
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
    /// As [`super::adopt`].
    pub(super) unsafe fn adopt(&mut self, entries: *mut GrantEntryV1, count: usize) {
        self.entries = entries;
        self.count = count.min(MAX_ENTRIES) as u32;
        self.fresh = sys::RESERVED_ENTRIES.min(self.count);
        self.returned = 0;
        self.free = self.count - self.fresh;
    }

    pub(super) fn grant(&mut self, dom: DomId, frame: u64, access: Access) -> Result<Gref, GrantError> {
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

    pub(super) fn end(&mut self, gref: Gref) -> Result<(), InUse> {
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

    #[cfg(feature = "hostile")]
    pub(super) fn set_flags(&mut self, gref: Gref, flags: u16) {
        if (sys::RESERVED_ENTRIES..self.fresh).contains(&gref.0) {
            // SAFETY: the index is within the table; Xen changes the flags atomically too.
            unsafe {
                let entry = self.entries.add(gref.0 as usize);
                AtomicU16::from_ptr(&raw mut (*entry).flags).store(flags, Ordering::Release);
            }
        }
    }

    /// Entries that can be taken.
    pub(super) fn free(&self) -> u32 {
        self.free
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
}

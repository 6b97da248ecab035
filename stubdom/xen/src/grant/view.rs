//! Pages of another domain that are read soon and in a hurry: mapped ahead, read-only, many with one
//! hypercall, and read by a plain copy.
//!
//! To map a page and unmap it again costs twice as much as to copy it once by its grant, so this is
//! for the pages that must be read while the other domain stands still and waits.
//!
//! A mapping shows the frame that stood behind the grant when it was mapped. Pages are copied out
//! whole, once; nothing here lends a reference to memory that others write to.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr;

use spin::Mutex;
use xen_sys::grant_table::{self as sys, GnttabMap, GnttabUnmap, GrantStatus};
use xen_sys::{DomId, PAGE_SHIFT, PAGE_SIZE};

use super::Gref;
use crate::page::Page;

/// Views at a time.
const BAYS: u64 = 8;

/// Pages mapped or unmapped by one hypercall.
const BATCH: usize = 128;

/// A mapping that is not there.
const NONE: u32 = u32::MAX;

/// Our address space for views: equal parts.
struct Bays {
    start: u64,
    /// Pages of each.
    pages: u64,
    /// A bit for each that is in use, or lost because something may still be mapped there.
    taken: u8,
}

static BAYS_OF_US: Mutex<Bays> = Mutex::new(Bays { start: 0, pages: 0, taken: 0 });

/// Says where views can be: as for [`super::set_window`], which calls this.
pub(super) fn set_window(start: u64, pages: u64) {
    *BAYS_OF_US.lock() = Bays { start, pages: pages / BAYS, taken: 0 };
}

/// Mapped pages of one domain. Unmapped when dropped.
pub struct View {
    bay: u64,
    start: u64,
    dom: DomId,
    /// What Xen calls each mapping; [`NONE`] for those that it refused.
    handles: Vec<u32>,
    map: Box<[GnttabMap]>,
    unmap: Box<[GnttabUnmap]>,
}

impl View {
    /// Room for so many pages of `dom`, none mapped yet. `None`: there is no memory or no address
    /// space for it.
    pub fn new(dom: DomId, pages: usize) -> Option<View> {
        let mut handles = Vec::new();
        handles.try_reserve_exact(pages).ok()?;
        let (mut map, mut unmap) = (Vec::new(), Vec::new());
        map.try_reserve_exact(BATCH).ok()?;
        unmap.try_reserve_exact(BATCH).ok()?;
        let status = GrantStatus::GeneralError as i16;
        let flags = sys::GNTMAP_HOST_MAP | sys::GNTMAP_READONLY;
        map.resize(
            BATCH,
            GnttabMap { host_addr: 0, flags, gref: 0, dom, status, handle: NONE, dev_bus_addr: 0 },
        );
        unmap.resize(BATCH, GnttabUnmap { host_addr: 0, dev_bus_addr: 0, handle: NONE, status });
        let mut bays = BAYS_OF_US.lock();
        let bay = u64::from(bays.taken.trailing_ones());
        if bay >= BAYS || pages as u64 > bays.pages {
            return None;
        }
        bays.taken |= 1 << bay;
        let start = bays.start + ((bay * bays.pages) << PAGE_SHIFT);
        Some(View { bay, start, dom, handles, map: map.into_boxed_slice(), unmap: unmap.into_boxed_slice() })
    }

    /// Maps more pages behind those that there are, by grants that follow each other from `first`.
    /// Those that Xen refuses, or that find no room, are not readable; no more is said of them.
    pub fn map(&mut self, first: Gref, count: usize) {
        let mut gref = first.0;
        let mut left = count.min(self.handles.capacity() - self.handles.len());
        while left > 0 {
            let ops = &mut self.map[..left.min(BATCH)];
            let at = self.start + ((self.handles.len() as u64) << PAGE_SHIFT);
            for (op, i) in ops.iter_mut().zip(0u32..) {
                op.host_addr = at + (u64::from(i) << PAGE_SHIFT);
                op.gref = gref.wrapping_add(i);
                op.dom = self.dom;
                op.status = GrantStatus::GeneralError as i16;
            }
            // SAFETY: our part of the window has nothing of ours behind it, and these places of it
            // were never mapped since we have it.
            let called = unsafe { sys::map(ops) };
            for op in &*ops {
                let mapped = called.is_ok() && op.status == GrantStatus::Okay as i16;
                self.handles.push(if mapped { op.handle } else { NONE });
            }
            let done = ops.len();
            left -= done;
            gref = gref.wrapping_add(done as u32);
        }
    }

    /// Pages that were asked for so far, mapped or refused.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether nothing was asked for yet.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Copies the `index`-th page out. `false`: it is not mapped.
    pub fn read(&self, index: usize, into: &mut Page) -> bool {
        if self.handles.get(index).is_none_or(|handle| *handle == NONE) {
            return false;
        }
        let from = (self.start + ((index as u64) << PAGE_SHIFT)) as *const u8;
        // SAFETY: the page is mapped until we are dropped. What the other side writes meanwhile
        // makes the copy mixed, not invalid: any bytes are a page.
        unsafe { ptr::copy_nonoverlapping(from, into.0.as_mut_ptr(), PAGE_SIZE) };
        true
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut clean = true;
        let mut mapped = self.handles.iter().zip(0u64..).filter(|(handle, _)| **handle != NONE);
        loop {
            let mut count = 0;
            for (op, (handle, i)) in self.unmap.iter_mut().zip(&mut mapped) {
                op.host_addr = self.start + (i << PAGE_SHIFT);
                op.handle = *handle;
                op.status = GrantStatus::GeneralError as i16;
                count += 1;
            }
            let ops = &mut self.unmap[..count];
            if ops.is_empty() {
                break;
            }
            // SAFETY: nobody has a reference into the mapped pages.
            let called = unsafe { sys::unmap(ops) };
            clean &= called.is_ok() && ops.iter().all(|op| op.status == GrantStatus::Okay as i16);
        }
        // Else the bay is lost, not used again: something may still be mapped there.
        if clean {
            BAYS_OF_US.lock().taken &= !(1 << self.bay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_view_has_a_part_of_the_window_and_what_xen_refuses_is_not_readable() {
        set_window(1 << 32, 8 * 100);
        let mut views: Vec<View> = core::iter::from_fn(|| View::new(3, 100)).collect();
        assert_eq!(views.len(), 8);
        assert!(views.windows(2).all(|pair| pair[1].start - pair[0].start == 100 << PAGE_SHIFT));
        views.truncate(7);
        assert!(View::new(3, 101).is_none(), "larger than a part");
        let mut view = View::new(3, 10).unwrap();
        // Without Xen, every call is refused.
        view.map(Gref(8), 25);
        assert_eq!(view.len(), 10);
        assert!(!view.read(0, &mut Page([0; PAGE_SIZE])) && !view.read(10, &mut Page([0; PAGE_SIZE])));
    }
}

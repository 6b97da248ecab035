//! Pages and a fixed pool of them.
//!
//! The pool is the stub's bulk memory: page contents on their way from a guest to the shim live
//! here and nowhere else. It never grows; an empty pool is back-pressure, not an error.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use spin::Mutex;
use xen_sys::{PAGE_SHIFT, PAGE_SIZE};

/// A page's bytes, on a page's boundary.
#[repr(C, align(4096))]
pub struct Page(pub [u8; PAGE_SIZE]);

impl Page {
    /// The page's frame number. All our memory is identity-mapped.
    pub fn frame(&self) -> u64 {
        (&raw const self.0) as u64 >> PAGE_SHIFT
    }
}

impl Deref for Page {
    type Target = [u8; PAGE_SIZE];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A free page holds the link to the next one in its first bytes.
struct Free {
    next: Option<NonNull<Free>>,
}

struct State {
    /// Pages that were used and came back: taken first, for they are warm.
    returned: Option<NonNull<Free>>,
    /// Pages from here to `end` were never used.
    fresh: usize,
    end: usize,
    free: usize,
}

// SAFETY: the pointers lead to memory that the pool alone owns.
unsafe impl Send for State {}

/// A pool of pages from one range of RAM. Taking and giving are O(1).
pub struct PagePool {
    state: Mutex<State>,
    total: usize,
}

impl PagePool {
    /// Makes a pool of the whole pages in `start..end` (physical addresses in bytes, which are
    /// also the addresses at which they are mapped).
    ///
    /// # Safety
    /// That range is RAM, mapped writable at those addresses for good, and nothing else uses it
    /// from now on.
    pub unsafe fn new(start: u64, end: u64) -> PagePool {
        let mask = PAGE_SIZE as u64 - 1;
        // Address 0 can't be a page of the pool: a pointer to it would be null.
        let start = start.max(1).saturating_add(mask) & !mask;
        let end = (end & !mask).max(start);
        let total = ((end - start) >> PAGE_SHIFT) as usize;
        PagePool {
            state: Mutex::new(State {
                returned: None,
                fresh: start as usize,
                end: end as usize,
                free: total,
            }),
            total,
        }
    }

    /// Takes a page. Its contents are whatever was there. `None`: the pool is empty.
    pub fn take(&'static self) -> Option<PoolPage> {
        let mut state = self.state.lock();
        let page = match state.returned {
            Some(free) => {
                // SAFETY: a page in the list is the pool's own and holds a link.
                state.returned = unsafe { free.read() }.next;
                free.cast::<Page>()
            }
            None if state.fresh < state.end => {
                let page = NonNull::new(state.fresh as *mut Page)?;
                state.fresh += PAGE_SIZE;
                page
            }
            None => return None,
        };
        state.free -= 1;
        Some(PoolPage { page, pool: self })
    }

    /// Takes a page and fills it with zeroes.
    pub fn take_zeroed(&'static self) -> Option<PoolPage> {
        let mut page = self.take()?;
        page.fill(0);
        Some(page)
    }

    /// Takes `count` pages in a row, zeroed, for good: they never come back. Only pages that were
    /// never used are there for this, so do it early. `None`: not that many are left.
    #[allow(clippy::mut_from_ref, reason = "each page is handed out once, as an allocator does")]
    pub fn take_contiguous(&'static self, count: usize) -> Option<&'static mut [Page]> {
        let bytes = count.checked_mul(PAGE_SIZE)?;
        let mut state = self.state.lock();
        if state.end - state.fresh < bytes {
            return None;
        }
        state.end -= bytes;
        state.free -= count;
        let first = state.end as *mut Page;
        drop(state);
        // SAFETY: those pages are the pool's own, and it has just forgotten them.
        unsafe {
            first.write_bytes(0, count);
            Some(core::slice::from_raw_parts_mut(first, count))
        }
    }

    /// Pages that can be taken now.
    pub fn free(&self) -> usize {
        self.state.lock().free
    }

    /// Pages that it was made of.
    pub fn total(&self) -> usize {
        self.total
    }

    fn give(&self, page: NonNull<Page>) {
        let mut state = self.state.lock();
        let free = page.cast::<Free>();
        let next = state.returned;
        // SAFETY: the page came from this pool and its handle is gone.
        unsafe { free.write(Free { next }) };
        state.returned = Some(free);
        state.free += 1;
    }
}

/// A page of a pool, owned. Goes back when dropped.
pub struct PoolPage {
    page: NonNull<Page>,
    pool: &'static PagePool,
}

// SAFETY: the handle is the page's only owner, and the pool is shared under a lock.
unsafe impl Send for PoolPage {}

impl PoolPage {
    /// The page's first byte, for memory that is shared with another domain.
    pub fn as_ptr(&self) -> *mut u8 {
        self.page.as_ptr().cast()
    }
}

impl Deref for PoolPage {
    type Target = Page;
    fn deref(&self) -> &Page {
        // SAFETY: the handle owns the page.
        unsafe { self.page.as_ref() }
    }
}

impl DerefMut for PoolPage {
    fn deref_mut(&mut self) -> &mut Page {
        // SAFETY: the handle owns the page.
        unsafe { self.page.as_mut() }
    }
}

impl Drop for PoolPage {
    fn drop(&mut self) {
        self.pool.give(self.page);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    /// A pool of `pages` on the heap, for good.
    pub(crate) fn pool(pages: usize) -> &'static PagePool {
        let memory: Vec<Page> = (0..pages).map(|_| Page([0xa5; PAGE_SIZE])).collect();
        let range = Vec::leak(memory).as_mut_ptr_range();
        // SAFETY: leaked memory is ours for good.
        let pool = unsafe { PagePool::new(range.start as u64, range.end as u64) };
        Box::leak(Box::new(pool))
    }

    #[test]
    fn a_page_comes_back_when_its_handle_is_dropped() {
        let pool = pool(2);
        let a = pool.take().unwrap();
        let b = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert_eq!(pool.free(), 0);
        let frame = a.frame();
        drop(a);
        assert_eq!(pool.free(), 1);
        assert_eq!(pool.take().unwrap().frame(), frame);
        drop(b);
        assert_eq!(pool.free(), pool.total());
    }

    #[test]
    fn pages_are_distinct_and_keep_what_is_written() {
        let pool = pool(8);
        let mut pages: Vec<PoolPage> = (0..8).map(|_| pool.take().unwrap()).collect();
        for (i, page) in pages.iter_mut().enumerate() {
            page.fill(i as u8);
        }
        for (i, page) in pages.iter().enumerate() {
            assert!(page.iter().all(|&byte| byte == i as u8));
            assert_eq!(page.as_ptr() as usize % PAGE_SIZE, 0);
        }
    }

    #[test]
    fn a_row_of_pages_is_zeroed_and_never_handed_out_again() {
        let pool = pool(8);
        let row = pool.take_contiguous(5).unwrap();
        assert!(row.iter().all(|page| page.iter().all(|&byte| byte == 0)));
        let range = row.as_ptr_range();
        assert!(pool.take_contiguous(4).is_none());
        let rest: Vec<PoolPage> = core::iter::from_fn(|| pool.take()).collect();
        assert_eq!(rest.len(), 3);
        assert!(rest.iter().all(|page| !range.contains(&(page.as_ptr() as *const Page))));
    }

    #[test]
    fn partial_pages_at_the_ends_are_left_out() {
        // SAFETY: nothing is taken from it.
        let pool = unsafe { PagePool::new(0x1001, 0x3fff) };
        assert_eq!(pool.total(), 1);
        // SAFETY: nothing is taken from it.
        let empty = unsafe { PagePool::new(0x3000, 0x1000) };
        assert_eq!(empty.total(), 0);
    }
}

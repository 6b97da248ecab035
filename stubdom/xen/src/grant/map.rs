//! Mapping single pages that others granted us: the rings of their devices. A mapping lets the
//! other side change what we read at any time.

use core::fmt;

use spin::Mutex;
use xen_sys::errno::Errno;
use xen_sys::grant_table::{self as sys, GnttabMap, GnttabUnmap, GrantStatus};
use xen_sys::{DomId, PAGE_SHIFT};

use super::Gref;

/// Pages that can be mapped at a time.
pub(super) const PAGES: u64 = 256;

/// Why a page was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// All places are taken.
    NoRoom,
    /// Xen refused the call.
    Xen(Errno),
    /// Xen refused this grant: it is not one, not for us, or not for a page of RAM.
    Refused(GrantStatus),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::NoRoom => write!(f, "all {PAGES} places for mapped pages are taken"),
            MapError::Xen(errno) => write!(f, "Xen refused to map a grant: {errno}"),
            MapError::Refused(status) => write!(f, "the grant can't be mapped: {status}"),
        }
    }
}

impl core::error::Error for MapError {}

/// Where pages are mapped: a part of our address space without RAM, and which places are taken.
struct Window {
    start: u64,
    pages: u64,
    taken: [u64; (PAGES / 64) as usize],
}

static WINDOW: Mutex<Window> = Mutex::new(Window { start: 0, pages: 0, taken: [0; 4] });

impl Window {
    fn take(&mut self) -> Option<u64> {
        for (word, first) in self.taken.iter_mut().zip((0u64..).step_by(64)) {
            let bit = word.trailing_ones();
            if bit < 64 && first + u64::from(bit) < self.pages {
                *word |= 1 << bit;
                return Some(self.start + ((first + u64::from(bit)) << PAGE_SHIFT));
            }
        }
        None
    }

    fn give_back(&mut self, address: u64) {
        let index = (address - self.start) >> PAGE_SHIFT;
        if let Some(word) = self.taken.get_mut((index / 64) as usize) {
            *word &= !(1 << (index % 64));
        }
    }
}

/// Says where pages can be mapped.
///
/// # Safety
/// `start..end` is page-aligned, mapped writable one to one in our page tables, has no RAM behind
/// it, and is used for nothing else. Called once.
pub unsafe fn set_window(start: u64, end: u64) {
    let mut window = WINDOW.lock();
    window.start = start;
    let pages = end.saturating_sub(start) >> PAGE_SHIFT;
    window.pages = pages.min(PAGES);
    super::view::set_window(start + (window.pages << PAGE_SHIFT), pages - window.pages);
}

/// A page of another domain, mapped by its grant. Unmapped when dropped. The other side reads and
/// writes it at any time, so there is only a raw pointer to it.
#[derive(Debug)]
pub struct MappedPage {
    address: u64,
    handle: u32,
}

impl MappedPage {
    /// Maps a page that `dom` granted us writable.
    ///
    /// # Errors
    /// See [`MapError`]; nothing is mapped then.
    pub fn new(dom: DomId, gref: Gref) -> Result<MappedPage, MapError> {
        let address = WINDOW.lock().take().ok_or(MapError::NoRoom)?;
        let mut op = GnttabMap {
            host_addr: address,
            flags: sys::GNTMAP_HOST_MAP,
            gref: gref.0,
            dom,
            status: GrantStatus::GeneralError as i16,
            handle: 0,
            dev_bus_addr: 0,
        };
        // SAFETY: the window has nothing of ours behind it, and this place of it was free.
        let called = unsafe { sys::map(core::slice::from_mut(&mut op)) }.map_err(MapError::Xen);
        let mapped = called.and_then(|()| match GrantStatus::from_raw(op.status) {
            GrantStatus::Okay => Ok(MappedPage { address, handle: op.handle }),
            status => Err(MapError::Refused(status)),
        });
        if mapped.is_err() {
            WINDOW.lock().give_back(address);
        }
        mapped
    }

    /// The page's first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address as *mut u8
    }
}

impl Drop for MappedPage {
    fn drop(&mut self) {
        let mut op = GnttabUnmap {
            host_addr: self.address,
            dev_bus_addr: 0,
            handle: self.handle,
            status: GrantStatus::GeneralError as i16,
        };
        // SAFETY: whoever has a pointer from `as_ptr` keeps `self`, so nothing uses the page.
        let called = unsafe { sys::unmap(core::slice::from_mut(&mut op)) };
        if called.is_ok() && op.status == GrantStatus::Okay as i16 {
            WINDOW.lock().give_back(self.address);
        }
        // Else the place is lost, not used again: something may still be mapped there.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_once_until_they_come_back() {
        let mut window = Window { start: 1 << 32, pages: 70, taken: [0; 4] };
        let all: alloc::vec::Vec<u64> = core::iter::from_fn(|| window.take()).collect();
        assert_eq!(all.len(), 70);
        assert_eq!((all[0], all[69]), (1 << 32, (1 << 32) + 69 * 4096));
        window.give_back(all[66]);
        assert_eq!(window.take(), Some(all[66]));
        assert_eq!(window.take(), None);
    }
}

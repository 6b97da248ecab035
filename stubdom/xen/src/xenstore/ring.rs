//! The ring page that we share with the xenstore daemon.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use xen_sys::xs_wire::{XENSTORE_RING_SIZE, XenstoreDomainInterface};

use super::mux::Mux;
use crate::byte_ring;

const SIZE: u32 = XENSTORE_RING_SIZE as u32;

/// The ring.
pub(super) struct StoreRing {
    page: *mut XenstoreDomainInterface,
}

impl StoreRing {
    /// # Safety
    /// `page` is the ring, mapped for good, and nobody else in this domain uses it.
    pub(super) unsafe fn new(page: *mut XenstoreDomainInterface) -> StoreRing {
        StoreRing { page }
    }

    /// Moves requests out and answers in, as far as there is room and something there. Returns
    /// whether the daemon is to be told.
    pub(super) fn exchange(&mut self, mux: &mut Mux) -> bool {
        let mut moved = false;
        loop {
            let out = self.send(mux);
            let came = self.receive(mux);
            if !out && !came {
                return moved;
            }
            moved = true;
        }
    }

    fn send(&mut self, mux: &mut Mux) -> bool {
        if mux.output().is_empty() {
            return false;
        }
        // SAFETY: the page is mapped for good and the fields are aligned.
        let (cons, prod) = unsafe {
            (
                AtomicU32::from_ptr(&raw mut (*self.page).req_cons),
                AtomicU32::from_ptr(&raw mut (*self.page).req_prod),
            )
        };
        let at = prod.load(Ordering::Relaxed);
        let Some(space) = byte_ring::space(at, cons.load(Ordering::Acquire), SIZE) else {
            mux.fail("impossible request indices");
            return false;
        };
        let output = mux.output();
        let part = &output[..output.len().min(space as usize)];
        if part.is_empty() {
            return false;
        }
        // SAFETY: `req` has that size, and the page is mapped for good.
        unsafe { byte_ring::copy_in((&raw mut (*self.page).req).cast(), SIZE, at, part) };
        let sent = part.len();
        prod.store(at.wrapping_add(sent as u32), Ordering::Release);
        fence(Ordering::SeqCst);
        mux.consume_output(sent);
        true
    }

    fn receive(&mut self, mux: &mut Mux) -> bool {
        // SAFETY: the page is mapped for good and the fields are aligned.
        let (cons, prod) = unsafe {
            (
                AtomicU32::from_ptr(&raw mut (*self.page).rsp_cons),
                AtomicU32::from_ptr(&raw mut (*self.page).rsp_prod),
            )
        };
        let at = cons.load(Ordering::Relaxed);
        let Some(used) = byte_ring::used(prod.load(Ordering::Acquire), at, SIZE) else {
            mux.fail("impossible answer indices");
            return false;
        };
        if used == 0 {
            return false;
        }
        let mut buffer = [0; XENSTORE_RING_SIZE];
        let part = &mut buffer[..used as usize];
        // SAFETY: `rsp` has that size, and the page is mapped for good.
        unsafe { byte_ring::copy_out((&raw const (*self.page).rsp).cast(), SIZE, at, part) };
        cons.store(at.wrapping_add(used), Ordering::Release);
        fence(Ordering::SeqCst);
        mux.input(part);
        true
    }
}

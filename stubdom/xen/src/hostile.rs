//! What only a guest that means harm does, for the tests (feature `hostile`, never part of the
//! stub domain): pages that the other side may use at any time, in any way, whose contents and
//! grants change under its hands. And what a xenstore daemon could say ([`StoreClient`]).
//!
//! Such a [`Page`] is never given back, and all access to it is volatile, so nothing that the
//! other side does to it can harm us.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};

use xen_sys::{DomId, PAGE_SIZE};

use crate::grant::{self, Access, GrantError, GrantedPage, Gref};
use crate::page::PoolPage;
use crate::ring::RingPage;
use crate::xenstore::{Mux, XsError};

/// Flags of a grant entry.
pub use xen_sys::grant_table::{GTF_PERMIT_ACCESS, GTF_READONLY};

/// Frames from here on (256 GiB) are no RAM of a small guest.
const NO_RAM: u64 = 1 << 26;
/// Frames of the interrupt controllers: MMIO.
const CONTROLLERS: core::ops::Range<u64> = 0xfec00..0xfef00;

/// A page of ours that another domain may use for as long as we live.
pub struct Page(ManuallyDrop<GrantedPage>);

impl Page {
    /// Grants a page for good.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub fn new(page: PoolPage, dom: DomId, access: Access) -> Result<Page, GrantError> {
        GrantedPage::new(page, dom, access).map(|page| Page(ManuallyDrop::new(page)))
    }

    /// The reference of its grant.
    pub fn gref(&self) -> Gref {
        self.0.gref()
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        // SAFETY: (1) the index is reduced to one within the page; (2) the page is ours for good;
        // (3) it is touched by atomics only.
        unsafe { AtomicU32::from_ptr(self.0.as_ptr().cast::<u32>().add(index % (PAGE_SIZE / 4))) }
    }

    /// Reads the 32-bit word `index`, modulo the words of a page.
    pub fn peek(&self, index: usize) -> u32 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Writes the 32-bit word `index`, modulo the words of a page.
    pub fn poke(&self, index: usize, value: u32) {
        self.word(index).store(value, Ordering::Release);
    }

    /// Writes octets from `offset` (a multiple of 4) on, as far as the page goes. What is behind
    /// them in their last word becomes 0.
    pub fn fill(&self, offset: usize, octets: &[u8]) {
        for (i, part) in octets.chunks(4).take((PAGE_SIZE - offset % PAGE_SIZE) / 4).enumerate() {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            self.poke(offset / 4 + i, u32::from_le_bytes(word));
        }
    }

    /// Changes the flags of its grant, whether it is in use or not: 0 revokes it.
    pub fn set_flags(&self, flags: u16) {
        // SAFETY: the page is the other domain's to use, whatever the flags say.
        unsafe { grant::set_flags(self.gref(), flags) };
    }
}

impl RingPage for &'static Page {
    fn first(&self) -> *mut u8 {
        self.0.as_ptr()
    }
}

/// Grants a frame that is no RAM of ours: one that is not there at all, or MMIO.
///
/// # Errors
/// See [`GrantError`], also for a frame that may be RAM.
pub fn grant_nothing(dom: DomId, frame: u64) -> Result<Gref, GrantError> {
    if frame < NO_RAM && !CONTROLLERS.contains(&frame) {
        return Err(GrantError::FrameTooHigh);
    }
    // SAFETY: no memory of ours is there.
    unsafe { grant::grant(dom, frame, Access::ReadWrite) }
}

/// The client's side of a xenstore connection without the ring, for a daemon that says anything.
pub struct StoreClient(Mux);

impl StoreClient {
    /// A connection with nothing under way.
    #[allow(clippy::new_without_default, reason = "as the thing that it wraps")]
    pub fn new() -> StoreClient {
        StoreClient(Mux::new())
    }

    /// Asks for a node; the number of the request, or none if there are too many.
    pub fn read(&mut self, path: &str) -> Option<u32> {
        let parts: [&[u8]; 2] = [path.as_bytes(), b"\0"];
        match self.0.poll_submit(&mut idle(), xen_sys::xs_wire::XS_READ, 0, &parts) {
            Poll::Ready(Ok(id)) => Some(id),
            _ => None,
        }
    }

    /// Sets a watch; its number, or none if there are too many.
    pub fn watch(&mut self) -> Option<u32> {
        self.0.add_watch().ok()
    }

    /// Takes what the daemon says.
    pub fn input(&mut self, octets: &[u8]) {
        self.0.input(octets);
    }

    /// The answer to a request, if it has come.
    pub fn answer(&mut self, request: u32) -> Option<Result<Vec<u8>, XsError>> {
        ready(self.0.poll_reply(&mut idle(), request))
    }

    /// The next event of a watch, if there is one.
    pub fn event(&mut self, watch: u32) -> Option<Result<String, XsError>> {
        ready(self.0.poll_event(&mut idle(), watch))
    }
}

fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

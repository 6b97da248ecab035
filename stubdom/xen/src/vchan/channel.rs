//! The memory of a vchan, from the server's side: indices, flags and copying. No event channel
//! and no xenstore, so it runs in tests over plain memory.
//!
//! The peer writes to all of that memory. Our own indices are therefore kept here too and never
//! read back; the peer's are checked against them each time.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

use xen_sys::vchan::{
    GRANTS_MAX, GRANTS_OFFSET, LIVE_CLOSED, LIVE_CONNECTED, LIVE_WAITING, VCHAN_NOTIFY_WRITE, VchanInterface,
};

use crate::byte_ring;

/// The peer's indices cannot be: it is broken or hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible;

/// Two rings and the page that describes them.
pub(super) struct Channel {
    shared: *mut VchanInterface,
    /// Client to server.
    left: *mut u8,
    left_size: u32,
    /// Server to client.
    right: *mut u8,
    right_size: u32,
    /// Our index into the left ring.
    cons: u32,
    /// Our index into the right ring, as published.
    prod: u32,
    /// The same with what was put in since.
    staged: u32,
}

impl Channel {
    /// # Safety
    /// 1. `shared` is a page of zeroes, `left` and `right` are `1 << left_order` and
    ///    `1 << right_order` bytes, all page-aligned and valid for good.
    /// 2. They are touched by nothing but this and the peer.
    pub(super) unsafe fn new(
        shared: *mut VchanInterface,
        (left, left_order): (*mut u8, u16),
        (right, right_order): (*mut u8, u16),
    ) -> Channel {
        // SAFETY: the caller's; nobody else has the page yet.
        unsafe {
            (&raw mut (*shared).left_order).write_volatile(left_order);
            (&raw mut (*shared).right_order).write_volatile(right_order);
        }
        Channel {
            shared,
            left,
            left_size: 1 << left_order,
            right,
            right_size: 1 << right_order,
            cons: 0,
            prod: 0,
            staged: 0,
        }
    }

    /// Writes grant reference `index` (those of the left ring come first, then the right's).
    pub(super) fn set_grant(&mut self, index: usize, gref: u32) {
        if index < GRANTS_MAX {
            // SAFETY: within the shared page, behind the fields.
            unsafe {
                let grants = self.shared.cast::<u8>().add(GRANTS_OFFSET).cast::<u32>();
                grants.add(index).write_volatile(gref);
            }
        }
    }

    /// Forgets all that is in the rings and waits for a client.
    pub(super) fn reset(&mut self) {
        (self.cons, self.prod, self.staged) = (0, 0, 0);
        for index in [self.left_prod(), self.left_cons(), self.right_prod(), self.right_cons()] {
            index.store(0, Ordering::Relaxed);
        }
        self.srv_notify().store(0, Ordering::Relaxed);
        self.cli_notify().store(VCHAN_NOTIFY_WRITE, Ordering::Relaxed);
        self.srv_live().store(LIVE_CONNECTED, Ordering::Relaxed);
        self.cli_live().store(LIVE_WAITING, Ordering::SeqCst);
    }

    /// Lets all indices start there, to see them wrap around.
    #[cfg(test)]
    pub(super) fn start_at(&mut self, index: u32) {
        (self.cons, self.prod, self.staged) = (index, index, index);
        for shared in [self.left_prod(), self.left_cons(), self.right_prod(), self.right_cons()] {
            shared.store(index, Ordering::Relaxed);
        }
    }

    /// `LIVE_*` of the client.
    pub(super) fn client(&self) -> u8 {
        self.cli_live().load(Ordering::Acquire)
    }

    /// Tells the client that we have left it.
    pub(super) fn hang_up(&mut self) {
        self.srv_live().store(LIVE_CLOSED, Ordering::SeqCst);
    }

    /// Bytes that can be read.
    pub(super) fn readable(&self) -> Result<u32, Impossible> {
        let prod = self.left_prod().load(Ordering::Acquire);
        byte_ring::used(prod, self.cons, self.left_size).ok_or(Impossible)
    }

    /// Bytes that can be put in.
    pub(super) fn writable(&self) -> Result<u32, Impossible> {
        let cons = self.right_cons().load(Ordering::Acquire);
        byte_ring::space(self.staged, cons, self.right_size).ok_or(Impossible)
    }

    /// Whether the client has read all that was published.
    pub(super) fn drained(&self) -> Result<bool, Impossible> {
        let cons = self.right_cons().load(Ordering::Acquire);
        let used = byte_ring::used(self.prod, cons, self.right_size);
        used.map(|used| used == 0).ok_or(Impossible)
    }

    /// Reads what is there, as far as `bytes` goes.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Impossible> {
        let count = bytes.len().min(self.readable()? as usize);
        let part = &mut bytes[..count];
        // SAFETY: the ring has that size and `count` is no more than that.
        unsafe { byte_ring::copy_out(self.left, self.left_size, self.cons, part) };
        self.cons = self.cons.wrapping_add(count as u32);
        self.left_cons().store(self.cons, Ordering::Release);
        Ok(count)
    }

    /// Puts in what there is room for. The client sees it after [`Channel::publish`].
    pub(super) fn stage(&mut self, bytes: &[u8]) -> Result<usize, Impossible> {
        let count = bytes.len().min(self.writable()? as usize);
        let part = &bytes[..count];
        // SAFETY: the ring has that size and `count` is no more than that.
        unsafe { byte_ring::copy_in(self.right, self.right_size, self.staged, part) };
        self.staged = self.staged.wrapping_add(count as u32);
        Ok(count)
    }

    /// Shows the client what was put in. Returns whether that was anything.
    pub(super) fn publish(&mut self) -> bool {
        let any = self.prod != self.staged;
        self.prod = self.staged;
        self.right_prod().store(self.prod, Ordering::Release);
        any
    }

    /// Asks the client for an event when it has done this (`VCHAN_NOTIFY_*`). Look at the
    /// indices again after that, for it may have done it just before.
    pub(super) fn request_notify(&self, what: u8) {
        self.cli_notify().fetch_or(what, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether the client wants an event, now that we have done this (`VCHAN_NOTIFY_*`). It has
    /// to ask again for the next one.
    pub(super) fn take_notify(&self, what: u8) -> bool {
        fence(Ordering::SeqCst);
        self.srv_notify().fetch_and(!what, Ordering::SeqCst) & what != 0
    }
}

macro_rules! shared_fields {
    ($($name:ident: $atomic:ty = $($field:ident).+;)*) => {
        impl Channel {
            $(fn $name(&self) -> &$atomic {
                // SAFETY: the page is valid for good and the field is aligned.
                unsafe { <$atomic>::from_ptr(&raw mut (*self.shared).$($field).+) }
            })*
        }
    };
}

shared_fields! {
    left_prod: AtomicU32 = left.prod;
    left_cons: AtomicU32 = left.cons;
    right_prod: AtomicU32 = right.prod;
    right_cons: AtomicU32 = right.cons;
    cli_live: AtomicU8 = cli_live;
    srv_live: AtomicU8 = srv_live;
    cli_notify: AtomicU8 = cli_notify;
    srv_notify: AtomicU8 = srv_notify;
}

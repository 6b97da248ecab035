//! The shared request/response rings of split drivers (`io/ring.h`), from both ends.
//!
//! A slot that the other side wrote is copied out once, as octets; nobody gets a reference into
//! the page. Indices of the other side are allegations: one that can't be is an error, and the
//! ring is of no use from then on.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use xen_sys::PAGE_SIZE;
use xen_sys::ring::{SringHeader, entries, needs_notify, unconsumed};

use crate::grant::{GrantedPage, MappedPage};

/// The other side's index can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadIndex {
    /// What it says it has produced.
    pub produced: u32,
    /// How far we are.
    pub consumed: u32,
}

impl fmt::Display for BadIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "impossible ring index {} at {}", self.produced, self.consumed)
    }
}

impl core::error::Error for BadIndex {}

/// A page that holds a ring: somebody who keeps it mapped.
pub trait RingPage {
    /// Its first octet. The page stays where it is as long as `self` lives.
    fn first(&self) -> *mut u8;
}

impl RingPage for MappedPage {
    fn first(&self) -> *mut u8 {
        self.as_ptr()
    }
}

impl RingPage for GrantedPage {
    fn first(&self) -> *mut u8 {
        self.as_ptr()
    }
}

/// The page, and access to its fields. `SLOT` is the size of an entry: a multiple of 4.
struct Shared<P, const SLOT: usize>(P);

impl<P: RingPage, const SLOT: usize> Shared<P, SLOT> {
    /// Entries: a power of two.
    const SIZE: u32 = {
        assert!(SLOT.is_multiple_of(4));
        entries(PAGE_SIZE, SLOT)
    };

    fn index(&self, field: usize) -> &AtomicU32 {
        // SAFETY: the page is mapped as long as `self` lives, the field lies in it and is
        // aligned, and it is an atomic for both sides.
        unsafe { AtomicU32::from_ptr(self.0.first().add(field).cast()) }
    }

    fn req_prod(&self) -> &AtomicU32 {
        self.index(core::mem::offset_of!(SringHeader, req_prod))
    }
    fn req_event(&self) -> &AtomicU32 {
        self.index(core::mem::offset_of!(SringHeader, req_event))
    }
    fn rsp_prod(&self) -> &AtomicU32 {
        self.index(core::mem::offset_of!(SringHeader, rsp_prod))
    }
    fn rsp_event(&self) -> &AtomicU32 {
        self.index(core::mem::offset_of!(SringHeader, rsp_event))
    }

    fn word(&self, index: u32, word: usize) -> *mut u32 {
        let slot = (index & (Self::SIZE - 1)) as usize;
        // SAFETY: slot < SIZE and word < SLOT / 4, so this lies in the page.
        unsafe { self.0.first().add(size_of::<SringHeader>() + slot * SLOT + word * 4).cast() }
    }

    fn read(&self, index: u32) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        for (i, bytes) in out.as_chunks_mut().0.iter_mut().enumerate() {
            // SAFETY: `word` points into the page, aligned; volatile, because the other side
            // may change it at any time: it is read once.
            *bytes = unsafe { self.word(index, i).read_volatile() }.to_le_bytes();
        }
        out
    }

    fn write(&self, index: u32, slot: [u8; SLOT]) {
        for (i, bytes) in slot.as_chunks().0.iter().enumerate() {
            // SAFETY: as above.
            unsafe { self.word(index, i).write_volatile(u32::from_le_bytes(*bytes)) };
        }
    }
}

/// The back end's end of a ring that a front end made.
pub struct BackRing<P, const SLOT: usize> {
    shared: Shared<P, SLOT>,
    req_cons: u32,
    rsp_prod: u32,
}

impl<P: RingPage, const SLOT: usize> BackRing<P, SLOT> {
    /// Attaches to a ring, at the responses that were published last: a front end that was there
    /// before goes on where it was.
    ///
    /// # Errors
    /// [`BadIndex`] as [`BackRing::pending`].
    pub fn attach(page: P) -> Result<Self, BadIndex> {
        let shared = Shared(page);
        let at = shared.rsp_prod().load(Ordering::Acquire);
        let ring = Self { shared, req_cons: at, rsp_prod: at };
        ring.pending().map(|_| ring)
    }

    /// Requests that wait.
    ///
    /// # Errors
    /// [`BadIndex`]: more than there is room for.
    pub fn pending(&self) -> Result<u32, BadIndex> {
        let produced = self.shared.req_prod().load(Ordering::Acquire);
        // Requests without a response take room too.
        let bad = BadIndex { produced, consumed: self.req_cons };
        unconsumed(produced, self.rsp_prod, Shared::<P, SLOT>::SIZE).ok_or(bad)?;
        unconsumed(produced, self.req_cons, Shared::<P, SLOT>::SIZE).ok_or(bad)
    }

    /// Copies out the next request. Only as many times as [`BackRing::pending`] said.
    pub fn take(&mut self) -> [u8; SLOT] {
        let slot = self.shared.read(self.req_cons);
        self.req_cons = self.req_cons.wrapping_add(1);
        slot
    }

    /// Writes a response, which [`BackRing::publish`] makes visible. One for each request taken.
    pub fn respond(&mut self, slot: [u8; SLOT]) {
        self.shared.write(self.rsp_prod, slot);
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
    }

    /// Makes responses visible. Returns whether the front end wants to be notified.
    pub fn publish(&mut self) -> bool {
        let old = self.shared.rsp_prod().load(Ordering::Relaxed);
        if old == self.rsp_prod {
            return false;
        }
        self.shared.rsp_prod().store(self.rsp_prod, Ordering::Release);
        // The event index is read after the other side can see the responses, as it sets it
        // before it looks for them.
        fence(Ordering::SeqCst);
        needs_notify(self.rsp_prod, old, self.shared.rsp_event().load(Ordering::Relaxed))
    }

    /// Responses that the front end may not have taken yet: of those that were made last so many, never
    /// more than there are slots. By its own word, which it gives in two ways: a request stands in the
    /// slot of a response that was taken, and when none is left it asks to be notified of the next one
    /// (`RING_FINAL_CHECK_FOR_RESPONSES`). The one that says more counts. Linux's netfront posts a
    /// buffer for each one taken at the end of each poll, so of it this is the very number.
    pub fn untaken(&self) -> u32 {
        let size = Shared::<P, SLOT>::SIZE;
        let requested = self.shared.req_prod().load(Ordering::Acquire).wrapping_sub(self.rsp_prod);
        let by_requests = size.saturating_sub(requested);
        let asked = self.shared.rsp_event().load(Ordering::Acquire).wrapping_sub(1);
        let by_event = self.rsp_prod.wrapping_sub(asked).cast_signed().max(0).cast_unsigned();
        by_requests.min(by_event)
    }

    /// Asks to be notified of the next request but `ahead`, and says whether one came meanwhile:
    /// then look again.
    ///
    /// # Errors
    /// As [`BackRing::pending`].
    pub fn ask_for_event(&self, ahead: u32) -> Result<bool, BadIndex> {
        self.shared.req_event().store(self.req_cons.wrapping_add(1).wrapping_add(ahead), Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(self.pending()? > ahead)
    }
}

/// The front end's end of a ring that we made.
pub struct FrontRing<P, const SLOT: usize> {
    shared: Shared<P, SLOT>,
    req_prod: u32,
    rsp_cons: u32,
}

impl<P: RingPage, const SLOT: usize> FrontRing<P, SLOT> {
    /// Entries of the ring.
    pub const SIZE: u32 = Shared::<P, SLOT>::SIZE;

    /// Makes an empty ring in a page.
    pub fn new(page: P) -> Self {
        let shared = Shared(page);
        for index in 0..PAGE_SIZE / 4 {
            // SAFETY: within the page, aligned.
            unsafe { shared.0.first().cast::<u32>().add(index).write_volatile(0) };
        }
        shared.req_event().store(1, Ordering::Release);
        shared.rsp_event().store(1, Ordering::Release);
        Self { shared, req_prod: 0, rsp_cons: 0 }
    }

    /// The page.
    pub fn page(&self) -> &P {
        &self.shared.0
    }

    /// Takes the page out; the ring is gone.
    pub fn into_page(self) -> P {
        self.shared.0
    }

    /// Requests that can still be made.
    pub fn free(&self) -> u32 {
        Self::SIZE.saturating_sub(self.req_prod.wrapping_sub(self.rsp_cons))
    }

    /// The slot that the next request goes to.
    pub fn next_slot(&self) -> u32 {
        self.req_prod & (Self::SIZE - 1)
    }

    /// Writes a request, which [`FrontRing::publish`] makes visible. Only if [`FrontRing::free`].
    pub fn request(&mut self, slot: [u8; SLOT]) {
        self.shared.write(self.req_prod, slot);
        self.req_prod = self.req_prod.wrapping_add(1);
    }

    /// Makes requests visible. Returns whether the back end wants to be notified.
    pub fn publish(&mut self) -> bool {
        let old = self.shared.req_prod().load(Ordering::Relaxed);
        if old == self.req_prod {
            return false;
        }
        self.shared.req_prod().store(self.req_prod, Ordering::Release);
        fence(Ordering::SeqCst);
        needs_notify(self.req_prod, old, self.shared.req_event().load(Ordering::Relaxed))
    }

    /// Responses that wait.
    ///
    /// # Errors
    /// [`BadIndex`]: more than requests were made.
    pub fn pending(&self) -> Result<u32, BadIndex> {
        let produced = self.shared.rsp_prod().load(Ordering::Acquire);
        let open = self.req_prod.wrapping_sub(self.rsp_cons);
        unconsumed(produced, self.rsp_cons, open).ok_or(BadIndex { produced, consumed: self.rsp_cons })
    }

    /// Copies out the next response, and the slot where it was. Only as many times as
    /// [`FrontRing::pending`] said.
    pub fn take(&mut self) -> (u32, [u8; SLOT]) {
        let at = self.rsp_cons;
        self.rsp_cons = at.wrapping_add(1);
        (at & (Self::SIZE - 1), self.shared.read(at))
    }

    /// Asks to be notified of the next response but `ahead`, and says whether one came meanwhile.
    ///
    /// # Errors
    /// As [`FrontRing::pending`].
    pub fn ask_for_event(&self, ahead: u32) -> Result<bool, BadIndex> {
        self.shared.rsp_event().store(self.rsp_cons.wrapping_add(1).wrapping_add(ahead), Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(self.pending()? > ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::rc::Rc;
    use core::cell::UnsafeCell;

    /// A page that both ends have.
    #[derive(Clone)]
    struct Both(Rc<UnsafeCell<[u64; PAGE_SIZE / 8]>>);

    impl RingPage for Both {
        fn first(&self) -> *mut u8 {
            self.0.get().cast()
        }
    }

    fn rings() -> (FrontRing<Both, 12>, BackRing<Both, 12>) {
        let page = Both(Rc::new(UnsafeCell::new([0; PAGE_SIZE / 8])));
        let front = FrontRing::new(page.clone());
        (front, BackRing::attach(page).unwrap())
    }

    #[test]
    fn requests_and_responses_travel_in_order_and_around_the_end() {
        let (mut front, mut back) = rings();
        for i in 0..1000u32 {
            let mut slot = [0; 12];
            slot[..4].copy_from_slice(&i.to_le_bytes());
            front.request(slot);
            assert!(front.publish());
            assert_eq!(back.pending(), Ok(1));
            assert_eq!(back.take(), slot);
            back.respond([i as u8; 12]);
            assert!(back.publish());
            assert_eq!(front.pending(), Ok(1));
            assert_eq!(front.take(), (i % 256, [i as u8; 12]));
            assert_eq!(back.ask_for_event(0), Ok(false));
            assert_eq!(front.ask_for_event(0), Ok(false));
        }
    }

    #[test]
    fn a_full_ring_is_full_until_responses_came() {
        let (mut front, mut back) = rings();
        while front.free() > 0 {
            front.request([1; 12]);
        }
        front.publish();
        assert_eq!(back.pending(), Ok(256));
        back.take();
        back.respond([2; 12]);
        back.publish();
        assert_eq!(front.free(), 0);
        front.take();
        assert_eq!(front.free(), 1);
    }

    #[test]
    fn a_front_end_that_claims_too_much_or_runs_backwards_is_found_out() {
        let (front, mut back) = rings();
        front.shared.req_prod().store(257, Ordering::Relaxed);
        assert!(back.pending().is_err());
        front.shared.req_prod().store(u32::MAX, Ordering::Relaxed);
        assert!(back.pending().is_err());
        front.shared.req_prod().store(256, Ordering::Relaxed);
        assert_eq!(back.pending(), Ok(256));
        // Taken, but not responded to: the room is not free yet.
        back.take();
        front.shared.req_prod().store(257, Ordering::Relaxed);
        assert!(back.pending().is_err());
    }

    #[test]
    fn a_back_end_that_responds_to_nothing_is_found_out() {
        let (mut front, back) = rings();
        back.shared.rsp_prod().store(1, Ordering::Relaxed);
        assert!(front.pending().is_err());
        front.request([0; 12]);
        assert_eq!(front.pending(), Ok(1));
    }

    #[test]
    fn responses_are_taken_when_the_front_end_waits_for_more_or_posts_another() {
        let (mut front, mut back) = rings();
        for posts_all in [false, true] {
            while posts_all && front.free() > 0 {
                front.request([0; 12]);
            }
            for _ in 0..300 {
                if !posts_all {
                    front.request([0; 12]);
                    front.request([0; 12]);
                }
                front.publish();
                for untaken in 1..3 {
                    back.take();
                    back.respond([1; 12]);
                    assert_eq!(back.untaken(), untaken);
                }
                back.publish();
                front.take();
                front.take();
                if posts_all {
                    front.request([0; 12]);
                    front.request([0; 12]);
                    front.publish();
                } else {
                    assert_eq!(back.untaken(), 2);
                    assert_eq!(front.ask_for_event(0), Ok(false));
                }
                assert_eq!(back.untaken(), 0);
            }
        }
    }

    #[test]
    fn whatever_a_front_end_says_it_has_not_taken_the_ring_has_room_for_it() {
        let (_, mut back) = rings();
        for at in [0, 1, u32::MAX - 1] {
            back.rsp_prod = at;
            for said in [0, 1, 2, 255, 256, 257, 1 << 31, (1 << 31) + 1, u32::MAX - 255, u32::MAX] {
                for also in [0, 1, 256, 257, u32::MAX] {
                    back.shared.req_prod().store(said, Ordering::Relaxed);
                    back.shared.rsp_event().store(also, Ordering::Relaxed);
                    assert!(back.untaken() <= 256);
                }
            }
        }
    }

    #[test]
    fn an_event_is_asked_for_only_when_it_is_wanted() {
        let (mut front, mut back) = rings();
        assert_eq!(back.ask_for_event(0), Ok(false));
        front.request([0; 12]);
        assert!(front.publish());
        // Not asked for since.
        front.request([0; 12]);
        assert!(!front.publish());
        assert_eq!(back.ask_for_event(0), Ok(true));
        back.take();
        back.take();
        // Two of three may wait.
        assert_eq!(back.ask_for_event(2), Ok(false));
        front.request([0; 12]);
        front.request([0; 12]);
        assert!(!front.publish());
        front.request([0; 12]);
        assert!(front.publish());
    }
}

//! Where what the shim says to one snapshot waits for it.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use handoff::{BITMAP_CHUNK, Job, Outcome, VerbError, WINDOW_SLOTS};

use crate::group::Meeting;

/// What ends the wait for an answer.
pub(crate) enum Answer {
    /// The shim's answer to the verb with this number.
    Reply(u16, Result<Outcome, VerbError>),
    /// There is no shim any more.
    Lost,
}

/// One snapshot's mailbox. The link's reader fills it, the snapshot empties it.
pub(crate) struct Mailbox {
    /// Whose it is.
    pub(crate) job: Job,
    /// Set when the snapshot is wanted no more.
    pub(crate) cancelled: Cell<bool>,
    /// Set when the shim is gone: nothing that is sent arrives.
    pub(crate) lost: Cell<bool>,
    /// Where it meets the group that it is of.
    pub(crate) meeting: Option<Rc<Meeting>>,
    /// Answers to the verb at hand and to the one that was asked for ahead of its turn.
    answers: Channel<NoopRawMutex, Answer, 2>,
    /// The dirty bitmap as it arrives, in the order of slots.
    bitmap: RefCell<Vec<u8>>,
    /// Which slots of the last window were left out, a bit each. Empty: none.
    left_out: RefCell<Vec<u8>>,
}

impl Mailbox {
    /// A mailbox for a guest of so many pages. `None`: memory is short.
    pub(crate) fn new(job: Job, pages: u32, meeting: Option<Rc<Meeting>>) -> Option<Self> {
        let (mut bitmap, mut left_out) = (Vec::new(), Vec::new());
        bitmap.try_reserve_exact(pages.div_ceil(8) as usize).ok()?;
        bitmap.resize(pages.div_ceil(8) as usize, 0);
        left_out.try_reserve_exact(WINDOW_SLOTS / 8).ok()?;
        Some(Self {
            job,
            cancelled: Cell::new(false),
            lost: Cell::new(false),
            meeting,
            answers: Channel::new(),
            bitmap: RefCell::new(bitmap),
            left_out: RefCell::new(left_out),
        })
    }

    /// Tells the snapshot that the shim is gone.
    pub(crate) fn lose(&self) {
        self.lost.set(true);
        // With no room for it, there is something else to be found, and then that the shim is lost.
        let _ = self.answers.try_send(Answer::Lost);
    }

    /// Puts the answer to a verb. `false`: nobody can have asked for so many.
    pub(crate) fn put_answer(&self, seq: u16, result: Result<Outcome, VerbError>) -> bool {
        self.answers.try_send(Answer::Reply(seq, result)).is_ok()
    }

    /// Waits for the next answer.
    pub(crate) async fn answer(&self) -> Answer {
        if self.lost.get() {
            return Answer::Lost;
        }
        self.answers.receive().await
    }

    /// Puts a piece of dirty bitmap where it belongs. `false`: it belongs nowhere.
    pub(crate) fn put_dirty(&self, first: u32, bytes: &[u8]) -> bool {
        let start = (first / 8) as usize;
        let aligned = first.is_multiple_of(64) && bytes.len() <= BITMAP_CHUNK;
        let mut bitmap = self.bitmap.borrow_mut();
        match bitmap.get_mut(start..start.saturating_add(bytes.len())) {
            Some(place) if aligned => {
                place.copy_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Puts the bitmap of slots left out of a window. `false`: it is too long.
    pub(crate) fn put_left_out(&self, bytes: &[u8]) -> bool {
        let mut left_out = self.left_out.borrow_mut();
        left_out.clear();
        if bytes.len() > WINDOW_SLOTS / 8 {
            return false;
        }
        left_out.extend_from_slice(bytes);
        true
    }

    /// Lends the dirty bitmap.
    pub(crate) fn with_bitmap<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(&self.bitmap.borrow())
    }

    /// Whether the `i`-th slot of the last window was left out.
    pub(crate) fn is_left_out(&self, i: usize) -> bool {
        self.left_out.borrow().get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1)
    }
}

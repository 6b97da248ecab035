//! Where the snapshot of one guest and the group that it is of meet.
//!
//! The snapshot arrives when its policy would suspend the guest, and goes on copying until the
//! group says that all are ready. It also tells when the guest stands still and when it runs again:
//! then its vifs are cut. A snapshot that is of no group never comes here.

use core::cell::Cell;
use core::time::Duration;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use handoff::{CutTimes, Job};
use xen::DomId;
use xen::select::{Either, select};
use xen::time::{Instant, sleep};

/// How long a snapshot rests between two rounds of copying while it waits: first the least, then each time
/// twice as long, up to the longest, as long as the guest writes to no more than [`CALM`] pages meanwhile; else
/// half as long. Each round has all of the guest's memory protected anew, after which each page that it
/// uses is a fault. That is what a guest which waits for the slowest of all feels most.
const REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(3);

/// So many pages may be left to copy while the guest stands still: 4 MiB, 10 to 25 ms in our lab.
const CALM: u32 = 1024;

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It copies, as its policy says.
    Copying,
    /// It waits for the others.
    Waiting,
    /// Its guest stands still, and its vifs are cut.
    Cut,
    /// Its guest runs again.
    Resumed,
}

/// One member's side of a group snapshot.
pub(crate) struct Meeting {
    /// Its job.
    pub(crate) job: Job,
    /// The guest.
    pub(crate) guest: DomId,
    began: Instant,
    stage: Cell<Stage>,
    times: Cell<CutTimes>,
    /// How long it rested last.
    rest: Cell<Option<Duration>>,
    go: Signal<NoopRawMutex, ()>,
    /// Set when a member of this host has come further.
    step: Signal<NoopRawMutex, ()>,
    gone: Cell<bool>,
    over: Cell<bool>,
}

impl Meeting {
    /// A member that has not arrived, of a group that began here then.
    pub(super) fn new(job: Job, guest: DomId, began: Instant) -> Self {
        Self {
            job,
            guest,
            began,
            stage: Cell::new(Stage::Copying),
            times: Cell::default(),
            rest: Cell::new(None),
            go: Signal::new(),
            step: Signal::new(),
            gone: Cell::new(false),
            over: Cell::new(false),
        }
    }

    /// The snapshot is at the barrier. Whether that is new.
    pub(super) fn arrive(&self) -> bool {
        let new = self.stage.get() == Stage::Copying;
        if new {
            self.note(|times, us| times.ready_us = us);
            self.stage.set(Stage::Waiting);
        }
        new
    }

    /// Waits a while; `dirtied` is how many pages the guest wrote to since it last did. Whether the guest may be
    /// suspended now.
    pub(super) async fn wait(&self, dirtied: u32) -> bool {
        let rest = match self.rest.get() {
            None => REST,
            Some(before) if dirtied <= CALM => (before * 2).min(LONGEST_REST),
            Some(before) => (before / 2).max(REST),
        };
        self.rest.set(Some(rest));
        self.gone.get() || matches!(select(self.go.wait(), sleep(rest)).await, Either::First(()))
    }

    /// Whether the others are ready.
    pub(crate) fn may_go(&self) -> bool {
        self.gone.get()
    }

    /// Lets the snapshot suspend its guest.
    pub(super) fn let_go(&self) {
        self.gone.set(true);
        self.go.signal(());
    }

    /// Another member has come further, or the group is over.
    pub(super) fn look_up(&self) {
        self.step.signal(());
    }

    /// Waits for another member to come further, but no longer than this.
    pub(super) async fn step(&self, most: Duration) {
        select(self.step.wait(), sleep(most)).await;
    }

    /// Whether the group is over: a snapshot that goes on is for nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Ends the snapshot, if it has not ended: the guest need not be suspended any more.
    pub(super) fn give_up(&self) {
        self.over.set(true);
        self.look_up();
        self.let_go();
    }

    /// The guest stands still.
    pub(super) fn cut(&self) {
        self.stage.set(Stage::Cut);
    }

    /// The guest runs again; also if it was never suspended, as something failed.
    pub(super) fn end(&self) {
        if self.stage.get() == Stage::Cut {
            self.stage.set(Stage::Resumed);
        }
    }

    /// How far it is.
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Notes a time, in microseconds since the group began here.
    pub(super) fn note(&self, set: impl FnOnce(&mut CutTimes, u64)) {
        let mut times = self.times.get();
        set(&mut times, self.began.elapsed().as_micros() as u64);
        self.times.set(times);
    }

    /// What was noted.
    pub(super) fn times(&self) -> CutTimes {
        self.times.get()
    }
}

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
use xen::time::{Instant, now, sleep};

/// How long a snapshot rests between two rounds of copying while it waits: four times as long as the round
/// took, within these bounds. A guest that writes little costs little so, one that writes much is not far behind,
/// and on a busy host the rounds leave the CPU to the guest, which has to wait for the slowest of all.
const REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(1);

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
    /// Since when it copies, or has arrived.
    busy_since: Cell<Instant>,
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
            busy_since: Cell::new(began),
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
            self.busy_since.set(now());
        }
        new
    }

    /// Waits a while. Whether the guest may be suspended now.
    pub(super) async fn wait(&self) -> bool {
        let rest = (self.busy_since.get().elapsed() * 4).clamp(REST, LONGEST_REST);
        let may_go =
            self.gone.get() || matches!(select(self.go.wait(), sleep(rest)).await, Either::First(()));
        self.busy_since.set(now());
        may_go
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

//! What the engine and its driver say to each other.
//!
//! One action is outstanding at a time: the driver carries it out, reports one event, and asks
//! for the next. The order of a whole snapshot that copies live; what is in brackets happens only
//! if it was asked for:
//!
//! ```text
//! LogDirty(true)
//!   [Clean]            an earlier snapshot's log says what round 1 reads
//!   Read..             round 1: every page
//!   Clean, [Throttle(n)], Read..    rounds 2..n: what was written to meanwhile
//! [Barrier, Clean, Read.., Barrier]   until the others are ready, too
//! [Prepare]
//! Suspend
//!   Clean{last}, Read{Keep}.., Read{Send}..    the rest; what the pool does not hold is sent
//!   State
//! Resume               the suspended time ends here
//! [Throttle(100)]      at once: the guest has its CPU time again
//! [LogDirty(false)]    after Resume: the guest need not wait for it, and nothing reads the
//!                      bitmap any more; before WriteOut: its writes should not fault for long
//! WriteOut
//! Finish(Commit)
//! ```

use core::fmt;

/// What the driver has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Turn log-dirty mode of the guest on or off. After it was turned on nothing is dirty; but
    /// with [`Base::Log`](crate::Base::Log) it is on already, and stays as it is with all that
    /// it holds. Answer: `Done`, or `Refused` if it is certain that nothing was changed, such as
    /// when someone else owns the mode (or with `Base::Log` if it was not on all the time): then
    /// the engine will not turn it off either.
    LogDirty(bool),
    /// Fetch the dirty bitmap and, but for the last time, clear it. Hand all of it to
    /// [`Precopy::dirty_chunk`](crate::Precopy::dirty_chunk) in order, then answer `Done`.
    Clean {
        /// The guest is suspended and this is the last time: include what Xen itself has mapped
        /// for writing (`LOGDIRTY_FINAL`).
        last: bool,
    },
    /// Read these pages. Answer: [`Event::Read`].
    Read {
        /// Slots in ascending order, at least one, at most [`Config::batch`](crate::Config).
        batch: &'a [u32],
        /// What to do with them.
        how: How,
    },
    /// Give the guest this share of its CPU time, in percent; 100: as it was. Answer: `Done`.
    /// To lower it may fail: the snapshot goes on without. It is asked for with 100 before the
    /// end if it was ever lowered, or may have been, whatever happens in between.
    Throttle(u8),
    /// The policy would have the guest suspended now. Answer: `Done` to go on with that, or
    /// `NotYet`: then what the guest writes meanwhile is copied, and this is asked again. The driver
    /// should not answer `NotYet` at once, or the guest is copied over and over for nothing.
    Barrier,
    /// The guest still runs, and is about to be suspended. Make these pages ready to be read,
    /// the most likely ones first; each is named once. They must not be read yet: the guest may
    /// still write to them. Answer: `Done`. It may fail: the snapshot goes on without.
    Prepare {
        /// Slots in order of likelihood, at least one, at most
        /// [`Config::prepare`](crate::Config).
        slots: &'a [u32],
    },
    /// Suspend the guest. Answer `Done` when it stands still.
    Suspend,
    /// Record everything that is not memory: vCPUs, HVM context and so on. The guest is
    /// suspended. Answer: `Done`.
    State,
    /// Let the guest run again, in place. Also asked for when it is not certain that the guest
    /// was suspended. Answer: `Done`.
    Resume,
    /// Write out the pages kept by [`How::Keep`], and wait until everything sent so far has
    /// arrived. The guest runs. Answer: [`Event::Written`].
    WriteOut,
    /// The end; asked again, the engine repeats it. Commit the image, or throw it away.
    /// [`Precopy::report`](crate::Precopy::report) has the figures.
    Finish(Outcome),
}

/// What happens to a page that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Send it out now.
    Send,
    /// First look at the dirty bitmap without clearing it (PEEK): leave out the pages that are
    /// dirty again, and count them as skipped. They stay dirty, so the next `Clean` brings them
    /// back. Send out the others. Taking the bits away here would lose pages.
    SendUnlessDirty,
    /// Copy it to the pool; [`Action::WriteOut`] writes it out. There is room: a batch is never
    /// larger than the pool left, as last reported.
    Keep,
}

/// What the driver reports.
///
/// An event that does not answer the outstanding action ends the snapshot, in the orderly way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// It is done: answers `LogDirty`, `Clean`, `Throttle`, `Barrier`, `Prepare`, `Suspend`,
    /// `State` and `Resume`.
    Done,
    /// Answers `Barrier`: others are not ready yet.
    NotYet,
    /// Answers `Read`.
    Read(ReadDone<'a>),
    /// Answers `WriteOut`.
    Written {
        /// Kept pages that turned out to be zero only now (counted as sent until then).
        zero: u32,
    },
    /// It was not done, for certain. The number is the driver's own, for the report.
    Refused(u32),
    /// It failed; whether it took effect is not known. Time-outs belong here.
    Failed(u32),
    /// The operator wants no snapshot any more. May be reported at any time, also in place of
    /// the answer to the outstanding action: its outcome counts as unknown then, and its
    /// answer must not be reported later. Ignored once clean-up has begun.
    Cancelled,
}

/// What became of the pages of a batch. Each is counted in exactly one of `sent`, `zero`,
/// `skipped` and `missing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadDone<'a> {
    /// Pages sent out with their contents, or kept.
    pub sent: u32,
    /// Pages that were all zero: only their slots were sent out.
    pub zero: u32,
    /// Pages left out because they are dirty again ([`How::SendUnlessDirty`] only).
    pub skipped: u32,
    /// Slots that had no page, such as ballooned out, in ascending order. The last round tries
    /// them again; those missing then are not in the guest, and the driver has to make them
    /// holes in the image.
    pub missing: &'a [u32],
    /// Pages of the pool that are free now. Only looked at after [`How::Keep`].
    pub pool_left: u32,
    /// Time in getting the pages out of the guest, microseconds: what it would have taken to
    /// keep them all, without encoding and sending. 0: not known. Estimates come from it.
    pub copy_us: u64,
}

/// How a snapshot ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The image is complete: commit it.
    Commit,
    /// There is no image. The guest was asked to run again; whether that worked is in the
    /// report.
    Abort {
        /// What was being done.
        step: Step,
        /// What went wrong.
        why: Why,
    },
}

/// Why a snapshot was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The driver could not do it; its own error number.
    Failed(u32),
    /// The operator's wish.
    Cancelled,
    /// The driver's report did not answer what was asked, or there was none.
    Unexpected,
    /// The dirty bitmap was incomplete, out of order, or too long.
    BadBitmap,
    /// The counts of a batch do not add up.
    BadCount,
    /// The policy saw no hope of its target for the suspended time, and is strict. The guest
    /// was not suspended.
    Target {
        /// The suspended time to be expected at best, in microseconds.
        estimate_us: u32,
    },
}

/// Where in the snapshot the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Turning log-dirty on.
    LogDirtyOn,
    /// Fetching the dirty bitmap, live or (suspended) for the last time.
    Clean,
    /// Reading pages of a round.
    Read,
    /// Lowering the guest's share of CPU time.
    Throttle,
    /// Waiting until the guest may be suspended.
    Barrier,
    /// Making pages ready for the last round.
    Prepare,
    /// Suspending the guest.
    Suspend,
    /// Recording the state of the suspended guest.
    State,
    /// Resuming the guest.
    Resume,
    /// Giving the guest its CPU time back.
    Unthrottle,
    /// Turning log-dirty off.
    LogDirtyOff,
    /// Writing out the kept pages.
    WriteOut,
    /// Clean-up: resuming the guest.
    AbortResume,
    /// Clean-up: giving the guest its CPU time back.
    AbortUnthrottle,
    /// Clean-up: turning log-dirty off.
    AbortLogDirtyOff,
    /// Over.
    Finished,
}

impl Step {
    /// The step in an operator's words, as in "failed while ...".
    pub fn as_str(self) -> &'static str {
        match self {
            Step::LogDirtyOn => "turning log-dirty on",
            Step::Clean => "fetching the dirty bitmap",
            Step::Read => "reading pages",
            Step::Throttle => "slowing the guest down",
            Step::Barrier => "waiting for the others",
            Step::Prepare => "preparing the last pages",
            Step::Suspend => "suspending the guest",
            Step::State => "recording the guest's state",
            Step::Resume | Step::AbortResume => "resuming the guest",
            Step::Unthrottle | Step::AbortUnthrottle => "giving the guest its CPU time back",
            Step::LogDirtyOff | Step::AbortLogDirtyOff => "turning log-dirty off",
            Step::WriteOut => "writing out the last pages",
            Step::Finished => "finished",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Failed(code) => write!(f, "failed (error {code})"),
            Why::Cancelled => f.write_str("cancelled"),
            Why::Unexpected => f.write_str("unexpected answer"),
            Why::BadBitmap => f.write_str("incomplete or misplaced dirty bitmap"),
            Why::BadCount => f.write_str("page counts that do not add up"),
            Why::Target { estimate_us } => write!(
                f,
                "the guest would be suspended for {} ms at best, beyond the target: \
                 choose a longer one, more pool, throttling, or best effort",
                estimate_us.div_ceil(1000)
            ),
        }
    }
}

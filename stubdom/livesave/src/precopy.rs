//! The engine: which pages are sent when, and the way out when something fails.
//!
//! It is a plain state machine over [`Step`]. Two things hold at all times:
//!
//! - A page is in `to_send`, `to_fix` or `deferred`, or dirty in the hypervisor, or the image has
//!   it as it is. A batch is taken out of `to_send` when it is handed to the driver; a page that is
//!   dirty again by then may be skipped only because the hypervisor still holds its bit.
//! - `suspend` is set from the moment the driver is told to suspend the guest until it has
//!   answered that the guest runs again, and `log_dirty` and `slowed` likewise. Whoever leaves
//!   the straight way goes through [`Precopy::give_up`], which undoes all three, each once.

mod barrier;
mod figures;
mod heat;
mod rounds;
mod throttle;
mod undo;

use alloc::vec::Vec;

use crate::action::{Action, Event, How, Outcome, Step, Why};
use crate::bitmap::Bitmap;
use crate::config::{Base, Config, MAX_BATCH, NewError};
use crate::policy::{Cost, Policy, Stop};
use crate::report::{CleanUp, Round};
use barrier::Barrier;
use throttle::Throttle;

/// Rounds at most, the last one included, whatever the policy says.
pub const MAX_ROUNDS: u32 = 64;

/// When the pool has fewer pages than this left (or than a batch, if that is smaller), the rest
/// of the last round is sent instead: tiny batches would take longer than they save.
pub const MIN_KEEP: u32 = 32;

/// A sample has about this many pages at least: 16 words of the bitmap, to be spread at all.
const MIN_SAMPLE: u32 = 1024;

/// One snapshot of one guest.
#[derive(Debug)]
pub struct Precopy<P> {
    config: Config,
    policy: P,
    step: Step,
    /// The action of `step` was handed out and not answered yet.
    asked: bool,
    /// The guest was told to suspend and has not been seen to run again.
    suspend: bool,
    /// Log-dirty was turned on and has not been seen to be off again.
    log_dirty: bool,
    /// The guest was told to run slower and has not been seen to run at full speed again.
    slowed: bool,
    /// Why we are cleaning up, once we are.
    abort: Option<(Step, Why)>,

    /// Pages that this round has still to send.
    to_send: Bitmap,
    /// Slots that had no page when they were due: tried again in the last round.
    to_fix: Bitmap,
    /// What the bitmap before had, if anything asks for it.
    before: Bitmap,
    /// Pages put off for the last round, if any may be.
    deferred: Bitmap,
    deferred_pages: u32,
    /// The word of `to_send` to go on at.
    cursor: usize,
    /// Every so manyth word of it is read: 1, or more in a sample.
    stride: usize,
    /// The slots at hand: to read, or to prepare.
    batch: Vec<u32>,
    how: How,
    /// Pages of this round still to be read; after a fetch, those of the next one.
    left: u32,
    pool_left: u32,
    /// Bytes of the dirty bitmap fetched so far.
    bitmap_bytes: usize,
    bitmap_dirty: u32,
    bitmap_bad: bool,

    /// At most `MAX_ROUNDS`, and one for all the copying at the barrier. The last one is the one at
    /// hand.
    rounds: Vec<Round>,
    stop: Option<Stop>,
    /// Whether others are waited for, once the policy wants to stop.
    barrier: Barrier,
    estimate_us: u64,
    cost: Cost,
    throttle: Throttle,
    sent: u64,
    zero: u64,
    skipped: u64,
    kept: u32,
    overflow: u32,
    resume: CleanUp,
    log_dirty_off: CleanUp,
    unthrottle: CleanUp,

    started_us: Option<u64>,
    seen_us: u64,
    /// When the outstanding action was handed out.
    asked_us: u64,
    /// When the round at hand began.
    round_us: u64,
    /// Time in reading, of the rounds before.
    read_us: u64,
    suspended_at: Option<u64>,
    suspended_us: u64,
}

impl<P: Policy> Precopy<P> {
    /// Makes the engine, with all the memory that it will ever use: a quarter of a byte for each
    /// page of the guest (an eighth more for each of preparing and deferring), 4 bytes for each
    /// page of a batch or to be prepared, and 5 KiB.
    pub fn new(config: Config, policy: P) -> Result<Self, NewError> {
        if config.pages == 0 {
            return Err(NewError::NoPages);
        }
        if config.batch == 0 || config.batch > MAX_BATCH {
            return Err(NewError::BadBatch);
        }
        let if_wanted = |wanted| if wanted { config.pages } else { 0 };
        let slots = [
            config.pages,
            config.pages,
            if_wanted(config.defer_hot || config.prepare > 0),
            if_wanted(config.defer_hot),
        ];
        let batch_len = config.batch.max(config.prepare.min(config.pages)) as usize;
        let needed = slots.iter().map(|len| 8 * len.div_ceil(64) as usize).sum::<usize>()
            + batch_len * size_of::<u32>()
            + (MAX_ROUNDS as usize + 1) * size_of::<Round>();
        let short = NewError::Memory(needed);

        let [to_send, to_fix, before, deferred] = slots.map(Bitmap::new);
        let mut to_send = to_send.ok_or(short)?;
        let (mut batch, mut rounds) = (Vec::new(), Vec::new());
        batch.try_reserve_exact(batch_len).map_err(|_| short)?;
        rounds.try_reserve_exact(MAX_ROUNDS as usize + 1).map_err(|_| short)?;

        if config.base == Base::Everything {
            to_send.fill();
        }
        let live = policy.live();
        let log = live || config.keep_log || config.base == Base::Log;
        let first_stop = if config.barrier { Step::Barrier } else { Step::Suspend };
        Ok(Self {
            config,
            step: if log { Step::LogDirtyOn } else { first_stop },
            stop: if live { None } else { Some(Stop::NotLive) },
            cost: Cost {
                fixed_us: config.fixed_us.into(),
                prepare: if config.prepared_ns > 0 { config.prepare } else { 0 },
                prepared_ns: config.prepared_ns,
                pool_pages: if policy.keep() { config.pool_pages } else { 0 },
                ..Cost::default()
            },
            policy,
            barrier: if config.barrier { Barrier::Ahead } else { Barrier::Passed },
            asked: false,
            suspend: false,
            log_dirty: false,
            slowed: false,
            abort: None,
            left: to_send.count(),
            to_send,
            to_fix: to_fix.ok_or(short)?,
            before: before.ok_or(short)?,
            deferred: deferred.ok_or(short)?,
            deferred_pages: 0,
            cursor: 0,
            stride: 1,
            batch,
            how: How::Send,
            pool_left: config.pool_pages,
            bitmap_bytes: 0,
            bitmap_dirty: 0,
            bitmap_bad: false,
            rounds,
            estimate_us: 0,
            throttle: Throttle::new(config.throttle),
            sent: 0,
            zero: 0,
            skipped: 0,
            kept: 0,
            overflow: 0,
            resume: CleanUp::NotNeeded,
            log_dirty_off: CleanUp::NotNeeded,
            unthrottle: CleanUp::NotNeeded,
            started_us: None,
            seen_us: 0,
            asked_us: 0,
            round_us: 0,
            read_us: 0,
            suspended_at: None,
            suspended_us: 0,
        })
    }

    /// What to do next. Times are microseconds of a clock that does not go backwards.
    ///
    /// To ask again without having answered ends the snapshot, in the orderly way.
    pub fn next(&mut self, now_us: u64) -> Action<'_> {
        self.see(now_us);
        if core::mem::take(&mut self.asked) {
            match self.step {
                Step::AbortResume | Step::AbortUnthrottle | Step::AbortLogDirtyOff => {
                    self.cleaned_up(false);
                }
                _ => self.give_up(Why::Unexpected),
            }
        }
        self.leave_if_hurried();
        while self.step == Step::Read && !self.fill_batch() {
            self.end_round();
        }
        if self.step == Step::Prepare && !self.fill_prepare() {
            self.prepared();
        }
        self.asked = self.step != Step::Finished;
        self.asked_us = self.seen_us;
        match self.step {
            Step::LogDirtyOn => {
                self.log_dirty = true;
                Action::LogDirty(true)
            }
            Step::Clean => {
                self.bitmap_bytes = 0;
                self.bitmap_dirty = 0;
                Action::Clean { last: self.is_last() }
            }
            Step::Read => Action::Read { batch: &self.batch, how: self.how },
            Step::Throttle => {
                self.slowed = true;
                Action::Throttle(self.throttle.next())
            }
            Step::Unthrottle | Step::AbortUnthrottle => Action::Throttle(100),
            Step::Barrier => Action::Barrier,
            Step::Prepare => Action::Prepare { slots: &self.batch },
            Step::Suspend => {
                self.suspend = true;
                Action::Suspend
            }
            Step::State => Action::State,
            Step::Resume | Step::AbortResume => Action::Resume,
            Step::LogDirtyOff | Step::AbortLogDirtyOff => Action::LogDirty(false),
            Step::WriteOut => Action::WriteOut,
            Step::Finished => Action::Finish(match self.abort {
                None => Outcome::Commit,
                Some((step, why)) => Outcome::Abort { step, why },
            }),
        }
    }

    /// How many pages the last `Clean` found dirty.
    pub fn dirtied(&self) -> u32 {
        self.bitmap_dirty
    }

    /// A piece of the dirty bitmap, while `Clean` is outstanding: bit 0 of the first byte is
    /// `first_slot`. The pieces must follow each other without gaps from slot 0 to the last, so
    /// that no page is forgotten; bits after the last slot, up to a multiple of 64, are ignored.
    /// Anything else ends the snapshot, in the orderly way, with the next event.
    pub fn dirty_chunk(&mut self, first_slot: u32, bytes: &[u8]) {
        let expected = u64::from(first_slot) == self.bitmap_bytes as u64 * 8;
        if !(self.asked && self.step == Step::Clean && expected) {
            self.bitmap_bad = true;
            return;
        }
        match self.to_send.insert_bytes(self.bitmap_bytes, bytes) {
            Some(dirty) => {
                self.bitmap_bytes += bytes.len();
                self.bitmap_dirty = self.bitmap_dirty.saturating_add(dirty);
            }
            None => self.bitmap_bad = true,
        }
    }

    /// Takes the answer to the outstanding action, or `Cancelled`.
    pub fn on(&mut self, event: Event<'_>, now_us: u64) {
        self.see(now_us);
        let cleaning = self.abort.is_some() || self.step == Step::Finished;
        if cleaning && event == Event::Cancelled {
            return;
        }
        let answer = core::mem::take(&mut self.asked);
        match (self.step, event) {
            (Step::Finished, _) => {}
            (Step::AbortResume | Step::AbortUnthrottle | Step::AbortLogDirtyOff, event) => {
                self.cleaned_up(answer && event == Event::Done);
            }
            (_, Event::Cancelled) => self.give_up(Why::Cancelled),
            _ if !answer => self.give_up(Why::Unexpected),
            (Step::Throttle, Event::Refused(_)) => self.slowing_failed(true),
            (Step::Throttle, Event::Failed(_)) => self.slowing_failed(false),
            (Step::Prepare, Event::Refused(_) | Event::Failed(_)) => self.prepared(),
            (step, Event::Refused(code)) => {
                // Not ours, then: someone else may own it, and we must not turn it off.
                if step == Step::LogDirtyOn {
                    self.log_dirty = false;
                }
                self.give_up(Why::Failed(code));
            }
            (_, Event::Failed(code)) => self.give_up(Why::Failed(code)),
            _ if self.bitmap_bad => self.give_up(Why::BadBitmap),

            (Step::LogDirtyOn, Event::Done) => self.log_is_on(),
            (Step::Clean, Event::Done) => self.fetched(),
            (Step::Read, Event::Read(done)) => self.count(done),
            (Step::Throttle, Event::Done) => self.slowed_down(),
            (Step::Barrier, Event::Done) => self.pass_barrier(),
            (Step::Barrier, Event::NotYet) => self.copy_on(),
            (Step::Prepare, Event::Done) => self.prepared(),
            (Step::Suspend, Event::Done) => {
                self.suspended_at = Some(now_us);
                if self.log_dirty {
                    self.step = Step::Clean;
                } else {
                    self.begin_round();
                }
            }
            (Step::State, Event::Done) => self.step = Step::Resume,
            (Step::Resume, Event::Done) => {
                self.resumed();
                self.step = if self.slowed { Step::Unthrottle } else { self.after_resume() };
            }
            (Step::Unthrottle, Event::Done) => {
                self.is_unthrottled();
                self.step = self.after_resume();
            }
            (Step::LogDirtyOff, Event::Done) => {
                self.is_off();
                self.step = Step::WriteOut;
            }
            (Step::WriteOut, Event::Written { zero }) => self.written(zero),
            _ => self.give_up(Why::Unexpected),
        }
    }

    fn log_is_on(&mut self) {
        if let Some(estimate_us) = self.policy.is_hopeless(&self.cost) {
            return self.give_up_target(estimate_us);
        }
        match self.config.base {
            _ if self.is_last() => {
                self.step = if self.config.barrier { Step::Barrier } else { Step::Suspend };
            }
            Base::Everything => self.begin_round(),
            Base::Log => self.step = Step::Clean,
        }
    }

    fn after_resume(&self) -> Step {
        if self.log_dirty && !self.config.keep_log { Step::LogDirtyOff } else { Step::WriteOut }
    }

    fn see(&mut self, now_us: u64) {
        self.seen_us = self.seen_us.max(now_us);
        self.started_us.get_or_insert(now_us);
    }
}

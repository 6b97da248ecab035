//! The engine: which pages are sent when, and the way out when something fails.
//!
//! It is a plain state machine over [`Step`]. Two things hold at all times:
//!
//! - A page is in `to_send`, or in `to_fix`, or dirty in the hypervisor, or the image has it as
//!   it is. A batch is taken out of `to_send` when it is handed to the driver; a page that is
//!   dirty again by then may be skipped only because the hypervisor still holds its bit.
//! - `suspend` is set from the moment the driver is told to suspend the guest until it has
//!   answered that the guest runs again, and `log_dirty` likewise. Whoever leaves the straight
//!   way goes through [`Precopy::give_up`], which undoes both, each once.

mod rounds;
mod undo;

use alloc::vec::Vec;

use crate::action::{Action, Event, How, Outcome, Step, Why};
use crate::bitmap::Bitmap;
use crate::config::{Config, MAX_BATCH, NewError};
use crate::policy::{Policy, Stop};
use crate::report::{CleanUp, Progress, Report, Round, rate};

/// Rounds at most, the last one included, whatever the policy says.
pub const MAX_ROUNDS: u32 = 64;

/// When the pool has fewer pages than this left (or than a batch, if that is smaller), the rest
/// of the last round is sent instead: tiny batches would take longer than they save.
pub const MIN_KEEP: u32 = 32;

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
    /// Why we are cleaning up, once we are.
    abort: Option<(Step, Why)>,

    /// Pages that this round has still to send.
    to_send: Bitmap,
    /// Slots that had no page when they were due: tried again in the last round.
    to_fix: Bitmap,
    /// The word of `to_send` to go on at.
    cursor: usize,
    batch: Vec<u32>,
    how: How,
    /// Pages in `to_send`, for progress.
    left: u32,
    pool_left: u32,
    /// Bytes of the dirty bitmap fetched so far.
    bitmap_bytes: usize,
    bitmap_dirty: u32,
    bitmap_bad: bool,

    /// At most `MAX_ROUNDS`. The last one is the one at hand.
    rounds: Vec<Round>,
    stop: Option<Stop>,
    sent: u64,
    zero: u64,
    skipped: u64,
    copy_us: u64,
    kept: u32,
    overflow: u32,
    resume: CleanUp,
    log_dirty_off: CleanUp,

    started_us: Option<u64>,
    seen_us: u64,
    round_us: u64,
    suspended_at: Option<u64>,
    suspended_us: u64,
}

impl<P: Policy> Precopy<P> {
    /// Makes the engine, with all the memory that it will ever use: about a quarter of a byte
    /// for each page of the guest, 4 bytes for each page of a batch, and 4 KiB.
    pub fn new(config: Config, policy: P) -> Result<Self, NewError> {
        if config.pages == 0 {
            return Err(NewError::NoPages);
        }
        if config.batch == 0 || config.batch > MAX_BATCH {
            return Err(NewError::BadBatch);
        }
        let batch_len = config.batch as usize;
        let needed = 2 * 8 * config.pages.div_ceil(64) as usize
            + batch_len * size_of::<u32>()
            + MAX_ROUNDS as usize * size_of::<Round>();
        let short = NewError::Memory(needed);

        let mut to_send = Bitmap::new(config.pages).ok_or(short)?;
        let to_fix = Bitmap::new(config.pages).ok_or(short)?;
        let (mut batch, mut rounds) = (Vec::new(), Vec::new());
        batch.try_reserve_exact(batch_len).map_err(|_| short)?;
        rounds.try_reserve_exact(MAX_ROUNDS as usize).map_err(|_| short)?;

        to_send.fill();
        let live = policy.live();
        Ok(Self {
            config,
            step: if live { Step::LogDirtyOn } else { Step::Suspend },
            stop: if live { None } else { Some(Stop::NotLive) },
            policy,
            asked: false,
            suspend: false,
            log_dirty: false,
            abort: None,
            to_send,
            to_fix,
            cursor: 0,
            batch,
            how: How::Send,
            left: config.pages,
            pool_left: config.pool_pages,
            bitmap_bytes: 0,
            bitmap_dirty: 0,
            bitmap_bad: false,
            rounds,
            sent: 0,
            zero: 0,
            skipped: 0,
            copy_us: 0,
            kept: 0,
            overflow: 0,
            resume: CleanUp::NotNeeded,
            log_dirty_off: CleanUp::NotNeeded,
            started_us: None,
            seen_us: 0,
            round_us: 0,
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
                Step::AbortResume | Step::AbortLogDirtyOff => self.cleaned_up(false),
                _ => self.give_up(Why::Unexpected),
            }
        }
        while self.step == Step::Read && !self.fill_batch() {
            self.end_round();
        }
        self.asked = self.step != Step::Finished;
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
            (Step::AbortResume | Step::AbortLogDirtyOff, event) => {
                self.cleaned_up(answer && event == Event::Done);
            }
            (_, Event::Cancelled) => self.give_up(Why::Cancelled),
            _ if !answer => self.give_up(Why::Unexpected),
            (step, Event::Refused(code)) => {
                // Not ours, then: someone else may own it, and we must not turn it off.
                if step == Step::LogDirtyOn {
                    self.log_dirty = false;
                }
                self.give_up(Why::Failed(code));
            }
            (_, Event::Failed(code)) => self.give_up(Why::Failed(code)),
            _ if self.bitmap_bad => self.give_up(Why::BadBitmap),

            (Step::LogDirtyOn, Event::Done) => self.begin_round(),
            (Step::Clean, Event::Done) => self.fetched(),
            (Step::Read, Event::Read(done)) => self.count(done),
            (Step::Suspend, Event::Done) => {
                self.suspended_at = Some(now_us);
                if self.policy.live() {
                    self.step = Step::Clean;
                } else {
                    self.begin_round();
                }
            }
            (Step::State, Event::Done) => self.step = Step::Resume,
            (Step::Resume, Event::Done) => {
                self.resumed();
                self.step = if self.log_dirty { Step::LogDirtyOff } else { Step::WriteOut };
            }
            (Step::LogDirtyOff, Event::Done) => {
                self.is_off();
                self.step = Step::WriteOut;
            }
            (Step::WriteOut, Event::Written { zero }) => self.written(zero),
            _ => self.give_up(Why::Unexpected),
        }
    }

    /// The batch of the outstanding `Read`.
    pub fn batch(&self) -> &[u32] {
        &self.batch
    }

    /// The figures so far; final after [`Action::Finish`].
    pub fn report(&self) -> Report<'_> {
        let last = self.rounds.last().filter(|round| round.last);
        Report {
            policy: self.policy.name(),
            pages: self.config.pages,
            rounds: &self.rounds,
            stop: self.stop,
            sent: self.sent,
            zero: self.zero,
            skipped: self.skipped,
            missing: last.map_or(0, |round| round.missing),
            kept: self.kept,
            overflow: self.overflow,
            suspended_us: self.suspended_us,
            total_us: self.seen_us.saturating_sub(self.started_us.unwrap_or(self.seen_us)),
            resume: self.resume,
            log_dirty_off: self.log_dirty_off,
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let round = self.rounds.last().copied().unwrap_or_default();
        let before = self.rounds.iter().rev().find(|round| round.dirtied > 0);
        let reading = self.rounds.last().map_or(0, |round| round.copy_us);
        let copied = self.sent + self.zero;
        let copy_rate = rate(copied, self.copy_us.saturating_add(reading));
        let dirty_rate = before.map_or(0, Round::dirty_rate);
        // While the guest runs, each second copies copy_rate pages and adds dirty_rate of them;
        // those since the round's begin wait for the next bitmap.
        let (since, added) = if self.suspend {
            (0, 0)
        } else {
            let round_us = self.seen_us.saturating_sub(self.round_us);
            let since = dirty_rate.saturating_mul(round_us) / 1_000_000;
            (since.min(self.config.pages.into()), dirty_rate)
        };
        let to_do = u64::from(self.left).saturating_add(since);
        Progress {
            round: round.number,
            last: self.is_last(),
            left: self.left,
            copied,
            dirty_rate,
            copy_rate,
            eta_us: to_do.saturating_mul(1_000_000).checked_div(copy_rate.saturating_sub(added)),
        }
    }

    fn see(&mut self, now_us: u64) {
        self.seen_us = self.seen_us.max(now_us);
        self.started_us.get_or_insert(now_us);
    }
}

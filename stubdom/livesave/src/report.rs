//! Figures: of each round, of the whole snapshot, and of what is still to do.
//!
//! Pages are 4 KiB, times are microseconds of the driver's clock, rates are pages a second.

use crate::policy::Stop;

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// The guest was suspended.
    pub last: bool,
    /// Pages to send at its begin.
    pub asked: u32,
    /// Pages sent or kept, with their contents.
    pub sent: u32,
    /// Pages that were zero.
    pub zero: u32,
    /// Pages left out because they were dirty again.
    pub skipped: u32,
    /// Slots without a page at the time.
    pub missing: u32,
    /// Pages written to between this round's begin and the next one's. 0 until the next
    /// `Clean` is answered.
    pub dirtied: u32,
    /// From the round's begin to its last page.
    pub read_us: u64,
    /// Of that, getting the pages out of the guest, without encoding and sending them.
    pub copy_us: u64,
    /// From the round's begin to the next one's: `read_us` and the fetching of the bitmap (and
    /// the suspending, in the last live round). Equal to `read_us` until then.
    pub time_us: u64,
}

impl Round {
    /// Pages that the image got: sent and zero.
    pub fn copied(&self) -> u32 {
        self.sent.saturating_add(self.zero)
    }

    /// Pages written to, a second. The papers' dirty frequency.
    pub fn dirty_rate(&self) -> u64 {
        rate(self.dirtied.into(), self.time_us)
    }

    /// Pages sent or found zero, a second.
    pub fn copy_rate(&self) -> u64 {
        rate(self.copied().into(), self.read_us)
    }
}

/// Pages a second, 0 if no time has passed.
pub(crate) fn rate(pages: u64, us: u64) -> u64 {
    pages.saturating_mul(1_000_000).checked_div(us).unwrap_or(0)
}

/// What became of a clean-up action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CleanUp {
    /// There was nothing to undo (or not yet).
    #[default]
    NotNeeded,
    /// Done, for certain.
    Done,
    /// It failed, and was not tried again: an operator must look at the guest.
    Failed,
}

/// The whole snapshot, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// The policy's name.
    pub policy: &'static str,
    /// Pages of the guest.
    pub pages: u32,
    /// Every round, at most [`MAX_ROUNDS`](crate::MAX_ROUNDS).
    pub rounds: &'a [Round],
    /// Why copying live came to its end. `None` until then.
    pub stop: Option<Stop>,
    /// Pages sent or kept, in all rounds.
    pub sent: u64,
    /// Pages that were zero, in all rounds.
    pub zero: u64,
    /// Pages left out because dirty again, in all rounds.
    pub skipped: u64,
    /// Slots without a page in the last round: holes in the image.
    pub missing: u32,
    /// Pages of the last round that went into the pool.
    pub kept: u32,
    /// Pages put off for the last round because they were dirty time and again.
    pub deferred: u32,
    /// Pages that were sent out while the guest was suspended, because the pool did not hold
    /// them or the policy does not use it.
    pub overflow: u32,
    /// From the answer to `Suspend` to the answer to `Resume`, as the driver's clock saw it. 0
    /// until then.
    pub suspended_us: u64,
    /// The suspended time that was expected when copying live came to its end. 0 if the policy
    /// does not copy live, or has not come to its end.
    pub estimate_us: u64,
    /// The policy's target for the suspended time.
    pub target_us: Option<u32>,
    /// The suspended time without fetching the bitmap and reading pages: for
    /// [`Config::fixed_us`](crate::Config) of snapshots to come. 0 until it is known.
    pub fixed_us: u64,
    /// From the first call of `next` to the end, or to the last call of anything.
    pub total_us: u64,
    /// How often the guest was slowed down by a step.
    pub throttle_steps: u32,
    /// The smallest share of its CPU time, in percent, that the guest was given; 100: all.
    pub throttle_percent: u8,
    /// Whether the guest was given its CPU time back.
    pub unthrottle: CleanUp,
    /// Whether the guest was resumed.
    pub resume: CleanUp,
    /// Whether log-dirty was turned off.
    pub log_dirty_off: CleanUp,
}

impl Report<'_> {
    /// Whether the suspended time was expected to be within the policy's target when copying
    /// live came to its end. `None`: there is no target, or it has not come to its end.
    pub fn target_met(&self) -> Option<bool> {
        let target = self.target_us?;
        self.stop.map(|_| self.estimate_us <= target.into())
    }

    /// The mean time of a round, from the second to the last but one, as the Live Save paper
    /// has it. 0 if there are fewer than three.
    pub fn average_round_us(&self) -> u64 {
        let Some((_, [between @ .., _])) = self.rounds.split_first() else { return 0 };
        let sum = between.iter().fold(0, |sum: u64, round| sum.saturating_add(round.time_us));
        sum.checked_div(between.len() as u64).unwrap_or(0)
    }

    /// Pages dirtied, a second, over all live rounds: the paper's dirty frequency.
    pub fn dirty_rate(&self) -> u64 {
        let live = || self.rounds.iter().filter(|round| !round.last);
        let dirtied = live().map(|round| u64::from(round.dirtied)).sum();
        rate(dirtied, live().fold(0, |sum: u64, round| sum.saturating_add(round.time_us)))
    }
}

/// How far it is. For people: nothing depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The round at hand, from 1; 0 before the first.
    pub round: u32,
    /// Copying live is over: the guest is being suspended, is suspended, or runs again while
    /// the last pages are written out.
    pub last: bool,
    /// Pages of this round still to be read.
    pub left: u32,
    /// Pages sent, kept or found zero so far, in all rounds.
    pub copied: u64,
    /// Pages written to, a second, in the round before.
    pub dirty_rate: u64,
    /// Pages copied, a second, over everything so far.
    pub copy_rate: u64,
    /// Microseconds until the last page is read, if both rates stay. `None` if the guest
    /// writes faster than we copy (a stop rule will end it) or nothing is known yet.
    pub eta_us: Option<u64>,
}

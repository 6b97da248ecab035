//! What is told to people: the report and the progress. Nothing is decided here.

use super::Precopy;
use crate::policy::Policy;
use crate::report::{Progress, Report, Round, rate};

impl<P: Policy> Precopy<P> {
    /// The slots of the outstanding `Read` or `Prepare`.
    pub fn batch(&self) -> &[u32] {
        &self.batch
    }

    /// The figures so far; final after [`Action::Finish`](crate::Action::Finish).
    pub fn report(&self) -> Report<'_> {
        let last = self.rounds.last().copied().filter(|round| round.last).unwrap_or_default();
        let (throttle_steps, throttle_percent) = self.throttle.taken();
        Report {
            policy: self.policy.name(),
            pages: self.config.pages,
            rounds: &self.rounds,
            stop: self.stop,
            sent: self.sent,
            zero: self.zero,
            skipped: self.skipped,
            missing: last.missing,
            kept: self.kept,
            deferred: self.deferred_pages,
            overflow: self.overflow,
            suspended_us: self.suspended_us,
            estimate_us: self.estimate_us,
            target_us: self.policy.target_us(),
            fixed_us: self.suspended_us.saturating_sub(self.cost.fetch_us + last.read_us),
            total_us: self.seen_us.saturating_sub(self.started_us.unwrap_or(self.seen_us)),
            throttle_steps,
            throttle_percent,
            unthrottle: self.unthrottle,
            resume: self.resume,
            log_dirty_off: self.log_dirty_off,
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let round = self.rounds.last().copied().unwrap_or_default();
        let before = self.rounds.iter().rev().find(|round| round.dirtied > 0);
        let reading = self.rounds.last().map_or(0, |round| round.read_us);
        let copied = self.sent + self.zero;
        let copy_rate = rate(copied, self.read_us.saturating_add(reading));
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
}

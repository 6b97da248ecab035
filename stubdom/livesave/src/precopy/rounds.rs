//! The rounds: what is read next, what became of it, and what the policy says.

use super::{MAX_ROUNDS, MIN_KEEP, MIN_SAMPLE, Precopy};
use crate::action::{How, ReadDone, Step, Why};
use crate::config::Skip;
use crate::policy::{Policy, Stop, Verdict, View};
use crate::report::Round;

impl<P: Policy> Precopy<P> {
    /// Whether the round being prepared or read is the one with the guest suspended.
    pub(super) fn is_last(&self) -> bool {
        self.stop.is_some()
    }

    pub(super) fn begin_round(&mut self) {
        let last = self.is_last();
        if last {
            self.to_send.absorb(&mut self.to_fix);
            self.to_send.absorb(&mut self.deferred);
        }
        self.left = self.to_send.count();
        self.cursor = 0;
        self.step = Step::Read;
        if self.copies_on() {
            return self.go_on_with_round();
        }
        self.round_us = self.seen_us;
        self.rounds.push(Round {
            number: self.rounds.len() as u32 + 1,
            last,
            asked: self.left,
            ..Round::default()
        });
    }

    /// Takes the next batch out of `to_send`; false if there is nothing left to read.
    pub(super) fn fill_batch(&mut self) -> bool {
        let number = self.rounds.len() as u32;
        let mut max = self.batch_max();
        self.how = if !self.is_last() {
            let skip = match self.config.skip {
                Skip::Policy => self.policy.skip(number),
                Skip::Never => false,
                Skip::Always => true,
            };
            if skip { How::SendUnlessDirty } else { How::Send }
        } else if self.policy.keep() && self.pool_left >= MIN_KEEP.min(max) {
            max = max.min(self.pool_left);
            How::Keep
        } else {
            How::Send
        };
        self.batch.clear();
        self.to_send.take(&mut self.cursor, self.stride, &mut self.batch, max as usize);
        !self.batch.is_empty()
    }

    /// What became of the batch.
    pub(super) fn count(&mut self, done: ReadDone<'_>) {
        let ReadDone { sent, zero, skipped, missing, pool_left, copy_us } = done;
        let counted = [sent, zero, skipped].iter().map(|&n| u64::from(n)).sum::<u64>();
        let adds_up = counted.checked_add(missing.len() as u64) == Some(self.batch.len() as u64);
        let known = missing.iter().all(|slot| self.batch.binary_search(slot).is_ok())
            && missing.is_sorted_by(|a, b| a < b);
        if !adds_up || !known || (skipped > 0 && self.how != How::SendUnlessDirty) {
            return self.give_up(Why::BadCount);
        }
        for &slot in &self.batch {
            self.to_fix.remove(slot);
        }
        for &slot in missing {
            self.to_fix.insert(slot);
        }
        self.left = self.left.saturating_sub(self.batch.len() as u32);
        if let Some(round) = self.rounds.last_mut() {
            round.sent += sent;
            round.zero += zero;
            round.skipped += skipped;
            round.missing += missing.len() as u32;
            round.read_us = self.seen_us.saturating_sub(self.round_us);
            round.time_us = round.read_us;
            round.copy_us = round.copy_us.saturating_add(copy_us);
        }
        let copied = sent + zero;
        if copied > 0 {
            self.cost.copy.add(copied, copy_us);
            if self.how != How::Keep {
                self.cost.send.add(copied, self.seen_us.saturating_sub(self.asked_us));
            }
        }
        self.sent += u64::from(sent);
        self.zero += u64::from(zero);
        self.skipped += u64::from(skipped);
        match self.how {
            How::Keep => {
                self.kept += sent;
                self.pool_left = pool_left;
            }
            How::Send if self.is_last() => self.overflow += sent,
            How::Send | How::SendUnlessDirty => {}
        }
    }

    /// Every page of the round, or of the sample, was handled.
    pub(super) fn end_round(&mut self) {
        if self.copies_on() {
            self.step = Step::Barrier;
            return;
        }
        if let Some(round) = self.rounds.last() {
            self.read_us = self.read_us.saturating_add(round.read_us);
        }
        if self.is_last() {
            self.step = Step::State;
            return;
        }
        let (policy, view) = self.consult();
        match policy.after_round(&view) {
            Verdict::GiveUp { estimate_us } => self.give_up_target(estimate_us),
            _ if self.rounds.len() as u32 + 1 >= MAX_ROUNDS => self.suspend_unfetched(Stop::RoundBound),
            Verdict::Stop(stop) => self.suspend_unfetched(stop),
            Verdict::Continue | Verdict::Sample | Verdict::SlowDown => self.step = Step::Clean,
        }
    }

    /// The policy and what it sees.
    fn consult(&mut self) -> (&mut P, View<'_>) {
        let view = View {
            pages: self.config.pages,
            rounds: &self.rounds,
            copied: self.sent + self.zero,
            left: self.left,
            cost: self.cost,
            throttle: self.throttle.possible(),
        };
        (&mut self.policy, view)
    }

    /// What this round left dirty is not known: it is taken to have been written to as fast as
    /// in the round before.
    fn suspend_unfetched(&mut self, stop: Stop) {
        self.left = self.left.saturating_add(self.deferred_pages);
        if let [.., before, round] = self.rounds.as_slice() {
            let dirtied = before.dirty_rate().saturating_mul(round.time_us) / 1_000_000;
            self.left = self.left.saturating_add(dirtied.min(before.dirtied.into()) as u32);
        }
        self.suspend_for(stop);
    }

    pub(super) fn suspend_for(&mut self, stop: Stop) {
        self.estimate_us = self.consult().1.suspended_us();
        if self.waits_for_others(stop) {
            return;
        }
        self.stop = Some(stop);
        // Others are suspended at this moment: to make pages ready now would set this guest's apart
        // from theirs. It was done at the barrier.
        self.step = if self.config.barrier { Step::Suspend } else { Step::Prepare };
    }

    pub(super) fn give_up_target(&mut self, estimate_us: u64) {
        let estimate_us = u32::try_from(estimate_us).unwrap_or(u32::MAX);
        self.give_up(Why::Target { estimate_us });
    }

    /// The dirty bitmap is here.
    pub(super) fn fetched(&mut self) {
        let needed = self.config.pages.div_ceil(8) as usize;
        if self.bitmap_bytes < needed {
            return self.give_up(Why::BadBitmap);
        }
        self.cost.fetch_us = self.seen_us.saturating_sub(self.asked_us);
        let time_us = self.seen_us.saturating_sub(self.round_us);
        let Some(round) = self.rounds.last_mut() else { return self.begin_round() };
        round.dirtied = round.dirtied.saturating_add(self.bitmap_dirty);
        round.time_us = time_us;
        self.stride = 1;
        if self.is_last() || self.copies_on() {
            return self.begin_round();
        }
        self.defer_hot();
        self.left = self.to_send.count().saturating_add(self.deferred_pages);
        let (policy, view) = self.consult();
        let verdict = policy.after_clean(&view);
        if matches!(verdict, Verdict::Sample | Verdict::SlowDown) {
            self.stride = (self.left / (self.config.pages / 64).max(MIN_SAMPLE)) as usize;
        }
        match verdict {
            // What was fetched stays in `to_send`; the last `Clean` adds to it.
            Verdict::Stop(stop) => self.suspend_for(stop),
            Verdict::GiveUp { estimate_us } => self.give_up_target(estimate_us),
            Verdict::SlowDown if self.throttle.possible() => self.step = Step::Throttle,
            Verdict::Continue | Verdict::Sample | Verdict::SlowDown => self.begin_round(),
        }
    }

    pub(super) fn written(&mut self, zero: u32) {
        if zero > self.kept {
            return self.give_up(Why::BadCount);
        }
        self.kept -= zero;
        self.sent = self.sent.saturating_sub(zero.into());
        self.zero += u64::from(zero);
        if let Some(round) = self.rounds.last_mut() {
            round.sent = round.sent.saturating_sub(zero);
            round.zero += zero;
        }
        self.step = Step::Finished;
    }
}

//! The rounds: what is read next, what became of it, and what the policy says.

use super::{MAX_ROUNDS, MIN_KEEP, Precopy};
use crate::action::{How, ReadDone, Step, Why};
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
        }
        self.left = self.to_send.count();
        self.cursor = 0;
        self.round_us = self.seen_us;
        self.rounds.push(Round {
            number: self.rounds.len() as u32 + 1,
            last,
            asked: self.left,
            ..Round::default()
        });
        self.step = Step::Read;
    }

    /// Takes the next batch out of `to_send`; false if there is nothing left to read.
    pub(super) fn fill_batch(&mut self) -> bool {
        let number = self.rounds.len() as u32;
        let mut max = self.config.batch;
        self.how = if !self.is_last() {
            if self.policy.skip(number) { How::SendUnlessDirty } else { How::Send }
        } else if self.policy.keep() && self.pool_left >= MIN_KEEP.min(max) {
            max = max.min(self.pool_left);
            How::Keep
        } else {
            How::Send
        };
        self.batch.clear();
        self.to_send.take(&mut self.cursor, &mut self.batch, max as usize);
        !self.batch.is_empty()
    }

    /// What became of the batch.
    pub(super) fn count(&mut self, done: ReadDone<'_>) {
        let ReadDone { sent, zero, skipped, missing, pool_left } = done;
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
            round.copy_us = self.seen_us.saturating_sub(self.round_us);
            round.time_us = round.copy_us;
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

    /// Every page of the round was handled.
    pub(super) fn end_round(&mut self) {
        if let Some(round) = self.rounds.last() {
            self.copy_us = self.copy_us.saturating_add(round.copy_us);
        }
        if self.is_last() {
            self.step = Step::State;
            return;
        }
        match self.consult(P::after_round) {
            _ if self.rounds.len() as u32 + 1 >= MAX_ROUNDS => self.suspend_for(Stop::RoundBound),
            Verdict::Stop(stop) => self.suspend_for(stop),
            Verdict::Continue => self.step = Step::Clean,
        }
    }

    fn consult(&mut self, policy: fn(&mut P, &View<'_>) -> Verdict) -> Verdict {
        let view = View {
            pages: self.config.pages,
            pool_pages: self.config.pool_pages,
            rounds: &self.rounds,
            copied: self.sent + self.zero,
        };
        policy(&mut self.policy, &view)
    }

    fn suspend_for(&mut self, stop: Stop) {
        self.stop = Some(stop);
        self.step = Step::Suspend;
    }

    /// The dirty bitmap is here.
    pub(super) fn fetched(&mut self) {
        let needed = self.config.pages.div_ceil(8) as usize;
        if self.bitmap_bytes < needed {
            return self.give_up(Why::BadBitmap);
        }
        let time_us = self.seen_us.saturating_sub(self.round_us);
        if let Some(round) = self.rounds.last_mut() {
            round.dirtied = round.dirtied.saturating_add(self.bitmap_dirty);
            round.time_us = time_us;
        }
        if self.is_last() {
            return self.begin_round();
        }
        match self.consult(P::after_clean) {
            // What was fetched stays in `to_send`; the last `Clean` adds to it.
            Verdict::Stop(stop) => self.suspend_for(stop),
            Verdict::Continue => self.begin_round(),
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

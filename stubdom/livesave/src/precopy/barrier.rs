//! The barrier: a guest that is to be suspended together with others copies on until all are ready
//! (the READY barrier of a group snapshot; synchronised arrival in the CloudNet paper, section V-C).
//!
//! All that is copied there counts as one round, so that however long the others take, the rounds
//! stay few; the policy is not asked again.

use super::Precopy;
use crate::action::Step;
use crate::policy::{Policy, Stop};
use crate::report::Round;

/// Pages in a batch at the barrier, at most: between two batches the snapshot can go on at once.
const BATCH: u32 = 128;

/// Where a snapshot is with regard to the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barrier {
    /// The policy does not want to stop yet.
    Ahead,
    /// It does, for this reason.
    At(Stop),
    /// The same, and what the guest writes meanwhile is being copied.
    Waiting(Stop),
    /// The same, but the others are ready now: what is not copied yet is left to the last round.
    Hurrying(Stop),
    /// The guest may be suspended.
    Passed,
}

impl<P: Policy> Precopy<P> {
    /// Whether the guest must not be suspended yet; then the driver is asked.
    pub(super) fn waits_for_others(&mut self, stop: Stop) -> bool {
        let waits = self.barrier == Barrier::Ahead;
        if waits {
            self.barrier = Barrier::At(stop);
            // Here there is time to make pages ready; when the others are, there is none.
            self.step = Step::Prepare;
        }
        waits
    }

    /// The pages are ready, or won't be.
    pub(super) fn prepared(&mut self) {
        self.step = if matches!(self.barrier, Barrier::At(_)) { Step::Barrier } else { Step::Suspend };
    }

    /// The others are ready: should this snapshot be copying at the barrier, it goes on as soon as the
    /// action at hand is answered. May be told at any time, and more than once.
    pub fn hurry(&mut self) {
        if let Barrier::Waiting(stop) = self.barrier {
            self.barrier = Barrier::Hurrying(stop);
        }
    }

    /// Whether copying goes on at the barrier.
    pub(super) fn copies_on(&self) -> bool {
        matches!(self.barrier, Barrier::Waiting(_) | Barrier::Hurrying(_))
    }

    /// Leaves the barrier in the middle of a round, if that is wanted and nothing is outstanding.
    pub(super) fn leave_if_hurried(&mut self) {
        let between = matches!(self.step, Step::Read | Step::Clean | Step::Barrier);
        if between && matches!(self.barrier, Barrier::Hurrying(_)) {
            self.pass_barrier();
        }
    }

    /// The most pages of a batch now.
    pub(super) fn batch_max(&self) -> u32 {
        if self.copies_on() { self.config.batch.min(BATCH) } else { self.config.batch }
    }

    /// The driver: go on.
    pub(super) fn pass_barrier(&mut self) {
        match core::mem::replace(&mut self.barrier, Barrier::Passed) {
            Barrier::At(stop) | Barrier::Waiting(stop) | Barrier::Hurrying(stop) => self.suspend_for(stop),
            // Of a policy that does not copy live.
            Barrier::Ahead | Barrier::Passed => self.step = Step::Suspend,
        }
    }

    /// The driver: not yet.
    pub(super) fn copy_on(&mut self) {
        match self.barrier {
            Barrier::At(stop) => {
                self.barrier = Barrier::Waiting(stop);
                self.round_us = self.seen_us;
                self.rounds.push(Round { number: self.rounds.len() as u32 + 1, ..Round::default() });
            }
            Barrier::Waiting(_) | Barrier::Hurrying(_) => {}
            // A policy that does not copy live has nothing to do meanwhile.
            Barrier::Ahead | Barrier::Passed => return,
        }
        if self.to_send.count() > 0 {
            // What the policy has seen last is not copied yet.
            self.begin_round();
        } else {
            self.step = Step::Clean;
        }
    }

    /// Reads on in the round at hand.
    pub(super) fn go_on_with_round(&mut self) {
        let left = self.left;
        if let Some(round) = self.rounds.last_mut() {
            round.asked = round.asked.saturating_add(left);
        }
    }
}

//! How far the guest is slowed down: the steps of QEMU's auto-converge
//! (`migration/migration.json`: `cpu-throttle-initial` 20 %, `cpu-throttle-increment` 10 %,
//! `max-cpu-throttle` 99 %), as the share of its CPU time that is left to the guest.

use super::Precopy;
use crate::action::Step;
use crate::policy::Policy;

/// Percent of its CPU time that the guest has in each step.
const SHARES: [u8; 9] = [80, 70, 60, 50, 40, 30, 20, 10, 1];

#[derive(Debug)]
pub(super) struct Throttle {
    allowed: bool,
    steps: usize,
}

impl Throttle {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, steps: 0 }
    }

    /// There is a further step.
    pub(super) fn possible(&self) -> bool {
        self.allowed && self.steps < SHARES.len()
    }

    /// The share of the next step.
    pub(super) fn next(&self) -> u8 {
        SHARES.get(self.steps).copied().unwrap_or(100)
    }

    /// Steps taken, and the share that the guest has now.
    pub(super) fn taken(&self) -> (u32, u8) {
        let share = self.steps.checked_sub(1).and_then(|step| SHARES.get(step));
        (self.steps as u32, share.copied().unwrap_or(100))
    }
}

impl<P: Policy> Precopy<P> {
    pub(super) fn slowed_down(&mut self) {
        self.throttle.steps += 1;
        self.begin_round();
        // What was written while that took is in the log, so it counts for the round's time, too:
        // else the guest would seem to write faster than it does.
        self.round_us = self.asked_us;
    }

    /// Go on without. If it is certain that the guest was never slowed down, there is nothing
    /// to undo.
    pub(super) fn slowing_failed(&mut self, for_certain: bool) {
        debug_assert_eq!(self.step, Step::Throttle);
        self.throttle.allowed = false;
        if for_certain && self.throttle.steps == 0 {
            self.slowed = false;
        }
        self.begin_round();
    }
}

//! The way out when something fails: the guest runs at full speed, log-dirty is off, no image.

use super::Precopy;
use crate::action::{Step, Why};
use crate::policy::Policy;
use crate::report::CleanUp;

impl<P: Policy> Precopy<P> {
    /// Leaves the straight way: resume the guest, give it its CPU time back, turn log-dirty off,
    /// no image.
    pub(super) fn give_up(&mut self, why: Why) {
        self.abort = Some((self.step, why));
        self.next_clean_up();
    }

    /// What is still to undo. Each is asked for once: the flag goes down when it was.
    fn next_clean_up(&mut self) {
        self.step = if self.suspend {
            Step::AbortResume
        } else if self.slowed {
            Step::AbortUnthrottle
        } else if self.log_dirty {
            Step::AbortLogDirtyOff
        } else {
            Step::Finished
        };
    }

    pub(super) fn cleaned_up(&mut self, done: bool) {
        match (self.step, done) {
            (Step::AbortResume, true) => self.resumed(),
            (Step::AbortResume, false) => {
                self.suspend = false;
                self.resume = CleanUp::Failed;
            }
            (Step::AbortUnthrottle, true) => self.is_unthrottled(),
            (Step::AbortUnthrottle, false) => {
                self.slowed = false;
                self.unthrottle = CleanUp::Failed;
            }
            (_, true) => self.is_off(),
            (_, false) => {
                self.log_dirty = false;
                self.log_dirty_off = CleanUp::Failed;
            }
        }
        self.next_clean_up();
    }

    pub(super) fn resumed(&mut self) {
        self.suspend = false;
        self.resume = CleanUp::Done;
        let since = self.suspended_at.unwrap_or(self.seen_us);
        self.suspended_us = self.seen_us.saturating_sub(since);
    }

    pub(super) fn is_unthrottled(&mut self) {
        self.slowed = false;
        self.unthrottle = CleanUp::Done;
    }

    pub(super) fn is_off(&mut self) {
        self.log_dirty = false;
        self.log_dirty_off = CleanUp::Done;
    }
}

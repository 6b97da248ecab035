//! A target for the suspended time.

use super::{Policy, Stop, Verdict, View};

/// Suspend when the suspended time will be within the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downtime {
    /// The target, in microseconds.
    pub target_us: u32,
    /// Without hope of meeting it, give up instead of doing one's best.
    pub strict: bool,
    /// The shortest suspended time so far that was real progress.
    best_us: u64,
    /// Rounds since.
    stalled: u32,
}

impl Downtime {
    /// The name that operators use.
    pub const NAME: &str = "downtime";

    /// A target in microseconds; `strict`: rather no snapshot than one beyond it.
    pub const fn new(target_us: u32, strict: bool) -> Self {
        Self { target_us, strict, best_us: u64::MAX, stalled: 0 }
    }
}

impl Default for Downtime {
    /// 30 ms, best effort.
    fn default() -> Self {
        Self::new(30_000, false)
    }
}

impl Policy for Downtime {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn skip(&self, _round: u32) -> bool {
        true
    }

    fn target_us(&self) -> Option<u32> {
        Some(self.target_us)
    }

    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        let estimate_us = view.suspended_us();
        if estimate_us <= self.target_us.into() {
            return Verdict::Stop(Stop::TargetMet);
        }
        if estimate_us < self.best_us / 10 * 9 {
            self.best_us = estimate_us;
            self.stalled = 0;
            return Verdict::Continue;
        }
        self.stalled += 1;
        if self.stalled < 2 {
            Verdict::Continue
        } else if view.throttle {
            self.stalled = 0;
            Verdict::SlowDown
        } else if self.strict {
            Verdict::GiveUp { estimate_us }
        } else {
            Verdict::Stop(Stop::TargetMissed)
        }
    }
}

//! Time that counts.

/// Milliseconds without leaps: whatever the driver's clock does, one call lets not more than one
/// `step` pass. A clock that stood still, went back, or leapt over an hour (a paused host) so fires
/// no time-out that the peers had no chance to prevent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    step: u64,
    now: u64,
    last: Option<u64>,
}

impl Clock {
    pub(crate) fn new(step: u64) -> Self {
        Self { step, now: 0, last: None }
    }

    /// The driver's time; returns the time that counts.
    pub(crate) fn advance(&mut self, driver_ms: u64) -> u64 {
        let elapsed = driver_ms.saturating_sub(self.last.unwrap_or(driver_ms));
        self.now = self.now.saturating_add(elapsed.min(self.step));
        self.last = Some(driver_ms);
        self.now
    }

    /// The driver's time at which `at` will have come, or a step earlier, so that no time is lost.
    pub(crate) fn driver_time(&self, at: u64) -> u64 {
        self.last.unwrap_or(0).saturating_add(at.saturating_sub(self.now).min(self.step))
    }
}

/// When to say something again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// When.
    pub(crate) at: u64,
    gap: u64,
}

impl Retry {
    /// At once, and again after `first`, doubling.
    pub(crate) fn now(now: u64) -> Self {
        Self { at: now, gap: 0 }
    }

    /// Whether it is time; then counts on.
    pub(crate) fn due(&mut self, now: u64, first: u64, max: u64) -> bool {
        if now < self.at {
            return false;
        }
        self.gap = self.gap.saturating_mul(2).clamp(first, max);
        self.at = now.saturating_add(self.gap);
        true
    }

    /// Not before then.
    pub(crate) fn delay(&mut self, at: u64) {
        self.at = at;
        self.gap = 0;
    }
}

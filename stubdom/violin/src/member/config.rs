//! What can be set.

/// Times in milliseconds and bounds of a [`Membership`](super::Membership).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Between two heartbeats to the same member; 1,000 by default, at least 32, at most 60,000.
    pub heartbeat_ms: u64,
    /// A member has failed after this many heartbeats were missed, and half an interval of grace; 3 by
    /// default.
    pub missed: u64,
    /// How slow this machine is, in percent: 100 by default, which is a fast one, at most 400. It waits so
    /// much longer for the heartbeats of others, and asks them to wait so much longer for its own; how
    /// often it sends them stays.
    pub slow_percent: u64,
    /// The most heartbeats a second that this switch sends: with more members the interval becomes
    /// longer, and says so. 256 by default.
    pub beats_per_second: usize,
    /// The most members, the failed and the left included; 256 by default.
    pub members: usize,
    /// The longest time between two calls to a member that does not answer; 30 s by default.
    pub probe_max_ms: u64,
    /// A failed member that is no seed is forgotten after this time; 24 h by default.
    pub forget_ms: u64,
    /// A member that left is remembered for this time; 1 h by default.
    pub tombstone_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_ms: 1_000,
            missed: 3,
            slow_percent: 100,
            beats_per_second: 256,
            members: 256,
            probe_max_ms: 30_000,
            forget_ms: 24 * 3_600_000,
            tombstone_ms: 3_600_000,
        }
    }
}

impl Config {
    /// The same within bounds in which the arithmetic of time can't overflow and nothing spins.
    pub(super) fn bounded(self) -> Self {
        const YEAR_MS: u64 = 365 * 24 * 3_600_000;
        let heartbeat_ms = self.heartbeat_ms.clamp(32, 60_000);
        Self {
            heartbeat_ms,
            missed: self.missed.clamp(1, 100),
            slow_percent: self.slow_percent.clamp(100, 400),
            beats_per_second: self.beats_per_second.max(1),
            members: self.members.clamp(1, 65_536),
            probe_max_ms: self.probe_max_ms.clamp(heartbeat_ms, YEAR_MS),
            forget_ms: self.forget_ms.min(YEAR_MS),
            tombstone_ms: self.tombstone_ms.min(YEAR_MS),
        }
    }
}

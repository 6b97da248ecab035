//! What can be set: time-outs.

/// Time-outs in milliseconds of a fast machine; all are multiplied by `scale`.
///
/// The defaults are those of algorithms.md 3a, as far as it names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// All times but `sign_ms`, in percent: 100 by default, more on a slow machine (measured by the
    /// driver's calibration loop); between 10 and 100,000.
    pub scale_percent: u64,
    /// The first repetition of a message that was not answered; doubles up to `retry_max_ms`. 50.
    pub retry_ms: u64,
    /// The longest time between two repetitions; 1,000.
    pub retry_max_ms: u64,
    /// A participant gives a sign of life this often, however slow its machine is, as the coordinator's may
    /// be a fast one; 500.
    pub sign_ms: u64,
    /// How long a participant waits for its list of members to agree with the coordinator's; 3,000.
    pub view_ms: u64,
    /// A member must have answered at all, and given a sign since, within this time; 5,000.
    pub silence_ms: u64,
    /// The shim must have checked and started its jobs within this time; 60,000.
    pub prepare_ms: u64,
    /// All must be ready (classic: cut) within this time from the beginning; none by default: the
    /// guests' own policies end.
    pub ready_ms: Option<u64>,
    /// From the word to flip until the last guest is cut; 2,000. Not in classic mode.
    pub flip_ms: u64,
    /// What is still on its way is waited for this long; 100 in a LAN, twice the round trip and 100 more in
    /// a WAN.
    pub drain_ms: u64,
    /// A participant hears nothing of its coordinator this long: it acts on its own; 10,000.
    pub orphan_ms: u64,
    /// From the last cut until all images are durable, as long as there are signs of life; one hour.
    pub store_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scale_percent: 100,
            retry_ms: 50,
            retry_max_ms: 1_000,
            sign_ms: 500,
            view_ms: 3_000,
            silence_ms: 5_000,
            prepare_ms: 60_000,
            ready_ms: None,
            flip_ms: 2_000,
            drain_ms: 100,
            orphan_ms: 10_000,
            store_ms: 3_600_000,
        }
    }
}

impl Config {
    /// The same with all times scaled and within bounds: nothing spins, and no sum overflows.
    pub(crate) fn scaled(self) -> Self {
        const DAY_MS: u64 = 24 * 3_600_000;
        let scale = self.scale_percent.clamp(10, 100_000);
        let time = |ms: u64| (ms.min(DAY_MS) * scale / 100).max(1);
        let retry_ms = time(self.retry_ms);
        Self {
            scale_percent: 100,
            retry_ms,
            retry_max_ms: time(self.retry_max_ms).max(retry_ms),
            sign_ms: self.sign_ms.clamp(1, DAY_MS),
            view_ms: time(self.view_ms),
            silence_ms: time(self.silence_ms),
            prepare_ms: time(self.prepare_ms),
            ready_ms: self.ready_ms.map(time),
            flip_ms: time(self.flip_ms),
            drain_ms: time(self.drain_ms),
            orphan_ms: time(self.orphan_ms),
            store_ms: time(self.store_ms),
        }
    }
}

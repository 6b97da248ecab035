//! A target for the suspended time: the default.
//!
//! After each fetch of the bitmap the suspended time is foretold from what copying and sending
//! were measured to cost ([`View::suspended_us`]). Within the target: suspend. Not so, and
//! another round is not worth it: slow the guest down if that is allowed; else suspend all the
//! same, or give up before the guest was suspended at all (`strict`). The idea is that of QEMU's
//! `downtime-limit`, with the stall detection that KubeVirt proposes for it (VEP 248).
//!
//! # Few pages
//! What is dirty again already is never read while the guest runs, not even in the first round:
//! it has to be read again anyway. And no round is begun that can't help. A round is worth it if
//! it takes away a quarter of the copying, or if the target is met in 8 more rounds like it; a
//! 16th of the guest may be sent in others, as guests are not that steady (in 3 of them, if the
//! guest can be slowed down instead). If all but the pages takes longer than the target, there
//! are no rounds for less than a fifth.
//!
//! # Samples
//! Let a guest rewrite `w` pages at random, `r` times as fast as pages are sent. A round that
//! begins with a share `l` of them dirty ends with `r l / (1 + r l)`, and the rounds approach
//! `1 - 1/r`, or 0 if `r` is at most 1. So `r` tells what rounds can do, but a long first round
//! hides it: most pages were written to more than once. Therefore, if it leaves much, the second
//! is a sample of what is dirty, as large as a 64th of the guest, and `r` comes from the pages
//! dirtied meanwhile. If rounds will take away less than a quarter of the copying (`r` above 4),
//! there are none. A few pages that are written to all the time deceive the formula; up to a
//! 24th of the guest, they do not pass for so fast a writer.
//!
//! # Throttling
//! Steps are those of QEMU's auto-converge, each followed by a sample: that costs a 64th of the
//! guest, not a round. More steps follow at once until half of the target is in reach, with a
//! third to spare.
//!
//! # Figures
//! On the model (1 GiB, half of it rewritten at random at so many times the sink's pace, 117 MB/s
//! to the sink, 1.2 GB/s to the pool, 20 ms for each fetch), thousands of pages sent and
//! milliseconds suspended:
//!
//! | rate | Xen today | Live Save | Smart Stop | 30 ms | 300 ms | 30 ms, throttled |
//! |---|---|---|---|---|---|---|
//! | 0.03 | 270 / 21 | 270 / 21 | 270 / 21 | 268 / 21 | 268 / 46 | 268 / 21 |
//! | 0.35 | 361 / 61 | 360 / 21 | 357 / 22 | 329 / 29 | 306 / 229 | 329 / 29 |
//! | 0.70 | 484 / 531 | 483 / 25 | 473 / 26 | 418 / 30 | 351 / 164 | 418 / 30 |
//! | 1.40 | 719 / 2625 | 830 / 152 | 455 / 218 | 404 / 214 | 365 / 263 | 394 / 29 |
//! | 5.59 | 916 / 4579 | 896 / 380 | 456 / 384 | 307 / 446 | 307 / 446 | 312 / 22 |
//! | 22.3 | 918 / 4596 | 886 / 438 | 424 / 440 | 282 / 451 | 282 / 451 | 306 / 25 |
//!
//! with a pool of half the guest (Xen's migration has none). `xl save` sends 262 and is suspended
//! for 9152. What each part is for: without skipping, 30 ms at 22.3 sends 396; without the sample
//! it sends 294, and 331 instead of 307 at 5.59 (with 394 ms instead of 446).
//! [`Config::defer_hot`](crate::Config::defer_hot) is of use to Live Save (446 instead of 830 at
//! 1.40, with 261 ms; 406 instead of 886 at 22.3), not here: it saves 6 percent at 1.40 and 14 at
//! 0.70, where it makes 136 ms out of 30.

use super::{Cost, Policy, Stop, Verdict, View};

/// Live rounds at most, with the guest as fast as it is.
const MAX_LIVE_ROUNDS: u32 = 29;

/// Live rounds at most, however often the guest was slowed down. Fewer than the engine allows.
const MAX_LIVE_ROUNDS_IN_ALL: u32 = 60;

/// Where suspending alone exceeds the target, copying is to take a so-manieth part of it.
const OUT_OF_REACH: u64 = 4;

/// Suspend when the suspended time will be within the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downtime {
    /// The target, in microseconds.
    pub target_us: u32,
    /// Without hope of meeting it, give up instead of doing one's best.
    pub strict: bool,
    /// The round at hand is a sample.
    sample: bool,
    /// The round after which the guest was to be slowed down, or further down.
    slowed: Option<u32>,
    /// What copying would have taken after the round before.
    before_us: u64,
    /// The least that it would have taken after a round that was worth it.
    best_us: u64,
    /// Rounds since that were not, and the pages that they sent.
    in_vain: u32,
    spent: u32,
}

impl Downtime {
    /// The name that operators use.
    pub const NAME: &str = "downtime";

    /// A target in microseconds; `strict`: rather no snapshot than one beyond it.
    pub const fn new(target_us: u32, strict: bool) -> Self {
        Self {
            target_us,
            strict,
            sample: false,
            slowed: None,
            before_us: u64::MAX,
            best_us: u64::MAX,
            in_vain: 0,
            spent: 0,
        }
    }

    /// How long copying may take: what the target leaves for it, or a share of all else.
    fn allowed_us(&self, view: &View<'_>) -> u64 {
        match copying(view, self.target_us.into()) {
            0 => view.cost.suspended_us(0) / OUT_OF_REACH,
            left => left,
        }
    }

    /// Whether rounds can't help, going by a sample.
    fn is_in_vain(&self, view: &View<'_>, copying_us: u64, allowed_us: u64) -> bool {
        let floor_us = copying(view, view.cost.suspended_us(self.floor(view)));
        if view.throttle { floor_us > allowed_us / 2 } else { floor_us > allowed_us.max(copying_us / 4 * 3) }
    }

    /// The fewest pages that any number of rounds will leave, going by a sample.
    fn floor(&self, view: &View<'_>) -> u64 {
        let (mut writes, sends) = (view.round().dirty_rate(), view.cost.send.rate());
        if self.slowed.is_some() {
            writes = writes.saturating_add(writes / 3);
        }
        let faster = writes.saturating_sub(sends);
        u64::from(view.working_set()).saturating_mul(faster).checked_div(writes).unwrap_or(0)
    }

    /// Whether rounds have not helped.
    fn is_stalled(&mut self, view: &View<'_>, copying_us: u64, allowed_us: u64) -> bool {
        let on_the_way = self.is_on_the_way(copying_us, allowed_us);
        self.before_us = copying_us;
        if copying_us <= self.best_us / 4 * 3 {
            self.best_us = copying_us;
            self.in_vain = 0;
            self.spent = 0;
        } else if !on_the_way {
            self.in_vain += 1;
            self.spent = self.spent.saturating_add(view.round().copied());
        }
        let most = if view.throttle { 3 } else { MAX_LIVE_ROUNDS };
        self.in_vain >= most || self.spent > view.pages / 16
    }

    /// Whether copying takes no longer than allowed in 8 more rounds, if each takes away as large a
    /// part as the last one did.
    fn is_on_the_way(&self, copying_us: u64, allowed_us: u64) -> bool {
        let mut us = u128::from(copying_us);
        (0..8).any(|_| {
            us = us.saturating_mul(copying_us.into()) / u128::from(self.before_us.max(1));
            us <= allowed_us.into()
        })
    }
}

/// What of a suspended time rounds can take away.
fn copying(view: &View<'_>, suspended_us: u64) -> u64 {
    suspended_us.saturating_sub(view.cost.suspended_us(0))
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

    /// Not a single page could be copied.
    fn is_hopeless(&self, cost: &Cost) -> Option<u64> {
        let estimate_us = cost.suspended_us(0);
        (self.strict && estimate_us > self.target_us.into()).then_some(estimate_us)
    }

    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        let estimate_us = view.suspended_us();
        if estimate_us <= self.target_us.into() {
            return Verdict::Stop(Stop::TargetMet);
        }
        if let Some(estimate_us) = self.is_hopeless(&view.cost) {
            return Verdict::GiveUp { estimate_us };
        }
        let number = view.round().number;
        let since = number.saturating_sub(self.slowed.unwrap_or(0));
        let too_much = since >= MAX_LIVE_ROUNDS
            || number >= MAX_LIVE_ROUNDS_IN_ALL
            || view.copied > 3 * u64::from(view.pages);
        let copying_us = copying(view, estimate_us);
        let allowed_us = self.allowed_us(view);
        if copying_us <= allowed_us {
            return Verdict::Stop(Stop::TargetMissed);
        }
        let stalled = if core::mem::take(&mut self.sample) {
            self.is_in_vain(view, copying_us, allowed_us)
        } else {
            self.is_stalled(view, copying_us, allowed_us)
        };
        if !stalled && !too_much {
            self.sample = number == 1 && view.left > view.pages / 16;
            if self.sample { Verdict::Sample } else { Verdict::Continue }
        } else if view.throttle && number < MAX_LIVE_ROUNDS_IN_ALL {
            *self = Self { sample: true, slowed: Some(number), ..Self::new(self.target_us, self.strict) };
            Verdict::SlowDown
        } else if self.strict {
            Verdict::GiveUp { estimate_us }
        } else {
            Verdict::Stop(Stop::TargetMissed)
        }
    }
}

//! When to stop copying live: a replaceable value.
//!
//! A policy looks at the figures of the rounds and says go on or stop. It decides nothing that
//! the image's correctness depends on: with any policy, the image equals the guest at the cut.

use core::fmt;

use crate::report::{Round, rate};

mod any;
mod cost;
mod downtime;
mod improved;
mod live_save;
mod pool_fit;
mod smart_stop;
mod xen_migrate;
mod xen_save;

pub use any::{AnyPolicy, UnknownPolicy};
pub use cost::{Cost, Pace};
pub use downtime::Downtime;
pub use improved::ImprovedLiveSave;
pub use live_save::LiveSave;
pub use pool_fit::PoolFit;
pub use smart_stop::SmartStop;
pub use xen_migrate::{XenMigrate, XenMigrate451};
pub use xen_save::XenSave;

/// What a policy sees.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Pages of the guest.
    pub pages: u32,
    /// The live rounds so far; the last one is the one that just ended. Never empty.
    pub rounds: &'a [Round],
    /// Pages sent in all rounds, zero pages included.
    pub copied: u64,
    /// After a fetch: pages that the next round would have to read if it were the last, those
    /// put off until then included. During and after a round: pages that it has not read.
    pub left: u32,
    /// What things cost.
    pub cost: Cost,
    /// The guest can be slowed down further.
    pub throttle: bool,
}

impl View<'_> {
    /// The round that just ended.
    pub fn round(&self) -> Round {
        self.rounds.last().copied().unwrap_or_default()
    }

    /// The most pages that were dirtied in a round: the guest's working set, or a part of it.
    pub fn working_set(&self) -> u32 {
        self.rounds.iter().map(|round| round.dirtied).max().unwrap_or(0)
    }

    /// The suspended time to be expected if the guest were suspended now: for `left`, and for
    /// what else of its working set it writes to until it stands still, which takes about as
    /// long as fetching a bitmap. Pages that were skipped are hot: they are in `left`.
    pub fn suspended_us(&self) -> u64 {
        let round = self.round();
        let set = u64::from(self.working_set());
        let clean = set.saturating_sub(self.left.into());
        let cold = round.dirtied.saturating_sub(round.skipped);
        let writes = rate(cold.into(), round.time_us).saturating_mul(self.cost.fetch_us) / 1_000_000;
        let more = writes.saturating_mul(clean).checked_div(set).unwrap_or(0).min(clean);
        self.cost.suspended_us(more + u64::from(self.left))
    }
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One more live round.
    Continue,
    /// One more live round that reads only a sample of what is dirty, about a 64th of the guest,
    /// spread evenly; the rest is left for the next. Like `Continue` after a round whose bitmap
    /// is not fetched yet.
    Sample,
    /// A sample, with the guest slowed down by one more step. Like `Sample` if
    /// [`View::throttle`] is false.
    SlowDown,
    /// Suspend the guest and copy the rest.
    Stop(Stop),
    /// No snapshot: the target for the suspended time can't be met.
    GiveUp {
        /// The suspended time to be expected.
        estimate_us: u64,
    },
}

/// Why copying live came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The policy's number of live rounds is used up.
    TooManyRounds,
    /// So few pages were dirty that another round is not worth it.
    FewDirty,
    /// More was sent than the policy allows for a guest of this size.
    TooMuchSent,
    /// The policy does not copy live at all.
    NotLive,
    /// What is left fits the pool.
    FitsPool,
    /// Another round would leave about as much as this one.
    NotShrinking,
    /// Fewer pages are left than after any of the rounds before, and it will hardly get better.
    LocalMinimum,
    /// The suspended time will be within the target.
    TargetMet,
    /// The suspended time will be beyond the target, and it will hardly get better.
    TargetMissed,
    /// The engine's own bound on rounds ([`MAX_ROUNDS`](crate::MAX_ROUNDS)).
    RoundBound,
}

impl Stop {
    /// In an operator's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Stop::TooManyRounds => "too many rounds",
            Stop::FewDirty => "few dirty pages",
            Stop::TooMuchSent => "too much sent",
            Stop::NotLive => "not live",
            Stop::FitsPool => "fits the pool",
            Stop::NotShrinking => "not shrinking",
            Stop::LocalMinimum => "local minimum",
            Stop::TargetMet => "target met",
            Stop::TargetMissed => "target missed",
            Stop::RoundBound => "bound on rounds",
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A way to take a snapshot: how it reads pages, and when it stops copying live.
pub trait Policy {
    /// The name that operators use.
    fn name(&self) -> &'static str;

    /// Copy while the guest runs, with log-dirty on? If not, the guest is suspended first and
    /// all is one round.
    fn live(&self) -> bool {
        true
    }

    /// Leave out pages that are dirty again, in this live round (from 1)?
    fn skip(&self, _round: u32) -> bool {
        false
    }

    /// Copy the last round to the pool and write it out after the guest runs again? If not, it
    /// is sent while the guest is suspended.
    fn keep(&self) -> bool {
        true
    }

    /// The suspended time that it aims at, in microseconds, if it does.
    fn target_us(&self) -> Option<u32> {
        None
    }

    /// Asked before the first live round: if it is certain by now that its target can't be met,
    /// and it would give up, the suspended time to be expected, in microseconds.
    fn is_hopeless(&self, _cost: &Cost) -> Option<u64> {
        None
    }

    /// Asked at the end of each live round, before the dirty bitmap is fetched: `dirtied` of
    /// this round is not known yet, and `time_us` is `read_us`.
    fn after_round(&mut self, _view: &View<'_>) -> Verdict {
        Verdict::Continue
    }

    /// Asked after that, when the dirty bitmap was fetched and `dirtied` is known: the pages
    /// that the next round would have to send. To stop here costs one more fetch.
    fn after_clean(&mut self, _view: &View<'_>) -> Verdict {
        Verdict::Continue
    }
}

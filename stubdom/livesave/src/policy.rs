//! When to stop copying live: a replaceable value.
//!
//! A policy looks at the figures of the rounds and says go on or stop. It decides nothing that
//! the image's correctness depends on: with any policy, the image equals the guest at the cut.

use core::{fmt, str::FromStr};

use crate::report::Round;

mod live_save;
mod pool_fit;
mod xen_save;

pub use live_save::LiveSave;
pub use pool_fit::PoolFit;
pub use xen_save::XenSave;

/// What a policy sees.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Pages of the guest.
    pub pages: u32,
    /// Pages of the pool for the last round.
    pub pool_pages: u32,
    /// The live rounds so far; the last one is the one that just ended. Never empty.
    pub rounds: &'a [Round],
    /// Pages sent in all rounds, zero pages included.
    pub copied: u64,
}

impl View<'_> {
    /// The round that just ended.
    pub fn round(&self) -> Round {
        self.rounds.last().copied().unwrap_or_default()
    }
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One more live round.
    Continue,
    /// Suspend the guest and copy the rest.
    Stop(Stop),
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

    /// Asked at the end of each live round, before the dirty bitmap is fetched: `dirtied` of
    /// this round is not known yet, and `time_us` is `copy_us`.
    fn after_round(&mut self, view: &View<'_>) -> Verdict;

    /// Asked after that, when the dirty bitmap was fetched and `dirtied` is known: the pages
    /// that the next round would have to send. To stop here costs one more fetch.
    fn after_clean(&mut self, _view: &View<'_>) -> Verdict {
        Verdict::Continue
    }
}

/// A policy chosen by name at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnyPolicy {
    /// [`LiveSave`].
    LiveSave(LiveSave),
    /// [`PoolFit`].
    PoolFit(PoolFit),
    /// [`XenSave`].
    XenSave(XenSave),
}

impl AnyPolicy {
    /// The names that [`FromStr`] knows.
    pub const NAMES: &[&str] = &[LiveSave::NAME, PoolFit::NAME, XenSave::NAME];

    fn inner(&self) -> &dyn Policy {
        match self {
            AnyPolicy::LiveSave(policy) => policy,
            AnyPolicy::PoolFit(policy) => policy,
            AnyPolicy::XenSave(policy) => policy,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Policy {
        match self {
            AnyPolicy::LiveSave(policy) => policy,
            AnyPolicy::PoolFit(policy) => policy,
            AnyPolicy::XenSave(policy) => policy,
        }
    }
}

impl Policy for AnyPolicy {
    fn name(&self) -> &'static str {
        self.inner().name()
    }
    fn live(&self) -> bool {
        self.inner().live()
    }
    fn skip(&self, round: u32) -> bool {
        self.inner().skip(round)
    }
    fn keep(&self) -> bool {
        self.inner().keep()
    }
    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        self.inner_mut().after_round(view)
    }
    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        self.inner_mut().after_clean(view)
    }
}

/// No policy has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown policy; choose one of:")?;
        AnyPolicy::NAMES.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

impl core::error::Error for UnknownPolicy {}

impl FromStr for AnyPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        match name {
            LiveSave::NAME => Ok(AnyPolicy::LiveSave(LiveSave::default())),
            PoolFit::NAME => Ok(AnyPolicy::PoolFit(PoolFit::default())),
            XenSave::NAME => Ok(AnyPolicy::XenSave(XenSave)),
            _ => Err(UnknownPolicy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_listed_name_makes_the_policy_of_that_name() {
        for name in AnyPolicy::NAMES {
            assert_eq!(name.parse::<AnyPolicy>().unwrap().name(), *name);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "live save".parse::<AnyPolicy>().unwrap_err();
        assert_eq!(error.to_string(), "unknown policy; choose one of: live-save pool-fit xen-save");
    }
}

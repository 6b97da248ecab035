//! Xen's live migration, as of 4.5.1 and as of today, with our image as the far end.
//!
//! The baselines of the paper's comparisons. Both send the last round while the guest is
//! suspended, as a migration has to: the pool is not used.

use super::{LiveSave, Policy, Stop, Verdict, View};

/// The loop of `xc_domain_save` in Xen 4.5.1 (`tools/libxc/xc_domain_save.c`): 29 live rounds,
/// fewer than 50 pages sent and skipped, or more than 3 times the memory sent.
///
/// For guests with hardware paging its first round skips nothing, so the rule and the pages are
/// those of [`LiveSave`], which is this loop with another sink: the last round of Live Save goes
/// to memory here, that of a migration through the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XenMigrate451 {
    /// The limits.
    pub limits: LiveSave,
}

impl XenMigrate451 {
    /// The name that operators use.
    pub const NAME: &str = "xen-migrate-4.5";
}

impl Policy for XenMigrate451 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn skip(&self, round: u32) -> bool {
        self.limits.skip(round)
    }

    fn keep(&self) -> bool {
        false
    }

    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        self.limits.after_round(view)
    }
}

/// The loop of `send_memory_live` with `simple_precopy_policy`, Xen 4.17
/// (`tools/libs/guest/xg_sr_save.c`): 5 live rounds, or fewer than 50 pages dirty. It skips
/// nothing.
///
/// The policy is asked both before and after a round is sent. When it says stop before, which
/// is when the bitmap has few pages, these are sent once more live, and then the guest is
/// suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XenMigrate {
    /// Live rounds at most; one more follows while the guest is suspended.
    pub max_live_rounds: u32,
    /// Stop when fewer pages than this are dirty.
    pub few_dirty: u32,
    /// That was said: the round at hand is the last live one.
    said: bool,
}

impl XenMigrate {
    /// The name that operators use.
    pub const NAME: &str = "xen-migrate";
}

impl Default for XenMigrate {
    fn default() -> Self {
        Self { max_live_rounds: 5, few_dirty: 50, said: false }
    }
}

impl Policy for XenMigrate {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn keep(&self) -> bool {
        false
    }

    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        if self.said {
            Verdict::Stop(Stop::FewDirty)
        } else if view.round().number >= self.max_live_rounds {
            Verdict::Stop(Stop::TooManyRounds)
        } else {
            Verdict::Continue
        }
    }

    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        self.said = view.round().dirtied < self.few_dirty;
        Verdict::Continue
    }
}

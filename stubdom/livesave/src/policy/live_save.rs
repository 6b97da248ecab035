//! Live Save: the loop of Xen 4.5.1's live migration, with the image on the local host.
//!
//! Chuang and Huang, "Live Save: An Efficient Snapshot Mechanism for Virtual Machines in Xen",
//! section 3.1, Table 2. Where the paper is unclear, Xen 4.5.1 decides: its "dirty pages in
//! the previous and current iterations" are the pages sent and skipped in the round that just
//! ended, and of its 30 rounds 29 are live. Xen multiplies the guest's highest frame number;
//! we multiply the pages that it has.

use super::{Policy, Stop, Verdict, View};

/// The paper's policy and its three limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSave {
    /// Live rounds at most; one more follows while the guest is suspended.
    pub max_live_rounds: u32,
    /// Stop when a round had fewer pages than this, sent or skipped.
    pub few_dirty: u32,
    /// Stop when more than this times the guest's pages were sent.
    pub max_factor: u32,
}

impl LiveSave {
    /// The name that operators use.
    pub const NAME: &str = "live-save";
}

impl Default for LiveSave {
    fn default() -> Self {
        Self { max_live_rounds: 29, few_dirty: 50, max_factor: 3 }
    }
}

impl Policy for LiveSave {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// The first round sends all memory, as the paper says.
    fn skip(&self, round: u32) -> bool {
        round > 1
    }

    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        let round = view.round();
        if round.number >= self.max_live_rounds {
            Verdict::Stop(Stop::TooManyRounds)
        } else if round.copied().saturating_add(round.skipped) < self.few_dirty {
            Verdict::Stop(Stop::FewDirty)
        } else if view.copied > u64::from(view.pages) * u64::from(self.max_factor) {
            Verdict::Stop(Stop::TooMuchSent)
        } else {
            Verdict::Continue
        }
    }
}

//! Improved Live Save: fewer rounds while the guest writes faster than the sink takes pages.
//!
//! Chuang and Huang, "Live Save: An Efficient Snapshot Mechanism for Virtual Machines in Xen",
//! section 3.2, Table 3: at the end of each live round, the most rounds allowed (30 at first, the
//! last one included) becomes one less if the dirty frequency is beyond the "system process
//! limit", else one more, up to 30.
//!
//! The paper has three readings of that comparison: no fewer dirty pages than in the round before
//! (3.2.2), a rate against a limit (Table 3), a rate against the speed of the rounds (section 4).
//! We compare the rate of pages dirtied with the measured rate of the sink: this settles at a
//! saturating writer at the paper's 17 rounds (16 live), the first reading at 26.

use super::{LiveSave, Policy, Verdict, View};

/// [`LiveSave`] whose number of rounds changes as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImprovedLiveSave {
    /// The limits as they are at the moment.
    now: LiveSave,
    /// Live rounds at most, at any time.
    max_live_rounds: u32,
}

impl ImprovedLiveSave {
    /// The name that operators use.
    pub const NAME: &str = "improved-live-save";
}

impl Default for ImprovedLiveSave {
    fn default() -> Self {
        let now = LiveSave::default();
        Self { now, max_live_rounds: now.max_live_rounds }
    }
}

impl Policy for ImprovedLiveSave {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn skip(&self, round: u32) -> bool {
        self.now.skip(round)
    }

    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        self.now.after_round(view)
    }

    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        let max = &mut self.now.max_live_rounds;
        *max = if view.round().dirty_rate() > view.cost.send.rate() {
            max.saturating_sub(1)
        } else {
            (*max + 1).min(self.max_live_rounds)
        };
        Verdict::Continue
    }
}

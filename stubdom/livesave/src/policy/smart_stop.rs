//! CloudNet's Smart Stop: go on while it helps, then stop at a good moment.
//!
//! Wood, Ramakrishnan, Shenoy and van der Merwe, "CloudNet: Dynamic Pooling of Cloud Resources
//! by Live WAN Migration of Virtual Machines", section IV-B. First phase: until more pages are
//! dirtied in a round than were sent. Second phase: stop at the first round that leaves fewer
//! pages than any other in a sliding window. Xen's own limits stay.
//!
//! The paper leaves open how long the window is (5 rounds here; on a uniform writer 2 to 8 stop
//! alike), whether it reaches back into the first phase (it does), and what becomes of a guest
//! that leaves more after each round: it is suspended after a window without a new minimum.

use super::{LiveSave, Policy, Stop, Verdict, View};

/// Rounds in the window.
const WINDOW: usize = 5;

/// Crossover, then a local minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SmartStop {
    /// Xen's limits.
    pub limits: LiveSave,
    /// The second phase.
    crossed: bool,
    /// Rounds of the second phase.
    waited: usize,
}

impl SmartStop {
    /// The name that operators use.
    pub const NAME: &str = "smart-stop";
}

impl Policy for SmartStop {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn skip(&self, round: u32) -> bool {
        self.limits.skip(round)
    }

    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        self.limits.after_round(view)
    }

    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        let Some((round, before)) = view.rounds.split_last() else { return Verdict::Continue };
        if round.dirtied < self.limits.few_dirty {
            return Verdict::Stop(Stop::FewDirty);
        }
        self.crossed |= round.dirtied > round.copied();
        if !self.crossed {
            return Verdict::Continue;
        }
        let window = before.get(before.len().saturating_sub(WINDOW)..).unwrap_or_default();
        if window.len() >= 2 && window.iter().all(|earlier| round.dirtied < earlier.dirtied) {
            return Verdict::Stop(Stop::LocalMinimum);
        }
        self.waited += 1;
        if self.waited > WINDOW { Verdict::Stop(Stop::NotShrinking) } else { Verdict::Continue }
    }
}

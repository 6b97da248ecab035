//! Pool Fit: one pass over the memory, then suspend as soon as the rest fits the pool.
//!
//! The last round is copied to memory and written out when the guest runs again, so what counts
//! for the suspended time is memory speed, not the disk, and a few thousand pages more cost less
//! than another round. This gives the fewest pages and the shortest snapshot; the suspended time
//! is bounded by the pool (the operator's choice), not the shortest possible. It is CloudNet's
//! Smart Stop (section IV-B) with the pool as the goal.

use super::{Policy, Stop, Verdict, View};

/// Stops when the rest fits the pool, or no longer shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFit {
    /// A round must leave at most this many percent of what the one before left, to be worth
    /// another.
    pub shrink_percent: u32,
}

impl PoolFit {
    /// The name that operators use.
    pub const NAME: &str = "pool-fit";
}

impl Default for PoolFit {
    fn default() -> Self {
        Self { shrink_percent: 90 }
    }
}

impl Policy for PoolFit {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn skip(&self, _round: u32) -> bool {
        true
    }

    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        let left = view.left;
        let before = match view.rounds {
            [.., before, _] => before.dirtied,
            _ => view.pages,
        };
        let enough = u64::from(before) * u64::from(self.shrink_percent) / 100;
        if left <= view.cost.pool_pages {
            Verdict::Stop(Stop::FitsPool)
        } else if u64::from(left) > enough {
            Verdict::Stop(Stop::NotShrinking)
        } else {
            Verdict::Continue
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cost;
    use super::*;
    use crate::report::Round;

    fn after(left: &[u32], pool_pages: u32) -> Verdict {
        let rounds: alloc::vec::Vec<Round> =
            left.iter().map(|&dirtied| Round { dirtied, ..Round::default() }).collect();
        PoolFit::default().after_clean(&View {
            pages: 10_000,
            rounds: &rounds,
            copied: 0,
            left: left[left.len() - 1],
            cost: Cost { pool_pages, ..Cost::default() },
            throttle: false,
        })
    }

    #[test]
    fn it_stops_as_soon_as_the_rest_fits_the_pool() {
        assert_eq!(after(&[500], 499), Verdict::Continue);
        assert_eq!(after(&[500], 500), Verdict::Stop(Stop::FitsPool));
        assert_eq!(after(&[500, 0], 0), Verdict::Stop(Stop::FitsPool));
    }

    #[test]
    fn it_gives_up_when_a_round_leaves_about_as_much_as_the_one_before() {
        assert_eq!(after(&[5_000, 4_500], 100), Verdict::Continue);
        assert_eq!(after(&[5_000, 4_501], 100), Verdict::Stop(Stop::NotShrinking));
        assert_eq!(after(&[9_001], 100), Verdict::Stop(Stop::NotShrinking));
    }
}

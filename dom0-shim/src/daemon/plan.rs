//! From the operator's options to the stub's plan, and what earlier snapshots have taught about
//! this host.

use std::collections::HashMap;
use std::sync::Mutex;

use handoff::{Base, Plan};

use super::lock;
use crate::api::SnapshotOptions;

/// What the daemon adds to the operator's wishes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Pages that can be granted beside the window.
    pub(super) capacity: u32,
    /// What the suspended time has besides copying, in microseconds.
    pub(super) fixed_us: u32,
    /// What the first round reads.
    pub(super) base: Base,
}

/// The plan for the stub.
pub(super) fn plan(options: &SnapshotOptions, known: Known) -> Plan {
    Plan {
        policy: options.handoff_policy(),
        skip: options.skip.into(),
        defer_hot: options.defer_hot,
        prepare: options.prepare.wanted().min(known.capacity),
        pool_pages: options.pool.map_or(0, |mib| mib.get().saturating_mul(256)),
        copy_batch: options.copy_batch,
        codecs: options.codec,
        base: known.base,
        keep_log: options.keep_log,
        throttle: options.throttle,
        fixed_us: known.fixed_us,
    }
}

/// What suspending costs besides copying, of each guest: known for as long as the daemon runs.
#[derive(Default)]
pub(super) struct Costs(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    by_guest: HashMap<[u8; 16], u32>,
    /// Of whichever guest was last.
    host: Option<u32>,
}

/// Guests that are remembered; beyond, all are forgotten and learnt anew.
const MAX_GUESTS: usize = 4096;

/// Before anything was seen: what a small guest takes on a small host.
const FIRST_US: u32 = 10_000;

impl Costs {
    /// The guest's figure, else that of the host, in microseconds.
    pub(super) fn fixed_us(&self, uuid: &[u8; 16]) -> u32 {
        let seen = lock(&self.0);
        seen.by_guest.get(uuid).copied().or(seen.host).unwrap_or(FIRST_US)
    }

    /// Learns what it was in a snapshot.
    pub(super) fn learn(&self, uuid: &[u8; 16], now: u32) {
        let mut seen = lock(&self.0);
        if seen.by_guest.len() >= MAX_GUESTS && !seen.by_guest.contains_key(uuid) {
            seen.by_guest.clear();
        }
        // Half of each: follows a change of load in a few snapshots, forgets an outlier as soon.
        let average = |old: u32| old / 2 + now / 2;
        let figure = seen.by_guest.get(uuid).copied().map_or(now, average);
        seen.by_guest.insert(*uuid, figure);
        seen.host = Some(figure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Prepare;

    const KNOWN: Known = Known { capacity: 8192, fixed_us: 5000, base: Base::Everything };

    #[test]
    fn what_is_made_ready_is_bounded_by_the_guests_table() {
        let prepare =
            |prepare| plan(&SnapshotOptions { prepare, ..SnapshotOptions::default() }, KNOWN).prepare;
        assert_eq!(prepare(Prepare::Auto), 8192);
        assert_eq!(prepare(Prepare::Pages(100)), 100);
        assert_eq!(prepare(Prepare::Pages(10_000)), 8192);
        assert_eq!(prepare(Prepare::Pages(0)), 0);
    }

    #[test]
    fn options_reach_the_stub_in_its_units() {
        let pool = std::num::NonZeroU32::new(64);
        let plan = plan(&SnapshotOptions { pool, ..SnapshotOptions::default() }, KNOWN);
        assert_eq!(plan.pool_pages, 64 << 8);
        assert_eq!(plan.policy, handoff::Policy::Downtime { target_us: 30_000, strict: false });
        assert_eq!(plan.fixed_us, 5000);
    }

    #[test]
    fn the_fixed_cost_of_a_guest_is_learnt_and_serves_for_guests_not_seen_yet() {
        let costs = Costs::default();
        assert_eq!(costs.fixed_us(&[1; 16]), FIRST_US);
        costs.learn(&[1; 16], 4000);
        assert_eq!(costs.fixed_us(&[1; 16]), 4000);
        assert_eq!(costs.fixed_us(&[2; 16]), 4000);
        costs.learn(&[1; 16], 8000);
        assert_eq!(costs.fixed_us(&[1; 16]), 6000);
        costs.learn(&[2; 16], 1000);
        assert_eq!((costs.fixed_us(&[2; 16]), costs.fixed_us(&[1; 16])), (1000, 6000));
    }
}

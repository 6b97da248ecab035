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
    /// What earlier snapshots took.
    pub(super) cost: Cost,
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
        barrier: false,
        fixed_us: known.cost.fixed_us,
        prepared_ns: known.cost.prepared_ns,
    }
}

/// What suspending a guest took in earlier snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// What the suspended time has besides copying, in microseconds.
    fixed_us: u32,
    /// What reading a prepared page takes, in nanoseconds; 0: not known.
    prepared_ns: u32,
}

impl Cost {
    /// What this snapshot took.
    pub(super) fn of(report: &handoff::Report) -> Self {
        let prepared = u64::from(report.prepared_us) * 1000 / u64::from(report.prepared.max(1));
        // A few pages take hardly a microsecond: nothing to go by.
        let enough = report.prepared >= LEAST_PREPARED;
        let prepared_ns = if enough { u32::try_from(prepared).unwrap_or(u32::MAX) } else { 0 };
        Self { fixed_us: report.fixed_us, prepared_ns }
    }

    /// Half of each: follows a change of load in a few snapshots, forgets an outlier as soon.
    fn average(self, now: Self) -> Self {
        let prepared_ns = match (self.prepared_ns, now.prepared_ns) {
            (known, 0) | (0, known) => known,
            (old, now) => old / 2 + now / 2,
        };
        Self { fixed_us: self.fixed_us / 2 + now.fixed_us / 2, prepared_ns }
    }
}

/// Prepared pages whose time tells something.
const LEAST_PREPARED: u32 = 64;

/// What suspending costs, of each guest: known for as long as the daemon runs.
#[derive(Default)]
pub(super) struct Costs(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    by_guest: HashMap<[u8; 16], Cost>,
    /// Of whichever guest was last.
    host: Option<Cost>,
}

/// Guests that are remembered; beyond, all are forgotten and learnt anew.
const MAX_GUESTS: usize = 4096;

/// Before anything was seen: what a small guest takes on a small host.
const FIRST: Cost = Cost { fixed_us: 10_000, prepared_ns: 0 };

impl Costs {
    /// The guest's, else that of the host.
    pub(super) fn of(&self, uuid: &[u8; 16]) -> Cost {
        let seen = lock(&self.0);
        seen.by_guest.get(uuid).copied().or(seen.host).unwrap_or(FIRST)
    }

    /// Learns what it was in a snapshot.
    pub(super) fn learn(&self, uuid: &[u8; 16], now: Cost) {
        let mut seen = lock(&self.0);
        if seen.by_guest.len() >= MAX_GUESTS && !seen.by_guest.contains_key(uuid) {
            seen.by_guest.clear();
        }
        let cost = seen.by_guest.get(uuid).map_or(now, |old| old.average(now));
        seen.by_guest.insert(*uuid, cost);
        seen.host = Some(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Prepare;

    const fn cost(fixed_us: u32, prepared_ns: u32) -> Cost {
        Cost { fixed_us, prepared_ns }
    }

    const KNOWN: Known = Known { capacity: 8192, cost: cost(5000, 700), base: Base::Everything };

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
        assert_eq!((plan.fixed_us, plan.prepared_ns), (5000, 700));
    }

    #[test]
    fn the_cost_of_a_guest_is_learnt_and_serves_for_guests_not_seen_yet() {
        let costs = Costs::default();
        assert_eq!(costs.of(&[1; 16]), FIRST);
        costs.learn(&[1; 16], cost(4000, 0));
        assert_eq!(costs.of(&[1; 16]), cost(4000, 0));
        assert_eq!(costs.of(&[2; 16]), cost(4000, 0));
        costs.learn(&[1; 16], cost(8000, 900));
        assert_eq!(costs.of(&[1; 16]), cost(6000, 900));
        costs.learn(&[1; 16], cost(6000, 0));
        assert_eq!(costs.of(&[1; 16]), cost(6000, 900));
        costs.learn(&[2; 16], cost(1000, 500));
        assert_eq!((costs.of(&[2; 16]), costs.of(&[1; 16])), (cost(1000, 500), cost(6000, 900)));
    }
}

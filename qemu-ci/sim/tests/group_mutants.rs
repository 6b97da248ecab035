//! Each way to be wrong is caught by some schedule. The same schedules find nothing wrong with what is
//! not broken: that is `group.rs`.

use sim::group::random::{fault, plan};
use sim::group::schedule::{Outcome, Plan, play};
use sim::group::{Fault, Mutant, Role, Step, Victim};
use sim::network::{Delay, Links};
use sim::rng::Rng;
use vnsnap::Mode;

/// A plan in which frames cross the cut: many guests, slow links, unequal suspensions, and datagrams that come
/// twice and late.
fn crossing(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed);
    plan.guests = vec![3, 3, 2];
    plan.links = Links {
        loss: 0,
        duplicate: 100_000,
        delay: Delay { least_us: 100, most_us: 15_000, late: 20_000, late_us: 150_000 },
    };
    plan.requests = vec![(700, 0, 1, Mode::Together), (1_200, 1, 1, Mode::Together)];
    plan
}

/// The same, and the operator cancels it between the first cut and the last.
fn cancelled(seed: u64) -> Plan {
    let mut rng = Rng::new(seed);
    let step = [Step::Standing, Step::Flipped, Step::Resumed][rng.index(3)];
    let fault = Fault { step, role: Role::Coordinator, skip: 0, victim: Victim::Operator, back_ms: 0 };
    Plan { faults: vec![fault], ..crossing(seed) }
}

/// The shim of the coordinator is killed when all others have said that they have committed.
fn killed_at_commit(seed: u64) -> Plan {
    let fault =
        Fault { step: Step::Ended, role: Role::Coordinator, skip: 0, victim: Victim::Shim, back_ms: 300 };
    Plan { faults: vec![fault], ..Plan::quiet(seed) }
}

/// A mutant must be caught by one of the first schedules in one of these ways.
fn caught(mutant: Mutant, plans: impl Fn(u64) -> Plan, ways: &[&str]) {
    const MOST: u64 = 200;
    for seed in 0..MOST {
        let healthy = plans(seed);
        if let Err(failure) = play(&Plan { mutant, ..healthy.clone() })
            && ways.iter().any(|way| failure.what.contains(way))
        {
            play(&healthy).unwrap_or_else(|failure| panic!("without the mutant, too: {failure}"));
            println!("{mutant:?}: seed {seed}: {}", failure.what);
            return;
        }
    }
    panic!("{mutant:?} was not caught by {MOST} schedules");
}

#[test]
fn frames_delivered_early_make_orphans() {
    caught(Mutant::DeliverEarly, crossing, &["orphan"]);
}

#[test]
fn an_epoch_of_one_bit_goes_wrong_at_the_second_snapshot() {
    caught(Mutant::OneBitEpoch, crossing, &["held for vif", "orphan", "in transit"]);
}

#[test]
fn without_duplicate_suppression_a_frame_counts_twice() {
    caught(Mutant::NoDuplicateSuppression, crossing, &["twice"]);
}

#[test]
fn an_epoch_of_the_host_makes_orphans_between_its_guests() {
    caught(Mutant::EpochPerHost, crossing, &["sent after the cut", "orphan", "in transit"]);
}

#[test]
fn what_is_left_in_the_ring_belongs_before_the_cut() {
    caught(Mutant::RingAfterFlip, crossing, &["in transit"]);
}

#[test]
fn what_waits_for_a_guest_at_its_cut_is_in_transit() {
    caught(Mutant::ForgetBacklog, crossing, &["in transit"]);
}

#[test]
fn what_a_guest_has_not_taken_at_its_cut_is_in_transit() {
    caught(Mutant::ForgetGiven, crossing, &["in transit"]);
}

#[test]
fn late_frames_have_to_be_recorded() {
    caught(Mutant::NoRecord, crossing, &["in transit"]);
}

#[test]
fn a_manifest_without_its_name_is_no_commit() {
    caught(Mutant::CommitWithoutRename, killed_at_commit, &["was never committed"]);
}

#[test]
fn without_the_barrier_guests_stand_still_for_long() {
    caught(Mutant::ReadyWithoutBarrier, Plan::quiet, &["stood still"]);
}

#[test]
fn an_epoch_that_is_taken_back_is_seen() {
    caught(Mutant::AbortGoesBack, cancelled, &["went back"]);
}

#[test]
fn held_frames_that_nobody_lets_go_are_seen() {
    caught(Mutant::NeverRelease, crossing, &["held"]);
}

#[test]
fn a_guest_left_suspended_is_seen() {
    caught(Mutant::AbortLeavesSuspended, cancelled, &["suspended", "stood still"]);
}

#[test]
fn who_does_not_wait_for_the_channels_loses_frames() {
    let lost = |mutant| {
        let play = |seed| play(&Plan { mutant, ..slow(seed) }).unwrap_or_else(|failure| panic!("{failure}"));
        let mut sum = Outcome::default();
        (0..100).map(play).for_each(|outcome| sum.add(&outcome));
        println!("{:?}", sum.sum);
        sum.sum.lost
    };
    assert_eq!(lost(Mutant::None), 0);
    assert!(lost(Mutant::NoDrain) > 0);
}

/// Links that lose nothing and are slow enough for frames to be on their way at the cut.
fn slow(seed: u64) -> Plan {
    let mut plan = crossing(seed);
    plan.links = Links {
        loss: 0,
        duplicate: 0,
        delay: Delay { least_us: 5_000, most_us: 20_000, late: 0, late_us: 0 },
    };
    plan
}

#[test]
fn each_mutant_is_caught_by_random_schedules_or_by_those_above() {
    // So that a mutant that is added is not forgotten here.
    assert_eq!(Mutant::ALL.len(), 14);
    let mut rng = Rng::new(1);
    assert_ne!(fault(&mut rng), fault(&mut rng));
    assert_ne!(plan(1).guests.len(), 0);
}

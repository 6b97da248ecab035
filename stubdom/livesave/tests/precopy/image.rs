//! The image is the guest at the cut: T1, T2, LS8, and the pool.

use livesave::{AnyPolicy, CleanUp, Config, Outcome, Policy};

use crate::model::{Asked, Mutant, Run, Scenario, downtime, live_save, policies};

fn assert_image_is_the_guest_at_the_cut(scenario: &Scenario) -> Run {
    let run = scenario.run();
    assert_eq!(run.outcome, Outcome::Commit, "{scenario:?}");
    assert_eq!(run.difference(), None, "{scenario:?}");
    assert!(run.guest.is_as_before() && run.pool == 0, "{scenario:?}");
    assert_eq!(run.pool_overrun, 0, "{scenario:?}");
    run
}

#[test]
fn t1_each_policy_1000_seeds() {
    for policy in policies() {
        for seed in 0..1000 {
            assert_image_is_the_guest_at_the_cut(&Scenario::random(seed, policy));
        }
    }
}

#[test]
fn t1_each_policy_with_skipping_deferring_throttling_and_preparing_1000_seeds() {
    let (mut skipped, mut deferred, mut slowed, mut prepared) = (0, 0, 0, 0);
    for policy in policies() {
        for seed in 0..1000 {
            let scenario = Scenario::with_extras(seed, policy);
            let run = assert_image_is_the_guest_at_the_cut(&scenario);
            let report = run.report();
            skipped += u32::from(report.skipped > 0);
            deferred += u32::from(report.deferred > 0);
            slowed += u32::from(report.throttle_steps > 0);
            prepared += u32::from(run.prepared_read > 0);
            assert!(run.prepared <= scenario.config.prepare);
            assert!(report.throttle_steps == 0 || policy.target_us().is_some());
            assert_eq!(report.unthrottle == CleanUp::Done, report.throttle_steps > 0);
        }
    }
    let seen = [skipped, deferred, slowed, prepared];
    assert!(seen.iter().all(|&runs| runs > 50), "each has to come up: {seen:?}");
}

fn with_prepare(seed: u64, policy: AnyPolicy) -> Scenario {
    let mut scenario = Scenario::random(seed, policy);
    scenario.config.prepare = 50;
    scenario
}

/// How many of 200 seeds give a wrong image with the mutant.
fn caught(mutant: Mutant, policy: AnyPolicy) -> usize {
    (0..200)
        .filter(|&seed| {
            let mut driver = with_prepare(seed, policy).driver();
            driver.mutant = mutant;
            driver.run().difference().is_some()
        })
        .count()
}

#[test]
fn t2_a_peek_that_clears_is_caught() {
    assert_eq!(caught(Mutant::None, live_save()), 0);
    let caught = caught(Mutant::PeekClears, live_save());
    assert!(caught > 40, "{caught}");
}

#[test]
fn t2_it_is_caught_in_the_first_round_too() {
    assert_eq!(caught(Mutant::None, downtime(30)), 0);
    let caught = caught(Mutant::PeekClears, downtime(30));
    assert!(caught > 20, "{caught}");
}

#[test]
fn prepared_pages_that_are_read_before_the_guest_stands_still_are_caught() {
    let caught = caught(Mutant::PreparedStale, live_save());
    assert!(caught > 40, "{caught}");
}

#[test]
fn a_last_clean_that_returns_nothing_is_caught() {
    let caught = caught(Mutant::LastCleanEmpty, live_save());
    assert!(caught > 100, "{caught}");
}

#[test]
fn a_guest_that_runs_on_while_the_last_bitmap_is_fetched_is_caught() {
    let caught = caught(Mutant::SuspendsLate, live_save());
    assert!(caught > 40, "{caught}");
}

#[test]
fn pages_skipped_in_a_live_round_come_back_with_the_next_clean() {
    for seed in 0..100 {
        let run = Scenario::random(seed, crate::model::stubborn_live_save()).run();
        for &(round, slot) in &run.skipped {
            let next = &run.dirty[round as usize - 1];
            assert!(next[slot as usize / 8] >> (slot % 8) & 1 == 1, "seed {seed} round {round} slot {slot}");
        }
    }
}

#[test]
fn what_the_pool_does_not_hold_is_sent_while_suspended_and_counted() {
    let mut scenario = Scenario::reference(5.0, 64);
    let rest = scenario.run().report().kept;
    assert!(rest > 1000, "{rest}");
    for pool_pages in [0, 31, 32, 500, rest - 1, rest, rest + 1] {
        scenario.config = Config { pool_pages, ..scenario.config };
        let run = scenario.run();
        let report = run.report();
        assert_eq!(run.difference(), None);
        assert_eq!(run.pool_overrun, 0);
        assert_eq!(report.kept + report.overflow, rest);
        let usable = if pool_pages < livesave::MIN_KEEP { 0 } else { pool_pages };
        assert!(report.kept <= usable && report.kept + livesave::MIN_KEEP > usable.min(rest), "{report:?}");
    }
}

#[test]
fn with_the_pool_the_guest_is_suspended_for_as_long_as_memory_takes() {
    let mut scenario = Scenario::reference(5.0, 64);
    let with = scenario.run();
    scenario.config.pool_pages = 0;
    let without = scenario.run();
    let copying = |us: u64| us - 20_000;
    assert!(copying(without.suspended_us) > 9 * copying(with.suspended_us));
}

#[test]
fn ballooned_out_pages_are_tried_again_and_then_left_as_holes() {
    let mut fixed = 0;
    for seed in 0..100 {
        let scenario = Scenario { balloon_rate: 5000.0, ..Scenario::random(seed, live_save()) };
        let run = scenario.run();
        assert_eq!(run.difference(), None, "{scenario:?}");
        let cut = run.cut.as_ref().unwrap();
        let live_missing: u32 = run.rounds().iter().filter(|r| !r.last).map(|r| r.missing).sum();
        fixed += live_missing.saturating_sub(run.report().missing);
        let absent = (0..scenario.config.pages).filter(|&s| cut.is_absent(s)).count();
        assert!(run.report().missing as usize <= absent);
    }
    assert!(fixed > 0, "the case never came up");
}

#[test]
fn the_bitmap_is_fetched_for_the_last_time_after_the_guest_stands_still() {
    let run = Scenario::reference(1.4, 64).run();
    let at = |asked| run.trace.iter().position(|&a| a == asked).unwrap();
    assert!(at(Asked::Suspend) < at(Asked::Clean { last: true }));
    assert!(at(Asked::Clean { last: true }) < at(Asked::State));
}

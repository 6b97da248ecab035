//! The target for the suspended time: met wherever it can be, given up in time where not.

use livesave::{AnyPolicy, CleanUp, Downtime, Outcome, Policy, Step, Stop, Verdict, View, Why};

use crate::model::{Asked, Mutant, Pattern, Rng, Run, Scenario, downtime, live_save, policies};

/// 1,000 of them in a release build; a debug build takes the first.
const SEEDS: std::ops::Range<u64> = 0..if cfg!(debug_assertions) { 150 } else { 1000 };

/// A guest of 8 to 64 MiB, at any rate, with any pool, a sink of its own and a target.
fn scenario(seed: u64) -> (Scenario, u32) {
    let mut rng = Rng::new(seed ^ 0xd0);
    let mut scenario =
        Scenario { zero_one_in: u64::MAX, balloon_rate: 0.0, ..Scenario::random(seed, live_save()) };
    let pages = 2048 + rng.below(14_000) as u32;
    scenario.config.pages = pages;
    scenario.config.pool_pages = rng.below(u64::from(pages) / 4) as u32;
    scenario.config.batch = 256;
    scenario.config.fixed_us = 800;
    let set = pages / 4 + rng.below(u64::from(pages) / 2) as u32;
    scenario.writer.working_set = set;
    scenario.writer.pattern = match rng.below(2) {
        0 => Pattern::Uniform,
        _ => Pattern::Hot { pages: 1 + set / 16, percent: 90 },
    };
    let times = [0.0, 0.1, 0.5, 0.8, 1.2, 2.0, 5.0, 20.0][rng.below(8) as usize];
    scenario.writer.rate = times * scenario.speed.pages_per_second;
    scenario.speed.scan_us = 200 + rng.below(3000);
    (scenario, 1500 + rng.below(25_000) as u32)
}

fn aim(scenario: &Scenario, target_us: u32, strict: bool) -> Run {
    let policy = AnyPolicy::Downtime(Downtime::new(target_us, strict));
    let run = Scenario { policy, ..scenario.clone() }.run();
    assert!(run.guest.is_as_before());
    run
}

fn pages(run: &Run) -> u64 {
    run.report().sent + run.report().zero
}

/// Skips like ours, and stops after so many rounds, when the bitmap was fetched: the oracle.
struct After(usize);

impl Policy for After {
    fn name(&self) -> &'static str {
        "after"
    }
    fn skip(&self, _round: u32) -> bool {
        true
    }
    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        if view.rounds.len() < self.0 { Verdict::Continue } else { Verdict::Stop(Stop::TooManyRounds) }
    }
}

/// The shortest suspended time that any number of rounds up to 29 gives.
fn best_us(scenario: &Scenario) -> u64 {
    [1, 2, 3, 4, 6, 8, 12, 16, 22, 29]
        .into_iter()
        .map(|rounds| scenario.driver_with(After(rounds)).run().report().suspended_us)
        .min()
        .unwrap()
}

#[test]
fn the_target_is_met_within_a_fifth_wherever_some_number_of_rounds_would_meet_it() {
    let (mut feasible, mut not) = (0, 0);
    for seed in SEEDS {
        let (scenario, target_us) = scenario(seed);
        let run = aim(&scenario, target_us, false);
        let report = run.report();
        assert_eq!(run.difference(), None);
        let met = report.suspended_us <= u64::from(target_us) * 6 / 5;
        if best_us(&scenario) <= target_us.into() {
            feasible += 1;
            assert!(met, "seed {seed}, {target_us} us: {report:?}");
        } else {
            not += 1;
            assert!(met || report.stop == Some(Stop::TargetMissed), "seed {seed}: {report:?}");
        }
        assert_eq!(report.target_met(), Some(report.stop == Some(Stop::TargetMet)));
    }
    assert!(feasible > 30 && not > 30, "{feasible} {not}");
}

#[test]
fn where_it_can_not_be_met_it_ends_soon_and_never_with_more_pages_than_live_save() {
    let mut missed = 0;
    for seed in SEEDS {
        let (mut scenario, target_us) = scenario(seed);
        let run = aim(&scenario, target_us, false);
        scenario.policy = live_save();
        let live_save = scenario.run();
        // By a page or two it may, by chance.
        let most = pages(&live_save) * 1005 / 1000;
        assert!(pages(&run) <= most, "seed {seed}: {} {most}", pages(&run));
        assert!(run.rounds().len() <= 30);
        missed += u32::from(run.report().stop == Some(Stop::TargetMissed));
    }
    assert!(missed > 30, "{missed}");
}

#[test]
fn the_suspended_time_is_foretold_within_a_tenth_and_a_millisecond() {
    for seed in SEEDS {
        let (scenario, target_us) = scenario(seed);
        let run = aim(&scenario, target_us, false);
        let report = run.report();
        let off = report.suspended_us.abs_diff(report.estimate_us);
        assert!(off <= report.suspended_us / 10 + 1000, "seed {seed}: {report:?}");
    }
}

#[test]
fn what_the_guest_writes_to_until_it_stands_still_is_foretold_too() {
    // 20 ms until the bitmap is fetched are 200 pages, 7 ms.
    let mut scenario = Scenario { policy: downtime(45), ..Scenario::reference(0.35, 4) };
    scenario.config.pool_pages = 0;
    let run = scenario.run();
    let report = run.report();
    assert_eq!(report.stop, Some(Stop::TargetMet));
    assert!(report.suspended_us.abs_diff(report.estimate_us) < 2000, "{report:?}");
}

#[test]
fn pages_put_off_are_foretold_and_a_sample_puts_off_none_that_it_has_not_read() {
    let mut scenario = Scenario { policy: downtime(30), ..Scenario::reference(0.35, 4) };
    scenario.config.defer_hot = true;
    let run = scenario.run();
    let report = run.report();
    assert!((500..5000).contains(&report.deferred), "{report:?}");
    assert!(report.suspended_us.abs_diff(report.estimate_us) < 2000, "{report:?}");
}

#[test]
fn what_the_suspended_time_had_besides_is_reported_for_the_next_snapshot() {
    let (mut scenario, target_us) = scenario(1);
    scenario.speed.verb_us = 5000;
    let fixed_us = aim(&scenario, target_us, false).report().fixed_us;
    // Recording the state and resuming.
    assert!(fixed_us.abs_diff(10_000) < 100, "{fixed_us}");
}

#[test]
fn strict_gives_up_before_the_guest_was_suspended_and_says_what_to_expect() {
    let (mut given_up, mut made) = (0, 0);
    for seed in SEEDS {
        let (scenario, target_us) = scenario(seed);
        let run = aim(&scenario, target_us, true);
        let best_effort = aim(&scenario, target_us, false);
        match run.outcome {
            Outcome::Commit => {
                made += 1;
                assert_eq!(run.report().stop, Some(Stop::TargetMet));
                assert_eq!(run.trace, best_effort.trace);
            }
            Outcome::Abort { why: Why::Target { estimate_us }, .. } => {
                given_up += 1;
                assert!(!run.trace.contains(&Asked::Suspend), "seed {seed}");
                assert!(estimate_us > target_us);
                assert!(u64::from(estimate_us) <= best_effort.report().estimate_us);
                assert_eq!(run.report().log_dirty_off, CleanUp::Done);
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(given_up > 30 && made > 30, "{given_up} {made}");
}

/// A 24th of the guest is dirty again at once, at 20 times the pace of the sink. All else is not.
#[test]
fn some_hot_pages_are_no_reason_to_give_up_the_others() {
    let (mut scenario, _) = scenario(1);
    scenario.config.pages = 16_384;
    scenario.config.pool_pages = 8192;
    scenario.writer.working_set = 8192;
    scenario.writer.pattern = Pattern::Hot { pages: 16_384 / 24, percent: 98 };
    scenario.writer.rate = 20.0 * scenario.speed.pages_per_second;
    scenario.speed.scan_us = 500;
    let run = aim(&scenario, 8000, false);
    assert_eq!(run.report().stop, Some(Stop::TargetMet), "{:?}", run.report());
    assert!(run.report().kept < 2500 && run.rounds()[0].dirtied > 3000, "{:?}", run.report());
}

/// Rounds that take away less than a quarter each, with the target not far.
#[test]
fn it_goes_on_while_the_target_comes_nearer() {
    let mut scenario = Scenario { policy: downtime(30), ..Scenario::reference(0.8, 1) };
    scenario.config.pool_pages = 131_072;
    scenario.speed.scan_us = 5000;
    let run = scenario.run();
    assert_eq!(run.report().stop, Some(Stop::TargetMet), "{:?}", run.report());
    assert!(run.rounds().iter().any(|round| !round.last && round.dirtied > round.asked / 4 * 3));
}

#[test]
fn a_target_below_what_suspending_costs_by_itself_is_given_up_before_anything_is_copied() {
    let mut scenario = Scenario::reference(5.0, 64);
    scenario.config.fixed_us = 31_000;
    scenario.config.throttle = true;
    let run = aim(&scenario, 30_000, true);
    let why = Why::Target { estimate_us: 31_000 };
    assert_eq!(run.outcome, Outcome::Abort { step: Step::LogDirtyOn, why });
    assert_eq!(run.trace, [Asked::LogDirty(true), Asked::LogDirty(false)]);
    // Not strict: copying is a small part of it, and the guest is not slowed down for nothing.
    let run = aim(&scenario, 30_000, false);
    assert_eq!(run.report().stop, Some(Stop::TargetMissed));
    assert_eq!((run.report().throttle_steps, run.rounds().len()), (0, 2));
}

/// A guest of 256 MiB, and what its suspension takes without a single page.
fn out_of_reach(rate: f64) -> (Scenario, u64) {
    let mut scenario = Scenario::reference(rate, 4);
    scenario.config.pool_pages = 32_768;
    scenario.config.fixed_us = 10_000;
    scenario.speed.verb_us = 5000;
    (scenario, 30_000)
}

#[test]
fn a_target_out_of_reach_is_missed_by_less_when_the_guest_may_be_slowed_down() {
    for rate in [1.4, 5.59, 22.3] {
        let (mut scenario, alone_us) = out_of_reach(rate);
        let without = aim(&scenario, 20_000, false);
        assert!(without.report().suspended_us > alone_us * 5 / 3, "{rate}: {:?}", without.report());
        scenario.config.throttle = true;
        let run = aim(&scenario, 20_000, false);
        let report = run.report();
        println!("{rate}: {} us, {} us slowed down", without.report().suspended_us, report.suspended_us);
        assert_eq!(run.difference(), None);
        assert_eq!((report.stop, report.unthrottle), (Some(Stop::TargetMissed), CleanUp::Done));
        assert!(report.suspended_us <= alone_us * 5 / 4 * 11 / 10, "{rate}: {report:?}");
        // Not slower than it takes.
        assert!(rate > 2.0 || report.throttle_percent >= 30, "{rate}: {report:?}");
        scenario.policy = live_save();
        assert!(pages(&run) <= pages(&scenario.run()));
    }
}

#[test]
fn a_slower_guest_is_never_suspended_for_longer() {
    let (mut slowed, mut near) = (0, 0);
    for seed in SEEDS {
        let (mut scenario, _) = scenario(seed);
        scenario.speed.verb_us = 2000;
        scenario.config.fixed_us = 4000;
        let without = aim(&scenario, 3000, false);
        scenario.config.throttle = true;
        let run = aim(&scenario, 3000, false);
        let (with, report) = (run.report().suspended_us, run.report());
        assert!(with <= without.report().suspended_us * 11 / 10, "seed {seed}: {report:?}");
        if report.throttle_steps > 0 {
            slowed += 1;
            near += u32::from(with <= (4000 + scenario.speed.scan_us) * 5 / 4 * 11 / 10);
        }
    }
    println!("slowed {slowed}, of these near {near}");
    assert!(slowed > 10 && near * 10 > slowed * 6, "{slowed} {near}");
}

#[test]
fn a_guest_that_may_be_slowed_down_is_only_when_nothing_else_helps_and_gets_its_time_back() {
    let (mut slowed, mut met) = (0, 0);
    for seed in SEEDS {
        let (mut scenario, target_us) = scenario(seed);
        let without = aim(&scenario, target_us, false);
        scenario.config.throttle = true;
        let run = aim(&scenario, target_us, false);
        assert_eq!(run.difference(), None);
        let report = run.report();
        let shares: Vec<u8> = run
            .trace
            .iter()
            .filter_map(|a| if let Asked::Throttle(n) = a { Some(*n) } else { None })
            .collect();
        match shares.split_last() {
            None => assert_eq!(run.trace, without.trace),
            Some((last, steps)) => {
                slowed += 1;
                assert_eq!(*last, 100);
                assert_eq!(steps, &[80, 70, 60, 50, 40, 30, 20, 10, 1][..steps.len()]);
                assert_eq!(report.throttle_steps as usize, steps.len());
                assert_eq!(Some(&report.throttle_percent), steps.last());
                assert_eq!(report.unthrottle, CleanUp::Done);
                met += u32::from(report.stop == Some(Stop::TargetMet));
            }
        }
    }
    println!("slowed {slowed}, of these met {met}");
    assert!(slowed > 30 && met * 10 > slowed * 8, "{slowed} {met}");
}

#[test]
fn a_guest_that_never_gets_its_time_back_is_noticed() {
    let scenario = Scenario { policy: downtime(21), ..Scenario::reference(5.0, 64) };
    let run = |mutant| {
        let mut driver = scenario.driver();
        driver.scenario.config.throttle = true;
        let mut driver = driver.scenario.driver();
        driver.mutant = mutant;
        driver.run()
    };
    assert!(run(Mutant::None).guest.is_as_before());
    assert!(!run(Mutant::NeverUnthrottled).guest.is_as_before());
}

#[test]
fn without_a_pace_of_copying_it_counts_on_that_of_sending() {
    let mut scenario = Scenario { policy: downtime(300), ..Scenario::reference(0.7, 16) };
    scenario.report_copying = false;
    let run = scenario.run();
    assert!(run.report().estimate_us > run.report().suspended_us);
    assert_eq!(run.report().stop, Some(Stop::TargetMet));
}

#[test]
fn prepared_pages_make_the_suspended_time_shorter_and_cost_none_of_it() {
    for policy in policies().into_iter().filter(|policy| policy.live() && policy.keep()) {
        let mut scenario = Scenario { policy, ..Scenario::reference(5.59, 16) };
        let without = scenario.run();
        scenario.config.prepare = u32::MAX;
        let with = scenario.run();
        assert_eq!(with.difference(), None);
        assert!(with.prepared_read > 1000, "{policy:?}");
        assert!(with.suspended_us < without.suspended_us * 9 / 10, "{policy:?}");
        let at = |asked: fn(&Asked) -> bool| with.trace.iter().position(asked).unwrap();
        assert_eq!(at(|a| matches!(a, Asked::Prepare { .. })) + 1, at(|a| *a == Asked::Suspend));
    }
}

#[test]
fn deferring_hot_pages_spares_live_save_half_of_its_pages_at_a_saturating_writer() {
    let mut scenario = Scenario::reference(22.3, 1);
    let without = scenario.run();
    scenario.config.defer_hot = true;
    let with = scenario.run();
    assert_eq!(with.difference(), None);
    assert!(pages(&with) * 2 < pages(&without), "{} {}", pages(&with), pages(&without));
    assert!(with.suspended_us <= without.suspended_us * 11 / 10);
}

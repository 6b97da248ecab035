//! Whatever fails at whatever step: the guest runs at full speed, log-dirty is off, no image.

use livesave::{AnyPolicy, Base, CleanUp, Event, Outcome, Precopy, Step, Why};

use crate::model::{
    Asked, Driver, Fault, Pattern, Run, Scenario, downtime, live_save, pool_fit, stubborn_live_save, xen_save,
};

fn scenario(seed: u64, policy: AnyPolicy) -> Scenario {
    let mut scenario = Scenario::random(seed, policy);
    // Small, so that every step of a run can be made to fail.
    scenario.config.pages = scenario.config.pages.min(80);
    scenario.config.batch = scenario.config.batch.max(16);
    scenario.writer.working_set = scenario.writer.working_set.min(scenario.config.pages);
    if let Pattern::Hot { pages, .. } = &mut scenario.writer.pattern {
        *pages = (*pages).min(scenario.writer.working_set);
    }
    scenario
}

/// Slowed down, prepared, deferred, on top of an earlier snapshot and before a later one.
fn with_everything(seed: u64) -> Scenario {
    let mut scenario = scenario(seed, downtime(4));
    scenario.config.pages = 80;
    scenario.config.pool_pages = 20;
    scenario.writer.rate = 300_000.0;
    scenario.speed.scan_us = 3000;
    scenario.writer.working_set = 80;
    scenario.writer.pattern = Pattern::Uniform;
    scenario.config.throttle = true;
    scenario.config.prepare = 10;
    scenario.config.defer_hot = true;
    scenario.config.base = Base::Log;
    scenario.config.keep_log = true;
    scenario
}

fn driver(scenario: &Scenario) -> Driver {
    let mut driver = scenario.driver();
    // As an earlier snapshot left it.
    driver.guest.set_log_dirty(scenario.config.base == Base::Log);
    driver
}

fn run(scenario: &Scenario, step: usize, fault: Fault, broken: Option<Asked>) -> Run {
    let mut driver = driver(scenario);
    driver.fault = Some((step, fault));
    driver.broken = broken;
    driver.run()
}

/// To make a snapshot without it is better than none.
fn is_optional(asked: Asked) -> bool {
    matches!(asked, Asked::Prepare { .. }) || matches!(asked, Asked::Throttle(percent) if percent < 100)
}

fn assert_safe(scenario: &Scenario, trace: &[Asked], step: usize, fault: Fault) {
    let run = run(scenario, step, fault, None);
    let what = || format!("{fault:?} at {step} of {:?}", run.trace);
    assert!(run.guest.running && run.guest.share == 1.0, "{}", what());
    // The last action was carried out and answered: too late to fail.
    let too_late = step == trace.len() - 1 && matches!(fault, Fault::TwoAnswers | Fault::CancelledBetween);
    let harmless = is_optional(trace[step])
        && matches!(fault, Fault::Refused | Fault::FailedBefore | Fault::FailedAfter);
    if too_late || harmless {
        assert_eq!(run.outcome, Outcome::Commit, "{}", what());
        assert_eq!(run.guest.log_dirty, scenario.config.keep_log, "{}", what());
    } else {
        assert!(matches!(run.outcome, Outcome::Abort { .. }), "{}", what());
        // A log that is refused was not ours.
        let not_ours = step == 0 && fault == Fault::Refused && scenario.config.base == Base::Log;
        assert_eq!(run.guest.log_dirty, not_ours, "{}", what());
    }
    let asked = |asked| run.trace.iter().filter(|&&a| a == asked).count();
    for undone in [Asked::Resume, Asked::Throttle(100), Asked::LogDirty(false)] {
        assert!(asked(undone) <= 2, "{}", what());
    }
}

#[test]
fn a_fault_at_any_step_leaves_the_guest_running_and_no_image() {
    for policy in [live_save(), pool_fit(), stubborn_live_save(), xen_save(), downtime(30)] {
        for seed in 0..4 {
            let scenario = scenario(seed, policy);
            let trace = driver(&scenario).run().trace;
            for step in 0..trace.len() {
                Fault::ALL.iter().for_each(|&fault| assert_safe(&scenario, &trace, step, fault));
            }
        }
    }
}

#[test]
fn a_fault_at_any_step_with_everything_asked_for_does_so_too() {
    for seed in 0..8 {
        let scenario = with_everything(seed);
        let r = driver(&scenario).run();
        println!("{:?}", r.report());
        let trace = driver(&scenario).run().trace;
        for asked in [Asked::Throttle(80), Asked::Throttle(100)] {
            assert!(trace.contains(&asked), "{trace:?}");
        }
        assert!(trace.iter().any(|asked| matches!(asked, Asked::Prepare { .. })), "{trace:?}");
        for step in 0..trace.len() {
            Fault::ALL.iter().for_each(|&fault| assert_safe(&scenario, &trace, step, fault));
        }
    }
}

#[test]
fn the_report_says_which_step_failed_and_how() {
    let scenario = with_everything(3);
    let trace = driver(&scenario).run().trace;
    for (step, asked) in trace.iter().enumerate() {
        let expected = match asked {
            Asked::LogDirty(true) => Step::LogDirtyOn,
            Asked::LogDirty(false) => Step::LogDirtyOff,
            Asked::Clean { .. } => Step::Clean,
            Asked::Read { .. } => Step::Read,
            Asked::Throttle(100) => Step::Unthrottle,
            Asked::Throttle(_) => Step::Throttle,
            Asked::Barrier => Step::Barrier,
            Asked::Prepare { .. } => Step::Prepare,
            Asked::Suspend => Step::Suspend,
            Asked::State => Step::State,
            Asked::Resume => Step::Resume,
            Asked::WriteOut => Step::WriteOut,
        };
        for (fault, why) in [
            (Fault::FailedBefore, Why::Failed(5)),
            (Fault::Refused, Why::Failed(16)),
            (Fault::CancelledAfter, Why::Cancelled),
            (Fault::NoAnswer, Why::Unexpected),
        ] {
            if is_optional(*asked) && !matches!(why, Why::Cancelled | Why::Unexpected) {
                continue;
            }
            let outcome = run(&scenario, step, fault, None).outcome;
            assert_eq!(outcome, Outcome::Abort { step: expected, why });
        }
    }
}

#[test]
fn clean_up_is_tried_once_even_if_it_fails_and_the_report_says_so() {
    let scenario = scenario(5, live_save());
    let trace = scenario.run().trace;
    let state = trace.iter().position(|&a| a == Asked::State).unwrap();

    let run_ = run(&scenario, state, Fault::FailedBefore, Some(Asked::Resume));
    assert_eq!(run_.trace[state..], [Asked::State, Asked::Resume, Asked::LogDirty(false)]);
    assert_eq!(run_.report().resume, CleanUp::Failed);
    assert_eq!(run_.report().log_dirty_off, CleanUp::Done);

    let run_ = run(&scenario, state, Fault::FailedBefore, Some(Asked::LogDirty(false)));
    assert_eq!(run_.trace[state..], [Asked::State, Asked::Resume, Asked::LogDirty(false)]);
    assert_eq!(run_.report().resume, CleanUp::Done);
    assert_eq!(run_.report().log_dirty_off, CleanUp::Failed);
    assert!(run_.guest.running);
}

#[test]
fn a_guest_that_can_not_be_given_its_time_back_is_resumed_and_reported() {
    let scenario = with_everything(5);
    let trace = driver(&scenario).run().trace;
    let state = trace.iter().position(|&a| a == Asked::State).unwrap();
    let run = run(&scenario, state, Fault::FailedBefore, Some(Asked::Throttle(100)));
    let undo = [Asked::State, Asked::Resume, Asked::Throttle(100), Asked::LogDirty(false)];
    assert_eq!(run.trace[state..], undo);
    let report = run.report();
    assert_eq!((report.resume, report.unthrottle), (CleanUp::Done, CleanUp::Failed));
    assert_eq!(report.log_dirty_off, CleanUp::Done);
}

#[test]
fn a_step_that_was_refused_leaves_nothing_to_undo_and_a_failed_one_does() {
    let scenario = with_everything(5);
    let trace = driver(&scenario).run().trace;
    let first = trace.iter().position(|&a| a == Asked::Throttle(80)).unwrap();
    for (fault, undone) in [(Fault::Refused, false), (Fault::FailedBefore, true), (Fault::FailedAfter, true)]
    {
        let run = run(&scenario, first, fault, None);
        assert_eq!(run.outcome, Outcome::Commit);
        assert_eq!(run.trace.contains(&Asked::Throttle(100)), undone, "{fault:?}");
        // It is not tried again.
        assert_eq!(run.trace.iter().filter(|a| matches!(a, Asked::Throttle(0..100))).count(), 1);
        assert_eq!(run.report().throttle_steps, 0);
    }
}

#[test]
fn log_dirty_that_someone_else_owns_is_left_alone() {
    let mut driver = scenario(1, live_save()).driver();
    driver.guest.set_log_dirty(true);
    driver.log_dirty_taken = true;
    let run = driver.run();
    assert_eq!(run.trace, [Asked::LogDirty(true)]);
    assert_eq!(run.outcome, Outcome::Abort { step: Step::LogDirtyOn, why: Why::Failed(16) });
    assert!(run.guest.running && run.guest.log_dirty);
}

#[test]
fn a_cancel_before_the_start_ends_it_at_once() {
    let scenario = scenario(1, live_save());
    let mut engine = Precopy::new(scenario.config, scenario.policy).unwrap();
    engine.on(Event::Cancelled, 0);
    let aborted = Outcome::Abort { step: Step::LogDirtyOn, why: Why::Cancelled };
    assert_eq!(engine.next(0), livesave::Action::Finish(aborted));
    engine.on(Event::Done, 0);
    engine.on(Event::Cancelled, 0);
    assert_eq!(engine.next(0), livesave::Action::Finish(aborted));
}

/// Feeds the engine with answers that have nothing to do with what it asked.
#[test]
fn no_sequence_of_events_makes_it_panic_or_forget_the_guest() {
    use livesave::{Action, ReadDone};
    for seed in 0..3000 {
        let mut rng = crate::model::Rng::new(seed);
        let scenario = match seed % 4 {
            0 => scenario(seed, xen_save()),
            1 => scenario(seed, live_save()),
            _ => with_everything(seed),
        };
        let mut engine = Precopy::new(scenario.config, scenario.policy).unwrap();
        let (mut suspended, mut log_dirty, mut resumed_asked, mut off_asked) = (false, false, false, false);
        let mut share = 100;
        let mut committed = false;
        for now in 0.. {
            assert!(now < 10_000, "no end");
            let mut right = Event::Done;
            let mut bytes = 0;
            match engine.next(now) {
                Action::LogDirty(on) => {
                    log_dirty |= on;
                    off_asked |= !on;
                }
                Action::Clean { .. } => bytes = scenario.config.pages.div_ceil(8),
                Action::Read { batch, .. } => {
                    let sent = batch.len() as u32;
                    right = Event::Read(ReadDone { sent, pool_left: u32::MAX, ..ReadDone::default() });
                }
                Action::Suspend => suspended = true,
                Action::State | Action::Prepare { .. } => {}
                Action::Barrier if rng.below(2) == 0 => right = Event::NotYet,
                Action::Barrier => {}
                Action::Throttle(percent) => share = percent,
                Action::Resume => resumed_asked = true,
                Action::WriteOut => right = Event::Written { zero: 0 },
                Action::Finish(outcome) => {
                    committed = outcome == Outcome::Commit;
                    break;
                }
            }
            if bytes > 0 && rng.below(10) > 0 {
                engine.dirty_chunk(0, &vec![rng.next() as u8; bytes as usize]);
            }
            let odd = [1, 50, u32::MAX];
            match rng.below(60) {
                0 => engine.dirty_chunk(rng.next() as u32, &[255; 100]),
                1 => engine.on(Event::Cancelled, now),
                2 => engine.on(Event::Written { zero: u32::MAX }, now),
                3 => engine.on(
                    Event::Read(ReadDone {
                        sent: u32::MAX,
                        zero: u32::MAX,
                        skipped: odd[rng.below(3) as usize],
                        missing: &odd,
                        pool_left: u32::MAX,
                        copy_us: u64::MAX,
                    }),
                    now,
                ),
                4 => engine.on(Event::Done, now),
                5 => {}
                _ => engine.on(right, now),
            }
            let _ = (engine.progress(), engine.report());
        }
        assert!(!suspended || resumed_asked, "seed {seed}");
        assert_eq!(share, 100, "seed {seed}");
        let kept = committed && scenario.config.keep_log;
        assert!(!log_dirty || off_asked != kept, "seed {seed}");
    }
}

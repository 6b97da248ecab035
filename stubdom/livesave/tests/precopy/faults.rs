//! Whatever fails at whatever step: the guest runs, log-dirty is off, no image.

use livesave::{AnyPolicy, CleanUp, Event, Outcome, Precopy, Step, Why};

use crate::model::{Asked, Fault, Run, Scenario, live_save, pool_fit, stubborn_live_save, xen_save};

fn scenario(seed: u64, policy: AnyPolicy) -> Scenario {
    let mut scenario = Scenario::random(seed, policy);
    // Small, so that every step of a run can be made to fail.
    scenario.config.pages = scenario.config.pages.min(80);
    scenario.config.batch = scenario.config.batch.max(16);
    scenario.writer.working_set = scenario.writer.working_set.min(scenario.config.pages);
    if let crate::model::Pattern::Hot { pages, .. } = &mut scenario.writer.pattern {
        *pages = (*pages).min(scenario.writer.working_set);
    }
    scenario
}

fn run(scenario: &Scenario, step: usize, fault: Fault, broken: Option<Asked>) -> Run {
    let mut driver = scenario.driver();
    driver.fault = Some((step, fault));
    driver.broken = broken;
    driver.run()
}

#[test]
fn a_fault_at_any_step_leaves_the_guest_running_and_no_image() {
    for policy in [live_save(), pool_fit(), stubborn_live_save(), xen_save()] {
        for seed in 0..4 {
            let scenario = scenario(seed, policy);
            let steps = scenario.run().trace.len();
            for step in 0..steps {
                for fault in Fault::ALL {
                    let run = run(&scenario, step, fault, None);
                    let what = || format!("{fault:?} at {step} of {:?}", run.trace);
                    assert!(run.guest.running && !run.guest.log_dirty, "{}", what());
                    // The last action was carried out and answered: too late to fail.
                    let too_late =
                        step == steps - 1 && matches!(fault, Fault::TwoAnswers | Fault::CancelledBetween);
                    if too_late {
                        assert_eq!(run.outcome, Outcome::Commit, "{}", what());
                        assert_eq!(run.difference(), None);
                    } else {
                        assert!(matches!(run.outcome, Outcome::Abort { .. }), "{}", what());
                    }
                    let asked = |asked| run.trace.iter().filter(|&&a| a == asked).count();
                    assert!(asked(Asked::Resume) <= 2 && asked(Asked::LogDirty(false)) <= 2, "{}", what());
                }
            }
        }
    }
}

#[test]
fn the_report_says_which_step_failed_and_how() {
    let scenario = scenario(3, live_save());
    let trace = scenario.run().trace;
    for (step, asked) in trace.iter().enumerate() {
        let expected = match asked {
            Asked::LogDirty(true) => Step::LogDirtyOn,
            Asked::LogDirty(false) => Step::LogDirtyOff,
            Asked::Clean { .. } => Step::Clean,
            Asked::Read { .. } => Step::Read,
            Asked::Throttle(100) => Step::Unthrottle,
            Asked::Throttle(_) => Step::Throttle,
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
        let scenario = scenario(seed, if seed % 4 == 0 { xen_save() } else { live_save() });
        let mut engine = Precopy::new(scenario.config, scenario.policy).unwrap();
        let (mut suspended, mut log_dirty, mut resumed_asked, mut off_asked) = (false, false, false, false);
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
                Action::State | Action::Throttle(_) | Action::Prepare { .. } => {}
                Action::Resume => resumed_asked = true,
                Action::WriteOut => right = Event::Written { zero: 0 },
                Action::Finish(_) => break,
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
        assert!(!log_dirty || off_asked, "seed {seed}");
    }
}

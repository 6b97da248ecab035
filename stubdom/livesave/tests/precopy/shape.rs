//! The order of actions, the bounds, the figures.

use std::{cell::Cell, rc::Rc};

use livesave::{Action, Config, Event, How, NewError, Policy, Precopy, ReadDone, Stop, Verdict, View};

use crate::model::{Asked, Scenario, live_save};

#[test]
fn the_guest_runs_again_before_log_dirty_goes_off_and_pages_are_written_out() {
    let run = Scenario::reference(1.4, 64).run();
    let tail: Vec<Asked> = run.trace.iter().rev().take(4).rev().copied().collect();
    assert_eq!(tail, [Asked::State, Asked::Resume, Asked::LogDirty(false), Asked::WriteOut]);
    assert_eq!(run.trace[0], Asked::LogDirty(true));
}

#[test]
fn batches_are_ascending_bounded_and_never_empty() {
    for batch in [1, 64, 1000, 4096] {
        let mut scenario = Scenario::reference(1.4, 256);
        scenario.config.batch = batch;
        let run = scenario.run();
        assert_eq!(run.difference(), None);
        for asked in &run.trace {
            if let Asked::Read { pages, .. } = asked {
                assert!((1..=batch).contains(pages));
            }
        }
        for pair in run.copied.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }
}

#[test]
fn whether_pages_are_skipped_is_the_policys_or_the_operators_choice() {
    use livesave::Skip;
    let hows = |skip| {
        let mut scenario = Scenario::reference(1.4, 64);
        scenario.config.skip = skip;
        let run = scenario.run();
        assert_eq!(run.difference(), None);
        let reads = run.trace.into_iter().filter_map(|asked| match asked {
            Asked::Read { how, .. } if how != How::Keep => Some(how),
            _ => None,
        });
        reads.collect::<Vec<How>>()
    };
    assert!(hows(Skip::Never).iter().all(|how| *how == How::Send));
    assert!(hows(Skip::Always).iter().all(|how| *how == How::SendUnlessDirty));
    let policys = hows(Skip::Policy);
    assert!(policys[..4].iter().all(|how| *how == How::Send), "round 1 is 4 batches");
    assert!(policys[4..].iter().all(|how| *how == How::SendUnlessDirty));
}

#[test]
fn a_config_out_of_range_is_refused() {
    let new = |pages, batch| Precopy::new(Config::new(pages, 0, batch), live_save()).err();
    assert_eq!(new(0, 1), Some(NewError::NoPages));
    assert_eq!(new(1, 0), Some(NewError::BadBatch));
    assert_eq!(new(1, 4097), Some(NewError::BadBatch));
    assert_eq!(new(1, 4096), None);
}

#[test]
fn the_figures_of_the_rounds_add_up() {
    let run = Scenario::reference(0.7, 64).run();
    let report = run.report();
    let sum = |figure: fn(&livesave::Round) -> u64| report.rounds.iter().map(figure).sum::<u64>();
    assert_eq!(sum(|round| round.sent.into()), report.sent);
    assert_eq!(sum(|round| round.zero.into()), report.zero);
    assert_eq!(sum(|round| round.skipped.into()), report.skipped);
    for (number, pair) in report.rounds.windows(2).enumerate() {
        assert_eq!(pair[0].number as usize, number + 1);
        assert_eq!(pair[0].dirtied, pair[1].asked);
        // Fetching takes 20 ms.
        assert!(pair[0].time_us.abs_diff(pair[0].read_us + 20_000) < 1000, "{pair:?}");
    }
    assert!(report.suspended_us.abs_diff(run.suspended_us) < 10);
    let rounds_us = sum(|round| round.time_us);
    assert!(report.total_us >= rounds_us);
}

#[test]
fn progress_estimates_the_rates_and_the_end() {
    let mut driver = Scenario::reference(0.35, 16).driver();
    driver.watch = Box::new(|engine| {
        let progress = engine.progress();
        if progress.round > 0 && progress.copied > 0 && !progress.last {
            assert!(progress.copy_rate.abs_diff(28_646) < 300, "{progress:?}");
        }
        if progress.round == 2 {
            // 0.35 of the copy rate, less for the pages that are written to twice.
            assert!((6_000..10_100).contains(&progress.dirty_rate), "{progress:?}");
            assert!(progress.eta_us.unwrap() < 300_000, "{progress:?}");
        }
    });
    assert_eq!(driver.run().difference(), None);
}

#[test]
fn there_is_no_estimate_for_a_guest_that_writes_faster_than_we_copy() {
    let unknown = Rc::new(Cell::new(0));
    let seen = unknown.clone();
    let mut driver = Scenario::reference(5.0, 16).driver();
    driver.watch = Box::new(move |engine| {
        let progress = engine.progress();
        if progress.copied > 0 && !progress.last {
            assert_eq!(progress.eta_us.is_none(), progress.dirty_rate >= progress.copy_rate, "{progress:?}");
            seen.set(seen.get() + u32::from(progress.eta_us.is_none()));
        }
    });
    driver.run();
    assert!(unknown.get() > 0, "the case never came up");
}

/// Never content.
struct Endless;

impl Policy for Endless {
    fn name(&self) -> &'static str {
        "endless"
    }
    fn after_round(&mut self, _view: &View<'_>) -> Verdict {
        Verdict::Continue
    }
}

/// Stops when it knows what is dirty, after the second round's bitmap.
struct AfterClean;

impl Policy for AfterClean {
    fn name(&self) -> &'static str {
        "after-clean"
    }
    fn after_round(&mut self, _view: &View<'_>) -> Verdict {
        Verdict::Continue
    }
    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        assert!(view.round().dirtied > 0);
        if view.rounds.len() == 2 { Verdict::Stop(Stop::FewDirty) } else { Verdict::Continue }
    }
}

/// Runs with the same one dirty page each time it is asked, a different one for the last.
fn run_with(policy: impl Policy) -> (Vec<Vec<u32>>, Option<Stop>) {
    let mut engine = Precopy::new(Config::new(8, 8, 8), policy).unwrap();
    let mut reads = Vec::new();
    for now in 0.. {
        let event = match engine.next(now) {
            Action::Clean { last } => {
                engine.dirty_chunk(0, &[if last { 0x80 } else { 0x02 }]);
                Event::Done
            }
            Action::Read { batch, how } => {
                reads.push(batch.to_vec());
                let kept = how == How::Keep;
                let sent = batch.len() as u32;
                Event::Read(ReadDone { sent, pool_left: u32::from(!kept), ..ReadDone::default() })
            }
            Action::WriteOut => Event::Written { zero: 0 },
            Action::Finish(outcome) => {
                assert_eq!(outcome, livesave::Outcome::Commit);
                break;
            }
            _ => Event::Done,
        };
        engine.on(event, now);
    }
    (reads, engine.report().stop)
}

#[test]
fn a_policy_without_end_is_ended() {
    let (reads, stop) = run_with(Endless);
    assert_eq!(stop, Some(Stop::RoundBound));
    assert_eq!(reads.len() as u32, livesave::MAX_ROUNDS);
}

#[test]
fn a_policy_that_stops_after_a_clean_loses_none_of_its_pages() {
    let (reads, stop) = run_with(AfterClean);
    assert_eq!(stop, Some(Stop::FewDirty));
    assert_eq!(reads, [(0..8).collect::<Vec<u32>>(), vec![1], vec![1, 7]]);
}

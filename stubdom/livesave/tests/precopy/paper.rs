//! What the Live Save paper says, on the model: LS1, LS3 to LS8, LS12, LS17. The figures are in
//! `table`.

use livesave::{How, Round, Stop};

use crate::model::{Asked, Scenario, live_save, xen_save};

fn bit(bytes: &[u8], slot: u32) -> bool {
    bytes[slot as usize / 8] >> (slot % 8) & 1 == 1
}

#[test]
fn ls1_xen_save_sends_each_page_once_while_the_guest_is_suspended() {
    for seed in 0..50 {
        let scenario = Scenario { balloon_rate: 0.0, ..Scenario::random(seed, xen_save()) };
        let run = scenario.run();
        let (report, pages) = (run.report(), scenario.config.pages);
        assert_eq!((report.rounds.len(), report.stop), (1, Some(Stop::NotLive)));
        assert_eq!(report.sent + report.zero, pages.into());
        assert_eq!(u64::from(report.overflow), report.sent);
        assert_eq!(run.copied, (0..pages).map(|slot| (1, slot)).collect::<Vec<_>>());
        assert_eq!(run.trace.first(), Some(&Asked::Suspend));
        assert!(!run.trace.iter().any(|a| matches!(a, Asked::LogDirty(_) | Asked::Clean { .. })));
        let at = |asked| run.trace.iter().position(|&a| a == asked).unwrap();
        let last_read = run.trace.iter().rposition(|a| matches!(a, Asked::Read { .. })).unwrap();
        assert!(last_read < at(Asked::State) && at(Asked::State) < at(Asked::Resume));
    }
}

#[test]
fn ls3_the_first_round_sends_all_memory() {
    for seed in 0..50 {
        let scenario = Scenario { balloon_rate: 0.0, ..Scenario::random(seed, live_save()) };
        let run = scenario.run();
        let first = run.rounds()[0];
        assert_eq!((first.copied(), first.skipped), (scenario.config.pages, 0));
    }
}

#[test]
fn ls4_later_rounds_send_what_was_dirtied_in_the_round_before_and_not_since() {
    // That a page was not dirty at its batch's PEEK is how the driver sorts it; here it is that
    // each page of a round was asked for by the bitmap before, and went one way only.
    for seed in 0..100 {
        let run = Scenario { balloon_rate: 0.0, ..Scenario::random(seed, live_save()) }.run();
        for &(round, slot) in run.copied.iter().chain(&run.skipped).filter(|(round, _)| *round > 1) {
            assert!(bit(&run.dirty[round as usize - 2], slot), "seed {seed} round {round} slot {slot}");
        }
        for round in run.rounds() {
            let mut slots: Vec<u32> = (run.copied.iter().chain(&run.skipped))
                .filter(|(number, _)| *number == round.number)
                .map(|(_, slot)| *slot)
                .collect();
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots.len() as u32, round.asked, "seed {seed} round {}", round.number);
            assert_eq!(round.copied() + round.skipped, round.asked);
        }
    }
}

#[test]
fn ls5_a_writer_that_never_lets_it_converge_gets_30_rounds() {
    let run = Scenario::reference(22.3, 16).run();
    assert_eq!(run.report().stop, Some(Stop::TooManyRounds));
    assert_eq!(run.rounds().len(), 30);
}

#[test]
fn ls6_it_stops_after_a_round_with_fewer_than_50_pages_sent_and_skipped() {
    let mut seen = 0;
    for seed in 0..300 {
        let run = Scenario::random(seed, live_save()).run();
        let live: Vec<Round> = run.rounds().iter().copied().filter(|round| !round.last).collect();
        let few = |round: &Round| round.copied() + round.skipped < 50;
        let (last, earlier) = live.split_last().unwrap();
        assert!(!earlier.iter().any(few), "seed {seed}");
        assert_eq!(few(last), run.report().stop == Some(Stop::FewDirty), "seed {seed}");
        seen += u32::from(few(last));
    }
    assert!(seen > 0);
}

#[test]
fn ls7_a_medium_writer_is_stopped_when_more_than_three_times_its_memory_was_sent() {
    for rate in [1.4, 5.59] {
        let scenario = Scenario::reference(rate, 16);
        let run = scenario.run();
        let live: Vec<u64> = run.rounds().iter().filter(|r| !r.last).map(|r| r.copied().into()).collect();
        let (total, limit) = (live.iter().sum::<u64>(), 3 * u64::from(scenario.config.pages));
        assert_eq!(run.report().stop, Some(Stop::TooMuchSent));
        assert!(limit < total && total <= limit + live.last().unwrap());
    }
}

#[test]
fn ls8_the_last_round_sends_what_is_left_with_the_guest_suspended() {
    let run = Scenario::reference(0.7, 16).run();
    let last = run.rounds().last().unwrap();
    assert!(last.last && last.copied() == last.asked && last.skipped == 0);
    assert!(run.rounds().iter().rev().skip(1).all(|round| !round.last));
    assert_eq!(run.difference(), None);
    let suspend = run.trace.iter().position(|&a| a == Asked::Suspend).unwrap();
    let resume = run.trace.iter().position(|&a| a == Asked::Resume).unwrap();
    assert!(run.trace[suspend..resume].iter().any(|a| matches!(a, Asked::Read { how: How::Keep, .. })));
}

#[test]
fn ls12_the_three_regimes_are_those_of_the_reference_table() {
    for (rate, stop) in [
        (0.03, Stop::FewDirty),
        (0.35, Stop::TooManyRounds),
        (0.7, Stop::TooManyRounds),
        (1.4, Stop::TooMuchSent),
        (5.59, Stop::TooMuchSent),
        (22.3, Stop::TooManyRounds),
    ] {
        let run = Scenario::reference(rate, 1).run();
        assert_eq!(run.report().stop, Some(stop), "{rate}");
    }
}

#[test]
fn ls17_a_saturating_writer_dirties_its_working_set_each_round_and_rounds_get_short_again() {
    let [medium, high, saturating] = [0.7, 5.59, 22.3].map(|rate| Scenario::reference(rate, 16).run());
    for round in saturating.rounds().iter().filter(|round| !round.last) {
        let share = f64::from(round.dirtied) / (131_072.0 / 16.0);
        assert!(share > 0.95, "round {}: {share}", round.number);
    }
    assert!(medium.report().average_round_us() < high.report().average_round_us());
    assert!(high.report().average_round_us() > saturating.report().average_round_us());
}

/// `send_memory_live` of Xen 4.17: its policy is asked before a round, too, and when it says stop
/// there, which is when fewer than 50 pages are dirty, these are sent live first.
#[test]
fn xen_of_today_sends_the_few_dirty_pages_once_more_live() {
    let policy = "xen-migrate".parse().unwrap();
    for (rate, stop) in [(0.0, Stop::FewDirty), (0.03, Stop::FewDirty), (0.35, Stop::TooManyRounds)] {
        let run = Scenario { policy, ..Scenario::reference(rate, 4) }.run();
        let live: Vec<Round> = run.rounds().iter().copied().filter(|round| !round.last).collect();
        assert_eq!(run.report().stop, Some(stop));
        assert!(live.iter().all(|round| round.skipped == 0));
        if stop == Stop::FewDirty {
            let [.., before, last] = live.as_slice() else { panic!("{live:?}") };
            assert!(before.dirtied < 50 && last.asked == before.dirtied, "{live:?}");
            assert!(live.iter().rev().skip(2).all(|round| round.dirtied >= 50), "{live:?}");
        } else {
            assert_eq!(live.len(), 5);
        }
    }
}

/// LS10: the image is as large as the guest, however much was sent to it.
#[test]
fn ls10_an_image_has_each_page_once_whatever_the_guest_wrote() {
    for rate in [0.0, 1.4, 22.3] {
        let run = Scenario::reference(rate, 64).run();
        assert_eq!(run.image.iter().flatten().count() as u32, run.report().pages);
    }
}

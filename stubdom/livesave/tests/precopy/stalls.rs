//! When the target for the suspended time stops rounds, on given sequences of pages left.

use livesave::{Cost, Downtime, Pace, Policy, Round, Stop, Verdict, View};

/// A guest of 64,000 pages, a microsecond to copy each; the target is 850 microseconds. Says
/// what is decided after the last of these rounds, each of which sent so many pages.
fn after(left: &[u32], sent: u32) -> Verdict {
    after_besides(0, left, sent)
}

/// The same if suspending takes so many microseconds besides.
fn after_besides(fixed_us: u64, left: &[u32], sent: u32) -> Verdict {
    let mut policy = Downtime::new(850, false);
    let mut copy = Pace::default();
    copy.add(1000, 1000);
    let mut rounds = Vec::new();
    let mut verdict = Verdict::Continue;
    for (&left, number) in left.iter().zip(1..) {
        assert_eq!(verdict, Verdict::Continue, "round {number}");
        rounds.push(Round { number, sent, dirtied: left, ..Round::default() });
        verdict = policy.after_clean(&View {
            pages: 64_000,
            rounds: &rounds,
            copied: 0,
            left,
            cost: Cost { fixed_us, pool_pages: 64_000, copy, ..Cost::default() },
            throttle: false,
        });
    }
    verdict
}

const MISSED: Verdict = Verdict::Stop(Stop::TargetMissed);

#[test]
fn it_goes_on_while_the_target_is_within_8_rounds() {
    let nearer = [2000, 1800, 1620, 1458, 1312, 1181, 1063, 957, 861];
    assert_eq!(after(&nearer, 8000), Verdict::Continue);
    assert_eq!(after(&[nearer.as_slice(), &[775]].concat(), 8000), Verdict::Stop(Stop::TargetMet));
    // At this pace it takes 20.
    assert_eq!(after(&[2000, 1920], 8000), MISSED);
}

#[test]
fn it_goes_on_while_rounds_take_away_a_quarter() {
    assert_eq!(after(&[3900, 2900, 2100], 8000), Verdict::Continue);
    assert_eq!(after(&[3900, 2900, 2100, 2200], 8000), MISSED);
}

#[test]
fn a_16th_of_the_guest_may_be_sent_in_vain() {
    assert_eq!(after(&[2000; 5], 1000), Verdict::Continue);
    assert_eq!(after(&[2000; 6], 1000), MISSED);
}

#[test]
fn it_ends_after_29_rounds_whatever_they_promise() {
    let to_and_fro: Vec<u32> = (0..29).map(|i| [1000, 900][i % 2]).collect();
    assert_eq!(after(&to_and_fro[..28], 1), Verdict::Continue);
    assert_eq!(after(&to_and_fro, 1), MISSED);
}

#[test]
fn out_of_reach_it_goes_on_until_copying_takes_a_quarter_of_what_can_not_be_avoided() {
    assert_eq!(after_besides(1000, &[251], 8000), Verdict::Continue);
    assert_eq!(after_besides(1000, &[250], 8000), MISSED);
    // Each round takes away a fifth: it is there in 8 of them.
    assert_eq!(after_besides(1000, &[800, 640, 512, 410, 328, 263], 8000), Verdict::Continue);
    assert_eq!(after_besides(1000, &[800, 640, 512, 410, 328, 263, 211], 8000), MISSED);
    assert_eq!(after_besides(1000, &[2000, 1920], 8000), MISSED);
    // In reach, and if only just, the target is what counts.
    assert_eq!(after_besides(849, &[200], 8000), Verdict::Continue);
    assert_eq!(after_besides(849, &[1], 8000), Verdict::Stop(Stop::TargetMet));
}

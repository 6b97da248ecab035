//! T7: Smart Stop on a given sequence of rounds.

use livesave::{Cost, Policy, Round, SmartStop, Stop, Verdict, View};

/// What it says after each round: pages sent, and dirtied meanwhile.
fn verdicts(rounds: &[(u32, u32)]) -> Vec<Verdict> {
    let mut policy = SmartStop::default();
    let round = |(number, &(sent, dirtied)): (usize, &(u32, u32))| Round {
        number: number as u32 + 1,
        asked: sent,
        sent,
        dirtied,
        ..Round::default()
    };
    let rounds: Vec<Round> = rounds.iter().enumerate().map(round).collect();
    (1..=rounds.len())
        .map(|ended| {
            let rounds = &rounds[..ended];
            let view = View {
                pages: 1000,
                rounds,
                copied: rounds.iter().map(|round| u64::from(round.sent)).sum(),
                left: rounds[ended - 1].dirtied,
                cost: Cost::default(),
                throttle: false,
            };
            match policy.after_round(&view) {
                Verdict::Continue => policy.after_clean(&view),
                stop => stop,
            }
        })
        .collect()
}

#[test]
fn t7_crossover_at_the_fourth_round_and_stop_at_the_fifth() {
    let rounds = [(1000, 100), (100, 80), (80, 60), (60, 66), (66, 58), (58, 61), (61, 57)];
    let verdicts = verdicts(&rounds);
    assert_eq!(verdicts[..4], [Verdict::Continue; 4]);
    assert_eq!(verdicts[4], Verdict::Stop(Stop::LocalMinimum));
    assert_eq!(rounds[4].1, 58);
}

#[test]
fn a_guest_that_leaves_more_after_each_round_is_suspended_after_a_window() {
    let rounds: Vec<(u32, u32)> = (0..20).map(|i| (100 + i, 101 + i)).collect();
    let verdicts = verdicts(&rounds);
    assert_eq!(verdicts[..5], [Verdict::Continue; 5]);
    assert_eq!(verdicts[5], Verdict::Stop(Stop::NotShrinking));
}

#[test]
fn xens_limits_stay() {
    assert_eq!(verdicts(&[(1000, 49)]), [Verdict::Stop(Stop::FewDirty)]);
    let shrinking: Vec<(u32, u32)> = (0..30).map(|i| (100 - i, 99 - i)).collect();
    assert_eq!(verdicts(&shrinking)[28], Verdict::Stop(Stop::TooManyRounds));
    assert_eq!(
        verdicts(&[(1000, 990), (990, 980), (980, 970), (970, 960)])[3],
        Verdict::Stop(Stop::TooMuchSent)
    );
}

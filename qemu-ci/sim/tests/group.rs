//! Random schedules of group snapshots keep all properties. One that does not is run again with
//! `SIM_SEED=number cargo test -p sim --test group -- --nocapture replay`. Other schedules than the
//! usual ones are run with `SIM_FROM=number`, the first seed; more or fewer with `SIM_COUNT=number`.

use std::sync::atomic::{AtomicU64, Ordering};

use sim::group::random::plan;
use sim::group::schedule::{Failure, Outcome, Plan, play};
use sim::group::shared::Pace;
use sim::network::{Delay, Links};
use vnsnap::Mode;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays many plans on all cores; the sum of what they came to, and the failures.
fn play_all(count: u64, plan: impl Fn(u64) -> Plan + Sync) -> (Outcome, Vec<Failure>) {
    let next = AtomicU64::new(0);
    let most = number("SIM_FAILURES").unwrap_or(5) as usize;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let work = || {
        let (mut sum, mut failures) = (Outcome::default(), Vec::new());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || failures.len() >= most {
                return (sum, failures);
            }
            match play(&plan(at)) {
                Ok(outcome) => sum.add(&outcome),
                Err(failure) => failures.push(failure),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let (mut sum, mut failures) = (Outcome::default(), Vec::new());
        for thread in threads {
            let (one, mut others) = thread.join().expect("a thread ends");
            sum.add(&one);
            failures.append(&mut others);
        }
        failures.sort_by_key(|failure| failure.seed);
        (sum, failures)
    })
}

#[test]
fn random_schedules_keep_all_properties() {
    let first = number("SIM_FROM").unwrap_or(0);
    let count = number("SIM_COUNT").unwrap_or(100_000);
    let (sum, failures) = play_all(count, |at| plan(first + at));
    println!("{count} schedules: {sum:?}");
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} failures; the first: {}", failures.len(), failures[0]);
}

#[test]
fn schedules_that_once_failed_keep_all_properties() {
    // In this order: a cut that nobody ended; a shim killed between rename and word; power lost after the
    // rename; a late word to flip; epochs apart after a race; classic cuts before the word; a manifest
    // revoked while the shim was down; a question lost; a failure overwritten; a name used twice.
    for seed in [19, 93, 156, 2200, 514, 1466, 19166, 4841, 45843, 57089, 62841, 87641, 99806] {
        play(&plan(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| play(&plan(seed)).map(|outcome| outcome.trace);
    for seed in 0..50 {
        assert_eq!(trace(seed), trace(seed));
    }
    assert_ne!(trace(1), trace(2));
}

#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else { return };
    let plan = Plan { tell: true, ..plan(seed) };
    println!("{plan:?}");
    match play(&plan) {
        Ok(outcome) => println!("{outcome:?}"),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn on_a_good_network_nothing_is_lost_and_all_is_committed() {
    let (sum, failures) = play_all(1_000, Plan::quiet);
    assert!(failures.is_empty(), "{}", failures[0]);
    println!("{sum:?}");
    assert_eq!((sum.committed, sum.revoked), (1_000, 0));
    assert_eq!((sum.sum.lost, sum.sum.earlier), (0, 0));
    assert!(sum.sum.in_transit > 500 && sum.sum.recorded == sum.sum.in_transit);
}

#[test]
fn of_initiators_at_the_same_time_exactly_one_wins() {
    let (sum, failures) = play_all(1_000, |seed| {
        let requests = (0..3).map(|host| (700, host, 1, Mode::Together)).collect();
        Plan { guests: vec![2, 1, 2], requests, ..Plan::quiet(seed) }
    });
    assert!(failures.is_empty(), "{}", failures[0]);
    assert_eq!((sum.requests, sum.committed), (3_000, 1_000));
}

#[test]
fn requests_one_after_the_other_are_all_granted() {
    let (sum, failures) = play_all(300, |seed| {
        let requests = (0..3).map(|at| (700 + 600 * at, at as usize, 1, Mode::Together)).collect();
        Plan { guests: vec![2, 1, 2], requests, trouble_ms: 2_500, ..Plan::quiet(seed) }
    });
    assert!(failures.is_empty(), "{}", failures[0]);
    assert_eq!(sum.committed, 900);
}

#[test]
fn links_that_keep_the_order_keep_it_through_a_snapshot() {
    let delay = |us| Delay { least_us: us, most_us: us, late: 0, late_us: 0 };
    let (sum, failures) = play_all(1_000, |seed| {
        let links = Links { loss: 20_000 * (seed % 2) as u32, duplicate: 0, delay: delay(200 + seed * 20) };
        Plan { guests: vec![3, 3], links, ..Plan::quiet(seed) }
    });
    assert!(failures.is_empty(), "{}", failures[0]);
    assert!(sum.committed > 990 && sum.sum.in_transit > 1_000, "{sum:?}");
}

#[test]
fn the_barrier_brings_unequal_guests_to_a_twentieth_of_the_spread() {
    let spread = |mode| {
        let pace = Pace { copy: (50, 4_000), ..Pace::default() };
        let (sum, failures) = play_all(200, |seed| {
            let requests = vec![(700, 0, 1, mode)];
            Plan { guests: vec![2, 2, 2], pace, requests, trouble_ms: 6_000, ..Plan::quiet(seed) }
        });
        assert!(failures.is_empty(), "{}", failures[0]);
        assert_eq!(sum.committed, 200);
        sum.sum.spread_us
    };
    let (together, classic) = (spread(Mode::Together), spread(Mode::Classic));
    println!("the largest spread: {together} us together, {classic} us classic");
    assert!(together * 20 <= classic);
}

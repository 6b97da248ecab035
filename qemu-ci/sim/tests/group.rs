//! Random schedules of group snapshots keep all properties. One that does not is run again with
//! `SIM_SEED=number cargo test -p sim --test group -- --nocapture replay`. Other schedules than the
//! usual ones are run with `SIM_FROM=number`, the first seed; more or fewer with `SIM_COUNT=number`.

use std::sync::atomic::{AtomicU64, Ordering};

use sim::group::random::plan;
use sim::group::schedule::{Failure, Outcome, Plan, play};

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
    assert!(sum.sum.in_transit > 1_000 && sum.sum.recorded == sum.sum.in_transit);
}

//! Guests that are suspended together: who is ready first copies on.

use livesave::{Outcome, Policy};

use crate::model::{Asked, Mutant, Scenario, downtime, live_save, policies, xen_save};

fn waiting(seed: u64, policy: livesave::AnyPolicy, seconds: f64) -> Scenario {
    let mut scenario = Scenario::random(seed, policy);
    scenario.config.barrier = true;
    scenario.others_take = seconds;
    scenario
}

#[test]
fn each_policy_waits_for_the_others_and_its_image_is_still_the_guest_at_the_cut() {
    for policy in policies() {
        for seed in 0..300 {
            let scenario = waiting(seed, policy, 1.0);
            let run = scenario.run();
            assert_eq!((run.outcome, run.difference()), (Outcome::Commit, None), "{scenario:?}");
            let at = |asked| run.trace.iter().position(|&a| a == asked);
            let barriers = run.trace.iter().filter(|&&asked| asked == Asked::Barrier).count();
            assert_eq!(barriers, 11, "{scenario:?}");
            assert!(at(Asked::Barrier) < at(Asked::Suspend), "{scenario:?}");
            assert!(run.guest.is_as_before());
        }
    }
}

#[test]
fn what_is_written_while_others_are_waited_for_is_one_round() {
    let short = waiting(3, live_save(), 0.1).run();
    let long = waiting(3, live_save(), 3.0).run();
    assert_eq!(short.report().rounds.len(), long.report().rounds.len());
    let numbers: Vec<u32> = long.report().rounds.iter().map(|round| round.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
}

#[test]
fn the_guest_is_suspended_for_no_longer_than_without_the_others() {
    let mut alone = Scenario::reference(0.35, 16);
    alone.policy = downtime(100);
    let mut together = alone.clone();
    together.config.barrier = true;
    together.others_take = 5.0;
    let (alone, together) = (alone.run(), together.run());
    let kept = |run: &crate::model::Run| run.report().rounds.last().unwrap().asked;
    assert!(kept(&together) <= kept(&alone) * 6 / 5, "{} and {}", kept(&together), kept(&alone));
}

#[test]
fn pages_are_made_ready_before_others_are_waited_for_and_never_when_they_are_ready() {
    let mut ready = 0;
    for seed in 0..200 {
        let mut scenario = waiting(seed, downtime(100), 0.4);
        scenario.config.prepare = 500;
        let run = scenario.run();
        assert_eq!((run.outcome, run.difference()), (Outcome::Commit, None), "{scenario:?}");
        let prepared = run.trace.iter().position(|asked| matches!(asked, Asked::Prepare { .. }));
        let at = |asked| run.trace.iter().position(|&a| a == asked).unwrap();
        assert!(prepared.is_none_or(|prepared| prepared + 1 == at(Asked::Barrier)), "{scenario:?}");
        let last = run.trace.iter().rposition(|&asked| asked == Asked::Barrier).unwrap();
        assert_eq!(last + 1, at(Asked::Suspend), "{scenario:?}");
        ready += u32::from(prepared.is_some());
    }
    assert!(ready > 100, "{ready}");
}

#[test]
fn without_the_barrier_the_driver_is_never_asked() {
    for policy in policies() {
        assert!(!Scenario::random(5, policy).run().trace.contains(&Asked::Barrier));
    }
}

#[test]
fn a_policy_that_does_not_copy_live_waits_without_reading() {
    let run = waiting(1, xen_save(), 0.5).run();
    assert!(!xen_save().live());
    assert_eq!(run.trace[..6], [Asked::Barrier; 6]);
    assert_eq!(run.trace[6], Asked::Suspend);
}

#[test]
fn a_last_fetch_that_comes_too_early_is_caught_here_too() {
    let caught = (0..200).filter(|&seed| {
        let mut driver = waiting(seed, live_save(), 0.3).driver();
        driver.mutant = Mutant::LastCleanEmpty;
        driver.run().difference().is_some()
    });
    assert!(caught.count() > 50);
}

#[test]
fn the_others_can_be_ready_in_the_middle_of_a_round_and_nothing_is_lost() {
    let mut early = 0;
    for seed in 0..300 {
        for policy in [live_save(), downtime(300), xen_save()] {
            let scenario = waiting(seed, policy, 1000.0);
            let ready = Scenario { others_take: 0.0, ..scenario.clone() }.run();
            let arrived = ready.report().total_us as f64 / 1e6;
            let mut driver = scenario.driver();
            // The model's others never get ready by themselves: it is the hurry that ends the wait.
            let at = arrived + 0.1 + (seed % 7) as f64 / 13.0;
            driver.hurried_at = Some(at);
            if policy == xen_save() {
                driver.others_take = 0.5;
            }
            let run = driver.run();
            assert_eq!((run.outcome, run.difference()), (Outcome::Commit, None), "{scenario:?}");
            let reads_left = run.trace.iter().rposition(|&asked| asked == Asked::Barrier);
            early += u32::from(
                reads_left.is_some_and(|at| matches!(run.trace.get(at + 2), Some(Asked::Read { .. }))),
            );
        }
    }
    assert!(early > 100, "{early}");
}

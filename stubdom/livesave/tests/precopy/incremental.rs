//! Snapshots on top of earlier ones: the log is kept on in between.

use livesave::{Base, CleanUp, Outcome};

use crate::model::{Asked, Driver, Fault, Guest, Mutant, Run, Scenario, policies};

/// The first of two: leaves the log on.
fn first(scenario: &Scenario) -> (Scenario, Run) {
    let mut scenario = scenario.clone();
    scenario.config.keep_log = true;
    let run = scenario.run();
    assert_eq!((run.outcome, run.difference()), (Outcome::Commit, None), "{scenario:?}");
    (scenario, run)
}

/// The second of two, half a second later.
fn second(scenario: &Scenario, earlier: Run, between: impl Fn(&mut Guest), mutant: Mutant) -> Run {
    let mut scenario = scenario.clone();
    scenario.config.base = Base::Log;
    let mut driver = Driver::on_top_of(&scenario, earlier, 0.5);
    between(&mut driver.guest);
    driver.mutant = mutant;
    driver.run()
}

#[test]
fn a_chain_of_three_is_the_guest_at_each_cut_for_each_policy() {
    for policy in policies() {
        for seed in 0..300 {
            let (mut scenario, one) = first(&Scenario::with_extras(seed, policy));
            assert!(one.guest.log_dirty && one.report().log_dirty_off == CleanUp::NotNeeded);
            let two = second(&scenario, one, |_| (), Mutant::None);
            assert_eq!((two.outcome, two.difference()), (Outcome::Commit, None), "{scenario:?}");
            assert!(two.guest.log_dirty);
            scenario.config.keep_log = false;
            let three = second(&scenario, two, |_| (), Mutant::None);
            assert_eq!((three.outcome, three.difference()), (Outcome::Commit, None), "{scenario:?}");
            assert!(three.guest.is_as_before());
        }
    }
}

#[test]
fn only_what_was_written_to_is_read() {
    // 1 % of the guest, all of it before the second snapshot.
    let mut scenario = Scenario::reference(0.0, 16);
    scenario.config.keep_log = true;
    scenario.policy = "downtime".parse().unwrap();
    let pages = scenario.config.pages;
    let write = |guest: &mut Guest| (0..pages / 100).for_each(|i| guest.write_to(i * 37 % pages));
    let two = second(&scenario, scenario.run(), write, Mutant::None);
    assert_eq!(two.difference(), None);
    assert_eq!(two.report().sent + two.report().zero, u64::from(pages / 100));
    assert_eq!(two.rounds()[0].asked, pages / 100);
    assert_eq!(two.trace[..2], [Asked::LogDirty(true), Asked::Clean { last: false }]);
}

/// How many of 200 seeds give a wrong second image.
fn caught(between: impl Fn(&mut Guest) + Copy, mutant: Mutant) -> usize {
    let wrong = |&seed: &u64| {
        let (scenario, one) = first(&Scenario::random(seed, "live-save".parse().unwrap()));
        second(&scenario, one, between, mutant).difference().is_some()
    };
    (0..200).filter(wrong).count()
}

#[test]
fn a_log_that_was_emptied_in_between_is_caught() {
    assert_eq!(caught(|_| (), Mutant::None), 0);
    let caught = caught(|guest| drop(guest.clean()), Mutant::None);
    assert!(caught > 60, "{caught}");
}

#[test]
fn a_log_that_is_turned_off_and_on_at_the_start_is_caught() {
    let caught = caught(|_| (), Mutant::LogStartsAnew);
    assert!(caught > 60, "{caught}");
}

#[test]
fn a_log_that_was_not_kept_on_is_refused_and_left_alone() {
    let (scenario, one) = first(&Scenario::random(3, "live-save".parse().unwrap()));
    let run = second(&scenario, one, |guest| guest.set_log_dirty(false), Mutant::None);
    assert_eq!(run.trace, [Asked::LogDirty(true)]);
    assert!(matches!(run.outcome, Outcome::Abort { .. }));
    assert!(run.guest.is_as_before());
}

#[test]
fn a_snapshot_that_fails_turns_the_log_off_because_it_has_lost_pages() {
    let (mut scenario, one) = first(&Scenario::random(3, "live-save".parse().unwrap()));
    scenario.config.base = Base::Log;
    let mut driver = Driver::on_top_of(&scenario, one, 0.5);
    driver.fault = Some((2, Fault::FailedBefore));
    let run = driver.run();
    assert!(matches!(run.outcome, Outcome::Abort { .. }));
    assert!(run.guest.is_as_before());
}

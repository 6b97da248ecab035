//! Each thing that can go wrong at each step of a group snapshot, on each side: what is killed comes back
//! soon, or only after all others have lost patience.

use std::collections::BTreeSet;

use sim::group::schedule::{Outcome, Plan, play};
use sim::group::{Fault, Role, Step, Victim};
use sim::network::{Delay, Links};

const VICTIMS: [Victim; 6] =
    [Victim::Shim, Victim::Stub, Victim::Host, Victim::Cable, Victim::Job, Victim::Operator];
const ROLES: [Role; 2] = [Role::Coordinator, Role::Participant];
/// Down for less than a heartbeat's three misses, for longer, and for longer than anybody waits.
const BACK_MS: [u64; 3] = [100, 1_000, 5_000];

fn lossy() -> Links {
    let delay = Delay { least_us: 100, most_us: 10_000, late: 20_000, late_us: 200_000 };
    Links { loss: 60_000, duplicate: 50_000, delay }
}

/// Plays all of these faults on good and on bad links; the sum, and which of them struck.
fn play_all(faults: &[Fault]) -> (Outcome, BTreeSet<usize>) {
    let (mut sum, mut struck) = (Outcome::default(), BTreeSet::new());
    for (number, fault) in faults.iter().enumerate() {
        for links in [Links::GOOD, lossy()] {
            let seed = number as u64;
            let plan = Plan { guests: vec![2, 2, 1], links, faults: vec![*fault], ..Plan::quiet(seed) };
            let outcome = play(&plan).unwrap_or_else(|failure| panic!("{fault:?} {links:?}: {failure}"));
            if outcome.struck > 0 {
                struck.insert(number);
            }
            sum.add(&outcome);
        }
    }
    println!("{} faults: {sum:?}", faults.len());
    (sum, struck)
}

fn faults(steps: &[Step], skips: impl Iterator<Item = u32> + Clone) -> Vec<Fault> {
    let mut faults = Vec::new();
    for &step in steps {
        for role in ROLES {
            for victim in VICTIMS {
                for back_ms in BACK_MS {
                    faults.extend(skips.clone().map(|skip| Fault { step, role, skip, victim, back_ms }));
                }
            }
        }
    }
    faults
}

#[test]
fn whatever_goes_wrong_at_any_step_all_is_well_in_the_end() {
    let faults = faults(&Step::ALL, 0..2);
    let (sum, struck) = play_all(&faults);
    // What was never struck can't happen: a participant writes no manifest, a coordinator takes none.
    let missed: BTreeSet<String> = faults
        .iter()
        .enumerate()
        .filter(|(number, fault)| fault.skip == 0 && !struck.contains(number))
        .map(|(_, fault)| format!("{:?} {:?}", fault.role, fault.step))
        .collect();
    let expected = [
        "Coordinator Aborted",
        "Coordinator Aborting",
        "Coordinator Committing",
        "Coordinator CommittedToo",
        "Participant Aborted",
        "Participant Aborting",
        "Participant Committed",
        "Participant Ended",
        "Participant Manifest",
        "Participant ManifestStored",
        "Participant Renamed",
    ];
    assert_eq!(missed, expected.map(String::from).into());
    assert!(sum.committed > 500, "{sum:?}");
}

#[test]
fn whatever_goes_wrong_while_a_snapshot_is_given_up_all_is_well_in_the_end() {
    let steps = [Step::Aborting, Step::Aborted];
    for first in [Step::Ready, Step::Standing, Step::Flipped, Step::PartStored, Step::Manifest] {
        for second in faults(&steps, 0..2) {
            for role in ROLES {
                let first = Fault { step: first, role, skip: 0, victim: Victim::Job, back_ms: 0 };
                let first = match first.step {
                    Step::PartStored => Fault { victim: Victim::Cable, back_ms: 4_000, ..first },
                    Step::Manifest => Fault { victim: Victim::Shim, back_ms: 1_000, ..first },
                    _ => first,
                };
                let plan = Plan { guests: vec![2, 2], faults: vec![first, second], ..Plan::quiet(1) };
                play(&plan).unwrap_or_else(|failure| panic!("{first:?} {second:?}: {failure}"));
            }
        }
    }
}

#[test]
fn whatever_goes_wrong_at_any_message_all_is_well_in_the_end() {
    play_all(&faults(&[Step::Took, Step::Said], 0..40));
}

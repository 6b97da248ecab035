//! Random plans, by seed.

use vnsnap::Mode;

use super::fault::{Fault, Role, Step, Victim};
use super::schedule::Plan;
use super::shared::Pace;
use crate::network::{Delay, Links};
use crate::rng::Rng;

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ 0x6772_6f75_7073_6e61);
    let hosts = 2 + rng.index(4);
    let guests = (0..hosts).map(|_| rng.below(4) as u32 + u32::from(rng.chance(800_000))).collect();
    let networks = 1 + rng.below(2) as u32;
    let mut requests = Vec::new();
    for number in 0..1 + rng.below(3) {
        // Some at once, some one after the other.
        let at_ms = if rng.chance(400_000) { 700 } else { 700 + number * 400 + rng.below(400) };
        let mode = if rng.chance(850_000) { Mode::Together } else { Mode::Classic };
        requests.push((at_ms, rng.index(hosts), 1 + rng.below(u64::from(networks)) as u32, mode));
    }
    let faults = (0..rng.below(3)).map(|_| fault(&mut rng)).collect();
    let trouble = if rng.chance(400_000) { 3 + rng.below(8) } else { 0 };
    let trouble_ms = 1_500 + if trouble > 0 { rng.below(3_000) } else { 0 };
    Plan {
        guests,
        networks,
        links: links(&mut rng),
        pace: Pace::default(),
        requests,
        faults,
        trouble,
        trouble_ms,
        refuse: if rng.chance(50_000) { 300_000 } else { 0 },
        ..Plan::quiet(seed)
    }
}

/// Some fault at some step.
pub fn fault(rng: &mut Rng) -> Fault {
    let step = match rng.below(3) {
        0 => [Step::Took, Step::Said][rng.index(2)],
        _ => Step::ALL[rng.index(Step::ALL.len())],
    };
    let skip =
        if matches!(step, Step::Took | Step::Said) { rng.below(40) as u32 } else { rng.below(3) as u32 };
    let role = [Role::Coordinator, Role::Participant][rng.index(2)];
    let victims = [Victim::Shim, Victim::Stub, Victim::Host, Victim::Cable, Victim::Job, Victim::Operator];
    let victim = victims[rng.index(victims.len())];
    let back_ms = if rng.chance(700_000) { 20 + rng.below(800) } else { 1_000 + rng.below(4_000) };
    Fault { step, role, skip, victim, back_ms }
}

/// From good to bad.
fn links(rng: &mut Rng) -> Links {
    if rng.chance(250_000) {
        return Links::GOOD;
    }
    Links {
        loss: rng.below(200_000) as u32 * u32::from(rng.chance(700_000)),
        duplicate: rng.below(100_000) as u32,
        delay: Delay {
            least_us: 100,
            most_us: 500 + rng.below(30_000),
            late: rng.below(50_000) as u32,
            late_us: 300_000,
        },
    }
}

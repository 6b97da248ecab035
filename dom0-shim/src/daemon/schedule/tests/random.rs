//! Random schedules, which must keep the rules whatever happens.

use std::collections::BTreeMap;

use super::{MINUTE, World, name, no, wish};
use crate::api::ScheduleWish;
use crate::daemon::schedule::rules::{Action, Answer, Next, Schedules};

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A guest's schedule as the random run sees it.
#[derive(Default)]
struct Seen {
    made: usize,
    /// Images that could not be removed or merged at times.
    hindered: bool,
    begins: Vec<u64>,
}

#[test]
fn a_thousand_random_schedules_keep_the_rules() {
    for seed in 0..1000 {
        random_run(seed);
    }
}

/// Three guests for two hundred turns. Snapshots take random times and fail at random, images are
/// in use at random, the daemon dies at random, also between an image and its note, and the wall
/// clock jumps when it does.
fn random_run(seed: u64) {
    let mut random = Random(seed);
    // Half of the runs have a store where nothing fails but snapshots.
    let hindrances = random.one_in(2);
    let wishes: Vec<ScheduleWish> = (0..1 + random.below(3))
        .map(|i| {
            wish(&format!("g{i}"), 1 + random.below(600) as u32, 1 + random.below(5) as u16, random.one_in(2))
        })
        .collect();
    let (mut all, mut world) = (Schedules::default(), World::default());
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for wish in &wishes {
        all.add(0, wish.clone()).unwrap();
        seen.entry(wish.guest.clone()).or_default();
    }
    let mut restarts = 0;
    for _ in 0..200 {
        let now = world.now;
        match all.next(now) {
            Next::Wait(until) => world.now = until.expect("schedules always come again").max(now + 1),
            Next::Do(Action::Take { wish, parent }) => {
                // Nothing else is done meanwhile, however long it takes.
                assert_eq!(all.next(u64::MAX / 2), Next::Wait(None), "seed {seed}");
                seen.get_mut(&wish.guest).unwrap().begins.push(now);
                let took = random.below(u64::from(wish.every_s) * 2500);
                let answer = match random.below(8) {
                    0 => Some(Answer::Failed(no())),
                    1 => Some(Answer::NotReady(no())),
                    2 => Some(Answer::Busy),
                    _ => None,
                };
                seen.get_mut(&wish.guest).unwrap().made += usize::from(answer.is_none());
                if answer.is_none() && random.one_in(10) {
                    // Killed when the image was there, but not noted.
                    world.made += 1;
                    world.now += took;
                    all.begun(&name(&wish.guest, world.made), parent.is_some());
                    world.images.insert(name(&wish.guest, world.made), parent);
                    all = world.restart(&all, 1_000_000 + world.now);
                    restarts += 1;
                } else {
                    world.end(&mut all, &wish.guest, parent, took, answer);
                }
            }
            Next::Do(action) => {
                let (Action::Merge(image) | Action::Remove(image)) = &action else { panic!() };
                let guest = image.split('@').next().unwrap();
                let answer = if hindrances && random.one_in(3) {
                    seen.get_mut(guest).unwrap().hindered = true;
                    Answer::Kept
                } else if let Action::Merge(image) = &action {
                    world.images.insert(image.clone(), None);
                    Answer::Done
                } else {
                    let removed = world.remove(image);
                    assert!(hindrances || removed == Answer::Done, "seed {seed}: {image} is built on");
                    removed
                };
                world.answer(&mut all, answer);
            }
        }
        if random.one_in(20) {
            let jump = random.below(20) * MINUTE;
            all = world.restart(&all, (1_000_000 + world.now + 10 * MINUTE).saturating_sub(jump));
            restarts += 1;
        }
        for wish in &wishes {
            let seen = &seen[&wish.guest];
            let prefix = format!("{}@", wish.guest);
            let own = world.images.keys().filter(|i| i.starts_with(&prefix)).count();
            let keep = usize::from(wish.keep);
            assert!(own >= seen.made.min(keep), "seed {seed}: {own} of {keep}, {} made", seen.made);
            if !seen.hindered {
                let most = if wish.incremental { keep + keep / 2 + 1 } else { keep + 1 };
                assert!(own <= most, "seed {seed}: {own} of {keep}");
            }
        }
    }
    // Not more often than every interval, but for what restarts and retries make up.
    for wish in &wishes {
        let every = u64::from(wish.every_s) * 1000;
        let begins = &seen[&wish.guest].begins;
        let turns = world.now / every.min(MINUTE) + 1 + restarts;
        assert!(begins.len() as u64 <= turns, "seed {seed}");
    }
}

//! Schedules on simulated time, with a store that fails, guests that go, and daemons that die.

mod random;
mod thread;

use std::collections::BTreeMap;

use super::Answer;
use super::record::{Ended, Record};
use super::rules::{Action, MAX_SCHEDULES, Next, Schedules};
use crate::api::{ScheduleWish, SnapshotOptions};
use crate::error::Error;

const MINUTE: u64 = 60_000;

fn wish(guest: &str, every_s: u32, keep: u16, incremental: bool) -> ScheduleWish {
    ScheduleWish { guest: guest.into(), every_s, keep, incremental, options: SnapshotOptions::default() }
}

fn name(guest: &str, n: usize) -> String {
    format!("{guest}@20261121T202439Z-{n}")
}

fn no() -> Error {
    Error::new("no")
}

/// A store and a clock.
#[derive(Default)]
struct World {
    now: u64,
    /// Images, with what they build on.
    images: BTreeMap<String, Option<String>>,
    made: usize,
}

impl World {
    /// Makes an image, if the rules say so.
    fn take(&mut self, all: &mut Schedules, took: u64, answer: Option<Answer>) {
        let now = self.now;
        let Next::Do(Action::Take { wish, parent }) = all.next(now) else { panic!("{:?}", all.next(now)) };
        self.end(all, &wish.guest, parent, took, answer);
    }

    /// Ends a snapshot that began: with an image, or with another answer.
    fn end(
        &mut self,
        all: &mut Schedules,
        guest: &str,
        parent: Option<String>,
        took: u64,
        answer: Option<Answer>,
    ) {
        self.now += took;
        if answer.is_none() {
            self.made += 1;
            all.begun(&name(guest, self.made), parent.is_some());
            assert!(parent.as_ref().is_none_or(|p| self.images.contains_key(p)));
            self.images.insert(name(guest, self.made), parent);
        }
        self.answer(all, answer.unwrap_or(Answer::Made));
    }

    fn answer(&self, all: &mut Schedules, answer: Answer) {
        all.answer(self.now, 1_000_000 + self.now, answer, &|image| self.images.contains_key(image));
    }

    /// As the store does it: what others build on stays.
    fn remove(&mut self, image: &str) -> Answer {
        if self.images.values().any(|parent| parent.as_deref() == Some(image)) {
            return Answer::Kept;
        }
        self.images.remove(image);
        Answer::Done
    }

    /// Does all chores. Returns what they were.
    fn chores(&mut self, all: &mut Schedules) -> Vec<Action> {
        let mut done = Vec::new();
        loop {
            let now = self.now;
            let Next::Do(action) = all.next(now) else { return done };
            let answer = match &action {
                Action::Merge(image) => {
                    self.images.insert(image.clone(), None);
                    Answer::Done
                }
                Action::Remove(image) => self.remove(image),
                Action::Take { .. } => panic!("a snapshot before the chores are done"),
            };
            done.push(action);
            self.answer(all, answer);
        }
    }

    fn restart(&self, all: &Schedules, unix_ms: u64) -> Schedules {
        let records = all.records(self.now, 1_000_000 + self.now);
        Schedules::load(records, self.now, unix_ms, &|image| self.images.contains_key(image))
    }
}

fn record(all: &Schedules) -> &Record {
    &all.entries()[0].record
}

#[test]
fn the_first_snapshot_is_due_at_once_and_the_next_ones_every_interval() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    assert!(all.add(0, wish("web", 300, 12, false)).unwrap());
    world.take(&mut all, 7_000, None);
    assert_eq!(all.next(world.now), Next::Wait(Some(5 * MINUTE)));
    // A late turn moves no other one.
    world.now = 5 * MINUTE + 400;
    world.take(&mut all, 7_000, None);
    assert_eq!(all.next(world.now), Next::Wait(Some(10 * MINUTE)));
    assert_eq!(record(&all).skipped, 0);
}

#[test]
fn what_is_due_while_a_snapshot_is_in_progress_is_skipped_and_counted() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 12, false)).unwrap();
    // 2.5 intervals: two are missed.
    let Next::Do(Action::Take { parent, .. }) = all.next(0) else { panic!() };
    assert_eq!(all.next(MINUTE), Next::Wait(None));
    world.end(&mut all, "web", parent, MINUTE * 5 / 2, None);
    assert_eq!(all.next(world.now), Next::Wait(Some(3 * MINUTE)));
    assert_eq!(record(&all).skipped, 2);
    // One that the operator takes counts as well.
    world.now = 3 * MINUTE;
    world.take(&mut all, 0, Some(Answer::Busy));
    assert_eq!((record(&all).skipped, record(&all).failed), (3, 0));
    assert_eq!(all.next(world.now), Next::Wait(Some(4 * MINUTE)));
}

#[test]
fn guests_that_are_due_together_come_one_after_the_other() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    for guest in ["a", "b", "c"] {
        all.add(0, wish(guest, 60, 3, false)).unwrap();
    }
    for _ in 0..3 {
        world.take(&mut all, 10_000, None);
    }
    let guests: Vec<&str> = world.images.keys().map(|i| i.split('@').next().unwrap()).collect();
    assert_eq!(guests, ["a", "b", "c"]);
    assert_eq!(all.next(world.now), Next::Wait(Some(MINUTE)));
}

#[test]
fn the_oldest_go_after_a_newer_one_was_made() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 2, false)).unwrap();
    for n in 0..5 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
        assert!(world.images.len() <= 3);
        world.chores(&mut all);
    }
    assert_eq!(world.images.keys().cloned().collect::<Vec<_>>(), [name("web", 4), name("web", 5)]);
}

#[test]
fn a_failure_removes_nothing_and_the_next_turn_comes_as_usual() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 1, false)).unwrap();
    world.take(&mut all, 1000, None);
    for n in 1..4 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, Some(Answer::Failed(no())));
        assert_eq!(world.chores(&mut all), []);
        assert_eq!(all.next(world.now), Next::Wait(Some((n + 1) * MINUTE)));
    }
    assert_eq!((record(&all).failed, record(&all).failing, world.images.len()), (3, 3, 1));
    world.now = 4 * MINUTE;
    world.take(&mut all, 1000, None);
    assert_eq!((record(&all).failed, record(&all).failing), (3, 0));
}

#[test]
fn a_guest_that_is_not_attached_is_tried_again_within_a_minute() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 86_400, 3, false)).unwrap();
    world.take(&mut all, 0, Some(Answer::NotReady(no())));
    assert!(matches!(record(&all).last.as_ref().unwrap().result, Ended::NotReady(_)));
    assert_eq!(all.next(0), Next::Wait(Some(MINUTE)));
    world.now = MINUTE;
    world.take(&mut all, 1000, None);
    assert_eq!(all.next(world.now), Next::Wait(Some(86_400_000)));
    assert_eq!(record(&all).failed, 0);
}

#[test]
fn an_image_that_is_in_use_stays_until_later_and_the_others_go() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 1, false)).unwrap();
    world.take(&mut all, 1000, None);
    // Somebody builds on the first one.
    world.images.insert("mine".into(), Some(name("web", 1)));
    for n in 1..4 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
        world.chores(&mut all);
        assert_eq!(
            world.images.keys().cloned().collect::<Vec<_>>(),
            ["mine".into(), name("web", 1), name("web", n as usize + 1)]
        );
    }
    world.images.remove("mine");
    world.now = 4 * MINUTE;
    world.take(&mut all, 1000, None);
    world.chores(&mut all);
    assert_eq!(world.images.keys().cloned().collect::<Vec<_>>(), [name("web", 5)]);
}

#[test]
fn images_of_others_never_go() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    world.images.insert(name("web", 99), None);
    all.add(0, wish("web", 60, 1, false)).unwrap();
    for n in 0..3 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
        world.chores(&mut all);
    }
    assert!(world.images.contains_key(&name("web", 99)));
    // Nor those of a schedule that has ended.
    assert_eq!(all.remove("web").unwrap().images.len(), 1);
    all.add(world.now, wish("web", 60, 1, false)).unwrap();
    world.take(&mut all, 1000, None);
    assert_eq!(world.chores(&mut all), []);
    assert_eq!(world.images.len(), 3);
}

#[test]
fn images_that_the_operator_removed_do_not_count() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 2, false)).unwrap();
    for n in 0..2 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
    }
    world.images.remove(&name("web", 2));
    world.now = 2 * MINUTE;
    world.take(&mut all, 1000, None);
    assert_eq!(world.chores(&mut all), []);
    assert_eq!(world.images.len(), 2);
}

#[test]
fn a_chain_is_cut_by_merging_the_oldest_that_stays() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, true)).unwrap();
    for n in 0..7 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
        let chores = world.chores(&mut all);
        // A merge costs a whole image: one for two snapshots.
        let web = |n: usize| name("web", n);
        let cut = |n| [Action::Merge(web(n)), Action::Remove(web(n - 1)), Action::Remove(web(n - 2))];
        match n {
            4 => assert_eq!(chores, cut(3)),
            6 => assert_eq!(chores, cut(5)),
            _ => assert_eq!(chores, []),
        }
    }
    assert_eq!(world.images[&name("web", 5)], None);
    assert_eq!(world.images[&name("web", 7)], Some(name("web", 6)));
}

#[test]
fn of_a_chain_the_newest_goes_first() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, true)).unwrap();
    for n in 0..3 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
    }
    all.add(world.now, wish("web", 60, 1, true)).unwrap();
    world.now = 3 * MINUTE;
    world.take(&mut all, 1000, None);
    world.chores(&mut all);
    assert_eq!(world.images.keys().cloned().collect::<Vec<_>>(), [name("web", 4)]);
}

#[test]
fn a_chain_that_cannot_be_cut_is_left_behind() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, true)).unwrap();
    for n in 0..20 {
        world.now = n * MINUTE;
        world.take(&mut all, 1000, None);
        let now = world.now;
        while let Next::Do(action) = all.next(now) {
            let answer = match &action {
                Action::Merge(_) => Answer::Kept,
                Action::Remove(image) => world.remove(image),
                Action::Take { .. } => panic!(),
            };
            world.answer(&mut all, answer);
        }
        assert!(world.images.len() <= 8, "{}", world.images.len());
    }
}

#[test]
fn a_restart_makes_up_one_snapshot_at_most() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, false)).unwrap();
    world.take(&mut all, 1000, None);
    // Ten intervals later.
    let mut all = world.restart(&all, 1_000_000 + 10 * MINUTE);
    world.take(&mut all, 1000, None);
    assert!(matches!(all.next(world.now), Next::Wait(Some(_))));
    assert_eq!((record(&all).made, record(&all).images.len()), (2, 2));
}

#[test]
fn a_clock_that_jumps_moves_nothing_by_more_than_an_interval() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, false)).unwrap();
    world.take(&mut all, 0, None);
    for unix_ms in [0, 1, 1_000_000, u64::MAX] {
        let mut again = world.restart(&all, unix_ms);
        match again.next(world.now) {
            Next::Wait(Some(at)) => assert!(at <= world.now + MINUTE),
            Next::Do(_) => assert_eq!(unix_ms, u64::MAX),
            Next::Wait(None) => panic!(),
        }
    }
}

#[test]
fn an_image_that_was_committed_as_the_daemon_was_killed_is_the_schedules_own() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 3, false)).unwrap();
    let Next::Do(_) = all.next(0) else { panic!() };
    all.begun(&name("web", 1), false);
    let none = world.restart(&all, 1_000_000);
    assert!(record(&none).images.is_empty() && record(&none).made == 0);
    world.images.insert(name("web", 1), None);
    let again = world.restart(&all, 1_000_000);
    assert_eq!(record(&again).images[0].image, name("web", 1));
    assert_eq!((record(&again).made, &record(&again).begun), (1, &None));
}

#[test]
fn a_schedule_that_is_changed_keeps_its_images_and_comes_no_later() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 3600, 3, false)).unwrap();
    world.take(&mut all, 0, None);
    assert!(!all.add(0, wish("web", 60, 1, false)).unwrap());
    assert_eq!(all.next(0), Next::Wait(Some(MINUTE)));
    world.now = MINUTE;
    world.take(&mut all, 0, None);
    assert_eq!(world.chores(&mut all), [Action::Remove(name("web", 1))]);
}

#[test]
fn a_schedule_that_is_removed_while_its_snapshot_is_taken_leaves_the_image() {
    let (mut all, mut world) = (Schedules::default(), World::default());
    all.add(0, wish("web", 60, 1, false)).unwrap();
    let Next::Do(Action::Take { parent, .. }) = all.next(0) else { panic!() };
    assert!(all.is_taking("web"));
    all.remove("web").unwrap();
    // Nor does a later one of the same guest get it.
    all.add(0, wish("web", 60, 1, false)).unwrap();
    world.end(&mut all, "web", parent, 1000, None);
    assert!(record(&all).images.is_empty());
    world.take(&mut all, 1000, None);
    assert_eq!(world.chores(&mut all), []);
}

#[test]
fn there_are_only_so_many_schedules() {
    let mut all = Schedules::default();
    for n in 0..MAX_SCHEDULES {
        all.add(0, wish(&format!("g{n}"), 60, 1, false)).unwrap();
    }
    assert!(all.add(0, wish("more", 60, 1, false)).unwrap_err().hint.is_some());
}

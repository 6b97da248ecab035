//! What is to be done when: the rules of schedules, without clock, files or threads.
//!
//! The caller asks for the [next](Schedules::next) thing to do, does it, and [answers](Schedules::answer);
//! one thing at a time, so that snapshots of several guests that are due together run one after
//! the other, and none ever overlaps another of its guest. Times are milliseconds of a clock that
//! does not go backwards.
//!
//! Rules that must always hold: an image goes only after a newer one was made; only images that
//! the schedule made itself go; the newest `keep` of them stay whatever fails.

use std::collections::VecDeque;

use super::record::{Ended, Last, Made, Record};
use crate::api::ScheduleWish;
use crate::error::{Error, Result};

/// The most schedules of a host.
pub(super) const MAX_SCHEDULES: usize = 256;

/// How soon a guest that was not ready is tried again, if its interval is longer.
const RETRY_MS: u64 = 60_000;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Take a snapshot.
    Take {
        /// How.
        wish: ScheduleWish,
        /// The image to build on.
        parent: Option<String>,
    },
    /// Make an image stand alone, so that what it builds on can go.
    Merge(String),
    /// Remove an image.
    Remove(String),
}

/// How an [`Action`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Answer {
    /// A snapshot was taken; [`Schedules::begun`] said which.
    Made,
    /// None was: another snapshot of the guest is in progress.
    Busy,
    /// None was: the guest is not attached, or there is no stub.
    NotReady(Error),
    /// None was: it failed.
    Failed(Error),
    /// The image was merged or removed.
    Done,
    /// It could not be, for now.
    Kept,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This, now.
    Do(Action),
    /// Nothing before this time. `None`: until something changes.
    Wait(Option<u64>),
}

/// A schedule.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is remembered of it.
    pub(super) record: Record,
    /// Tells it from a later one of the same guest.
    serial: u64,
    /// When the next snapshot is due.
    next: u64,
    /// When one that could not begin is tried again.
    retry: Option<u64>,
    /// What the last snapshot left to do.
    chores: VecDeque<Action>,
}

/// What is being done, and for which schedule.
#[derive(Debug)]
struct Doing {
    serial: u64,
    action: Action,
}

/// All schedules.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    entries: Vec<Entry>,
    doing: Option<Doing>,
    serials: u64,
}

impl Schedules {
    /// The schedules that an earlier daemon left. `exists` tells whether an image is there.
    ///
    /// A snapshot that was due meanwhile is taken at once, but one only. The wall clock may have
    /// jumped: nothing waits longer than its interval.
    pub(super) fn load(records: Vec<Record>, now: u64, unix_ms: u64, exists: &dyn Fn(&str) -> bool) -> Self {
        let mut all = Self::default();
        for mut record in records {
            let wait = record.next_unix_ms.saturating_sub(unix_ms).min(record.every_ms());
            // The former daemon was killed when the image was there, but not noted.
            if let Some(made) = record.begun.take_if(|begun| exists(&begun.image)) {
                record.images.push(made);
                record.made = record.made.saturating_add(1);
            }
            record.begun = None;
            let mut entry = all.entry(record, now.saturating_add(wait));
            entry.tidy(exists);
            all.entries.push(entry);
        }
        all
    }

    fn entry(&mut self, record: Record, next: u64) -> Entry {
        self.serials += 1;
        Entry { record, serial: self.serials, next, retry: None, chores: VecDeque::new() }
    }

    /// All schedules.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is to be remembered of all schedules.
    pub(super) fn records(&self, now: u64, unix_ms: u64) -> Vec<Record> {
        let record = |e: &Entry| Record {
            next_unix_ms: unix_ms.saturating_add(e.next.saturating_sub(now)),
            ..e.record.clone()
        };
        self.entries.iter().map(record).collect()
    }

    /// Adds a schedule, whose first snapshot is due at once; or changes that of the guest, which
    /// keeps its images. Returns whether it is new.
    pub(super) fn add(&mut self, now: u64, wish: ScheduleWish) -> Result<bool> {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.record.wish.guest == wish.guest) {
            entry.record.wish = wish;
            entry.next = entry.next.min(now.saturating_add(entry.record.every_ms()));
            return Ok(false);
        }
        if self.entries.len() >= MAX_SCHEDULES {
            return Err(Error::new(format!("there are {MAX_SCHEDULES} schedules already"))
                .hint("Remove one that is not needed: luthier schedule rm GUEST"));
        }
        let entry = self.entry(Record::new(wish), now);
        self.entries.push(entry);
        self.entries.sort_by(|a, b| a.record.wish.guest.cmp(&b.record.wish.guest));
        Ok(true)
    }

    /// Ends a guest's schedule. What it is doing goes on, and its images stay.
    pub(super) fn remove(&mut self, guest: &str) -> Option<Record> {
        let at = self.entries.iter().position(|e| e.record.wish.guest == guest)?;
        Some(self.entries.remove(at).record)
    }

    /// What to do now, which must then be done and answered.
    pub(super) fn next(&mut self, now: u64) -> Next {
        if self.doing.is_some() {
            return Next::Wait(None);
        }
        let with_chores = self.entries.iter_mut().find(|e| !e.chores.is_empty());
        let (serial, action) = match with_chores {
            Some(entry) => (entry.serial, entry.chores.pop_front()),
            None => match self.entries.iter_mut().min_by_key(|e| e.due()) {
                None => return Next::Wait(None),
                Some(entry) if entry.due() > now => return Next::Wait(Some(entry.due())),
                Some(entry) => (entry.serial, Some(entry.start(now))),
            },
        };
        let Some(action) = action else { return Next::Wait(Some(now)) };
        self.doing = Some(Doing { serial, action: action.clone() });
        Next::Do(action)
    }

    fn doer(&mut self) -> Option<&mut Entry> {
        let serial = self.doing.as_ref()?.serial;
        self.entries.iter_mut().find(|e| e.serial == serial)
    }

    /// The snapshot that is being taken has begun. `chained`: it builds on the action's parent.
    pub(super) fn begun(&mut self, image: &str, chained: bool) {
        if let Some(entry) = self.doer() {
            entry.record.begun = Some(Made { image: image.to_owned(), chained });
        }
    }

    /// How what was to be done has ended. `exists` tells whether an image is there.
    pub(super) fn answer(&mut self, now: u64, unix_ms: u64, answer: Answer, exists: &dyn Fn(&str) -> bool) {
        // A schedule that was removed meanwhile is not interested.
        let entry = self.doer().map(|e| e.serial);
        let Some(Doing { action, .. }) = self.doing.take() else { return };
        let Some(entry) = self.entries.iter_mut().find(|e| Some(e.serial) == entry) else { return };
        match action {
            Action::Take { .. } => entry.taken(now, unix_ms, answer, exists),
            Action::Merge(image) => match answer {
                Answer::Done => {
                    entry
                        .record
                        .images
                        .iter_mut()
                        .filter(|m| m.image == image)
                        .for_each(|m| m.chained = false);
                }
                // A chain that can't be cut would grow for ever: a new one begins.
                _ => entry.record.whole = true,
            },
            // One that is in use is tried again after the next snapshot.
            Action::Remove(image) => {
                if answer == Answer::Done {
                    entry.record.images.retain(|m| m.image != image);
                }
            }
        }
    }

    /// Whether a snapshot of this guest's schedule is being taken.
    pub(super) fn is_taking(&self, guest: &str) -> bool {
        matches!(&self.doing, Some(Doing { action: Action::Take { wish, .. }, .. }) if wish.guest == guest)
    }
}

impl Entry {
    /// When the next snapshot is due.
    pub(super) fn due(&self) -> u64 {
        self.retry.map_or(self.next, |retry| retry.min(self.next))
    }

    fn start(&mut self, now: u64) -> Action {
        self.retry = None;
        if self.next <= now {
            self.next = self.next.saturating_add(self.record.every_ms());
        }
        let newest = self.record.images.last().map(|m| m.image.clone());
        let parent = newest.filter(|_| self.record.wish.incremental && !self.record.whole);
        Action::Take { wish: self.record.wish.clone(), parent }
    }

    /// What is due by now will not be taken: it was missed, or another snapshot was in progress.
    fn skip_until(&mut self, now: u64) {
        if self.next <= now {
            let every = self.record.every_ms();
            let missed = (now - self.next) / every + 1;
            self.record.skipped = self.record.skipped.saturating_add(missed);
            self.next = self.next.saturating_add(missed.saturating_mul(every));
        }
    }

    fn taken(&mut self, now: u64, unix_ms: u64, answer: Answer, exists: &dyn Fn(&str) -> bool) {
        self.skip_until(now);
        let begun = self.record.begun.take();
        let result = match (answer, begun) {
            (Answer::Made, Some(made)) => {
                let image = made.image.clone();
                self.record.whole &= made.chained;
                self.record.images.push(made);
                self.record.made = self.record.made.saturating_add(1);
                self.record.failing = 0;
                self.tidy(exists);
                Ended::Made(image)
            }
            (Answer::NotReady(why), _) => {
                self.retry = Some(now.saturating_add(RETRY_MS.min(self.record.every_ms())));
                Ended::NotReady(why)
            }
            (Answer::Failed(why), _) => {
                self.record.failed = self.record.failed.saturating_add(1);
                self.record.failing = self.record.failing.saturating_add(1);
                Ended::Failed(why)
            }
            (Answer::Busy | Answer::Made | Answer::Done | Answer::Kept, _) => {
                self.record.skipped = self.record.skipped.saturating_add(1);
                return;
            }
        };
        self.record.last = Some(Last { unix_ms, result });
    }

    /// Sees to it that only the newest images stay; of those in a chain, half as many more at times.
    fn tidy(&mut self, exists: &dyn Fn(&str) -> bool) {
        // Those that the operator removed don't count.
        self.record.images.retain(|m| exists(&m.image));
        self.chores.clear();
        let images = &self.record.images;
        let (old, kept) = images.split_at(images.len().saturating_sub(self.record.keep()));
        if old.is_empty() {
            return;
        }
        if let Some(first) = kept.first().filter(|first| first.chained) {
            // It writes a whole image, so several snapshots share one.
            if old.len() <= self.record.keep() / 2 {
                return;
            }
            self.chores.push_back(Action::Merge(first.image.clone()));
        }
        // The newest first: it may build on the others.
        self.chores.extend(old.iter().rev().map(|m| Action::Remove(m.image.clone())));
    }
}

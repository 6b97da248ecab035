//! `luthier schedule`: snapshots of guests again and again.
//!
//! [`rules`] decides what is to be done when; a thread here does it, one thing at a time. It must
//! never make room by removing images for a snapshot that is not there yet, and never remove an
//! image that it did not make.

mod file;
mod record;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::lock;
use crate::api::{ScheduleRequest, ScheduleWish};
use crate::error::{Error, Result};
use file::Keeper;
use record::Ended;
use rules::{Action, Entry, Next, Schedules};

pub(super) use rules::Answer;

/// What schedules need of the daemon.
pub(super) trait Host {
    /// Takes a snapshot, on top of `parent` if there is one and it can be. `begun` is to be told the
    /// image's name before it is there, and whether it builds on the parent.
    fn take(&self, wish: &ScheduleWish, parent: Option<&str>, begun: &mut dyn FnMut(&str, bool)) -> Answer;

    /// Makes an image stand alone.
    fn merge(&self, image: &str) -> Answer;

    /// Removes an image.
    fn remove(&self, image: &str) -> Answer;

    /// Whether there is such an image.
    fn exists(&self, image: &str) -> bool;
}

/// All schedules, and who waits for them.
pub(super) struct Scheduler {
    keeper: Keeper,
    shared: Mutex<Shared>,
    /// Something has changed.
    changed: Condvar,
    /// Where the rules' clock begins.
    origin: Instant,
}

struct Shared {
    /// The schedules, or why the file of them can't be read.
    schedules: Result<Schedules>,
    /// The daemon ends: what fails from now on fails because of that.
    stopping: bool,
    /// Why the last change could not be written down.
    unsaved: Option<Error>,
}

impl Scheduler {
    /// Reads what an earlier daemon left. `exists` tells whether an image is there.
    ///
    /// A damaged file is told of in the log and to those that ask; nothing is done then.
    pub(super) fn open(folder: &Path, exists: &dyn Fn(&str) -> bool) -> Self {
        let keeper = Keeper::new(folder);
        let schedules = keeper.load().map(|records| Schedules::load(records, 0, unix_ms(), exists));
        match &schedules {
            Ok(all) if all.entries().is_empty() => {}
            Ok(all) => tracing::info!(schedules = all.entries().len(), "periodic snapshots go on"),
            Err(e) => tracing::error!(error = %e.message, "no periodic snapshots are taken"),
        }
        let shared = Mutex::new(Shared { schedules, stopping: false, unsaved: None });
        Self { keeper, shared, changed: Condvar::new(), origin: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }

    /// Takes the snapshots that are due until the daemon [stops](Self::stop).
    pub(super) fn run(&self, host: &dyn Host) {
        let mut told = HashMap::new();
        while let Some(action) = self.wait() {
            let mut begun = |image: &str, chained| {
                self.change(|all| all.begun(image, chained));
            };
            let answer = match &action {
                Action::Take { wish, parent } => host.take(wish, parent.as_deref(), &mut begun),
                Action::Merge(image) => host.merge(image),
                Action::Remove(image) => host.remove(image),
            };
            tell(&action, &answer, &mut told);
            if lock(&self.shared).stopping && !matches!(answer, Answer::Made | Answer::Done) {
                return;
            }
            let (now, unix_ms) = (self.now(), unix_ms());
            self.change(|all| all.answer(now, unix_ms, answer, &|image| host.exists(image)));
        }
    }

    /// Waits for something to do. `None`: the daemon ends.
    fn wait(&self) -> Option<Action> {
        let mut shared = lock(&self.shared);
        loop {
            if shared.stopping {
                return None;
            }
            let now = self.now();
            let until = match shared.schedules.as_mut().map(|all| all.next(now)) {
                Ok(Next::Do(action)) => return Some(action),
                Ok(Next::Wait(until)) => until,
                Err(_) => None,
            };
            // Not for ever, so that a clock that stood still does no harm.
            let wait = until.map_or(3_600_000, |until| until.saturating_sub(now)).clamp(1, 3_600_000);
            let waited = self.changed.wait_timeout(shared, Duration::from_millis(wait));
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Changes something, and writes it down.
    fn change<T>(&self, change: impl FnOnce(&mut Schedules) -> T) -> Option<T> {
        let mut shared = lock(&self.shared);
        let all = shared.schedules.as_mut().ok()?;
        let changed = change(all);
        let records = all.records(self.now(), unix_ms());
        let saved = self.keeper.save(records);
        if let Err(e) = &saved {
            tracing::error!(error = %e.message, "schedules go on, but are forgotten when luthierd ends");
        }
        shared.unsaved = saved.err();
        self.changed.notify_all();
        Some(changed)
    }

    /// The daemon ends: nothing new begins, and what is being given up is no failure.
    pub(super) fn stop(&self) {
        lock(&self.shared).stopping = true;
        self.changed.notify_all();
    }

    /// Answers a client.
    pub(super) fn answer(&self, request: ScheduleRequest) -> Result<Value> {
        if let Err(e) = &lock(&self.shared).schedules {
            return Err(e.clone());
        }
        match request {
            ScheduleRequest::Add { wish } => self.add(wish),
            ScheduleRequest::List => Ok(self.list()),
            ScheduleRequest::Remove { guest } => self.remove(&guest),
        }
    }

    fn add(&self, wish: ScheduleWish) -> Result<Value> {
        wish.check()?;
        let guest = wish.guest.clone();
        let now = self.now();
        let new = self.change(|all| all.add(now, wish)).unwrap_or(Ok(false))?;
        // A schedule that the next start would not know of is none.
        let unsaved = lock(&self.shared).unsaved.clone();
        if let Some(why) = unsaved {
            if new {
                self.change(|all| all.remove(&guest));
            }
            return Err(why.hint("Is the disk full? df -h shows it"));
        }
        tracing::info!(guest, new, "schedule");
        Ok(json!({"guest": guest, "new": new}))
    }

    fn remove(&self, guest: &str) -> Result<Value> {
        let removed = self.change(|all| all.remove(guest)).flatten();
        let removed = removed.ok_or_else(|| {
            Error::new(format!("`{guest}` has no schedule"))
                .hint("`luthier schedule list` shows those that there are")
        })?;
        tracing::info!(guest, "schedule removed");
        let images: Vec<&str> = removed.images.iter().map(|m| m.image.as_str()).collect();
        Ok(json!({"guest": guest, "images": images, "incremental": removed.wish.incremental}))
    }

    fn list(&self) -> Value {
        let shared = lock(&self.shared);
        let Ok(all) = &shared.schedules else { return Value::Null };
        let (now, unix_ms) = (self.now(), unix_ms());
        let schedules: Vec<Value> = all
            .entries()
            .iter()
            .map(|e| show(e, all.is_taking(&e.record.wish.guest), now, unix_ms))
            .collect();
        json!({"schedules": schedules, "unsaved": shared.unsaved})
    }
}

/// A schedule for people and programs.
fn show(entry: &Entry, taking: bool, now: u64, unix_ms: u64) -> Value {
    let r = &entry.record;
    let wait = entry.due().saturating_sub(now);
    let last = r.last.as_ref().map(|last| {
        let (result, image, error) = match &last.result {
            Ended::Made(image) => ("made", Some(image), None),
            Ended::NotReady(error) => ("not-ready", None, Some(error)),
            Ended::Failed(error) => ("failed", None, Some(error)),
        };
        json!({
            "at": utc(last.unix_ms), "ago_ms": unix_ms.saturating_sub(last.unix_ms),
            "result": result, "image": image, "error": error,
        })
    });
    let images: Vec<&str> = r.images.iter().map(|m| m.image.as_str()).collect();
    json!({
        "guest": r.wish.guest, "every_s": r.wish.every_s, "keep": r.wish.keep,
        "incremental": r.wish.incremental, "policy": r.wish.options.policy.name(),
        "in_progress": taking, "next": utc(unix_ms.saturating_add(wait)), "next_in_ms": wait,
        "images": images, "made": r.made, "failed": r.failed, "failing": r.failing, "skipped": r.skipped,
        "last": last,
    })
}

/// For the log. A guest that is not attached may be tried for days: `told` is what each one was said
/// to wait for, so that it is not said every time.
fn tell(action: &Action, answer: &Answer, told: &mut HashMap<String, String>) {
    match (action, answer) {
        (Action::Take { wish, .. }, Answer::NotReady(e)) => {
            let before = told.insert(wish.guest.clone(), e.message.clone());
            if before.as_ref() != Some(&e.message) {
                tracing::info!(guest = wish.guest, why = %e.message, "scheduled snapshot: not ready");
            }
        }
        (Action::Take { wish, .. }, Answer::Made) => drop(told.remove(&wish.guest)),
        (Action::Take { wish, .. }, Answer::Failed(e)) => {
            tracing::warn!(guest = wish.guest, error = %e.message, "scheduled snapshot failed");
        }
        (Action::Take { wish, .. }, Answer::Busy) => {
            tracing::info!(guest = wish.guest, "scheduled snapshot skipped: another one is in progress");
        }
        (Action::Remove(image), Answer::Done) => tracing::info!(image, "old image removed"),
        (Action::Merge(image), Answer::Done) => tracing::info!(image, "old image merged"),
        _ => {}
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

fn utc(unix_ms: u64) -> String {
    // Files may say anything; a calendar ends somewhere.
    const MAX_MS: u64 = 4_000_000_000_000;
    store::utc_text(UNIX_EPOCH + Duration::from_millis(unix_ms.min(MAX_MS)))
}

//! Which guests are being worked on: a snapshot, or the undoing of one, but one thing at a time.
//!
//! It must never let two of them touch the same guest: the one that ends would switch off the
//! other's log of writes, and the other's image would lack pages.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::lock;
use super::mailbox::Mailbox;
use crate::error::{Error, Result};

/// How long a new snapshot waits for the undoing of an old one, which takes milliseconds.
const UNDOING: Duration = Duration::from_secs(5);

/// What is done to a guest.
enum Work {
    /// A snapshot; once it has begun, where to cancel it.
    Snapshot(Option<Mailbox>),
    /// What an earlier snapshot left is undone.
    Mending,
}

#[derive(Default)]
struct Guests {
    by_domid: HashMap<u16, Work>,
    /// The daemon ends: nothing new begins.
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    guests: Mutex<Guests>,
    freed: Condvar,
}

/// The list of guests that are worked on, shared by all threads.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Shared>);

impl Desk {
    /// Claims a guest for a snapshot.
    pub(super) fn snapshot(&self, domid: u16, name: &str) -> Result<Claim> {
        let until = Instant::now() + UNDOING;
        let mut guests = lock(&self.0.guests);
        loop {
            if guests.stopping {
                return Err(Error::new("luthierd is stopping").hint("Try again when it is back"));
            }
            let (why, hint) = match guests.by_domid.get(&domid) {
                None => {
                    guests.by_domid.insert(domid, Work::Snapshot(None));
                    return Ok(Claim { desk: self.clone(), domid });
                }
                Some(Work::Snapshot(_)) => (
                    format!("a snapshot of `{name}` is in progress"),
                    "Wait until it has ended: luthier status",
                ),
                Some(Work::Mending) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        let waited = self.0.freed.wait_timeout(guests, left);
                        guests = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
                        continue;
                    }
                    (
                        format!("what an interrupted snapshot of `{name}` left is still being undone"),
                        "luthierd's log says what it is waiting for: journalctl -u luthierd",
                    )
                }
            };
            return Err(Error::new(why).hint(hint));
        }
    }

    /// Claims a guest to undo what a snapshot left. `None`: a snapshot has it.
    pub(super) fn mend(&self, domid: u16) -> Option<Claim> {
        let mut guests = lock(&self.0.guests);
        if guests.by_domid.contains_key(&domid) {
            return None;
        }
        guests.by_domid.insert(domid, Work::Mending);
        Some(Claim { desk: self.clone(), domid })
    }

    /// Guests with a snapshot in progress.
    pub(super) fn snapshots(&self) -> Vec<u16> {
        let is_snapshot = |work: &Work| matches!(work, Work::Snapshot(_));
        lock(&self.0.guests).by_domid.iter().filter(|(_, w)| is_snapshot(w)).map(|(d, _)| *d).collect()
    }

    /// Cancels every snapshot, lets none begin, and waits until all guests are as they were.
    pub(super) fn stop(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut guests = lock(&self.0.guests);
        guests.stopping = true;
        for work in guests.by_domid.values() {
            if let Work::Snapshot(Some(mailbox)) = work {
                mailbox.cancel();
            }
        }
        while !guests.by_domid.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            guests =
                self.0.freed.wait_timeout(guests, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

/// A guest that is worked on; no longer when dropped.
pub(super) struct Claim {
    desk: Desk,
    domid: u16,
}

impl Claim {
    /// Says where the snapshot can be cancelled.
    pub(super) fn cancel_at(&self, mailbox: &Mailbox) {
        let mut guests = lock(&self.desk.0.guests);
        if guests.stopping {
            mailbox.cancel();
        }
        guests.by_domid.insert(self.domid, Work::Snapshot(Some(mailbox.clone())));
    }

    /// The snapshot has ended, and what it left is to be undone under the same claim.
    pub(super) fn now_mending(&self) {
        let former = lock(&self.desk.0.guests).by_domid.insert(self.domid, Work::Mending);
        // Dropped here, without the lock: it may be the last to hold an unfinished image.
        drop(former);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let former = lock(&self.desk.0.guests).by_domid.remove(&self.domid);
        self.desk.0.freed.notify_all();
        drop(former);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_snapshot_of_a_guest_is_refused_until_the_first_has_ended() {
        let desk = Desk::default();
        let first = desk.snapshot(3, "web").unwrap();
        let refused = desk.snapshot(3, "web").map(drop).unwrap_err();
        assert!(refused.message.contains("a snapshot of `web` is in progress"));
        assert!(refused.hint.is_some());
        assert!(desk.snapshot(4, "db").is_ok());
        drop(first);
        assert!(desk.snapshot(3, "web").is_ok());
    }

    #[test]
    fn nothing_is_mended_under_a_snapshot() {
        let desk = Desk::default();
        let snapshot = desk.snapshot(3, "web").unwrap();
        assert!(desk.mend(3).is_none());
        snapshot.now_mending();
        assert!(desk.snapshots().is_empty());
        drop(snapshot);
        assert!(desk.mend(3).is_some());
    }

    #[test]
    fn a_snapshot_waits_for_the_undoing_of_an_earlier_one() {
        let desk = Desk::default();
        let mending = desk.mend(3).unwrap();
        let other = desk.clone();
        let waiting = std::thread::spawn(move || other.snapshot(3, "web").map(drop));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(mending);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn nothing_begins_when_the_daemon_stops() {
        let desk = Desk::default();
        desk.stop(Duration::ZERO);
        assert!(desk.snapshot(3, "web").map(drop).unwrap_err().message.contains("stopping"));
    }
}

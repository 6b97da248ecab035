//! Undoes what a snapshot left behind: guests suspended, slowed down, logged, or with grants to
//! the stub. Its work list is the journal: what a killed daemon left there, and what a snapshot
//! could not undo itself, such as a request to suspend that the guest may still answer.
//!
//! It must never touch a guest that a snapshot is working on, and never resume one that somebody
//! else asked to suspend.

use std::time::{Duration, Instant};

use privcmd::{GrantError, xenstore};

use super::desk::{Claim, Desk};
use super::guest::{control_node, undo_settings, withdraw_request};
use super::journal::{Entry, Journal};
use super::kept::KeptLogs;
use super::window::{Earlier, Window};
use super::xen::Xen;

/// How long a guest that was asked to suspend, and then no more, is watched: it may have read the
/// request before it was withdrawn. Linux gives itself 20 s to freeze.
const WATCH: Duration = Duration::from_secs(60);

/// How often a watched guest is looked at, which bounds how long it stands still for nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long xenstored may take for a watch's first event.
const FIRST_EVENT: Duration = Duration::from_secs(5);

/// The longest pause between attempts.
const SLOWEST: Duration = Duration::from_secs(30);

/// What mending takes.
#[derive(Clone)]
pub(super) struct Mender {
    pub(super) xen: Xen,
    pub(super) journal: Journal,
    pub(super) kept: KeptLogs,
    pub(super) desk: Desk,
}

impl Mender {
    /// Begins to mend every guest of the journal. All are claimed when this returns, so that no
    /// snapshot gets in between. Returns how many there are.
    pub(super) fn start(&self) -> usize {
        let entries = self.journal.all();
        for entry in &entries {
            if let Some(claim) = self.desk.mend(entry.domid) {
                self.spawn(entry.domid, claim);
            }
        }
        entries.len()
    }

    /// Takes over from a snapshot that has ended, if it left something to undo.
    pub(super) fn take_over(&self, domid: u16, claim: Claim) {
        if self.journal.get(domid).is_some() {
            claim.now_mending();
            self.spawn(domid, claim);
        }
    }

    fn spawn(&self, domid: u16, claim: Claim) {
        let mender = self.clone();
        // Each in a thread of its own: one that does not answer keeps no other waiting.
        std::thread::spawn(move || mender.mend(domid, claim));
    }

    fn mend(&self, domid: u16, claim: Claim) {
        let mut claim = Some(claim);
        let mut pause = Duration::from_millis(500);
        loop {
            let Some(mut entry) = self.journal.get(domid) else { return };
            match self.undo(&mut entry) {
                Ok(Left::Nothing) => {
                    tracing::warn!(domid, "undid what an interrupted snapshot had left");
                    return self.forget(domid);
                }
                Ok(Left::Request) => {
                    drop(claim.take());
                    return self.watch(&entry);
                }
                Err(why) => {
                    tracing::error!(domid, why, "an interrupted snapshot is not undone yet; trying again")
                }
            }
            drop(claim.take());
            std::thread::sleep(pause);
            pause = (pause * 2).min(SLOWEST);
            claim = self.desk.mend(domid);
            if claim.is_none() {
                return; // A new snapshot has the guest, and has read the entry.
            }
        }
    }

    /// Undoes what can be undone at once. The entry keeps what is left.
    fn undo(&self, entry: &mut Entry) -> Result<Left, String> {
        let domid = entry.domid;
        let words = |e: &dyn std::fmt::Display| e.to_string();
        let info = self.xen.domain_info(domid).map_err(|e| words(&e))?;
        let Some(info) = info.filter(|i| i.uuid == entry.uuid && !i.dying) else {
            return Ok(Left::Nothing);
        };
        if entry.suspend_asked {
            let mut store = xenstore::Client::open().map_err(|e| words(&e))?;
            if info.suspended() {
                self.xen.resume_fast(domid).map_err(|e| words(&e))?;
                tracing::warn!(domid, "resumed a guest that an interrupted snapshot had suspended");
                entry.suspend_asked = false;
                self.journal.put(entry).map_err(|e| words(&e))?;
                store.resume(domid).map_err(|e| words(&e))?;
            } else if info.alive() {
                withdraw_request(&mut store, domid).map_err(|e| words(&e))?;
                // It may have been let go on without xenstored being told, which would keep its end to itself.
                store.resume(domid).map_err(|e| words(&e))?;
            } else {
                entry.suspend_asked = false; // It has crashed or powered off.
            }
        }
        undo_settings(&self.xen, entry).map_err(|e| words(&e))?;
        if entry.log_dirty {
            // A note of it as a kept log would be of no log.
            self.kept.remove(domid).map_err(|e| words(&e))?;
        }
        (entry.log_dirty, entry.lowered) = (false, None);
        self.journal.put(entry).map_err(|e| words(&e))?;
        // Opening the window closes what was left open. A switch of the table's version has
        // wiped it already.
        let left = if entry.prepared { Earlier::Prepared } else { Earlier::Window };
        match Window::new(&self.xen, domid, entry.stub, 0, left) {
            Ok(_) | Err(GrantError::Version2(_)) => {}
            Err(e) => return Err(words(&e)),
        }
        Ok(if entry.suspend_asked { Left::Request } else { Left::Nothing })
    }

    /// Waits for a late answer to a request that was withdrawn, and resumes the guest then. Ends
    /// early when somebody else asks the guest for something: then the answer is theirs.
    fn watch(&self, entry: &Entry) {
        let domid = entry.domid;
        let until = Instant::now() + WATCH;
        let mut requests = Requests::of(domid).ok();
        while Instant::now() < until {
            let Some(claim) = self.desk.mend(domid) else { return };
            let Some(mut entry) = self.journal.get(domid) else { return };
            let info = self.xen.domain_info(domid).ok().flatten().filter(|i| i.uuid == entry.uuid);
            // Looked at last, as what the guest did may be the answer.
            if requests.as_mut().is_some_and(|r| r.any().unwrap_or(false)) {
                tracing::info!(domid, "somebody else asks the guest for something: no longer watched");
                return self.forget(domid);
            }
            if info.is_none_or(|i| !i.alive()) && matches!(self.undo(&mut entry), Ok(Left::Nothing)) {
                return self.forget(domid);
            }
            drop(claim);
            std::thread::sleep(LOOK_EVERY);
        }
        if let Some(_claim) = self.desk.mend(domid) {
            self.forget(domid);
        }
    }

    fn forget(&self, domid: u16) {
        if let Err(e) = self.journal.remove(domid) {
            tracing::error!(domid, error = %e.message, "removing a journal entry");
        }
    }
}

/// What others ask a guest for. Linux takes a request away as soon as it has read it, so a look at the node
/// now and then would miss most.
struct Requests {
    store: xenstore::Client,
    node: String,
}

impl Requests {
    /// Of domain `domid`, from now on.
    fn of(domid: u16) -> Result<Self, xenstore::Error> {
        let (mut store, node) = (xenstore::Client::open()?, control_node(domid));
        store.watch(&node, "")?;
        store.wait(FIRST_EVENT)?; // It comes at once, and tells of nothing.
        Ok(Self { store, node })
    }

    /// Whether there was any.
    fn any(&mut self) -> Result<bool, xenstore::Error> {
        // What was written before xenstored answers is told before the answer.
        let now = self.store.read(&self.node)?;
        Ok(now.is_some_and(|request| !request.is_empty()) || self.store.wait(Duration::ZERO)?.is_some())
    }
}

/// What is left to undo.
enum Left {
    Nothing,
    /// The guest may still answer the request to suspend.
    Request,
}

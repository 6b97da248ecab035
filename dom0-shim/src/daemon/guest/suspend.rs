//! Suspending a guest and letting it go on: as `xl save` asks it, through xenstore.
//!
//! What this module must never do: resume a guest that it did not ask to suspend, or forget a
//! request that the guest may answer yet.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use handoff::VerbErrorKind;
use privcmd::xenstore;

use super::super::fault;
use super::Guest;
use super::verdict::{Verdict, of_xen, refuse};

/// How often to look whether the guest has suspended, should xenstored not say so. Seldom: each look
/// takes the CPU that the guest may need for it, on a host with few of them.
const LOOK: Duration = Duration::from_millis(10);

/// What xenstored fires when a domain has shut down, also by suspending.
const SHUT_DOWN: &str = "@releaseDomain";

/// Whether the guest stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspended {
    No,
    /// We asked, and it may or may not.
    Asked,
    /// It does, since then, because we asked.
    Since(Instant),
    /// It goes on, and nobody was told.
    Woken,
    /// It did already, because of someone else: not ours to resume.
    Foreign,
}

impl Guest {
    /// The verb `Suspend`: asks as `xl save` does and waits.
    pub(in super::super) fn suspend(&mut self) -> Verdict<()> {
        let info = self.check()?;
        if self.suspended != Suspended::No {
            return Err(refuse(VerbErrorKind::NotAllowed, "the guest is suspended already"));
        }
        self.begin_state()?;
        if info.suspended() {
            tracing::info!(guest = self.who.name, "is suspended by someone else, and will be left so");
            self.suspended = Suspended::Foreign;
            self.disks.begin();
            return Ok(());
        }
        self.suspended = Suspended::Asked;
        let suspended = self.ask_to_suspend();
        match &suspended {
            Ok(()) => self.disks.begin(),
            Err(_) => self.withdraw()?,
        }
        suspended
    }

    fn ask_to_suspend(&mut self) -> Verdict<()> {
        let failed = |e: &dyn std::fmt::Display| refuse(VerbErrorKind::Hypervisor, e);
        self.note().map_err(|e| failed(&e))?;
        if !self.told_of_ends {
            self.store.watch(SHUT_DOWN, "").map_err(|e| failed(&e))?;
            self.told_of_ends = true;
        }
        let asked = Instant::now();
        self.store.write(&control_node(self.who.domid), "suspend").map_err(|e| failed(&e))?;
        fault::at("asked");
        loop {
            if self.look()?.suspended() {
                let now = Instant::now();
                self.freeze = now - asked;
                self.suspended = Suspended::Since(now);
                // When this is its answer to an earlier request, it has not read the one of now, and would
                // suspend once more when it goes on.
                self.owed = self.owed && withdraw_request(&mut self.store, self.who.domid).is_err();
                return Ok(());
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(refuse(VerbErrorKind::NoSuspend, "the snapshot was cancelled"));
            }
            if asked.elapsed() > self.suspend_timeout {
                return Err(refuse(
                    VerbErrorKind::NoSuspend,
                    format!(
                        "`{}` did not suspend within {} s of being asked",
                        self.who.name,
                        self.suspend_timeout.as_secs()
                    ),
                ));
            }
            if self.store.wait(LOOK).is_err() {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// The verb `Resume`. What its disks have must be as old as its memory: it goes on when their
    /// snapshots are taken, or can't be. [`Guest::after_resume`] is to follow.
    pub(in super::super) fn resume(&mut self) -> Verdict<()> {
        let disks = self.disks.end();
        self.wake()?;
        disks.map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message))
    }

    /// What is to be done when the guest goes on, and need not be waited for: its vifs wait for the answer to
    /// `Resume`. What fails, [`Guest::release`] tries again.
    pub(in super::super) fn after_resume(&mut self) {
        if let Err(e) = self.let_go_on() {
            tracing::warn!(guest = self.who.name, error = %e.detail, "telling that it goes on");
        }
    }

    /// Lets it go on, whatever became of its disks' snapshots, and tells everybody.
    pub(super) fn let_go_on(&mut self) -> Verdict<()> {
        self.wake()?;
        if self.suspended != Suspended::Woken {
            return Ok(());
        }
        self.look_for_thieves();
        // The guest gets back at once what it had; if that fails, the end tries again.
        if let Err(e) = self.unthrottle() {
            tracing::error!(guest = self.who.name, error = %e.detail, "giving its CPU time back");
        }
        self.settle()
    }

    fn wake(&mut self) -> Verdict<()> {
        self.state_due = false;
        let woken = |name: &str| {
            refuse(
                VerbErrorKind::Hypervisor,
                format!("somebody else let `{name}` go on while the snapshot was copying it"),
            )
        };
        match self.suspended {
            Suspended::No | Suspended::Woken => Ok(()),
            Suspended::Asked => self.withdraw(),
            Suspended::Foreign => {
                self.suspended = Suspended::No;
                if self.look()?.suspended() { Ok(()) } else { Err(woken(&self.who.name)) }
            }
            Suspended::Since(since) => match self.xen.resume_fast(self.who.domid) {
                Ok(()) => {
                    self.suspended_for = since.elapsed();
                    self.suspended = Suspended::Woken;
                    Ok(())
                }
                Err(privcmd::Error::NotSuspended(_)) => {
                    self.settle()?;
                    Err(woken(&self.who.name))
                }
                Err(e) => Err(of_xen(e)),
            },
        }
    }

    /// The guest runs: tell xenstored, or it would not report the domain's end, and the journal.
    pub(super) fn settle(&mut self) -> Verdict<()> {
        self.suspended = Suspended::Woken;
        let told = self.store.resume(self.who.domid);
        self.note().map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message))?;
        told.map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        self.suspended = Suspended::No;
        Ok(())
    }

    /// Takes back a request to suspend. A guest that has read it already may suspend yet: what
    /// looks at the guest next resumes it.
    fn withdraw(&mut self) -> Verdict<()> {
        self.suspended = Suspended::No;
        self.owed = true;
        if let Err(e) = withdraw_request(&mut self.store, self.who.domid) {
            // The recovery does it with a connection of its own.
            tracing::warn!(guest = self.who.name, error = %e, "withdrawing the request to suspend");
        }
        self.note().map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message))
    }
}

/// The node through which the toolstack asks a guest for things.
pub(in super::super) fn control_node(domid: u16) -> String {
    format!("/local/domain/{domid}/control/shutdown")
}

/// Takes back a request to suspend that the guest has not read yet. (It clears the node when it
/// reads it; that it may do so between our look and our write is why it is watched afterwards.)
pub(in super::super) fn withdraw_request(
    store: &mut xenstore::Client,
    domid: u16,
) -> std::result::Result<(), xenstore::Error> {
    let node = control_node(domid);
    match store.read(&node)?.as_deref() {
        Some("suspend") => store.write(&node, ""),
        _ => Ok(()),
    }
}

//! The control of one guest during one snapshot: the verbs, and the undoing of them.
//!
//! Everything here is undone by [`Guest::release`], which runs at the end of every snapshot,
//! however it ends, and by `recovery` if this process dies before.
//!
//! What this module must never do: map guest memory, resume a guest that it did not ask to
//! suspend, or clear a grant that is not its own.

mod grants;
mod log;
mod record;
mod suspend;
mod throttle;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use handoff::{VerbError, VerbErrorKind};
use privcmd::xenstore;
use serde_json::Value;
use store::{Extents, State};

use super::allow::Attached;
use super::cap::{self, Lowered};
use super::disks::Disks;
use super::journal::{Entry, Journal};
use super::kept::KeptLogs;
use super::saver;
use super::window::{Earlier, Window};
use super::xen::Xen;
use crate::error::{Context, Error, Result};

pub(super) use log::LogPlan;
use suspend::Suspended;
pub(super) use suspend::{control_node, withdraw_request};
use verdict::{Verdict, of_xen, refuse};

/// A guest under our control.
pub(super) struct Guest {
    xen: Xen,
    store: xenstore::Client,
    journal: Journal,
    who: Attached,
    stub: u16,
    frames: Extents,
    /// Bits of Xen's dirty bitmap.
    span: u64,
    tot_pages: u64,
    config: Value,
    suspend_timeout: Duration,
    cancelled: Arc<AtomicBool>,
    window: Window,
    /// Pages may be granted beside the window.
    prepared: bool,
    log_dirty: bool,
    log: LogPlan,
    /// The log was on when the guest stood still, as far as Xen alone can tell.
    log_seen: bool,
    kept: KeptLogs,
    disks: Disks,
    /// The cap of its CPU time, if we have lowered it.
    lowered: Option<Lowered>,
    suspended: Suspended,
    /// xenstored says when a domain has shut down.
    told_of_ends: bool,
    /// A request to suspend was withdrawn, perhaps after the guest had read it: it may suspend
    /// yet, and is resumed then.
    owed: bool,
    released: bool,
    freeze: Duration,
    suspended_for: Duration,
    /// What is recorded of it besides memory: what can't change, once it is asked to suspend, and the rest
    /// when it stands still.
    state: State,
    /// Parts of it may be recorded ahead of the verb.
    state_due: bool,
    /// Why one could not be.
    stateless: Option<VerbError>,
}

/// What a [`Guest`] is made of.
pub(super) struct Parts {
    /// The hypervisor.
    pub(super) xen: Xen,
    /// Where what must be undone is noted.
    pub(super) journal: Journal,
    /// Which guest, checked against the allow-list.
    pub(super) who: Attached,
    /// Who may read its pages.
    pub(super) stub: u16,
    /// Its populated frames.
    pub(super) frames: Extents,
    /// libxl's configuration of it.
    pub(super) config: Value,
    /// How long it may take to suspend.
    pub(super) suspend_timeout: Duration,
    /// Set when the operator wants no snapshot any more.
    pub(super) cancelled: Arc<AtomicBool>,
    /// What is logged.
    pub(super) log: LogPlan,
    /// Where logs that are left on are noted.
    pub(super) kept: KeptLogs,
    /// Pages to be made ready for the last round, as far as there is room.
    pub(super) prepare: u32,
    /// Its disks, snapshotted while it stands still.
    pub(super) disks: Disks,
}

impl Guest {
    /// Takes control, and notes it in the journal.
    pub(super) fn new(parts: Parts) -> Result<Self> {
        let Parts { xen, journal, who, stub, frames, config, suspend_timeout, .. } = parts;
        let Parts { cancelled, log, kept, prepare, disks, .. } = parts;
        let info = xen.check_attached(&who)?;
        let span = xen.max_gpfn(who.domid).context("reading the guest's size")? + 1;
        let store = xenstore::Client::open().context("opening xenstore")?;
        let earlier = journal.get(who.domid).filter(|e| e.uuid == who.uuid);
        // It may have asked the guest to suspend, without an answer yet.
        let owed = earlier.as_ref().is_some_and(|e| e.suspend_asked);
        let left = match &earlier {
            Some(entry) if entry.prepared => Earlier::Prepared,
            _ => Earlier::Window,
        };
        if let Some(entry) = &earlier {
            undo_settings(&xen, entry).context(format!("undoing what a snapshot of `{}` left", who.name))?;
        }
        let window = Window::new(&xen, who.domid, stub, prepare, left)
            .context(format!("preparing the grant table of `{}`", who.name))?;
        let guest = Self {
            xen,
            store,
            journal,
            who,
            stub,
            frames,
            span,
            tot_pages: info.tot_pages,
            config,
            suspend_timeout,
            cancelled,
            window,
            prepared: false,
            log_dirty: false,
            log,
            log_seen: false,
            kept,
            disks,
            lowered: None,
            suspended: Suspended::No,
            told_of_ends: false,
            owed,
            released: false,
            freeze: Duration::ZERO,
            suspended_for: Duration::ZERO,
            state: State::new(),
            state_due: false,
            stateless: None,
        };
        guest.note()?;
        Ok(guest)
    }

    /// Its domain id.
    pub(super) fn domid(&self) -> u16 {
        self.who.domid
    }

    /// Its uuid.
    pub(super) fn uuid(&self) -> [u8; 16] {
        self.who.uuid
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.who.name
    }

    /// Its slots.
    pub(super) fn pages(&self) -> u32 {
        u32::try_from(self.frames.pages()).unwrap_or(u32::MAX)
    }

    /// The frame of a slot.
    pub(super) fn pfn(&self, slot: u32) -> Option<u64> {
        self.frames.pfn_of(slot.into())
    }

    /// Whether it stands still, or may, on our account.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.suspended, Suspended::Asked | Suspended::Since(_))
    }

    /// How long the guest took to suspend once asked.
    pub(super) fn freeze_time(&self) -> Duration {
        self.freeze
    }

    /// How long it then stood still.
    pub(super) fn suspended_time(&self) -> Duration {
        self.suspended_for
    }

    /// Its disks.
    pub(super) fn disks(&mut self) -> &mut Disks {
        &mut self.disks
    }

    /// Notes in the journal how things stand, or are about to.
    fn note(&self) -> Result<()> {
        let Attached { domid, uuid, .. } = self.who;
        let suspend_asked = self.is_suspended() || self.owed;
        self.journal.put(&Entry {
            domid,
            uuid,
            stub: self.stub,
            suspend_asked,
            log_dirty: self.log_dirty,
            prepared: self.prepared,
            lowered: self.lowered.clone(),
        })
    }

    /// The guest is there, and is the one that was attached: checked before every verb.
    fn check(&mut self) -> Verdict<privcmd::DomainInfo> {
        let info = self.look()?;
        if !(info.suspended() && self.owed && self.suspended == Suspended::No) {
            return Ok(info);
        }
        // A late answer to a request that nobody waits for any more.
        self.xen.resume_fast(self.who.domid).map_err(of_xen)?;
        tracing::info!(guest = self.who.name, "suspended late, and was resumed");
        self.owed = false;
        self.settle()?;
        self.look()
    }

    /// As [`Guest::check`], and does nothing.
    pub(super) fn look(&self) -> Verdict<privcmd::DomainInfo> {
        let gone =
            |how| refuse(VerbErrorKind::GuestGone, format!("`{}` {how} during the snapshot", self.who.name));
        match self.xen.domain_info(self.who.domid).map_err(of_xen)? {
            None => Err(gone("was destroyed")),
            Some(info) if info.uuid != self.who.uuid => Err(gone("was destroyed")),
            Some(info) if info.dying => Err(gone("was destroyed")),
            Some(info) => match info.shutdown {
                None | Some(privcmd::ShutdownReason::Suspend) => Ok(info),
                Some(privcmd::ShutdownReason::Crash) => Err(gone("crashed")),
                Some(_) => Err(gone("exited")),
            },
        }
    }

    /// The guest's populated frames are those of the start, and no device has written to them. Equal
    /// numbers at the last `Clean` do not prove it: a balloon may have given frames back and taken others,
    /// and a frame that was never written to since is not dirty. Looked at when the guest runs again,
    /// because it takes as long as a round; a guest that is gone by then was the same when it was suspended.
    pub(super) fn check_frames(&self) -> Verdict<()> {
        if self.log_seen {
            self.check_no_devices()?;
        }
        match self.xen.frames(self.who.domid) {
            Ok(frames) if frames != self.frames => Err(self.resized()),
            _ => Ok(()),
        }
    }

    /// The error for memory that changed its shape.
    pub(super) fn resized(&self) -> VerbError {
        let what = format!("the memory of `{}` was resized during the snapshot", self.who.name);
        refuse(VerbErrorKind::Resized, what)
    }

    /// Undoes everything: the guest runs at full speed, is not logged, and grants nothing. What
    /// could not be undone yet stays in the journal, for the recovery.
    ///
    /// With `keep`, the log may stay on, and in the journal, until [`Guest::keep_log`].
    pub(super) fn release(&mut self, keep: bool) -> Result<()> {
        self.released = true;
        let mut trouble: Option<VerbError> = None;
        let mut failed = |what: &str, name: &str, e: VerbError| {
            tracing::error!(guest = name, error = %e.detail, "{what} failed");
            trouble.get_or_insert(e);
        };
        let name = self.who.name.clone();
        if self.check().is_err_and(|e| e.kind == VerbErrorKind::GuestGone) {
            (self.suspended, self.owed, self.lowered) = (Suspended::No, false, None);
            let info = self.xen.domain_info(self.who.domid).ok().flatten();
            if self.log_dirty && info.is_some_and(|i| i.uuid == self.who.uuid) {
                // A crashed domain may be kept for a look at it. Of a dying one, there is no log.
                let _ = self.xen.log_dirty_disable(self.who.domid);
            }
            self.log_dirty = false;
        } else {
            if let Err(e) = self.let_go_on() {
                failed("resuming", &name, e);
            }
            if let Err(e) = self.unthrottle() {
                failed("giving its CPU time back", &name, e);
            }
            let keep = match self.log_dirty && keep {
                true => self.may_keep().unwrap_or_else(|e| {
                    failed("keeping the log of its writes", &name, e);
                    false
                }),
                false => false,
            };
            if self.log_dirty
                && !keep
                && let Err(e) = self.log_dirty(false)
            {
                failed("ending log-dirty", &name, e);
            }
        }
        self.window.shut();
        self.prepared = false;
        match trouble {
            Some(e) => Err(Error::new(e.detail.as_str())
                .hint("luthierd goes on trying; `xl list` shows the guest's state, 's' is suspended")),
            // The recovery watches the guest for a while; a log that stays on is not settled yet.
            None if self.owed || self.log_dirty => self.note(),
            None => self.journal.remove(self.who.domid),
        }
    }
}

/// Undoes what an entry of the journal says of the log and of the cap.
pub(super) fn undo_settings(xen: &Xen, entry: &Entry) -> std::result::Result<(), privcmd::Error> {
    if let Some(lowered) = &entry.lowered {
        cap::restore(xen, entry.domid, lowered)?;
    }
    // A log that libxl took from us is no longer ours to end.
    if entry.log_dirty && !saver::is_saving(entry.domid) {
        xen.log_dirty_disable(entry.domid)?;
    }
    Ok(())
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A panic between two verbs must not leave the guest suspended either; and a log that was
        // to stay on for an image which was not committed ends.
        if !self.released || self.log_dirty {
            let _ = self.release(false);
        }
    }
}

//! The control of one guest during one snapshot: the verbs, and the undoing of them.
//!
//! Everything here is undone by [`Guest::release`], which runs at the end of every snapshot,
//! however it ends, and by `recovery` if this process dies before.
//!
//! What this module must never do: map guest memory, resume a guest that it did not ask to
//! suspend, or clear a grant that is not its own.

mod suspend;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use handoff::{VerbError, VerbErrorKind};
use privcmd::xenstore;
use serde_json::Value;
use store::{Extents, State, StateKind};

use super::allow::Attached;
use super::gather::gather;
use super::journal::{Entry, Journal};
use super::saver;
use super::window::Window;
use super::xen::Xen;
use crate::error::{Context, Error, Result};

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
    log_dirty: bool,
    suspended: Suspended,
    /// A request to suspend was withdrawn, perhaps after the guest had read it: it may suspend
    /// yet, and is resumed then.
    owed: bool,
    released: bool,
    freeze: Duration,
    suspended_for: Duration,
    state: Option<State>,
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
}

impl Guest {
    /// Takes control, and notes it in the journal.
    pub(super) fn new(parts: Parts) -> Result<Self> {
        let Parts { xen, journal, who, stub, frames, config, suspend_timeout, cancelled } = parts;
        let info = xen.check_attached(&who)?;
        let span = xen.max_gpfn(who.domid).context("reading the guest's size")? + 1;
        let store = xenstore::Client::open().context("opening xenstore")?;
        // An earlier snapshot may have asked it to suspend, without an answer yet.
        let owed = journal.get(who.domid).is_some_and(|e| e.uuid == who.uuid && e.suspend_asked);
        let window = Window::new(&xen, who.domid, stub)
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
            log_dirty: false,
            suspended: Suspended::No,
            owed,
            released: false,
            freeze: Duration::ZERO,
            suspended_for: Duration::ZERO,
            state: None,
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

    /// Grants of the window that the guest has changed so far.
    pub(super) fn spoiled(&mut self) -> u32 {
        self.window.close();
        self.window.spoiled()
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

    /// What is not memory, once recorded.
    pub(super) fn take_state(&mut self) -> Option<State> {
        self.state.take()
    }

    /// Notes in the journal how things stand, or are about to.
    fn note(&self) -> Result<()> {
        let Attached { domid, uuid, .. } = self.who;
        let suspend_asked = self.is_suspended() || self.owed;
        self.journal.put(&Entry { domid, uuid, stub: self.stub, suspend_asked, log_dirty: self.log_dirty })
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

    /// The verb `LogDirty`.
    pub(super) fn log_dirty(&mut self, on: bool) -> Verdict<()> {
        self.check()?;
        if on == self.log_dirty {
            return Err(refuse(VerbErrorKind::NotAllowed, "log-dirty is as asked already"));
        }
        let note = |guest: &Self| guest.note().map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message));
        let saving = self.refuse_if_saving();
        if !on {
            // A log that libxl took from us is no longer ours to end.
            if saving.is_ok() {
                self.xen.log_dirty_disable(self.who.domid).map_err(of_xen)?;
            }
            self.log_dirty = false;
            note(self)?;
            return saving;
        }
        saving?;
        self.log_dirty = true;
        note(self)?;
        let enabled = self.xen.log_dirty_enable(self.who.domid);
        // Someone else's log must not be ended by us, now or by the next daemon.
        self.log_dirty = enabled.is_ok();
        if !self.log_dirty {
            note(self)?;
        }
        enabled.map_err(of_xen)
    }

    fn refuse_if_saving(&self) -> Verdict<()> {
        if !saver::is_saving(self.who.domid) {
            return Ok(());
        }
        let why = format!("xl is saving or migrating `{}`, and needs the log of its writes", self.who.name);
        Err(refuse(VerbErrorKind::LogDirty, why))
    }

    /// The verb `Clean`: the dirty bitmap by slot.
    pub(super) fn clean(&mut self, last: bool) -> Verdict<Vec<u64>> {
        let info = self.check()?;
        if !self.log_dirty {
            return Err(refuse(VerbErrorKind::NotAllowed, "log-dirty is off"));
        }
        // A balloon that moved frames moved slots with them: the image would be wrong.
        if last && info.tot_pages != self.tot_pages {
            return Err(self.resized());
        }
        // What we took out of the log would be missing in xl's copy. (Not while the guest stands
        // still: the end of the log looks once more.)
        if !last {
            self.refuse_if_saving()?;
        }
        let bitmap = self.bitmap(|xen, domid, span, bits| xen.log_dirty_clean(domid, span, bits, last))?;
        if last {
            self.check_log_is_on()?;
        }
        Ok(bitmap)
    }

    /// The guest's populated frames are those of the start. Equal numbers at the last `Clean` do
    /// not prove it: a balloon may have given frames back and taken others, and a frame that was
    /// never written to since is not dirty. Looked at when the guest runs again, because it takes
    /// as long as a round; a guest that is gone by then was the same when it was suspended.
    pub(super) fn check_frames(&self) -> Verdict<()> {
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

    /// Xen answers with an empty bitmap when somebody else has ended the log (as an `xl save` of
    /// the same guest does at its end), and pages would be missing. That it can't be begun shows
    /// that it is on.
    fn check_log_is_on(&self) -> Verdict<()> {
        match self.xen.log_dirty_enable(self.who.domid) {
            Err(privcmd::Error::LogDirtyOwned(_)) => Ok(()),
            Err(e) => Err(of_xen(e)),
            Ok(()) => Err(refuse(
                VerbErrorKind::LogDirty,
                format!("somebody else ended the logging of what `{}` writes", self.who.name),
            )),
        }
    }

    fn bitmap(
        &self,
        fetch: impl FnOnce(&Xen, u16, u64, &mut [u64]) -> std::result::Result<privcmd::DirtyStats, privcmd::Error>,
    ) -> Verdict<Vec<u64>> {
        let mut by_pfn = vec![0; self.span.div_ceil(64) as usize];
        fetch(&self.xen, self.who.domid, self.span, &mut by_pfn).map_err(of_xen)?;
        Ok(gather(&self.frames, &by_pfn))
    }

    /// The verb `Window`: the first reference, and which slots were left out.
    pub(super) fn window(&mut self, half: u8, slots: &[u32], skip_dirty: bool) -> Verdict<(u32, Vec<u8>)> {
        self.check()?;
        let dirty = match skip_dirty && self.log_dirty {
            true => self.bitmap(|xen, domid, span, bits| xen.log_dirty_peek(domid, span, bits))?,
            false => Vec::new(),
        };
        let is_dirty = |slot: u32| dirty.get((slot / 64) as usize).is_some_and(|w| w >> (slot % 64) & 1 == 1);
        let mut left_out = vec![0u8; if skip_dirty { slots.len().div_ceil(8) } else { 0 }];
        let mut pfns = Vec::with_capacity(slots.len());
        for (i, &slot) in slots.iter().enumerate() {
            if is_dirty(slot) {
                if let Some(byte) = left_out.get_mut(i / 8) {
                    *byte |= 1 << (i % 8);
                }
                pfns.push(None);
                continue;
            }
            let pfn = self.frames.pfn_of(slot.into());
            pfns.push(Some(
                pfn.ok_or_else(|| refuse(VerbErrorKind::NotAllowed, format!("there is no slot {slot}")))?,
            ));
        }
        let opened = self.window.open(half, &pfns);
        // What the guest did to the former grants explains more than what came of it.
        self.check_spoiled()?;
        let first = opened.map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        Ok((first, left_out))
    }

    /// The verb `Revoke`.
    pub(super) fn revoke(&mut self) -> Verdict<()> {
        self.window.close();
        self.check_spoiled()
    }

    fn check_spoiled(&self) -> Verdict<()> {
        match self.window.spoiled() {
            0 => Ok(()),
            n => Err(refuse(
                VerbErrorKind::Spoiled,
                format!("`{}` changed {n} grants that the snapshot was using", self.who.name),
            )),
        }
    }

    /// The verb `State`: what `xl save` records besides memory.
    pub(super) fn state(&mut self) -> Verdict<()> {
        if !self.check()?.suspended() {
            return Err(refuse(VerbErrorKind::NotAllowed, "the guest is not suspended"));
        }
        let domid = self.who.domid;
        let policy = self.xen.cpu_policy(domid).map_err(of_xen)?;
        let params = self.xen.hvm_params(domid).map_err(of_xen)?;
        let config = serde_json::to_vec(&self.config).map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        let records = [
            (StateKind::CpuidPolicy, policy.cpuid),
            (StateKind::MsrPolicy, policy.msrs),
            (StateKind::TscInfo, self.xen.tsc_info(domid).map_err(of_xen)?.to_vec()),
            (StateKind::HvmParams, store::state::hvm_params(&params)),
            (StateKind::HvmContext, self.xen.hvm_context(domid).map_err(of_xen)?),
            (StateKind::DomainConfig, config),
        ];
        let mut state = State::new();
        for (kind, body) in records {
            state.insert(kind, body).map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        }
        self.state = Some(state);
        Ok(())
    }

    /// Undoes everything: the guest runs, is not logged, and grants nothing. What could not be
    /// undone yet stays in the journal, for the recovery.
    pub(super) fn release(&mut self) -> Result<()> {
        self.released = true;
        let mut trouble = None;
        if self.check().is_err_and(|e| e.kind == VerbErrorKind::GuestGone) {
            (self.suspended, self.owed) = (Suspended::No, false);
            let info = self.xen.domain_info(self.who.domid).ok().flatten();
            if self.log_dirty && info.is_some_and(|i| i.uuid == self.who.uuid) {
                // A crashed domain may be kept for a look at it. Of a dying one, there is no log.
                let _ = self.xen.log_dirty_disable(self.who.domid);
            }
            self.log_dirty = false;
        } else {
            if let Err(e) = self.resume() {
                tracing::error!(guest = self.who.name, error = %e.detail, "resuming failed");
                trouble = Some(e);
            }
            if self.log_dirty
                && let Err(e) = self.log_dirty(false)
            {
                tracing::error!(guest = self.who.name, error = %e.detail, "ending log-dirty failed");
                trouble.get_or_insert(e);
            }
        }
        self.window.close();
        match trouble {
            Some(e) => Err(Error::new(e.detail.as_str())
                .hint("luthierd goes on trying; `xl list` shows the guest's state, 's' is suspended")),
            // The recovery watches the guest for a while.
            None if self.owed => self.note(),
            None => self.journal.remove(self.who.domid),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A panic between two verbs must not leave the guest suspended either.
        if !self.released {
            let _ = self.release();
        }
    }
}

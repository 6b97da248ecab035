//! The log of a guest's writes: on, off, taken out, left on for the next snapshot, and inherited
//! from the one before.
//!
//! What this module must never do: end a log that is not ours, take something out of a kept log
//! that is still noted as one, or leave a log on that nothing notes.

use handoff::VerbErrorKind;
use privcmd::GrantTable;

use super::super::gather::gather;
use super::super::kept::{HVM_PARAM_SHARING_RING_PFN, Inherited, Kept};
use super::super::saver;
use super::super::xen::Xen;
use super::verdict::{Verdict, of_xen, refuse};
use super::{Attached, Guest};
use crate::error::Result;

/// What is logged for this snapshot, and for the next.
#[derive(Debug, Default)]
pub(in super::super) struct LogPlan {
    /// The log that an earlier snapshot has left on, until the first bits are out of it.
    base: Option<Inherited>,
    /// Whether to leave the log on.
    keep: bool,
    /// Why everything was read although there was a base.
    lost: Option<&'static str>,
    /// The sentinel that was marked after the last `Clean`.
    marked: Option<u64>,
    /// Somebody else has taken the log while we needed it.
    stolen: Option<handoff::VerbError>,
}

impl LogPlan {
    /// A plan for a snapshot that builds on a kept log, or on none.
    pub(in super::super) fn new(base: Option<Inherited>, keep: bool) -> Self {
        Self { base, keep, ..Self::default() }
    }
}

impl Guest {
    /// The verb `LogDirty`.
    pub(in super::super) fn log_dirty(&mut self, on: bool) -> Verdict<()> {
        self.check()?;
        if on == self.log_dirty {
            return Err(refuse(VerbErrorKind::NotAllowed, "log-dirty is as asked already"));
        }
        let failed = |e: crate::error::Error| refuse(VerbErrorKind::Hypervisor, e.message);
        let saving = self.refuse_if_saving();
        if !on {
            // A log that libxl took from us is no longer ours to end.
            if saving.is_ok() {
                self.xen.log_dirty_disable(self.who.domid).map_err(of_xen)?;
            }
            self.log_dirty = false;
            self.note().map_err(failed)?;
            return saving;
        }
        saving?;
        self.log_dirty = true;
        self.note().map_err(failed)?;
        // From here on the log is this snapshot's, whatever becomes of it.
        self.kept.remove(self.who.domid).map_err(failed)?;
        let enabled = match (self.xen.log_dirty_enable(self.who.domid), &mut self.log.base) {
            // That it can't be begun shows that it is on.
            (Err(privcmd::Error::LogDirtyOwned(_)), Some(_)) => Ok(()),
            (Ok(()), Some(base)) => {
                base.lost = Some("somebody else had ended the log of its writes");
                Ok(())
            }
            (enabled, _) => enabled,
        };
        // Someone else's log must not be ended by us, now or by the next daemon.
        self.log_dirty = enabled.is_ok();
        if !self.log_dirty {
            self.note().map_err(failed)?;
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
    pub(in super::super) fn clean(&mut self, last: bool) -> Verdict<Vec<u64>> {
        let info = self.check()?;
        if !self.log_dirty {
            return Err(refuse(VerbErrorKind::NotAllowed, "log-dirty is off"));
        }
        // Asked for together with the request to suspend, which may have come to nothing.
        if last && !info.suspended() {
            return Err(refuse(VerbErrorKind::NotAllowed, "the guest is not suspended"));
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
        // The last time nothing is cleared: a guest that goes on writes to what it wrote to while it suspended
        // itself, and each page of that would fault once more, while it answers nobody. (The next snapshot, if
        // the log is kept, reads these again.)
        let mut by_pfn = self.by_pfn(|xen, domid, span, bits| match last {
            true => xen.log_dirty_peek(domid, span, bits, true),
            false => xen.log_dirty_clean(domid, span, bits),
        })?;
        if let Some(base) = self.log.base.take() {
            self.log.lost = base.complete(&mut by_pfn, self.unlogged().as_deref());
            if let Some(why) = self.log.lost {
                tracing::info!(guest = self.who.name, why, "everything is read");
            }
        }
        if last && self.log.keep {
            self.mark();
        }
        self.state_due = last;
        Ok(gather(&self.frames, &by_pfn))
    }

    /// Xen answers with an empty bitmap when somebody else has ended the log (as an `xl save` of
    /// the same guest does at its end), and pages would be missing. Nothing but Xen is asked: xenstored has
    /// other things to do when guests are suspended and resumed.
    pub(super) fn check_log_is_on(&self) -> Verdict<()> {
        match self.xen.log_dirty_was_on(self.who.domid).map_err(of_xen)? {
            true => Ok(()),
            false => Err(refuse(
                VerbErrorKind::LogDirty,
                format!("somebody else ended the logging of what `{}` writes", self.who.name),
            )),
        }
    }

    /// What [`Guest::check_log_is_on`] can't tell from a log, looked at when the guest runs again.
    pub(super) fn check_no_devices(&self) -> Verdict<()> {
        match self.xen.passes_devices(self.who.domid) {
            false => Ok(()),
            true => Err(refuse(
                VerbErrorKind::LogDirty,
                format!("`{}` was given a PCI device, whose writes can't be logged", self.who.name),
            )),
        }
    }

    pub(super) fn bitmap(
        &self,
        fetch: impl FnOnce(&Xen, u16, u64, &mut [u64]) -> std::result::Result<privcmd::DirtyStats, privcmd::Error>,
    ) -> Verdict<Vec<u64>> {
        Ok(gather(&self.frames, &self.by_pfn(fetch)?))
    }

    fn by_pfn(
        &self,
        fetch: impl FnOnce(&Xen, u16, u64, &mut [u64]) -> std::result::Result<privcmd::DirtyStats, privcmd::Error>,
    ) -> Verdict<Vec<u64>> {
        let mut by_pfn = vec![0; self.span.div_ceil(64) as usize];
        fetch(&self.xen, self.who.domid, self.span, &mut by_pfn).map_err(of_xen)?;
        Ok(by_pfn)
    }

    /// Frames that may be written to without the log: those of Xen's own parameters (the rings of
    /// console and xenstore, which Dom0 maps), and those that are granted writable, which a back
    /// end may have mapped. Few, so they are always read. `None`: they can't be known.
    fn unlogged(&self) -> Option<Vec<u64>> {
        let domid = self.who.domid;
        let params = self.xen.hvm_params(domid).ok()?;
        let table = GrantTable::map_existing(&self.xen, domid).ok()?;
        let granted = table.entries().filter(|(_, e)| e.permits_access() && !e.read_only());
        let granted = granted.map(|(_, entry)| u64::from(entry.frame));
        Some(params.into_iter().map(|(_, value)| value).chain(granted).collect())
    }

    /// Marks the sentinel: from here on the log has everything since this snapshot's cut.
    fn mark(&mut self) {
        let domid = self.who.domid;
        let marked = self.xen.hvm_param(domid, HVM_PARAM_SHARING_RING_PFN);
        let marked = marked.and_then(|pfn| self.xen.log_dirty_mark(domid, pfn).map(|()| pfn));
        match marked {
            Ok(pfn) if pfn != 0 => self.log.marked = Some(pfn),
            Ok(_) => tracing::warn!(guest = self.who.name, "has no page that could guard a kept log"),
            Err(e) => tracing::warn!(guest = self.who.name, error = %e, "guarding the log of its writes"),
        }
    }

    /// The guest runs again: a theft of the log while it was needed must not go unseen. (When the
    /// log ends now, its end looks.)
    pub(super) fn look_for_thieves(&mut self) {
        if self.log.keep && self.log_dirty {
            self.log.stolen = self.refuse_if_saving().err();
        }
    }

    /// Whether the log may stay on; an error if it was taken while it was needed.
    pub(super) fn may_keep(&mut self) -> Verdict<bool> {
        match self.log.stolen.take() {
            Some(stolen) => {
                // Theirs to end.
                self.log_dirty = false;
                Err(stolen)
            }
            None => Ok(self.log.marked.is_some() && self.refuse_if_saving().is_ok()),
        }
    }

    /// The image that this snapshot made is committed: notes that the log has every write since.
    /// Returns whether it has.
    pub(in super::super) fn keep_log(&mut self, image: &str, contents: Option<&str>) -> Result<bool> {
        let Some(sentinel) = self.log.marked.filter(|_| self.log_dirty) else { return Ok(false) };
        let Attached { domid, uuid, .. } = self.who;
        let (image, contents) = (image.to_owned(), contents.map(str::to_owned));
        self.kept.put(&Kept { domid, uuid, image, contents, sentinel })?;
        self.log_dirty = false;
        if self.owed {
            self.note()?
        } else {
            self.journal.remove(domid)?
        }
        Ok(true)
    }

    /// Why everything was read although the log was a base at first.
    pub(in super::super) fn lost(&self) -> Option<&'static str> {
        self.log.lost
    }
}

//! Which of a guest's pages the stub may read at this moment.
//!
//! What this module must never do: grant a page that no slot names, or leave one granted when the
//! snapshot has ended.

use handoff::VerbErrorKind;

use super::Guest;
use super::verdict::{Verdict, refuse};

impl Guest {
    /// Pages that can be made ready for the last round.
    pub(in super::super) fn capacity(&self) -> u32 {
        self.window.capacity()
    }

    /// Grants that the guest has changed so far.
    pub(in super::super) fn spoiled(&mut self) -> u32 {
        self.window.close();
        self.window.spoiled()
    }

    /// The verb `Window`: the first reference, and which slots were left out.
    pub(in super::super) fn window(
        &mut self,
        half: u8,
        slots: &[u32],
        skip_dirty: bool,
    ) -> Verdict<(u32, Vec<u8>)> {
        self.check()?;
        let dirty = match skip_dirty && self.log_dirty {
            true => self.bitmap(|xen, domid, span, bits| xen.log_dirty_peek(domid, span, bits, false))?,
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
            pfns.push(Some(self.pfn_of(slot)?));
        }
        let opened = self.window.open(half, &pfns);
        // What the guest did to the former grants explains more than what came of it.
        self.check_spoiled()?;
        let first = opened.map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        Ok((first, left_out))
    }

    /// The verb `Prepare`: the first reference.
    pub(in super::super) fn prepare(&mut self, at: u32, slots: &[u32]) -> Verdict<u32> {
        self.check()?;
        let pfns = slots.iter().map(|&slot| self.pfn_of(slot)).collect::<Verdict<Vec<u64>>>()?;
        if !self.prepared {
            self.prepared = true;
            self.note().map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message))?;
        }
        match self.window.prepare(at, &pfns) {
            Ok(Some(first)) => Ok(first),
            Ok(None) => Err(refuse(VerbErrorKind::NotAllowed, "no room for pages beside the window")),
            Err(e) => Err(refuse(VerbErrorKind::Hypervisor, e)),
        }
    }

    /// The verb `Revoke`.
    pub(in super::super) fn revoke(&mut self) -> Verdict<()> {
        self.window.close();
        self.check_spoiled()
    }

    fn pfn_of(&self, slot: u32) -> Verdict<u64> {
        let pfn = self.frames.pfn_of(slot.into());
        pfn.ok_or_else(|| refuse(VerbErrorKind::NotAllowed, format!("there is no slot {slot}")))
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
}

//! Log-dirty mode: which frames a guest wrote to.
//!
//! One user per guest. Each call pauses the guest for the moment that it takes.

use std::mem::offset_of;

use crate::abi::domctl::{
    DomctlOp, SHADOW_LOGDIRTY_FINAL, SHADOW_OP, SHADOW_OP_CLEAN, SHADOW_OP_ENABLE_LOGDIRTY, SHADOW_OP_OFF,
    SHADOW_OP_PEEK, ShadowOp,
};
use crate::abi::xen::{DMOP_MODIFIED_MEMORY, DmOpModifiedMemory, HYPERVISOR_DM_OP};
use crate::{DomId, Error, Hypervisor, xenstore};

/// Frames that a bitmap may have: 2^32, as much as [`Hypervisor::max_gpfn`] lets through.
const MAX_PFNS: u64 = 1 << 32;

/// Xen's own count along with a bitmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirtyStats {
    /// Frames marked dirty since the last clean.
    pub dirty_count: u32,
    /// Page faults that this cost; 0 with hardware-assisted paging.
    pub fault_count: u32,
}

impl Hypervisor {
    /// Starts to log which frames the guest writes to. What was written before is not marked.
    ///
    /// # Errors
    /// [`Error::LogDirtyOwned`] when someone else logs already, [`Error::LogDirtyPassthrough`],
    /// [`Error::LogDirtyNoHap`], [`Error::Pv`], [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn log_dirty_enable(&self, domid: DomId) -> Result<(), Error> {
        let info = self.domain(domid)?;
        if info.dying {
            return Err(Error::NoSuchDomain(domid));
        }
        if !info.hvm {
            return Err(Error::Pv(domid));
        }
        if !info.hap {
            return Err(Error::LogDirtyNoHap(domid));
        }
        match self.shadow_op(domid, SHADOW_OP_ENABLE_LOGDIRTY, 0, 0, 0) {
            Ok(_) => Ok(()),
            // Xen says EINVAL both for "already on" and for "has a PCI device".
            Err(error) if error.errno() == Some(libc::EINVAL) => {
                if self.passes_devices(domid) {
                    Err(Error::LogDirtyPassthrough(domid))
                } else {
                    Err(Error::LogDirtyOwned(domid))
                }
            }
            // Frames owned by an emulator in another domain (ioreq server pages).
            Err(error) if error.errno() == Some(libc::EBUSY) => Err(Error::LogDirtyOwned(domid)),
            Err(error) => Err(error),
        }
    }

    /// Whether writes are logged; from now on they are. That it can't be begun shows that it is on, or that the
    /// guest has a PCI device ([`Hypervisor::passes_devices`] tells, which takes xenstored's time).
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn log_dirty_was_on(&self, domid: DomId) -> Result<bool, Error> {
        match self.shadow_op(domid, SHADOW_OP_ENABLE_LOGDIRTY, 0, 0, 0) {
            Ok(_) => Ok(false),
            Err(error) if error.errno() == Some(libc::EINVAL) => Ok(true),
            Err(error) => Err(error.or_gone(domid)),
        }
    }

    /// Whether the guest has a PCI device, whose writes Xen can't log, as xenstore has it.
    pub fn passes_devices(&self, domid: DomId) -> bool {
        let listing = xenstore::Client::open()
            .and_then(|mut client| client.directory(&format!("/libxl/{domid}/device/pci")));
        listing.is_ok_and(|entries| !entries.is_empty())
    }

    /// Stops logging, whoever started it; no error when it was not on.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn log_dirty_disable(&self, domid: DomId) -> Result<(), Error> {
        self.shadow_op(domid, SHADOW_OP_OFF, 0, 0, 0).map(drop)
    }

    /// Fetches the dirty bitmap and clears Xen's. Bit `pfn % 64` of word `pfn / 64` is frame
    /// `pfn`; words (and bits) beyond `nr_pfns` are left 0.
    ///
    /// Xen answers with an empty bitmap, not with an error, when logging is off.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`] also for a dying domain, [`Error::LogDirtyNoMemory`],
    /// [`Error::TooLarge`], [`Error::Hypercall`]; [`Error::Nonsense`] when `bitmap` has fewer
    /// than `nr_pfns` bits.
    pub fn log_dirty_clean(
        &self,
        domid: DomId,
        nr_pfns: u64,
        bitmap: &mut [u64],
    ) -> Result<DirtyStats, Error> {
        self.log_dirty_bitmap(domid, SHADOW_OP_CLEAN, 0, nr_pfns, bitmap)
    }

    /// As [`Hypervisor::log_dirty_clean`], without clearing anything: no frame is protected against
    /// writing again, so that the next write to one that is dirty costs no fault. `last` is for the
    /// round with the guest suspended: it also marks what Xen itself has mapped writably.
    ///
    /// # Errors
    /// As [`Hypervisor::log_dirty_clean`].
    pub fn log_dirty_peek(
        &self,
        domid: DomId,
        nr_pfns: u64,
        bitmap: &mut [u64],
        last: bool,
    ) -> Result<DirtyStats, Error> {
        let mode = if last { SHADOW_LOGDIRTY_FINAL } else { 0 };
        self.log_dirty_bitmap(domid, SHADOW_OP_PEEK, mode, nr_pfns, bitmap)
    }

    /// Only the count, without the bitmap: how many frames are dirty now.
    ///
    /// # Errors
    /// As [`Hypervisor::log_dirty_clean`].
    pub fn log_dirty_count(&self, domid: DomId) -> Result<DirtyStats, Error> {
        let op = self.shadow_op(domid, SHADOW_OP_PEEK, 0, 0, 0)?;
        Ok(DirtyStats { dirty_count: op.dirty_count, fault_count: op.fault_count })
    }

    /// Marks one frame as dirty in the log, as if an emulator had written to it
    /// (`XEN_DMOP_modified_memory`); its contents are not touched. Does nothing, without an error,
    /// when logging is off or when no page is there.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`]; [`Error::Hypercall`] with `EINVAL` for a frame at or beyond the
    /// guest's last one, or for a guest that can't have emulators.
    pub fn log_dirty_mark(&self, domid: DomId, pfn: u64) -> Result<(), Error> {
        const HEADER: usize = offset_of!(DmOpModifiedMemory, extent_nr);
        const BUFS: usize = offset_of!(DmOpModifiedMemory, bufs);
        self.with_page(|buffer| {
            let at = |offset: usize| buffer.addr() + offset as u64;
            let bufs_at = at(BUFS);
            buffer.put(DmOpModifiedMemory {
                op: DMOP_MODIFIED_MEMORY,
                nr_extents: 1,
                extent_nr: 1,
                extent_first_pfn: pfn,
                bufs: [[at(0), HEADER as u64], [at(HEADER), (BUFS - HEADER) as u64]],
                ..DmOpModifiedMemory::default()
            });
            self.call("XEN_DMOP_modified_memory", HYPERVISOR_DM_OP, [u64::from(domid), 2, bufs_at, 0, 0])
                .map_err(|error| error.or_gone(domid))
                .map(drop)
        })
    }

    fn log_dirty_bitmap(
        &self,
        domid: DomId,
        op: u32,
        mode: u32,
        nr_pfns: u64,
        bitmap: &mut [u64],
    ) -> Result<DirtyStats, Error> {
        if nr_pfns > MAX_PFNS {
            return Err(Error::TooLarge(domid, nr_pfns));
        }
        if (bitmap.len() as u64).saturating_mul(64) < nr_pfns {
            return Err(Error::Nonsense { op: "log-dirty bitmap shorter than the guest" });
        }
        bitmap.fill(0);
        let words = nr_pfns.div_ceil(64) as usize;
        let buffer = self.buffer(words * 8)?;
        let reply = self.shadow_op(domid, op, mode, buffer.addr(), nr_pfns)?;
        // Xen ignores paging operations on a dying domain and reports success.
        if self.domain(domid)?.dying {
            return Err(Error::NoSuchDomain(domid));
        }
        // Xen returns fewer pages than asked when its own record is shorter; the buffer started
        // out zeroed.
        copy_bits(bitmap, buffer.bytes(), nr_pfns.min(reply.pages));
        Ok(DirtyStats { dirty_count: reply.dirty_count, fault_count: reply.fault_count })
    }

    fn shadow_op(
        &self,
        domid: DomId,
        op: u32,
        mode: u32,
        dirty_bitmap: u64,
        pages: u64,
    ) -> Result<ShadowOp, Error> {
        let mut arg = DomctlOp { pad: [0; 16] };
        arg.shadow_op =
            ShadowOp { op, mode, mb: 0, pad: 0, dirty_bitmap, pages, fault_count: 0, dirty_count: 0 };
        let reply =
            self.domctl("XEN_DOMCTL_shadow_op", SHADOW_OP, domid, arg).map_err(|error| {
                match error.errno() {
                    Some(libc::ENOMEM) => Error::LogDirtyNoMemory(domid),
                    _ => error.or_gone(domid),
                }
            })?;
        // SAFETY: plain data, valid for any bits.
        Ok(unsafe { reply.u.shadow_op })
    }
}

/// Copies `bits` bits from bytes (bit 0 first) to words, and clears the rest of the last word.
fn copy_bits(words: &mut [u64], bytes: &[u8], bits: u64) {
    let mut left = bits;
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        if left == 0 {
            break;
        }
        let mut raw = [0; 8];
        raw.copy_from_slice(chunk);
        *word = u64::from_le_bytes(raw);
        if left < 64 {
            *word &= (1 << left) - 1;
        }
        left = left.saturating_sub(64);
    }
}

/// Whether the toolstack has given the guest a PCI device. Best effort: it only picks the words of
/// an error.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_guest_are_cleared() {
        let mut words = [0; 2];
        copy_bits(&mut words, &[0xff; 16], 70);
        assert_eq!(words, [u64::MAX, 0x3f]);
    }

    #[test]
    fn the_lowest_bit_of_the_first_byte_is_frame_0() {
        let mut words = [0; 1];
        copy_bits(&mut words, &[0b101, 0x80, 0, 0, 0, 0, 0, 0], 64);
        assert_eq!(words, [1 | 1 << 2 | 1 << 15]);
    }

    #[test]
    fn whole_words_are_copied_whole() {
        let mut words = [0; 3];
        copy_bits(&mut words, &[1; 24], 128);
        assert_eq!(words, [0x0101_0101_0101_0101, 0x0101_0101_0101_0101, 0]);
    }
}

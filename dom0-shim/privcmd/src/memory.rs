//! The shape of a guest's memory: how far it reaches, and which frames have a page.

use crate::abi::domctl::{
    DomctlOp, GETPAGEFRAMEINFO3, GetPageFrameInfo3, PFINFO_BATCH, PFINFO_BROKEN, PFINFO_LTAB_MASK,
    PFINFO_XALLOC, PFINFO_XTAB,
};
use crate::abi::xen::{HYPERVISOR_MEMORY_OP, XENMEM_MAXIMUM_GPFN};
use crate::extents::{self, Extent, PageTypes};
use crate::{DomId, Error, Hypervisor};

/// Largest guest that is handled: 2^32 frames, 16 TiB. Grant entries have 32 bits for a frame.
const MAX_FRAMES: u64 = 1 << 32;

/// What a guest frame is, as a saver sees it (`XEN_DOMCTL_PFINFO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageType {
    /// RAM with contents: a saver stores it. (`NOTAB`; page tables, which only PV guests have,
    /// count too.)
    Normal,
    /// No page: ballooned out, never populated, or one of Xen's own such as the shared info page
    /// and grant-table frames. A saver skips it. (`XTAB`)
    Hole,
    /// To be allocated by the restorer, without contents. (`XALLOC`; Xen never reports it for a
    /// running guest.)
    Allocate,
    /// Memory error in hardware: its contents are lost. (`BROKEN`)
    Broken,
}

impl PageType {
    /// The frame has contents that a saver must store: what `xl save` writes data for.
    pub fn has_data(self) -> bool {
        self == PageType::Normal
    }

    fn from_abi(raw: u64) -> PageType {
        match (raw as u32) & PFINFO_LTAB_MASK {
            PFINFO_XTAB => PageType::Hole,
            PFINFO_XALLOC => PageType::Allocate,
            PFINFO_BROKEN => PageType::Broken,
            _ => PageType::Normal,
        }
    }
}

impl Hypervisor {
    /// The highest guest frame number that has ever had an entry (`XENMEM_maximum_gpfn`). A
    /// bitmap of the guest has one bit more than this. For a PVH guest it lies near 2^20 whatever
    /// its size, because of the special pages below 4 GiB.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::TooLarge`], [`Error::Hypercall`].
    pub fn max_gpfn(&self, domid: DomId) -> Result<u64, Error> {
        let max = self.with_page(|buffer| {
            buffer.put(domid);
            self.call(
                "XENMEM_maximum_gpfn",
                HYPERVISOR_MEMORY_OP,
                [XENMEM_MAXIMUM_GPFN, buffer.addr(), 0, 0, 0],
            )
            .map_err(|error| error.or_gone(domid))
        })?;
        let max = u64::from(max);
        if max >= MAX_FRAMES { Err(Error::TooLarge(domid, max)) } else { Ok(max) }
    }

    /// The types of some frames, in the order asked for, any number of them.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn page_types(&self, domid: DomId, pfns: &[u64]) -> Result<Vec<PageType>, Error> {
        let mut types = Vec::with_capacity(pfns.len());
        if pfns.is_empty() {
            return Ok(types);
        }
        let mut buffer = self.buffer(PFINFO_BATCH * size_of::<u64>())?;
        for batch in pfns.chunks(PFINFO_BATCH) {
            for (slot, pfn) in buffer.bytes_mut().chunks_exact_mut(8).zip(batch) {
                slot.copy_from_slice(&pfn.to_ne_bytes());
            }
            let info = GetPageFrameInfo3 { num: batch.len() as u64, array: buffer.addr() };
            let mut op = DomctlOp { pad: [0; 16] };
            op.getpageframeinfo3 = info;
            self.domctl("XEN_DOMCTL_getpageframeinfo3", GETPAGEFRAMEINFO3, domid, op)
                .map_err(|error| error.or_gone(domid))?;
            let entries = buffer.bytes().chunks_exact(8).take(batch.len());
            types.extend(entries.map(|slot| {
                let mut raw = [0; 8];
                raw.copy_from_slice(slot);
                PageType::from_abi(u64::from_ne_bytes(raw))
            }));
        }
        Ok(types)
    }

    /// All frames with contents: exactly those that `xl save` writes data for, as ascending
    /// extents that do not touch. Cheap for ordinary guests (a query for each 1,024 frames that
    /// exist and a few more); see [`extents::populated`].
    ///
    /// A guest that balloons while this runs makes the answer stale, as it does for `xl save`:
    /// a frame may be gone when it is read, and a frame that is new shows up as dirty.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Pv`], [`Error::TooLarge`], [`Error::Hypercall`].
    pub fn populated(&self, domid: DomId) -> Result<Vec<Extent>, Error> {
        let info = self.domain(domid)?;
        if !info.hvm {
            return Err(Error::Pv(domid));
        }
        let max_gpfn = self.max_gpfn(domid)?;
        extents::populated(&mut Guest { hypervisor: self, domid }, max_gpfn, info.tot_pages)
    }
}

struct Guest<'a> {
    hypervisor: &'a Hypervisor,
    domid: DomId,
}

impl PageTypes for Guest<'_> {
    type Error = Error;

    fn page_types(&mut self, pfns: &[u64]) -> Result<Vec<PageType>, Error> {
        self.hypervisor.page_types(self.domid, pfns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_types_follow_the_header() {
        assert_eq!(PageType::from_abi(0), PageType::Normal);
        assert_eq!(PageType::from_abi(0xf000_0000), PageType::Hole);
        assert_eq!(PageType::from_abi(0xe000_0000), PageType::Allocate);
        assert_eq!(PageType::from_abi(0xd000_0000), PageType::Broken);
        assert!(PageType::from_abi(0x1000_0000).has_data());
    }
}

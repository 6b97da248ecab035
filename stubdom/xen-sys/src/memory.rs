//! Our physical address space (`memory.h`).

use crate::DomId;
use crate::errno::Errno;
use crate::hypercall::{MEMORY_OP, hypercall3};

const XENMEM_ADD_TO_PHYSMAP: u64 = 7;

/// `XENMAPSPACE_*`: what is to appear in our address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapSpace {
    /// The page `shared_info`; index 0.
    SharedInfo = 0,
    /// A frame of our grant table; the index says which, and the table grows to have it.
    GrantTable = 1,
}

/// `struct xen_add_to_physmap`.
#[repr(C)]
pub struct AddToPhysmap {
    /// In: whose address space; `DOMID_SELF`.
    pub domid: DomId,
    /// In: only for a space that is not used here.
    pub size: u16,
    /// In: `XENMAPSPACE_*`.
    pub space: u32,
    /// In: which frame of that space.
    pub idx: u64,
    /// In: the frame number at which it is to appear.
    pub gpfn: u64,
}

const _: () = assert!(size_of::<AddToPhysmap>() == 24);
const _: () = assert!(core::mem::offset_of!(AddToPhysmap, idx) == 8);

/// Makes frame `idx` of `space` appear at frame `gpfn` of ours.
///
/// # Safety
/// The page that was at `gpfn` is given back to Xen with what it held: nothing may use it, and
/// nothing may have been granted of it.
pub unsafe fn add_to_physmap(space: MapSpace, idx: u64, gpfn: u64) -> Result<(), Errno> {
    let arg = AddToPhysmap { domid: crate::DOMID_SELF, size: 0, space: space as u32, idx, gpfn };
    // SAFETY: `arg` is what the call takes and outlives it; the rest is the caller's.
    unsafe { hypercall3(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (&raw const arg) as u64, 0) }.map(drop)
}

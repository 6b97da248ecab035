//! Grant copies without walks of page tables: the hypercall is made from 32-bit protected mode with
//! paging off.
//!
//! For a caller with paging Xen translates the address of each descriptor that it reads, and of
//! each status that it writes, by a walk of the caller's page tables in software, with a look-up
//! in the p2m for each level: of 10,600 instructions that a page's copy takes so (Xen 4.17 on AMD),
//! 5,500 are walks. Without paging an address is a physical one (`hap_gva_to_gfn_real_mode` of
//! Xen's `arch/x86/mm/hap/hap.c`), and none are left. To leave and enter 64-bit mode takes two
//! writes of CR0, each an exit to Xen, so this is for batches.
//!
//! It takes the 32-bit layout of the descriptors (Xen's `common/compat/grant_table.c`).
//!
//! While paging is off, a page's rights are not enforced: nothing but the dozen instructions of
//! `unpaged.s` and Xen runs then. What this module must never do: run anything else there.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spin::{Mutex, Once};

use crate::errno::Errno;
use crate::grant_table::{GNTTABOP_COPY, GnttabCopy, GnttabCopyPtr};
use crate::hypercall::{self, GRANT_TABLE_OP};

global_asm!(include_str!("unpaged.s"), cr0 = sym CR0, options(att_syntax));

unsafe extern "C" {
    fn luthier_unpaged_hypercall(op: u32, a1: u32, a2: u32, a3: u32, segments: u32, amd: u32) -> i64;
}

/// Copies in one hypercall at most: of a longer batch, none are made here.
const MOST: usize = 512;

/// Fewer than these are as fast with paging.
const LEAST: usize = 8;

/// `struct gnttab_copy` of a 32-bit caller, one end of it.
#[repr(C)]
#[derive(Clone, Copy)]
struct End {
    ref_or_frame: u32,
    domid: u16,
    offset: u16,
}

/// `struct gnttab_copy` of a 32-bit caller.
#[repr(C)]
#[derive(Clone, Copy)]
struct Copy32 {
    source: End,
    dest: End,
    len: u16,
    flags: u16,
    status: i16,
}

const _: () = assert!(size_of::<Copy32>() == 24);
const _: () = assert!(core::mem::offset_of!(Copy32, status) == 20);

/// The descriptors, in the image: below 4 GiB.
static OPS: Mutex<[Copy32; MOST]> = {
    let end = End { ref_or_frame: 0, domid: 0, offset: 0 };
    Mutex::new([Copy32 { source: end, dest: end, len: 0, flags: 0, status: 0 }; MOST])
};

/// The selectors of our code, 32-bit and 64-bit, once it may be used.
static SEGMENTS: Once<u32> = Once::new();

/// CR0 with paging on, as it was when this was allowed. Nobody changes it after that.
static CR0: AtomicU32 = AtomicU32::new(0);

/// Xen does not take hypercalls of 32-bit callers.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Allows it from now on.
///
/// # Safety
/// 1. The selectors are those of flat code segments, one of 64-bit, one of 32-bit code, and the
///    data segments are flat.
/// 2. The image and the stack are below 4 GiB, where virtual equals physical.
/// 3. There is one processor, and interrupts are off for good.
/// 4. The caller is at privilege level 0, and CR0 is not changed any more.
pub unsafe fn allow(code64: u16, code32: u16) {
    let cr0: u64;
    // SAFETY: the caller may read it, and nothing comes of it.
    unsafe { asm!("mov {}, cr0", out(reg) cr0, options(nomem, nostack, preserves_flags)) };
    CR0.store(cr0 as u32, Ordering::Relaxed);
    SEGMENTS.call_once(|| u32::from(code32) | u32::from(code64) << 16);
}

/// Makes the copies, if it may and if it is worth it. `None`: it was not tried.
///
/// # Safety
/// As for [`crate::grant_table::copy`].
pub(crate) unsafe fn copy(ops: &mut [GnttabCopy]) -> Option<Result<(), Errno>> {
    let segments = *SEGMENTS.get()?;
    if !(LEAST..=MOST).contains(&ops.len()) || REFUSED.load(Ordering::Relaxed) {
        return None;
    }
    let amd = hypercall::is_vmmcall()?;
    let mut scratch = OPS.lock();
    for (to, from) in scratch.iter_mut().zip(&*ops) {
        *to = Copy32 {
            source: narrow(&from.source)?,
            dest: narrow(&from.dest)?,
            len: from.len,
            flags: from.flags,
            status: from.status,
        };
    }
    let at = u32::try_from(scratch.as_mut_ptr() as u64).ok()?;
    let (op, cmd, count) = (GRANT_TABLE_OP as u32, GNTTABOP_COPY as u32, ops.len() as u32);
    hypercall::note();
    // SAFETY: the selectors, and that code and stack are where they must be, are vouched for by who
    // called `allow`; `at` is an array of `count` descriptors; the rest is the caller's.
    let result = unsafe { luthier_unpaged_hypercall(op, cmd, at, count, segments, amd.into()) };
    if result == -i64::from(Errno::ENOSYS.0) {
        REFUSED.store(true, Ordering::Relaxed);
        return None;
    }
    for (to, from) in ops.iter_mut().zip(scratch.iter()) {
        to.status = from.status;
    }
    Some(if result < 0 { Err(Errno(i32::try_from(-result).unwrap_or(i32::MAX))) } else { Ok(()) })
}

/// An end in 32 bits. `None`: its frame is beyond 16 TiB.
fn narrow(end: &GnttabCopyPtr) -> Option<End> {
    let ref_or_frame = u32::try_from(end.ref_or_frame).ok()?;
    Some(End { ref_or_frame, domid: end.domid, offset: end.offset })
}

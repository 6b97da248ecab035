//! The hypercall itself: number in `rax`, arguments in `rdi`, `rsi`, `rdx`, result in `rax`.
//!
//! The instruction is chosen once by [`init`]. Before that, and where there is no Xen, every
//! hypercall returns `-ENOSYS`.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::cpuid::{self, Vendor, XenCpuid};
use crate::errno::Errno;

/// `__HYPERVISOR_memory_op`.
pub const MEMORY_OP: u64 = 12;
/// `__HYPERVISOR_xen_version`.
pub const XEN_VERSION: u64 = 17;
/// `__HYPERVISOR_grant_table_op`.
pub const GRANT_TABLE_OP: u64 = 20;
/// `__HYPERVISOR_sched_op`.
pub const SCHED_OP: u64 = 29;
/// `__HYPERVISOR_event_channel_op`.
pub const EVENT_CHANNEL_OP: u64 = 32;
/// `__HYPERVISOR_hvm_op`.
pub const HVM_OP: u64 = 34;

const NONE: u8 = 0;
const VMCALL: u8 = 1;
const VMMCALL: u8 = 2;

static INSTRUCTION: AtomicU8 = AtomicU8::new(NONE);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Finds Xen and chooses the instruction. Call it once, early; again does no harm.
pub fn init() -> Option<XenCpuid> {
    let xen = cpuid::find()?;
    let instruction = match cpuid::vendor() {
        Vendor::Intel => VMCALL,
        Vendor::Amd => VMMCALL,
    };
    INSTRUCTION.store(instruction, Ordering::Relaxed);
    Some(xen)
}

/// How many hypercalls were made since boot.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Counts one that is made elsewhere.
pub(crate) fn note() {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Whether the instruction is AMD's; `None` if there is no Xen.
pub(crate) fn is_vmmcall() -> Option<bool> {
    match INSTRUCTION.load(Ordering::Relaxed) {
        NONE => None,
        instruction => Some(instruction == VMMCALL),
    }
}

/// A hypercall of up to three arguments, which is the most that the calls above take.
///
/// Returns what Xen returns, or the error number.
///
/// # Safety
/// 1. `op` and the arguments are as Xen's header has them.
/// 2. Memory that an argument points to is valid for the accesses that the call makes, and is
///    identity-mapped: Xen walks our page tables to reach it.
pub unsafe fn hypercall3(op: u64, a1: u64, a2: u64, a3: u64) -> Result<u64, Errno> {
    let result: i64;
    COUNT.fetch_add(1, Ordering::Relaxed);
    // The argument registers are declared as changed: Xen rewrites them when it preempts a long
    // call and restarts the instruction.
    match INSTRUCTION.load(Ordering::Relaxed) {
        // SAFETY: the caller vouches for the call; Xen is there (`init` found it) and this is
        // the instruction of this processor.
        VMMCALL => unsafe {
            asm!(
                "vmmcall",
                inlateout("rax") op as i64 => result,
                inlateout("rdi") a1 => _,
                inlateout("rsi") a2 => _,
                inlateout("rdx") a3 => _,
                options(nostack),
            );
        },
        // SAFETY: as above.
        VMCALL => unsafe {
            asm!(
                "vmcall",
                inlateout("rax") op as i64 => result,
                inlateout("rdi") a1 => _,
                inlateout("rsi") a2 => _,
                inlateout("rdx") a3 => _,
                options(nostack),
            );
        },
        _ => return Err(Errno::ENOSYS),
    }
    if result < 0 { Err(Errno(i32::try_from(-result).unwrap_or(i32::MAX))) } else { Ok(result as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_xen_a_hypercall_is_refused_and_not_executed() {
        // SAFETY: no instruction was chosen in this process.
        let result = unsafe { hypercall3(XEN_VERSION, 0, 0, 0) };
        assert_eq!(result, Err(Errno::ENOSYS));
    }
}

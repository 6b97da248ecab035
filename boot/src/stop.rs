//! The end: crash or power off, and the last words before it.
//!
//! Knows one hypercall, `SCHEDOP_shutdown`, so that a crash is seen as one by Xen and its tools
//! whatever state the rest of the image is in. Never recurses: see [`last_words`].

use crate::console::{Hook, Port};
use crate::cpu;
use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};

/// `__HYPERVISOR_sched_op`, xen/include/public/xen.h.
const SCHED_OP: u64 = 29;
/// `SCHEDOP_shutdown`, xen/include/public/sched.h.
const SCHEDOP_SHUTDOWN: u64 = 2;

/// `struct sched_shutdown`, xen/include/public/sched.h.
#[repr(C)]
struct SchedShutdown {
    reason: u32,
}
const _: () = assert!(size_of::<SchedShutdown>() == 4);

/// `SHUTDOWN_*`, xen/include/public/sched.h.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Poweroff = 0,
    Crash = 3,
}

/// QEMU's `isa-debug-exit` device in tests without Xen: the exit status is `value * 2 + 1`.
const EXIT_PORT: u16 = 0xf4;
const EXIT_POWEROFF: u8 = 0x10;
const EXIT_CRASH: u8 = 0x11;

/// "XenVMMXenVMM" in EBX, ECX, EDX; xen/include/public/arch-x86/cpuid.h.
const XEN_SIGNATURE: [u32; 3] = [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e];

/// Ends the domain as crashed: `xl` shows it so and obeys `on_crash`.
pub fn crash() -> ! {
    shutdown(Reason::Crash)
}

/// Ends the domain in good order.
pub fn poweroff() -> ! {
    shutdown(Reason::Poweroff)
}

fn shutdown(reason: Reason) -> ! {
    if on_xen() {
        let argument = SchedShutdown { reason: reason as u32 };
        // SAFETY: the argument is what SCHEDOP_shutdown reads, and lives until the call is over.
        unsafe { sched_op(SCHEDOP_SHUTDOWN, &raw const argument as u64) };
    }
    let code = if reason == Reason::Crash { EXIT_CRASH } else { EXIT_POWEROFF };
    // SAFETY: a test device, or nothing: any byte is harmless.
    unsafe { cpu::outb(EXIT_PORT, code) };
    cpu::halt()
}

/// Xen's CPUID leaves start at 0x4000_0000 or, with Viridian ones before them, 0x100 higher.
fn on_xen() -> bool {
    (0..0x100).any(|step| cpu::vendor(0x4000_0000 + step * 0x100) == XEN_SIGNATURE)
}

/// AMD and Hygon have VMMCALL, all others VMCALL. "AuthenticAMD" and "HygonGenuine" by ECX.
fn has_vmmcall() -> bool {
    let [_, ecx, _] = cpu::vendor(0);
    ecx == u32::from_le_bytes(*b"cAMD") || ecx == u32::from_le_bytes(*b"uine")
}

/// `HYPERVISOR_sched_op(command, argument)`.
///
/// # Safety
/// We run on Xen, and `argument` is what the command takes.
unsafe fn sched_op(command: u64, argument: u64) {
    // SAFETY: passed on to the caller. Xen changes rax only, and may change the argument registers.
    unsafe {
        if has_vmmcall() {
            asm!("vmmcall", inout("rax") SCHED_OP => _, inout("rdi") command => _, inout("rsi") argument => _, options(nostack));
        } else {
            asm!("vmcall", inout("rax") SCHED_OP => _, inout("rdi") command => _, inout("rsi") argument => _, options(nostack));
        }
    }
}

/// How often [`last_words`] was entered.
static ENTERED: AtomicU32 = AtomicU32::new(0);

/// Prints `words` on the port and then, whole again, through the hook, and crashes the domain.
///
/// If that itself faults or panics, the second entry says so on the port and crashes; if even
/// that faults, the third one halts.
pub(crate) fn last_words(words: fmt::Arguments) -> ! {
    // Neither writer ever fails.
    match ENTERED.fetch_add(1, Ordering::Relaxed) {
        0 => {
            let _ = writeln!(Port, "{words}");
            let _ = writeln!(Hook, "{words}");
        }
        1 => {
            let _ = Port.write_str("boot: another fault while the first one was being reported\n");
        }
        _ => cpu::halt(),
    }
    crash()
}

//! Where last words go: port 0xe9 (Xen's log with `guest_loglvl=all`; QEMU's `-debugcon`), and a
//! hook for a real console once there is one.

use crate::cpu;
use core::fmt;
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Xen's and QEMU's debug port.
const DEBUG_PORT: u16 = 0xe9;

/// The hook, a `fn(&str)`; null: none.
static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Sends everything that boot prints (and [`crate::println!`]) to `hook` as well.
///
/// The hook is called from the panic handler and from exception handlers, on a stack of 16 KiB and
/// at any moment: it must neither wait for a lock nor allocate. If it faults, the report is cut
/// short on the hook's side (port 0xe9 has it whole) and the domain still crashes.
pub fn set_console(hook: fn(&str)) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

/// Boot's console as a [`fmt::Write`]: the port, then the hook. Never fails.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Port.write_str(text)?;
        Hook.write_str(text)
    }
}

/// The debug port alone.
pub(crate) struct Port;

impl fmt::Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: a debug console, or nothing: any byte is harmless.
            unsafe { cpu::outb(DEBUG_PORT, byte) };
        }
        Ok(())
    }
}

/// The hook alone.
pub(crate) struct Hook;

impl fmt::Write for Hook {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let hook = HOOK.load(Ordering::Acquire);
        if !hook.is_null() {
            // SAFETY: only `set_console` stores here, and it stores a `fn(&str)`.
            let hook: fn(&str) = unsafe { transmute(hook) };
            hook(text);
        }
        Ok(())
    }
}

//! Scheduling (`sched.h`).

use crate::errno::Errno;
use crate::hypercall::{SCHED_OP, hypercall3};

const SCHEDOP_YIELD: u64 = 0;
const SCHEDOP_SHUTDOWN: u64 = 2;
const SCHEDOP_POLL: u64 = 3;

/// The most ports that one `SCHEDOP_poll` takes (`do_poll` of Xen refuses more).
pub const POLL_MAX_PORTS: usize = 128;

/// `struct sched_poll` of `sched.h`.
#[repr(C)]
pub struct SchedPoll {
    /// Address of the ports.
    pub ports: *const u32,
    /// How many there are.
    pub nr_ports: u32,
    /// System time in nanoseconds at which to return; 0: never.
    pub timeout: u64,
}

const _: () = assert!(size_of::<SchedPoll>() == 24);
const _: () = assert!(core::mem::offset_of!(SchedPoll, timeout) == 16);

/// Why a domain stops (`enum sched_shutdown_reason` of `sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ShutdownReason {
    /// Ended normally.
    PowerOff = 0,
    /// Wants to be started again.
    Reboot = 1,
    /// Suspended.
    Suspend = 2,
    /// Something is badly wrong.
    Crash = 3,
}

/// `struct sched_shutdown` of `sched.h`.
#[repr(C)]
struct SchedShutdown {
    reason: u32,
}

/// Sleeps until one of `ports` is pending or system time reaches `timeout` (ns; 0: no limit).
///
/// With more than one port Xen wakes us at any event of the domain; with one port only at that
/// one. Ports that are pending already make it return at once. It does not look at the mask bits
/// and does not need interrupts: it works with IF clear.
///
/// # Errors
/// `EINVAL`: more than [`POLL_MAX_PORTS`] ports, or one that is not valid.
pub fn poll(ports: &[u32], timeout: u64) -> Result<(), Errno> {
    let arg = SchedPoll {
        ports: ports.as_ptr(),
        nr_ports: u32::try_from(ports.len()).map_err(|_| Errno::EINVAL)?,
        timeout,
    };
    // SAFETY: `arg` is a sched_poll and Xen only reads it and `ports`, which outlive the call.
    unsafe { hypercall3(SCHED_OP, SCHEDOP_POLL, (&raw const arg) as u64, 0) }.map(drop)
}

/// Lets other virtual CPUs run.
pub fn yield_now() {
    // SAFETY: takes no argument.
    let _ = unsafe { hypercall3(SCHED_OP, SCHEDOP_YIELD, 0, 0) };
}

/// Stops the domain. Returns only when Xen refuses, or after a cancelled suspend.
pub fn shutdown(reason: ShutdownReason) -> Result<u64, Errno> {
    let arg = SchedShutdown { reason: reason as u32 };
    // SAFETY: `arg` is a sched_shutdown and outlives the call.
    unsafe { hypercall3(SCHED_OP, SCHEDOP_SHUTDOWN, (&raw const arg) as u64, 0) }
}

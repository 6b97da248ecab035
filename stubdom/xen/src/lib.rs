#![no_std]
//! Safe Xen for the stub domain: pages, grants, event channels, time, tasks, xenstore, console
//! and vchan.
//!
//! The stub has one virtual CPU and runs with interrupts off for its whole life. So:
//!
//! - Nothing interrupts anything. Events are found by looking ([`event`]), tasks yield by
//!   themselves ([`executor`]), and a domain with nothing to do sleeps in Xen.
//! - Every lock here is held for a few instructions, never across an `.await`, and never taken
//!   twice; it is there so that the same code is sound in tests on the host, which has threads.
//! - All memory is identity-mapped: a page's frame number is its address divided by 4096.
//!
//! What comes from another domain (ring indices, xenstore values, statuses) is an allegation: it
//! is copied once, checked, then used. What is waited for is bounded in space: tasks, ports,
//! timers, requests, watches and replies have fixed limits.
//!
//! Order of use: [`init()`] once, then [`console::init`], [`page::PagePool`],
//! [`xenstore::Xenstore::connect`], tasks into an [`executor::Executor`], and
//! [`executor::Executor::run`].

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod byte_ring;
pub mod console;
pub mod entropy;
pub mod event;
pub mod executor;
pub mod grant;
#[cfg(feature = "hostile")]
pub mod hostile;
mod init;
pub mod page;
pub mod ring;
pub mod time;
pub mod vchan;
pub mod xenstore;

pub use embassy_futures::select;
pub use init::{InitError, XenInfo, info, init};
pub use xen_sys::errno::Errno;
pub use xen_sys::grant_table::GrantStatus;
pub use xen_sys::sched::ShutdownReason;
pub use xen_sys::version::version;
pub use xen_sys::{DOMID_SELF, DomId};

/// Stops the domain: `PowerOff` when all is well, `Crash` when not. The toolstack then does what
/// the domain's configuration says (`on_poweroff`, `on_crash`).
pub fn shutdown(reason: ShutdownReason) -> ! {
    loop {
        let _ = xen_sys::sched::shutdown(reason);
        core::hint::spin_loop();
    }
}

/// Lets other domains run, if there are any that want to.
pub fn give_way() {
    xen_sys::sched::yield_now();
}

/// How many hypercalls were made since boot.
pub fn hypercalls() -> u64 {
    xen_sys::hypercall::count()
}

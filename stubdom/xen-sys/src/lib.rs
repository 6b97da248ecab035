#![no_std]
//! The raw Xen ABI as the stub domain uses it: hypercalls and the structures of Xen's public
//! headers, no more.
//!
//! - Each module mirrors one public header (`xen/include/public/...`) and names it; sizes and
//!   offsets are asserted at compile time for x86-64.
//! - Nothing here keeps state (but for the choice of the hypercall instruction) and nothing here
//!   checks a value that came from outside: that is the work of the crate `xen`.
//! - It compiles and links on any x86-64 host. [`hypercall::init`] finds no Xen there, and every
//!   hypercall then returns `-ENOSYS` without executing the instruction.

pub mod console;
pub mod cpuid;
pub mod errno;
pub mod event_channel;
pub mod grant_table;
pub mod hvm;
pub mod hypercall;
pub mod memory;
pub mod netif;
pub mod ring;
pub mod sched;
pub mod shared_info;
pub mod unpaged;
pub mod vchan;
pub mod version;
pub mod xs_wire;

/// A domain's identifier (`domid_t` of `xen.h`).
pub type DomId = u16;

/// "Ourselves", wherever a hypercall takes a domain (`DOMID_SELF` of `xen.h`).
pub const DOMID_SELF: DomId = 0x7ff0;

/// The first identifier that is not an ordinary domain (`DOMID_FIRST_RESERVED` of `xen.h`).
pub const DOMID_FIRST_RESERVED: DomId = 0x7ff0;

/// Bytes of a page, everywhere in this ABI.
pub const PAGE_SIZE: usize = 4096;

/// `log2` of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

//! Dom0's raw side of Xen, straight on the kernel's interfaces, so that one static binary runs on
//! every supported Xen: hypercalls through `/dev/xen/privcmd`, grant-table frames of a guest,
//! grants to Dom0 through `/dev/xen/gntdev`, event channels through `/dev/xen/evtchn`, xenstore,
//! the client end of libvchan's protocol, and, beside Xen, the device mapper under guests' disks.
//!
//! This is the only crate of Dom0 with `unsafe` code. **It never maps guest RAM.** The memory of
//! others that it maps is (1) a guest's grant table, by `XENMEM_acquire_resource`, and (2) the
//! ring pages of a vchan that a stub domain granted to Dom0. Both may change at any time under our
//! hands, so they are reached through atomics and raw copies only, never through `&[u8]`, and
//! every value read there is an allegation.
//!
//! ABI structures live in [`abi`]; each names the public header that it mirrors.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("privcmd talks to Xen through Linux on x86_64");

pub mod abi;
mod device;
pub mod dm;
mod domain;
mod error;
pub mod evtchn;
pub mod extents;
mod facts;
mod gntdev;
pub mod grant;
mod hypercall;
mod logdirty;
mod memory;
mod resume;
mod sched;
mod state;
pub mod vchan;
pub mod xenstore;

pub use domain::{DomainInfo, ShutdownReason};
pub use error::Error;
pub use extents::Extent;
pub use facts::{HostFacts, XenVersion, XsmMode};
pub use grant::{GrantError, GrantTable};
pub use hypercall::Hypervisor;
pub use logdirty::DirtyStats;
pub use memory::PageType;
pub use sched::{CpuCap, CpuShare, Scheduler};
pub use state::CpuPolicy;

/// A domain's number. Numbers are reused after 32,752 domains: where it matters, compare the uuid
/// of [`DomainInfo`] too.
pub type DomId = u16;

/// Bytes in a page, everywhere in this crate.
pub const PAGE_SIZE: usize = 4096;

//! The memory that the image takes for good at its start. The only unsafe code outside the crates
//! that exist for it: claims about memory that only the image itself can make.
#![allow(unsafe_code)]

use core::fmt;

use boot::BootInfo;
use spin::Once;
use talc::TalcLock;
use talc::source::Manual;
use xen::page::PagePool;
use xen::{InitError, XenInfo};

/// Bytes of heap for tasks, tables (the network's: 4 MiB) and the bitmaps of snapshots: 96 KiB for
/// each GiB of a guest.
const HEAP: u64 = 10 << 20;

/// Pages that the pool has at least: a stub that can't hold what one snapshot needs is of no use.
const LEAST_POOL: usize = 1024;

#[global_allocator]
static ALLOCATOR: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

static POOL: Once<PagePool> = Once::new();

/// Why the stub can't start.
#[derive(Debug)]
pub(crate) enum Error {
    Xen(InitError),
    /// Pages that are there.
    Small(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen(e) => write!(f, "{e}"),
            Self::Small(pages) => write!(f, "only {} KiB are free: give this domain more memory", pages * 4),
        }
    }
}

/// Claims everything. Called once.
pub(crate) fn all(boot: &'static BootInfo) -> Result<(XenInfo, &'static PagePool), Error> {
    // SAFETY: (1) `main` calls this once, on the only virtual CPU, and boot keeps interrupts off;
    // (2) boot maps all RAM and the toolstack's pages one to one.
    let xen = unsafe { xen::init() }.map_err(Error::Xen)?;
    let free = boot.free_ram.largest().map_or(0..0, |span| span.start..span.end);
    // The heap is taken from RAM, not from `.bss`: boot maps RAM in pages of 2 MiB, and Xen walks
    // our page tables for every copy that it reads from the heap (a level less to walk).
    let heap = free.end.saturating_sub(HEAP).max(free.start);
    let mut allocator = ALLOCATOR.lock();
    // SAFETY: boot says that this RAM is mapped and nobody's, and only this call uses it.
    let claimed = unsafe { allocator.claim(heap as *mut u8, (free.end - heap) as usize) };
    drop(allocator);
    if claimed.is_none() {
        return Err(Error::Small(((free.end - free.start) >> 12) as usize));
    }
    // SAFETY: as above; the heap's part is left out.
    let pool = POOL.call_once(|| unsafe { PagePool::new(free.start, heap) });
    // SAFETY: (1) they are boot's own; (2) the image begins at 1 MiB, boot's stack is in it, and boot
    // maps all one to one; (3) as for `xen::init`; (4) nothing but boot has set CR0.
    unsafe { xen::grant::allow_unpaged(boot::CODE, boot::CODE32) };
    // SAFETY: boot says that nothing is there and that it is mapped; nobody else uses it.
    unsafe { xen::grant::set_window(boot.window.start, boot.window.end) };
    if pool.total() < LEAST_POOL { Err(Error::Small(pool.total())) } else { Ok((xen, pool)) }
}

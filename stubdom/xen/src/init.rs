//! Finding Xen and putting its pages into our address space.
//!
//! `shared_info` and the grant table are placed over pages of `.bss` set aside for them: Xen
//! unhooks and frees the RAM that was there. A domain may do that to any page of RAM that is its
//! own, and no hole in the address space needs to be found for them.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

use xen_sys::errno::Errno;
use xen_sys::grant_table::{ENTRIES_PER_FRAME, GrantEntryV1};
use xen_sys::memory::{MapSpace, add_to_physmap};
use xen_sys::shared_info::SharedInfo;
use xen_sys::{DomId, PAGE_SHIFT};

/// Frames of our own grant table: 2048 entries, of which vchan takes 273.
pub(crate) const GRANT_FRAMES: usize = 4;

/// Memory that Xen replaces. Nothing but raw pointers ever leads here.
#[repr(C, align(4096))]
struct Replaced<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: it only hands out an address.
unsafe impl<T> Sync for Replaced<T> {}

impl<T> Replaced<T> {
    const fn new() -> Self {
        Replaced(UnsafeCell::new(MaybeUninit::zeroed()))
    }
    const fn get(&self) -> *mut T {
        self.0.get().cast()
    }
}

type GrantEntries = [GrantEntryV1; ENTRIES_PER_FRAME * GRANT_FRAMES];

static SHARED_INFO: Replaced<[u8; xen_sys::PAGE_SIZE]> = Replaced::new();
static GRANT_TABLE: Replaced<GrantEntries> = Replaced::new();

const _: () = assert!(size_of::<GrantEntries>() == GRANT_FRAMES * xen_sys::PAGE_SIZE);

/// Bit 63: initialised. Then domain, major and minor version, 16 bits each.
static INFO: AtomicU64 = AtomicU64::new(0);
const INITIALISED: u64 = 1 << 63;

/// What we know of our place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenInfo {
    /// Our own domain.
    pub domid: DomId,
    /// Xen's major version.
    pub major: u16,
    /// Xen's minor version.
    pub minor: u16,
}

/// Why [`init()`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// CPUID shows no Xen.
    NotXen,
    /// CPUID does not say which domain we are: not a PVH domain, or a Xen before 4.6.
    NoDomid,
    /// Xen refused to map `shared_info`.
    SharedInfo(Errno),
    /// Xen refused to map this frame of the grant table.
    GrantTable {
        /// Which one.
        frame: usize,
        /// What Xen said.
        errno: Errno,
    },
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitError::NotXen => f.write_str("no Xen here: start this image as a PVH domain"),
            InitError::NoDomid => f.write_str("Xen does not tell the domain: use type=\"pvh\""),
            InitError::SharedInfo(errno) => write!(f, "shared_info cannot be mapped: {errno}"),
            InitError::GrantTable { frame, errno } => write!(
                f,
                "grant table frame {frame} cannot be mapped: {errno}; \
                 set max_grant_frames={GRANT_FRAMES} or more for this domain"
            ),
        }
    }
}

impl core::error::Error for InitError {}

/// Finds Xen, maps `shared_info` and the grant table, masks all event channels.
///
/// # Errors
/// See [`InitError`]; nothing of this crate works then.
///
/// # Safety
/// 1. Called once, by the stub domain's only virtual CPU, with interrupts off for good.
/// 2. All RAM of the domain, `.bss` included, and the toolstack's pages below 4 GiB are mapped
///    writable at the address that equals their physical address.
pub unsafe fn init() -> Result<XenInfo, InitError> {
    let xen = xen_sys::hypercall::init().ok_or(InitError::NotXen)?;
    let domid = xen.domid.ok_or(InitError::NoDomid)?;

    let frame = SHARED_INFO.get() as u64 >> PAGE_SHIFT;
    // SAFETY: the page is set aside for this, and identity-mapped as the caller says.
    unsafe { add_to_physmap(MapSpace::SharedInfo, 0, frame) }.map_err(InitError::SharedInfo)?;

    xen_sys::hvm::set_no_callback().map_err(InitError::SharedInfo)?;

    // From the top, so that the table grows once.
    for index in (0..GRANT_FRAMES).rev() {
        let frame = (GRANT_TABLE.get() as u64 >> PAGE_SHIFT) + index as u64;
        // SAFETY: as above.
        unsafe { add_to_physmap(MapSpace::GrantTable, index as u64, frame) }
            .map_err(|errno| InitError::GrantTable { frame: index, errno })?;
    }

    let info = u64::from(domid) << 32 | u64::from(xen.major) << 16 | u64::from(xen.minor);
    INFO.store(info | INITIALISED, Ordering::Release);
    crate::event::mask_all();
    // SAFETY: the table was just mapped there, for good.
    unsafe { crate::grant::adopt(GRANT_TABLE.get().cast(), size_of::<GrantEntries>() / 8) };
    Ok(XenInfo { domid, major: xen.major, minor: xen.minor })
}

/// What [`init()`] found, once it has succeeded.
pub fn info() -> Option<XenInfo> {
    let raw = INFO.load(Ordering::Acquire);
    (raw & INITIALISED != 0).then_some(XenInfo {
        domid: (raw >> 32) as u16,
        major: (raw >> 16) as u16,
        minor: raw as u16,
    })
}

/// The page `shared_info`, once it is mapped. It stays there for good; Xen writes to it.
pub(crate) fn shared_info() -> Option<*const SharedInfo> {
    (INFO.load(Ordering::Acquire) & INITIALISED != 0).then_some(SHARED_INFO.get().cast_const().cast())
}

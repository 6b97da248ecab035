//! Grant tables, version 1 (`grant_table.h`).

use crate::DomId;
use crate::errno::Errno;
use crate::hypercall::{GRANT_TABLE_OP, hypercall3};

const GNTTABOP_MAP_GRANT_REF: u64 = 0;
const GNTTABOP_UNMAP_GRANT_REF: u64 = 1;
pub(crate) const GNTTABOP_COPY: u64 = 5;
const GNTTABOP_QUERY_SIZE: u64 = 6;

/// The toolstack's own entries at the start of the table: leave them alone.
pub const RESERVED_ENTRIES: u32 = 8;

/// Entries of a version 1 table in one frame.
pub const ENTRIES_PER_FRAME: usize = crate::PAGE_SIZE / size_of::<GrantEntryV1>();

/// `GTF_permit_access`: the other domain may map and copy the frame.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// `GTF_readonly`: but not write to it.
pub const GTF_READONLY: u16 = 1 << 2;
/// `GTF_reading`: it is in use for reading. Set by Xen.
pub const GTF_READING: u16 = 1 << 3;
/// `GTF_writing`: it is in use for writing. Set by Xen.
pub const GTF_WRITING: u16 = 1 << 4;

/// `GNTCOPY_source_gref`: the source is a grant reference, not a frame of ours.
pub const GNTCOPY_SOURCE_GREF: u16 = 1;
/// `GNTCOPY_dest_gref`: the destination is a grant reference, not a frame of ours.
pub const GNTCOPY_DEST_GREF: u16 = 2;

/// `struct grant_entry_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GrantEntryV1 {
    /// `GTF_*`.
    pub flags: u16,
    /// Who is granted access.
    pub domid: DomId,
    /// The frame of ours.
    pub frame: u32,
}

const _: () = assert!(size_of::<GrantEntryV1>() == 8);
const _: () = assert!(ENTRIES_PER_FRAME == 512);

/// `struct gnttab_copy_ptr`: one end of a copy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GnttabCopyPtr {
    /// A grant reference (low 32 bits) or a frame number, as the flags of the copy say.
    pub ref_or_frame: u64,
    /// Whose.
    pub domid: DomId,
    /// First byte within the page.
    pub offset: u16,
}

/// `struct gnttab_copy`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GnttabCopy {
    /// In: where from.
    pub source: GnttabCopyPtr,
    /// In: where to.
    pub dest: GnttabCopyPtr,
    /// In: bytes; neither end may cross the end of its page.
    pub len: u16,
    /// In: `GNTCOPY_*`.
    pub flags: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
}

const _: () = assert!(size_of::<GnttabCopyPtr>() == 16);
const _: () = assert!(core::mem::offset_of!(GnttabCopyPtr, domid) == 8);
const _: () = assert!(size_of::<GnttabCopy>() == 40);
const _: () = assert!(core::mem::offset_of!(GnttabCopy, dest) == 16);
const _: () = assert!(core::mem::offset_of!(GnttabCopy, len) == 32);
const _: () = assert!(core::mem::offset_of!(GnttabCopy, status) == 36);

/// `GNTMAP_host_map`: into our memory, for the processor.
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;

/// `GNTMAP_readonly`: not for writing.
pub const GNTMAP_READONLY: u32 = 1 << 2;

/// `struct gnttab_map_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GnttabMap {
    /// In: the physical address of ours where the frame is to appear.
    pub host_addr: u64,
    /// In: `GNTMAP_*`.
    pub flags: u32,
    /// In: the grant reference.
    pub gref: u32,
    /// In: whose.
    pub dom: DomId,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Out: for [`unmap`].
    pub handle: u32,
    /// Out, of no use here.
    pub dev_bus_addr: u64,
}

const _: () = assert!(size_of::<GnttabMap>() == 32);
const _: () = assert!(core::mem::offset_of!(GnttabMap, dom) == 16);
const _: () = assert!(core::mem::offset_of!(GnttabMap, handle) == 20);

/// `struct gnttab_unmap_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GnttabUnmap {
    /// In: where it was mapped.
    pub host_addr: u64,
    /// In: 0.
    pub dev_bus_addr: u64,
    /// In: what [`map`] gave.
    pub handle: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
}

const _: () = assert!(size_of::<GnttabUnmap>() == 24);
const _: () = assert!(core::mem::offset_of!(GnttabUnmap, status) == 20);

/// `struct gnttab_query_size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GnttabQuerySize {
    /// In: whose table.
    pub dom: DomId,
    /// Out: frames that the table has now.
    pub nr_frames: u32,
    /// Out: frames that it may have.
    pub max_nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
}

const _: () = assert!(size_of::<GnttabQuerySize>() == 16);
const _: () = assert!(core::mem::offset_of!(GnttabQuerySize, status) == 12);

/// What Xen says of one grant operation (`enum grant_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum GrantStatus {
    /// `GNTST_okay`.
    Okay = 0,
    /// `GNTST_general_error`.
    GeneralError = -1,
    /// `GNTST_bad_domain`: no such domain.
    BadDomain = -2,
    /// `GNTST_bad_gntref`: no such reference, or it does not permit this.
    BadGntref = -3,
    /// `GNTST_bad_handle`.
    BadHandle = -4,
    /// `GNTST_bad_virt_addr`.
    BadVirtAddr = -5,
    /// `GNTST_bad_dev_addr`.
    BadDevAddr = -6,
    /// `GNTST_no_device_space`.
    NoDeviceSpace = -7,
    /// `GNTST_permission_denied`.
    PermissionDenied = -8,
    /// `GNTST_bad_page`: there is no RAM at that frame.
    BadPage = -9,
    /// `GNTST_bad_copy_arg`: the copy crosses the end of a page.
    BadCopyArg = -10,
    /// `GNTST_address_too_big`.
    AddressTooBig = -11,
    /// `GNTST_eagain`: not done, try again.
    Eagain = -12,
    /// `GNTST_no_space`.
    NoSpace = -13,
}

impl GrantStatus {
    /// Reads Xen's number. One that is not in the header counts as `GNTST_general_error`.
    pub const fn from_raw(raw: i16) -> GrantStatus {
        use GrantStatus::*;
        match raw {
            0 => Okay,
            -2 => BadDomain,
            -3 => BadGntref,
            -4 => BadHandle,
            -5 => BadVirtAddr,
            -6 => BadDevAddr,
            -7 => NoDeviceSpace,
            -8 => PermissionDenied,
            -9 => BadPage,
            -10 => BadCopyArg,
            -11 => AddressTooBig,
            -12 => Eagain,
            -13 => NoSpace,
            _ => GeneralError,
        }
    }

    /// Xen's own words (`GNTTABOP_error_msgs`).
    pub const fn words(self) -> &'static str {
        use GrantStatus::*;
        match self {
            Okay => "okay",
            GeneralError => "undefined error",
            BadDomain => "unrecognised domain id",
            BadGntref => "invalid grant reference",
            BadHandle => "invalid mapping handle",
            BadVirtAddr => "invalid virtual address",
            BadDevAddr => "invalid device address",
            NoDeviceSpace => "no spare translation slot in the I/O MMU",
            PermissionDenied => "permission denied",
            BadPage => "bad page",
            BadCopyArg => "copy arguments cross page boundary",
            AddressTooBig => "page address size too large",
            Eagain => "operation not done; try again",
            NoSpace => "out of space",
        }
    }
}

impl core::fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.words())
    }
}

/// Copies by grants; the status of each is written into `ops`.
///
/// # Safety
/// Each frame of ours that `ops` writes to is one that the caller may overwrite.
pub unsafe fn copy(ops: &mut [GnttabCopy]) -> Result<(), Errno> {
    // SAFETY: the caller's.
    if let Some(done) = unsafe { crate::unpaged::copy(ops) } {
        return done;
    }
    let count = ops.len() as u64;
    let arg = ops.as_mut_ptr() as u64;
    // SAFETY: `ops` is an array of gnttab_copy of that length; the rest is the caller's.
    unsafe { hypercall3(GRANT_TABLE_OP, GNTTABOP_COPY, arg, count) }.map(drop)
}

/// Maps frames by their grants, in order; the status of each is written into its op.
///
/// # Safety
/// Nothing of ours is at any `host_addr`.
pub unsafe fn map(ops: &mut [GnttabMap]) -> Result<(), Errno> {
    let count = ops.len() as u64;
    let arg = ops.as_mut_ptr() as u64;
    // SAFETY: `ops` is an array of gnttab_map_grant_ref of that length; the rest is the caller's.
    unsafe { hypercall3(GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, arg, count) }.map(drop)
}

/// Unmaps them again; the status of each is written into its op.
///
/// # Safety
/// Nothing uses what is mapped there.
pub unsafe fn unmap(ops: &mut [GnttabUnmap]) -> Result<(), Errno> {
    let count = ops.len() as u64;
    let arg = ops.as_mut_ptr() as u64;
    // SAFETY: as above.
    unsafe { hypercall3(GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, arg, count) }.map(drop)
}

/// How many frames our table has and may have.
pub fn query_size() -> Result<GnttabQuerySize, Errno> {
    let mut arg = GnttabQuerySize {
        dom: crate::DOMID_SELF,
        nr_frames: 0,
        max_nr_frames: 0,
        status: GrantStatus::GeneralError as i16,
    };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(GRANT_TABLE_OP, GNTTABOP_QUERY_SIZE, (&raw mut arg) as u64, 1) }?;
    Ok(arg)
}

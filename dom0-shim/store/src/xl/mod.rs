//! The stream that stock `xl save` writes and `xl restore` reads.
//!
//! Three formats, one in the other: xl's file header with the domain's configuration as JSON
//! (`tools/xl/xl.h`), the libxl stream v2 (`docs/specs/libxl-migration-stream.pandoc`), and in
//! its LIBXC_CONTEXT the libxc stream v3 (`docs/specs/libxc-migration-stream.pandoc`). For a
//! PVH guest, which has no device model, nothing follows the libxc stream but libxl's END.
//!
//! This module holds the numbers of those formats. Nothing here keeps more than one batch of
//! pages in memory, and no length in a stream is believed before it is bounded.

pub mod diff;
pub mod export;
pub mod import;
pub mod reader;

/// First 32 octets of the file; the array's last character is `\r`, without a NUL.
pub(crate) const XL_MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";
/// `SAVEFILE_BYTEORDER_VALUE`.
pub(crate) const XL_BYTE_ORDER: u32 = 0x0102_0304;
/// `XL_MANDATORY_FLAG_JSON`: the configuration is JSON.
pub(crate) const XL_JSON: u32 = 1 << 0;
/// `XL_MANDATORY_FLAG_STREAMv2`: a libxl stream follows.
pub(crate) const XL_STREAM_V2: u32 = 1 << 1;

/// "LibxlFmt", big-endian.
pub(crate) const LIBXL_IDENT: u64 = 0x4c69_6278_6c46_6d74;
/// Version of the libxl stream, big-endian.
pub(crate) const LIBXL_VERSION: u32 = 2;
/// Option of the libxl stream's header: the writer was big-endian.
pub(crate) const LIBXL_BIG_ENDIAN: u32 = 1 << 0;

/// Record types of the libxl stream.
pub(crate) mod libxl {
    pub(crate) const END: u32 = 0;
    pub(crate) const LIBXC_CONTEXT: u32 = 1;
    pub(crate) const EMULATOR_XENSTORE_DATA: u32 = 2;
    pub(crate) const EMULATOR_CONTEXT: u32 = 3;
    pub(crate) const CHECKPOINT_END: u32 = 4;
    pub(crate) const CHECKPOINT_STATE: u32 = 5;
}

/// First 8 octets of the libxc stream.
pub(crate) const LIBXC_MARKER: u64 = u64::MAX;
/// "XENF", big-endian.
pub(crate) const LIBXC_ID: u32 = 0x5845_4e46;
/// Option of the libxc stream's header: the writer was big-endian.
pub(crate) const LIBXC_BIG_ENDIAN: u16 = 1 << 0;
/// Domain header's type of a PV guest.
pub(crate) const TYPE_PV: u32 = 1;
/// Domain header's type of a guest with hardware virtualisation: HVM and PVH.
pub(crate) const TYPE_HVM: u32 = 2;
/// Domain header's page shift.
pub(crate) const PAGE_SHIFT: u16 = 12;

/// Record types of the libxc stream. Those of the state are in [`crate::StateKind::number`].
pub(crate) mod libxc {
    pub(crate) const END: u32 = 0x00;
    pub(crate) const PAGE_DATA: u32 = 0x01;
    pub(crate) const VERIFY: u32 = 0x0d;
    pub(crate) const CHECKPOINT: u32 = 0x0e;
    pub(crate) const STATIC_DATA_END: u32 = 0x10;
    /// Set in the types of records that may be skipped.
    pub(crate) const OPTIONAL: u32 = 0x8000_0000;

    /// Names of the PV guest's records.
    pub(crate) fn is_pv(kind: u32) -> bool {
        matches!(kind, 0x02..=0x07 | 0x0c)
    }
}

/// Frame number of an entry of PAGE_DATA.
pub(crate) const PFN_MASK: u64 = (1 << 52) - 1;
/// Where an entry of PAGE_DATA has its type.
pub(crate) const TYPE_SHIFT: u32 = 60;

/// Pages in a record that we write; the same as libxc's `MAX_BATCH_SIZE`.
pub(crate) const BATCH: usize = 1024;
/// Entries in a PAGE_DATA record that we read, 64 times what libxc writes.
pub(crate) const MAX_ENTRIES: u32 = 65_536;

/// A body's length with its padding to 8 octets.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

//! The shared page of a vchan (`io/libxenvchan.h`).

/// `VCHAN_NOTIFY_WRITE`: send an event when data was written.
pub const VCHAN_NOTIFY_WRITE: u8 = 1;
/// `VCHAN_NOTIFY_READ`: send an event when data was read.
pub const VCHAN_NOTIFY_READ: u8 = 2;

/// `cli_live`, `srv_live`: that side has left.
pub const LIVE_CLOSED: u8 = 0;
/// `cli_live`, `srv_live`: that side is connected.
pub const LIVE_CONNECTED: u8 = 1;
/// `cli_live`: the client has not come yet.
pub const LIVE_WAITING: u8 = 2;

/// Orders (`log2` of the bytes) of a ring that has pages of its own.
pub const ORDERS: core::ops::RangeInclusive<u16> = 12..=20;

/// `struct ring_shared`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RingShared {
    /// Written by the reader.
    pub cons: u32,
    /// Written by the writer.
    pub prod: u32,
}

/// `struct vchan_interface`, followed by the grant references of the rings' pages: left, then
/// right. Both ends write to it: access it through raw pointers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VchanInterface {
    /// Client to server.
    pub left: RingShared,
    /// Server to client.
    pub right: RingShared,
    /// `log2` of the bytes of the left ring.
    pub left_order: u16,
    /// `log2` of the bytes of the right ring.
    pub right_order: u16,
    /// `LIVE_*` of the client.
    pub cli_live: u8,
    /// `LIVE_*` of the server.
    pub srv_live: u8,
    /// `VCHAN_NOTIFY_*`: what the client is to tell the server.
    pub cli_notify: u8,
    /// `VCHAN_NOTIFY_*`: what the server is to tell the client.
    pub srv_notify: u8,
}

/// Where the grant references begin in the shared page.
pub const GRANTS_OFFSET: usize = size_of::<VchanInterface>();

/// Grant references that fit into the shared page.
pub const GRANTS_MAX: usize = (crate::PAGE_SIZE - GRANTS_OFFSET) / 4;

const _: () = assert!(size_of::<VchanInterface>() == 24);
const _: () = assert!(core::mem::offset_of!(VchanInterface, right) == 8);
const _: () = assert!(core::mem::offset_of!(VchanInterface, left_order) == 16);
const _: () = assert!(core::mem::offset_of!(VchanInterface, cli_live) == 20);
const _: () = assert!(core::mem::offset_of!(VchanInterface, srv_notify) == 23);
const _: () = assert!(GRANTS_MAX >= 512);

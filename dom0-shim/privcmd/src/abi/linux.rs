//! `include/uapi/xen/{privcmd,gntdev,evtchn}.h` of Linux.

use std::mem::{offset_of, size_of};

/// `_IOC(_IOC_NONE, ty, nr, size)`: all of Xen's drivers use the direction "none".
const fn ioc(ty: u8, nr: u8, size: usize) -> u64 {
    ((size as u64) << 16) | ((ty as u64) << 8) | nr as u64
}

/// `IOCTL_PRIVCMD_HYPERCALL`
pub const PRIVCMD_HYPERCALL: u64 = ioc(b'P', 0, size_of::<PrivcmdHypercall>());
/// `IOCTL_PRIVCMD_MMAP_RESOURCE`
pub const PRIVCMD_MMAP_RESOURCE: u64 = ioc(b'P', 7, size_of::<PrivcmdMmapResource>());
/// `IOCTL_GNTDEV_MAP_GRANT_REF`: the size is that of the header with one reference
pub const GNTDEV_MAP_GRANT_REF: u64 = ioc(b'G', 0, 24);
/// `IOCTL_GNTDEV_UNMAP_GRANT_REF`
pub const GNTDEV_UNMAP_GRANT_REF: u64 = ioc(b'G', 1, size_of::<GntdevUnmapGrantRef>());
/// `IOCTL_GNTDEV_SET_UNMAP_NOTIFY`
pub const GNTDEV_SET_UNMAP_NOTIFY: u64 = ioc(b'G', 7, size_of::<GntdevUnmapNotify>());
/// `IOCTL_EVTCHN_BIND_INTERDOMAIN`
pub const EVTCHN_BIND_INTERDOMAIN: u64 = ioc(b'E', 1, size_of::<EvtchnBindInterdomain>());
/// `IOCTL_EVTCHN_UNBIND`
pub const EVTCHN_UNBIND: u64 = ioc(b'E', 3, size_of::<u32>());
/// `IOCTL_EVTCHN_NOTIFY`
pub const EVTCHN_NOTIFY: u64 = ioc(b'E', 4, size_of::<u32>());

/// `UNMAP_NOTIFY_CLEAR_BYTE`
pub const UNMAP_NOTIFY_CLEAR_BYTE: u32 = 1;
/// `UNMAP_NOTIFY_SEND_EVENT`
pub const UNMAP_NOTIFY_SEND_EVENT: u32 = 2;

/// `struct privcmd_hypercall`
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct PrivcmdHypercall {
    pub op: u64,
    pub arg: [u64; 5],
}

/// `struct privcmd_mmap_resource`
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct PrivcmdMmapResource {
    pub dom: u16,
    pub pad: u16,
    pub ty: u32,
    pub id: u32,
    pub idx: u32,
    pub num: u64,
    pub addr: u64,
}

/// `struct ioctl_gntdev_map_grant_ref` without its array of references
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GntdevMapGrantRef {
    pub count: u32,
    pub pad: u32,
    pub index: u64,
}

/// `struct ioctl_gntdev_grant_ref`
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GntdevGrantRef {
    pub domid: u32,
    pub gref: u32,
}

/// `struct ioctl_gntdev_unmap_grant_ref`
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GntdevUnmapGrantRef {
    pub index: u64,
    pub count: u32,
    pub pad: u32,
}

/// `struct ioctl_gntdev_unmap_notify`
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GntdevUnmapNotify {
    pub index: u64,
    pub action: u32,
    pub event_channel_port: u32,
}

/// `struct ioctl_evtchn_bind_interdomain`
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct EvtchnBindInterdomain {
    pub remote_domain: u32,
    pub remote_port: u32,
}

const _: () = assert!(size_of::<PrivcmdHypercall>() == 48);
const _: () = assert!(PRIVCMD_HYPERCALL == 0x0030_5000);
const _: () = assert!(size_of::<PrivcmdMmapResource>() == 32);
const _: () = assert!(offset_of!(PrivcmdMmapResource, num) == 16);
const _: () = assert!(size_of::<GntdevMapGrantRef>() == 16);
const _: () = assert!(size_of::<GntdevGrantRef>() == 8);
const _: () = assert!(size_of::<GntdevUnmapGrantRef>() == 16);
const _: () = assert!(size_of::<GntdevUnmapNotify>() == 16);
const _: () = assert!(size_of::<EvtchnBindInterdomain>() == 8);

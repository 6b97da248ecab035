//! The page that Xen shares with the domain (`xen.h`, `arch-x86/xen.h`).
//!
//! Xen writes to it at any time. So never make a reference to a plain field of it: the bitmaps
//! are atomics here, the rest is read through raw pointers with volatile reads.

use core::sync::atomic::AtomicU64;

/// Words of the event bitmaps, 64 ports each.
pub const EVTCHN_WORDS: usize = 64;

/// Ports of the two-level ABI.
pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;

/// `struct vcpu_time_info`: system time as of some moment, and how to go on from there by TSC.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct VcpuTimeInfo {
    /// Odd while Xen writes; differs after it wrote.
    pub version: u32,
    pad0: u32,
    /// TSC at that moment.
    pub tsc_timestamp: u64,
    /// System time at that moment, nanoseconds.
    pub system_time: u64,
    /// Nanoseconds a tick (after the shift), times 2^32.
    pub tsc_to_system_mul: u32,
    /// Shift of the ticks: left if positive, right if negative.
    pub tsc_shift: i8,
    /// Bit 0: the TSC is stable across CPUs.
    pub flags: u8,
    pad1: [u8; 2],
}

/// `struct vcpu_info`.
#[repr(C)]
pub struct VcpuInfo {
    /// Not used: our channels stay masked.
    pub evtchn_upcall_pending: u8,
    pad0: u8,
    /// Not used: our channels stay masked.
    pub evtchn_pending_sel: u64,
    arch: [u64; 2],
    /// Time for this virtual CPU.
    pub time: VcpuTimeInfo,
}

/// `struct shared_info`, without the architecture's part at its end, which is for PV domains.
#[repr(C)]
pub struct SharedInfo {
    /// One for each of the first 32 virtual CPUs.
    pub vcpu_info: [VcpuInfo; 32],
    /// A bit for each port: an event came. Cleared by us.
    pub evtchn_pending: [AtomicU64; EVTCHN_WORDS],
    /// A bit for each port: no upcall. Written by us.
    pub evtchn_mask: [AtomicU64; EVTCHN_WORDS],
    /// Odd while the wall clock is written.
    pub wc_version: u32,
    /// Wall clock at system time 0, seconds since 1970.
    pub wc_sec: u32,
    /// And nanoseconds.
    pub wc_nsec: u32,
    /// Upper half of the seconds.
    pub wc_sec_hi: u32,
}

const _: () = assert!(size_of::<VcpuTimeInfo>() == 32);
const _: () = assert!(core::mem::offset_of!(VcpuTimeInfo, tsc_to_system_mul) == 24);
const _: () = assert!(core::mem::offset_of!(VcpuTimeInfo, tsc_shift) == 28);
const _: () = assert!(size_of::<VcpuInfo>() == 64);
const _: () = assert!(core::mem::offset_of!(VcpuInfo, time) == 32);
const _: () = assert!(core::mem::offset_of!(SharedInfo, evtchn_pending) == 2048);
const _: () = assert!(core::mem::offset_of!(SharedInfo, evtchn_mask) == 2560);
const _: () = assert!(core::mem::offset_of!(SharedInfo, wc_version) == 3072);
const _: () = assert!(core::mem::offset_of!(SharedInfo, wc_sec_hi) == 3084);
const _: () = assert!(size_of::<SharedInfo>() <= crate::PAGE_SIZE);

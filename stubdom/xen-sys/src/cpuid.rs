//! Finding Xen by CPUID (`arch-x86/cpuid.h`).
//!
//! The leaves start at `0x4000_0000`, or a multiple of `0x100` above it when another interface
//! (Viridian) occupies the first place.

use core::arch::x86_64::{__cpuid, __cpuid_count};

const SIGNATURE_EBX: u32 = 0x566e_6558;
const SIGNATURE_ECX: u32 = 0x6558_4d4d;
const SIGNATURE_EDX: u32 = 0x4d4d_566e;
const HVM_DOMID_PRESENT: u32 = 1 << 4;
const AMD_ECX: u32 = 0x444d_4163;
const HYGON_ECX: u32 = 0x656e_6975;

/// Which instruction enters the hypervisor on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// `vmcall`.
    Intel,
    /// `vmmcall`.
    Amd,
}

/// The maker of the processor. Whatever is not AMD (or its licensee Hygon) speaks `vmcall`.
pub fn vendor() -> Vendor {
    match __cpuid(0).ecx {
        AMD_ECX | HYGON_ECX => Vendor::Amd,
        _ => Vendor::Intel,
    }
}

/// What CPUID says of the Xen below us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenCpuid {
    /// The first Xen leaf.
    pub base: u32,
    /// Xen's major version.
    pub major: u16,
    /// Xen's minor version.
    pub minor: u16,
    /// Our own domain identifier, where Xen tells it (it does for PVH).
    pub domid: Option<crate::DomId>,
}

/// Looks for Xen. `None` on any other hypervisor and on bare metal.
pub fn find() -> Option<XenCpuid> {
    if __cpuid(1).ecx & (1 << 31) == 0 {
        return None;
    }
    (0x4000_0000u32..0x4001_0000).step_by(0x100).find_map(|base| {
        let leaf = __cpuid(base);
        let signature = (leaf.ebx, leaf.ecx, leaf.edx);
        if signature != (SIGNATURE_EBX, SIGNATURE_ECX, SIGNATURE_EDX) {
            return None;
        }
        let version = __cpuid(base + 1).eax;
        let domid = if leaf.eax >= base + 4 {
            let hvm = __cpuid_count(base + 4, 0);
            (hvm.eax & HVM_DOMID_PRESENT != 0).then_some(hvm.ecx as crate::DomId)
        } else {
            None
        };
        Some(XenCpuid { base, major: (version >> 16) as u16, minor: version as u16, domid })
    })
}

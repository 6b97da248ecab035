//! Hypercall numbers and small structures of Xen's public headers, other than domctl's.

use std::mem::{offset_of, size_of};

/// `__HYPERVISOR_memory_op` (`xen.h`)
pub const HYPERVISOR_MEMORY_OP: u64 = 12;
/// `__HYPERVISOR_xen_version`
pub const HYPERVISOR_XEN_VERSION: u64 = 17;
/// `__HYPERVISOR_grant_table_op`
pub const HYPERVISOR_GRANT_TABLE_OP: u64 = 20;
/// `__HYPERVISOR_xsm_op`
pub const HYPERVISOR_XSM_OP: u64 = 27;
/// `__HYPERVISOR_hvm_op`
pub const HYPERVISOR_HVM_OP: u64 = 34;
/// `__HYPERVISOR_sysctl`
pub const HYPERVISOR_SYSCTL: u64 = 35;
/// `__HYPERVISOR_domctl`
pub const HYPERVISOR_DOMCTL: u64 = 36;
/// `__HYPERVISOR_dm_op`
pub const HYPERVISOR_DM_OP: u64 = 41;
/// `__HYPERVISOR_hypfs_op`
pub const HYPERVISOR_HYPFS_OP: u64 = 42;

/// `DOMID_SELF`
pub const DOMID_SELF: u16 = 0x7ff0;
/// `DOMID_FIRST_RESERVED`: domain numbers are below
pub const DOMID_FIRST_RESERVED: u16 = 0x7ff0;

/// `SHUTDOWN_suspend` (`sched.h`)
pub const SHUTDOWN_SUSPEND: u8 = 2;

/// `XENMEM_maximum_gpfn` (`memory.h`)
pub const XENMEM_MAXIMUM_GPFN: u64 = 14;
/// `XENMEM_resource_grant_table`
pub const XENMEM_RESOURCE_GRANT_TABLE: u32 = 1;
/// `XENMEM_resource_grant_table_id_shared`
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;

/// `XENVER_version` (`version.h`): returns major in bits 16 to 31, minor below
pub const XENVER_VERSION: u64 = 0;
/// `XENVER_extraversion`: `char[16]`
pub const XENVER_EXTRAVERSION: u64 = 1;
/// `XENVER_capabilities`: `char[1024]`
pub const XENVER_CAPABILITIES: u64 = 3;
/// `XENVER_commandline`: `char[1024]`
pub const XENVER_COMMANDLINE: u64 = 9;

/// `HVMOP_get_param` (`hvm/hvm_op.h`)
pub const HVMOP_GET_PARAM: u64 = 1;

/// `XEN_DMOP_modified_memory` (`hvm/dm_op.h`)
pub const DMOP_MODIFIED_MEMORY: u32 = 11;

/// `GNTTABOP_query_size` (`grant_table.h`)
pub const GNTTABOP_QUERY_SIZE: u64 = 6;
/// `GNTTABOP_get_version`
pub const GNTTABOP_GET_VERSION: u64 = 10;
/// `GNTST_bad_domain`
pub const GNTST_BAD_DOMAIN: i16 = -2;

/// `XEN_SYSCTL_INTERFACE_VERSION` (`sysctl.h`): the same from 4.17 to 4.20
pub const SYSCTL_INTERFACE_VERSION: u32 = 0x15;
/// `XEN_SYSCTL_physinfo`
pub const SYSCTL_PHYSINFO: u32 = 3;
/// `XEN_SYSCTL_getdomaininfolist`
pub const SYSCTL_GETDOMAININFOLIST: u32 = 6;
/// `XEN_SYSCTL_PHYSCAP_hvm`
pub const PHYSCAP_HVM: u32 = 1 << 0;
/// `XEN_SYSCTL_PHYSCAP_hap`
pub const PHYSCAP_HAP: u32 = 1 << 3;

/// `XEN_HYPFS_OP_read` (`hypfs.h`)
pub const HYPFS_OP_READ: u64 = 1;

/// `FLASK_GETENFORCE` (`xsm/flask_op.h`)
pub const FLASK_GETENFORCE: u32 = 2;
/// `XEN_FLASK_INTERFACE_VERSION`
pub const FLASK_INTERFACE_VERSION: u32 = 1;

/// `struct xen_hvm_param` (`hvm/hvm_op.h`)
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct HvmParam {
    pub domid: u16,
    pub pad: u16,
    pub index: u32,
    pub value: u64,
}

/// The argument of `XEN_DMOP_modified_memory` with all that it points to: `struct xen_dm_op` with
/// `struct xen_dm_op_modified_memory`, one `struct xen_dm_op_modified_memory_extent`, and the
/// array of two `struct xen_dm_op_buf` (`hvm/dm_op.h`)
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct DmOpModifiedMemory {
    pub op: u32,
    pub pad: u32,
    pub nr_extents: u32,
    pub opaque: u32,
    pub extent_nr: u32,
    pub extent_pad: u32,
    pub extent_first_pfn: u64,
    /// Address and bytes of each buffer
    pub bufs: [[u64; 2]; 2],
}

/// `struct gnttab_query_size` (`grant_table.h`)
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GnttabQuerySize {
    pub dom: u16,
    pub pad: u16,
    pub nr_frames: u32,
    pub max_nr_frames: u32,
    pub status: i16,
    pub pad2: u16,
}

/// `struct gnttab_get_version` (`grant_table.h`)
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GnttabGetVersion {
    pub dom: u16,
    pub pad: u16,
    pub version: u32,
}

/// `struct xen_sysctl` with `struct xen_sysctl_physinfo` (`sysctl.h`)
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct SysctlPhysinfo {
    pub cmd: u32,
    pub interface_version: u32,
    pub threads_per_core: u32,
    pub cores_per_socket: u32,
    pub nr_cpus: u32,
    pub max_cpu_id: u32,
    pub nr_nodes: u32,
    pub max_node_id: u32,
    pub cpu_khz: u32,
    pub capabilities: u32,
    pub arch_capabilities: u32,
    pub pad: u32,
    pub total_pages: u64,
    pub free_pages: u64,
    pub scrub_pages: u64,
    pub outstanding_pages: u64,
    pub max_mfn: u64,
    pub hw_cap: [u32; 8],
    pub pad2: [u64; 2],
}

/// `struct xen_sysctl` with `struct xen_sysctl_getdomaininfolist` (`sysctl.h`), as long as Xen
/// copies
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct SysctlGetDomainInfoList {
    pub cmd: u32,
    pub interface_version: u32,
    pub first_domain: u16,
    pub pad: u16,
    pub max_domains: u32,
    pub buffer: u64,
    pub num_domains: u32,
    pub pad2: u32,
    pub pad3: [u64; 13],
}

/// `struct xen_flask_op` (`xsm/flask_op.h`): header and room for its union
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct FlaskOp {
    pub cmd: u32,
    pub interface_version: u32,
    pub u: [u64; 16],
}

/// `struct xen_hypfs_direntry` (`hypfs.h`)
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct HypfsDirentry {
    pub ty: u8,
    pub encoding: u8,
    pub pad: u16,
    pub content_len: u32,
    pub max_write_len: u32,
}

const _: () = assert!(size_of::<HvmParam>() == 16);
const _: () = assert!(offset_of!(DmOpModifiedMemory, extent_nr) == 16);
const _: () = assert!(offset_of!(DmOpModifiedMemory, bufs) == 32);
const _: () = assert!(size_of::<GnttabQuerySize>() == 16);
const _: () = assert!(offset_of!(GnttabQuerySize, status) == 12);
const _: () = assert!(size_of::<GnttabGetVersion>() == 8);
const _: () = assert!(size_of::<SysctlPhysinfo>() == 136);
const _: () = assert!(size_of::<SysctlGetDomainInfoList>() == 136);
const _: () = assert!(offset_of!(SysctlGetDomainInfoList, first_domain) == 8);
const _: () = assert!(offset_of!(SysctlGetDomainInfoList, buffer) == 16);
const _: () = assert!(offset_of!(SysctlGetDomainInfoList, num_domains) == 24);
const _: () = assert!(offset_of!(SysctlPhysinfo, capabilities) == 36);
const _: () = assert!(offset_of!(SysctlPhysinfo, total_pages) == 48);
const _: () = assert!(size_of::<HypfsDirentry>() == 12);

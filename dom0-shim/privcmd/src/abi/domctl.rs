//! `xen/include/public/domctl.h` (and the parts of `arch-x86/xen.h` that it carries).

use std::mem::{offset_of, size_of};

/// `XEN_DOMCTL_pausedomain`
pub const PAUSEDOMAIN: u32 = 3;
/// `XEN_DOMCTL_unpausedomain`
pub const UNPAUSEDOMAIN: u32 = 4;
/// `XEN_DOMCTL_getdomaininfo`
pub const GETDOMAININFO: u32 = 5;
/// `XEN_DOMCTL_shadow_op`
pub const SHADOW_OP: u32 = 10;
/// `XEN_DOMCTL_setvcpucontext`
pub const SETVCPUCONTEXT: u32 = 12;
/// `XEN_DOMCTL_getvcpucontext`
pub const GETVCPUCONTEXT: u32 = 13;
/// `XEN_DOMCTL_scheduler_op`
pub const SCHEDULER_OP: u32 = 16;
/// `XEN_DOMCTL_resumedomain`
pub const RESUMEDOMAIN: u32 = 27;
/// `XEN_DOMCTL_gethvmcontext`
pub const GETHVMCONTEXT: u32 = 33;
/// `XEN_DOMCTL_gettscinfo`
pub const GETTSCINFO: u32 = 59;
/// `XEN_DOMCTL_getpageframeinfo3`
pub const GETPAGEFRAMEINFO3: u32 = 61;
/// `XEN_DOMCTL_get_cpu_policy`
pub const GET_CPU_POLICY: u32 = 82;

/// `XEN_DOMINF_dying`
pub const DOMINF_DYING: u32 = 1 << 0;
/// `XEN_DOMINF_hvm_guest`
pub const DOMINF_HVM_GUEST: u32 = 1 << 1;
/// `XEN_DOMINF_shutdown`
pub const DOMINF_SHUTDOWN: u32 = 1 << 2;
/// `XEN_DOMINF_paused`
pub const DOMINF_PAUSED: u32 = 1 << 3;
/// `XEN_DOMINF_hap`
pub const DOMINF_HAP: u32 = 1 << 8;
/// `XEN_DOMINF_shutdownshift`
pub const DOMINF_SHUTDOWNSHIFT: u32 = 16;
/// `XEN_DOMINF_shutdownmask`
pub const DOMINF_SHUTDOWNMASK: u32 = 255;

/// `XEN_DOMCTL_SHADOW_OP_OFF`
pub const SHADOW_OP_OFF: u32 = 0;
/// `XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY`
pub const SHADOW_OP_ENABLE_LOGDIRTY: u32 = 2;
/// `XEN_DOMCTL_SHADOW_OP_CLEAN`
pub const SHADOW_OP_CLEAN: u32 = 11;
/// `XEN_DOMCTL_SHADOW_OP_PEEK`
pub const SHADOW_OP_PEEK: u32 = 12;
/// `XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL`
pub const SHADOW_LOGDIRTY_FINAL: u32 = 1 << 0;

/// `XEN_SCHEDULER_CREDIT`
pub const SCHEDULER_CREDIT: u32 = 5;
/// `XEN_SCHEDULER_CREDIT2`
pub const SCHEDULER_CREDIT2: u32 = 6;
/// `XEN_DOMCTL_SCHEDOP_putinfo`
pub const SCHEDOP_PUTINFO: u32 = 0;
/// `XEN_DOMCTL_SCHEDOP_getinfo`
pub const SCHEDOP_GETINFO: u32 = 1;
/// A weight that leaves the weight as it is, for both schedulers (`csched2_dom_cntl` and
/// `csched_dom_cntl`).
pub const CREDIT_WEIGHT_UNCHANGED: u16 = 0;

/// `XEN_DOMCTL_PFINFO_XTAB`: no page
pub const PFINFO_XTAB: u32 = 0xf << 28;
/// `XEN_DOMCTL_PFINFO_XALLOC`: allocate-only page
pub const PFINFO_XALLOC: u32 = 0xe << 28;
/// `XEN_DOMCTL_PFINFO_BROKEN`: broken page
pub const PFINFO_BROKEN: u32 = 0xd << 28;
/// `XEN_DOMCTL_PFINFO_LTAB_MASK`
pub const PFINFO_LTAB_MASK: u32 = 0xf << 28;
/// Most frames that one `XEN_DOMCTL_getpageframeinfo3` takes (Xen answers `E2BIG` beyond).
pub const PFINFO_BATCH: usize = 1024;

/// `struct xen_domctl`: the header; the operation's own part is the union, here 128 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Domctl {
    /// `XEN_DOMCTL_*`
    pub cmd: u32,
    /// `XEN_DOMCTL_INTERFACE_VERSION`
    pub interface_version: u32,
    /// The domain; an output of `getdomaininfo`
    pub domain: u16,
    /// Must be zero
    pub pad: [u16; 3],
    /// The operation
    pub u: DomctlOp,
}

/// `union u` of `struct xen_domctl`: the operations that this crate uses. Every member is plain
/// data, valid for any bits.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub union DomctlOp {
    pub getdomaininfo: GetDomainInfo,
    pub getpageframeinfo3: GetPageFrameInfo3,
    pub shadow_op: ShadowOp,
    pub vcpucontext: VcpuContext,
    pub hvmcontext: HvmContext,
    pub tsc_info: TscInfo,
    pub cpu_policy: CpuPolicy,
    pub scheduler_op: SchedulerOp,
    pub pad: [u64; 16],
}

/// `struct xen_domctl_getdomaininfo`, followed by x86's `struct xen_arch_domainconfig`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GetDomainInfo {
    pub domain: u16,
    pub pad1: u16,
    pub flags: u32,
    pub tot_pages: u64,
    pub max_pages: u64,
    pub outstanding_pages: u64,
    pub shr_pages: u64,
    pub paged_pages: u64,
    pub shared_info_frame: u64,
    pub cpu_time: u64,
    pub nr_online_vcpus: u32,
    pub max_vcpu_id: u32,
    pub ssidref: u32,
    pub handle: [u8; 16],
    pub cpupool: u32,
    pub gpaddr_bits: u8,
    pub pad2: [u8; 7],
    pub emulation_flags: u32,
    pub misc_flags: u32,
}

/// `struct xen_domctl_getpageframeinfo3`. Xen moves both fields on when it is preempted.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct GetPageFrameInfo3 {
    pub num: u64,
    pub array: u64,
}

/// `struct xen_domctl_shadow_op`
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct ShadowOp {
    pub op: u32,
    pub mode: u32,
    pub mb: u32,
    pub pad: u32,
    pub dirty_bitmap: u64,
    pub pages: u64,
    pub fault_count: u32,
    pub dirty_count: u32,
}

/// `struct xen_domctl_vcpucontext`
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct VcpuContext {
    pub vcpu: u32,
    pub pad: u32,
    pub ctxt: u64,
}

/// `struct xen_domctl_hvmcontext`
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct HvmContext {
    pub size: u32,
    pub pad: u32,
    pub buffer: u64,
}

/// `struct xen_domctl_tsc_info`
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct TscInfo {
    pub tsc_mode: u32,
    pub gtsc_khz: u32,
    pub incarnation: u32,
    pub pad: u32,
    pub elapsed_nsec: u64,
}

/// `struct xen_domctl_cpu_policy`
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct CpuPolicy {
    pub nr_leaves: u32,
    pub nr_msrs: u32,
    pub leaves: u64,
    pub msrs: u64,
    pub err_leaf: u32,
    pub err_subleaf: u32,
    pub err_msr: u32,
    pub pad: u32,
}

/// `struct xen_domctl_sched_credit` and `struct xen_domctl_sched_credit2`, which are the same
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct SchedCredit {
    pub weight: u16,
    pub cap: u16,
}

/// `struct xen_domctl_scheduler_op` with the member of its union that this crate uses
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are the header's")]
pub struct SchedulerOp {
    pub sched_id: u32,
    pub cmd: u32,
    pub credit: SchedCredit,
    pub pad: [u32; 3],
}

/// Bytes of `xen_cpuid_leaf_t` (`arch-x86/xen.h`): leaf, subleaf, a, b, c, d.
pub const CPUID_LEAF_SIZE: usize = 24;
/// Bytes of `xen_msr_entry_t` (`arch-x86/xen.h`): index, flags, value.
pub const MSR_ENTRY_SIZE: usize = 16;

/// Bytes of x86-64's `struct vcpu_guest_context` (`arch-x86/xen.h`), which is passed through as a
/// blob: the FPU area (512), flags (8), `user_regs` (200), `trap_ctxt` (256 entries of 16), LDT
/// (16), GDT (136), kernel stack (16), `ctrlreg` and `debugreg` (128), callbacks (24), `vm_assist`
/// (8), segment bases (24).
pub const VCPU_GUEST_CONTEXT_SIZE: usize = 512 + 8 + 200 + 256 * 16 + 16 + 136 + 16 + 128 + 24 + 8 + 24;
/// Offset of `user_regs.rax` in it: `user_regs` starts with r15 to r12, rbp, rbx, r11 to r8.
pub const VCPU_GUEST_CONTEXT_RAX: usize = 512 + 8 + 10 * 8;

const _: () = assert!(size_of::<Domctl>() == 144);
const _: () = assert!(offset_of!(Domctl, domain) == 8);
const _: () = assert!(offset_of!(Domctl, u) == 16);
const _: () = assert!(size_of::<DomctlOp>() == 128);
const _: () = assert!(size_of::<GetDomainInfo>() == 112);
const _: () = assert!(offset_of!(GetDomainInfo, tot_pages) == 8);
const _: () = assert!(offset_of!(GetDomainInfo, cpu_time) == 56);
const _: () = assert!(offset_of!(GetDomainInfo, max_vcpu_id) == 68);
const _: () = assert!(offset_of!(GetDomainInfo, handle) == 76);
const _: () = assert!(offset_of!(GetDomainInfo, gpaddr_bits) == 96);
const _: () = assert!(offset_of!(GetDomainInfo, emulation_flags) == 104);
const _: () = assert!(size_of::<GetPageFrameInfo3>() == 16);
const _: () = assert!(size_of::<ShadowOp>() == 40);
const _: () = assert!(offset_of!(ShadowOp, dirty_bitmap) == 16);
const _: () = assert!(offset_of!(ShadowOp, dirty_count) == 36);
const _: () = assert!(size_of::<VcpuContext>() == 16);
const _: () = assert!(size_of::<HvmContext>() == 16);
const _: () = assert!(size_of::<TscInfo>() == 24);
const _: () = assert!(offset_of!(TscInfo, elapsed_nsec) == 16);
const _: () = assert!(size_of::<CpuPolicy>() == 40);
const _: () = assert!(offset_of!(CpuPolicy, err_leaf) == 24);
const _: () = assert!(size_of::<SchedulerOp>() == 24);
const _: () = assert!(offset_of!(SchedulerOp, credit) == 8);
const _: () = assert!(VCPU_GUEST_CONTEXT_SIZE == 5168);
const _: () = assert!(VCPU_GUEST_CONTEXT_RAX == 600);

//! The processor instructions that boot needs, one small function each.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

/// CR4: supervisor-mode execution prevention.
pub(crate) const CR4_SMEP: u64 = 1 << 20;
/// CR4: supervisor-mode access prevention.
pub(crate) const CR4_SMAP: u64 = 1 << 21;
/// The MSR with the no-execute switch.
const EFER: u32 = 0xc000_0080;
/// EFER: no-execute enable.
const EFER_NXE: u32 = 1 << 11;

/// What the processor has of what we want.
pub(crate) struct Features {
    /// Pages can be made non-executable. Without it we don't boot.
    pub(crate) no_execute: bool,
    /// The CR4 bits for SMEP and SMAP that exist here.
    pub(crate) cr4: u64,
}

/// CPUID leaf 0x8000_0001 EDX bit 20: no-execute; leaf 7 EBX bit 7: SMEP, bit 20: SMAP.
pub(crate) fn features() -> Features {
    let has = |leaf: u32| __cpuid_count(leaf & 0x8000_0000, 0).eax >= leaf;
    let no_execute = has(0x8000_0001) && __cpuid_count(0x8000_0001, 0).edx & 1 << 20 != 0;
    let leaf7 = if has(7) { __cpuid_count(7, 0).ebx } else { 0 };
    let smep = if leaf7 & 1 << 7 != 0 { CR4_SMEP } else { 0 };
    let smap = if leaf7 & 1 << 20 != 0 { CR4_SMAP } else { 0 };
    Features { no_execute, cr4: smep | smap }
}

/// The twelve characters of the CPUID vendor string.
pub(crate) fn vendor(leaf: u32) -> [u32; 3] {
    let id = __cpuid_count(leaf, 0);
    [id.ebx, id.ecx, id.edx]
}

/// Writes a byte to an I/O port.
///
/// # Safety
/// The port belongs to a device (or to nothing) for which any byte is harmless to memory.
pub(crate) unsafe fn outb(port: u16, value: u8) {
    // SAFETY: passed on to the caller.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// The address of the last page fault.
pub(crate) fn cr2() -> u64 {
    let value;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Allows the no-execute bit in page tables.
///
/// # Safety
/// The processor has it ([`Features::no_execute`]).
pub(crate) unsafe fn enable_no_execute() {
    // SAFETY: only sets NXE, which changes nothing until a table uses the bit.
    unsafe {
        asm!(
            "rdmsr", "or eax, {nxe}", "wrmsr",
            nxe = const EFER_NXE, in("ecx") EFER, out("eax") _, out("edx") _,
            options(nostack),
        );
    }
}

/// Switches to other page tables.
///
/// # Safety
/// The code, the stack and the data in use are mapped there at the same addresses.
pub(crate) unsafe fn switch_page_tables(root: u64) {
    // SAFETY: passed on to the caller.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Sets bits in CR4.
///
/// # Safety
/// The processor has those features, and they forbid nothing that the running code does.
pub(crate) unsafe fn set_cr4(bits: u64) {
    // SAFETY: passed on to the caller.
    unsafe {
        asm!("mov {t}, cr4", "or {t}, {bits}", "mov cr4, {t}", t = out(reg) _, bits = in(reg) bits, options(nostack))
    }
}

/// Stops the processor for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: interrupts are off anyway; a halted processor does nothing.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

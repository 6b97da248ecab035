//! Exceptions: each of the 32 is reported and crashes the domain. There are no interrupts, so
//! there is nothing to return to, and nothing here ever returns.

use crate::fault::{self, PageFault};
use crate::{cpu, stack, stop};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;

global_asm!(include_str!("vectors.s"), handler = sym report, options(att_syntax));

unsafe extern "C" {
    /// 32 stubs of 16 bytes, in vectors.s.
    static exception_vectors: u8;
}

/// Something that only [`init`], once and before anyone else looks, and the processor write to.
#[repr(C, align(16))]
pub(crate) struct ForProcessor<T>(UnsafeCell<T>);

// SAFETY: one processor, and Rust touches it in `init` only.
unsafe impl<T> Sync for ForProcessor<T> {}

/// Selector of the 64-bit code segment in the GDT.
pub const CODE: u16 = 0x08;
/// Selector of the 32-bit code segment in the GDT, for whoever must leave 64-bit mode for a moment.
pub const CODE32: u16 = 0x28;
/// Selector of the task state segment in [`GDT`].
const TSS_SELECTOR: u16 = 0x18;

/// The segments: null, 64-bit code, data, two slots for the TSS, 32-bit code. entry.s loads it.
pub(crate) static GDT: ForProcessor<[u64; 6]> = ForProcessor(UnsafeCell::new([
    0,
    0x00af_9b00_0000_ffff, // present, code, readable, accessed, 64-bit
    0x00cf_9300_0000_ffff, // present, data, writable, accessed
    0,
    0,
    0x00cf_9b00_0000_ffff, // present, code, readable, accessed, 32-bit
]));

/// The task state segment. Intel SDM volume 3, 8.7: only the interrupt stack table is used.
#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}
const _: () = assert!(size_of::<TaskState>() == 104);
const _: () = assert!(core::mem::offset_of!(TaskState, ist) == 0x24);

static TSS: ForProcessor<TaskState> = ForProcessor(UnsafeCell::new(TaskState {
    reserved0: 0,
    rsp: [0; 3],
    reserved1: 0,
    ist: [0; 7],
    reserved2: 0,
    reserved3: 0,
    io_map: size_of::<TaskState>() as u16,
}));

static IDT: ForProcessor<[[u64; 2]; 32]> = ForProcessor(UnsafeCell::new([[0; 2]; 32]));

/// Operand of LIDT.
#[repr(C, packed)]
struct IdtPointer {
    limit: u16,
    base: u64,
}

/// From here on exceptions are reported.
///
/// # Safety
/// Called once, first of all, on the GDT of this module.
pub(crate) unsafe fn init() {
    // SAFETY: nobody else has touched the three tables yet, and the processor looks at them only
    // after LTR and LIDT.
    unsafe {
        (*TSS.0.get()).ist = [
            stack::EXCEPTION.top(),
            stack::DOUBLE_FAULT.top(),
            stack::PAGE_FAULT.top(),
            stack::NMI.top(),
            0,
            0,
            0,
        ];
        let tss = TSS.0.get() as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        // 0x89: present, 64-bit TSS, available.
        (*GDT.0.get())[3] = limit | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
        (*GDT.0.get())[4] = tss >> 32;
        asm!("ltr {:x}", in(reg) TSS_SELECTOR, options(nostack));

        let vectors = &raw const exception_vectors as u64;
        for (vector, gate) in (0u64..).zip((*IDT.0.get()).iter_mut()) {
            let ist = match vector {
                8 => 2,
                fault::PAGE_FAULT => 3,
                2 | 18 => 4,
                _ => 1,
            };
            let at = vectors + 16 * vector;
            // 0x8e: present, interrupt gate.
            gate[0] =
                at & 0xffff | u64::from(CODE) << 16 | ist << 32 | 0x8e << 40 | (at >> 16 & 0xffff) << 48;
            gate[1] = at >> 32;
        }
        let pointer = IdtPointer { limit: 32 * 16 - 1, base: IDT.0.get() as u64 };
        asm!("lidt [{}]", in(reg) &pointer, options(nostack));
    }
}

/// What vectors.s and the processor left on the stack.
#[repr(C)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}
const _: () = assert!(size_of::<Frame>() == 22 * 8);

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vector, cr2) = (self.vector, cpu::cr2());
        write!(f, "boot: exception {vector}: {}, error code {:#x}", fault::name(vector), self.error)?;
        writeln!(f, ", at rip {:#x}", self.rip)?;
        if vector == fault::PAGE_FAULT {
            let guards = &stack::guards();
            writeln!(f, "boot: {}", PageFault { error: self.error, address: cr2, guards })?;
        }
        let Frame { rip, rsp, rflags, cs, ss, .. } = self;
        writeln!(
            f,
            "rip {rip:#018x} rsp {rsp:#018x} cr2 {cr2:#018x} flags {rflags:#x} cs {cs:#x} ss {ss:#x}"
        )?;
        let Frame { rax, rbx, rcx, rdx, rsi, rdi, .. } = self;
        writeln!(f, "rax {rax:#018x} rbx {rbx:#018x} rcx {rcx:#018x} rdx {rdx:#018x}")?;
        let Frame { rbp, r8, r9, .. } = self;
        writeln!(f, "rsi {rsi:#018x} rdi {rdi:#018x} rbp {rbp:#018x} r8  {r8:#018x}")?;
        let Frame { r10, r11, r12, r13, r14, r15, .. } = self;
        writeln!(f, "r9  {r9:#018x} r10 {r10:#018x} r11 {r11:#018x} r12 {r12:#018x}")?;
        write!(f, "r13 {r13:#018x} r14 {r14:#018x} r15 {r15:#018x}")
    }
}

/// Called by vectors.s on an IST stack.
extern "C" fn report(frame: &Frame) -> ! {
    stop::last_words(format_args!("{frame}"))
}

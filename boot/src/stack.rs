//! The stacks, each with a page under it that is never mapped.

use crate::fault::Guard;
use crate::span::{PAGE, Span};
use core::cell::UnsafeCell;

/// Bytes of the main stack. 64 KiB overflowed once protocol and crypto code was inlined.
pub(crate) const MAIN_SIZE: usize = 256 << 10;
/// Bytes of a stack for exceptions: enough to format a report.
const EXCEPTION_SIZE: usize = 16 << 10;

/// A guard page and, above it, a stack. Zero, so it takes no room in the file.
#[repr(C, align(4096))]
pub(crate) struct Stack<const SIZE: usize> {
    guard: [u8; PAGE as usize],
    bytes: UnsafeCell<[u8; SIZE]>,
}

// SAFETY: Rust never reads or writes `bytes`; only the processor does, through rsp.
unsafe impl<const SIZE: usize> Sync for Stack<SIZE> {}

impl<const SIZE: usize> Stack<SIZE> {
    const fn new() -> Self {
        assert!(SIZE.is_multiple_of(PAGE as usize), "a stack is whole pages");
        Stack { guard: [0; PAGE as usize], bytes: UnsafeCell::new([0; SIZE]) }
    }

    /// The address above the highest byte: where rsp starts.
    pub(crate) fn top(&self) -> u64 {
        self.bytes.get() as u64 + SIZE as u64
    }

    fn guard(&self, stack: &'static str) -> Guard {
        Guard { stack, page: Span::sized(&raw const self.guard as u64, PAGE) }
    }
}

/// The stack of `main`. entry.s starts on it.
pub(crate) static MAIN: Stack<MAIN_SIZE> = Stack::new();
/// Most exceptions.
pub(crate) static EXCEPTION: Stack<EXCEPTION_SIZE> = Stack::new();
/// Double faults, on a stack of their own: the other one may be the reason.
pub(crate) static DOUBLE_FAULT: Stack<EXCEPTION_SIZE> = Stack::new();
/// Page faults, and so stack overflows.
pub(crate) static PAGE_FAULT: Stack<EXCEPTION_SIZE> = Stack::new();
/// Non-maskable interrupts and machine checks, which may come in the middle of another report.
pub(crate) static NMI: Stack<EXCEPTION_SIZE> = Stack::new();

/// All guard pages.
pub(crate) fn guards() -> [Guard; 5] {
    [
        MAIN.guard("main"),
        EXCEPTION.guard("exception"),
        DOUBLE_FAULT.guard("double fault"),
        PAGE_FAULT.guard("page fault"),
        NMI.guard("NMI"),
    ]
}

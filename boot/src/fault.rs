//! How an exception reads: its name, and what it means in plain words. Logic only; `exception.rs`
//! has the part that touches the processor.

use crate::span::{PAGE, Span};
use core::fmt;

/// Vector of the page fault.
pub const PAGE_FAULT: u64 = 14;

/// Bits of a page fault's error code. Intel SDM volume 3, 4.7.
const FAULT_PRESENT: u64 = 1 << 0;
const FAULT_WRITE: u64 = 1 << 1;
const FAULT_FETCH: u64 = 1 << 4;

/// The name of an exception vector.
pub fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        PAGE_FAULT => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        20 => "virtualization exception",
        21 => "control protection exception",
        28 => "hypervisor injection exception",
        29 => "VMM communication exception",
        30 => "security exception",
        _ => "reserved exception",
    }
}

/// The unmapped page under a stack.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Which stack.
    pub stack: &'static str,
    /// The page.
    pub page: Span,
}

/// A page fault in words: `write at 0x1234 to a page that is read-only`.
pub struct PageFault<'a> {
    /// The error code.
    pub error: u64,
    /// The address (CR2).
    pub address: u64,
    /// All guard pages.
    pub guards: &'a [Guard],
}

impl fmt::Display for PageFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        if let Some(guard) = self.guards.iter().find(|guard| guard.page.contains(address)) {
            write!(f, "stack overflow: the {} stack reached its guard page: ", guard.stack)?;
        } else if address < PAGE {
            write!(f, "null pointer: ")?;
        }
        let present = self.error & FAULT_PRESENT != 0;
        if self.error & FAULT_FETCH != 0 {
            let page = if present { "a page that is not executable" } else { "an unmapped page" };
            write!(f, "execution at {address:#x} in {page}")
        } else if self.error & FAULT_WRITE != 0 {
            let page = if present { "a page that is read-only" } else { "an unmapped page" };
            write!(f, "write at {address:#x} to {page}")
        } else {
            let page = if present { "a page that forbids it" } else { "an unmapped page" };
            write!(f, "read at {address:#x} from {page}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARDS: [Guard; 1] = [Guard { stack: "main", page: Span::new(0x20_0000, 0x20_1000) }];

    fn words(error: u64, address: u64) -> String {
        PageFault { error, address, guards: &GUARDS }.to_string()
    }

    #[test]
    fn page_faults_read_as_sentences() {
        assert_eq!(words(3, 0x10_0000), "write at 0x100000 to a page that is read-only");
        assert_eq!(words(0x11, 0x15_0000), "execution at 0x150000 in a page that is not executable");
        assert_eq!(words(0x10, 0x9000_0000), "execution at 0x90000000 in an unmapped page");
        assert_eq!(words(0, 0x8), "null pointer: read at 0x8 from an unmapped page");
        assert_eq!(words(2, 0x4000_0000), "write at 0x40000000 to an unmapped page");
    }

    #[test]
    fn a_fault_in_a_guard_page_is_a_stack_overflow() {
        let overflow = "stack overflow: the main stack reached its guard page: ";
        assert!(words(2, 0x20_0000).starts_with(overflow));
        assert!(words(0, 0x20_0fff).starts_with(overflow));
        assert!(!words(2, 0x20_1000).contains("overflow"));
        assert!(!words(2, 0x1f_ffff).contains("overflow"));
    }
}

//! From power-on to `main`, for an image that runs as a PVH guest of Xen (4.17 and 4.20 were seen)
//! or directly in QEMU.
//!
//! What a `main` can rely on: 64-bit mode on one processor; interrupts off, for ever; the image
//! mapped W^X in pages of 4 KiB; all other RAM mapped one to one, readable and writable, never
//! executable; page 0 and a guard page under every stack unmapped; every exception reported and
//! answered with a crash of the domain, never with a silent reboot.
//!
//! What this crate must never do: switch interrupts on, allocate, know devices, or know more of
//! Xen than the start info and the one hypercall that ends a domain.
//!
//! | module | what for |
//! | --- | --- |
//! | `entry`, `entry.s` | the first instructions, and the order of the steps up to `main` |
//! | [`start_info`] | what the domain builder hands over, checked |
//! | [`memory`], [`span`] | which RAM is free, what gets mapped |
//! | [`paging`] | the page tables |
//! | [`fault`], `exception`, `vectors.s` | exceptions and how they read |
//! | [`mem`] | memcpy and its family |
//! | `console`, `stop`, `panic` | last words, and the end |
//!
//! Modules without a link emit symbols or touch the processor: they exist only with the feature
//! `kernel`, so that the host can build and test the rest.
//!
//! # An image
//! ```text
//! // main.rs                                      // build.rs
//! #![no_std]                                      for arg in env::var("DEP_LUTHIER_BOOT_LINK_ARGS")?.split(';') {
//! #![no_main]                                         println!("cargo::rustc-link-arg-bins={arg}");
//! boot::entry!(main);                             }
//! fn main(info: &'static boot::BootInfo) -> ! { boot::poweroff() }
//! ```
//!
//! # Proof
//! `cargo test -p boot` tests the logic on the host and boots `src/bin/selftest.rs` in QEMU, where
//! it breaks each promise on purpose; `tests/selftest-xen.sh` does the same as a guest of Xen.
#![cfg_attr(not(test), no_std)]

pub mod fault;
pub mod mem;
pub mod memory;
pub mod paging;
pub mod span;
pub mod start_info;

#[cfg(feature = "kernel")]
mod console;
#[cfg(feature = "kernel")]
mod cpu;
#[cfg(feature = "kernel")]
mod entry;
#[cfg(feature = "kernel")]
mod exception;
#[cfg(feature = "kernel")]
mod panic;
#[cfg(feature = "kernel")]
mod stack;
#[cfg(feature = "kernel")]
mod stop;
#[cfg(feature = "kernel")]
mod symbols;

pub use memory::{BootInfo, MemoryKind, MemoryRegion};
pub use span::{Span, SpanSet};

#[cfg(feature = "kernel")]
pub use console::{Console, set_console};
#[cfg(feature = "kernel")]
pub use exception::{CODE, CODE32};
#[cfg(feature = "kernel")]
pub use stop::{crash, poweroff};

/// Names the image's `main`: a `fn(&'static boot::BootInfo) -> !`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn __boot_main(info: &'static $crate::BootInfo) -> ! {
            let main: fn(&'static $crate::BootInfo) -> ! = $main;
            main(info)
        }
    };
}

/// Prints a line on boot's console (port 0xe9, and the hook when there is one).
#[cfg(feature = "kernel")]
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        // The console never fails.
        let _ = writeln!($crate::Console, $($arg)*);
    }};
}

//! The C names that compiled Rust expects to find at link time.

use crate::mem;

/// # Safety
/// As in C: `from` readable and `to` writable for `n` bytes, not overlapping.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: passed on to the caller.
    unsafe { mem::copy(to, from, n) };
    to
}

/// # Safety
/// As in C: `from` readable and `to` writable for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: passed on to the caller.
    unsafe { mem::copy_overlapping(to, from, n) };
    to
}

/// # Safety
/// As in C: `to` writable for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: passed on to the caller.
    unsafe { mem::fill(to, byte as u8, n) };
    to
}

/// # Safety
/// As in C: `a` and `b` readable for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: passed on to the caller.
    unsafe { mem::compare(a, b, n) }
}

/// # Safety
/// As in C: `a` and `b` readable for `n` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: passed on to the caller.
    unsafe { mem::compare(a, b, n) }
}

/// # Safety
/// As in C: `text` ends with a zero byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    // SAFETY: passed on to the caller.
    unsafe { mem::length(text) }
}

/// The precompiled `core` and `alloc` were built to unwind and refer to this; we never do.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("_Unwind_Resume was called, but this image does not unwind")
}

/// As [`_Unwind_Resume`].
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    panic!("rust_eh_personality was called, but this image does not unwind")
}

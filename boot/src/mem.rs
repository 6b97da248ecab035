//! memcpy and its family, with SSE.
//!
//! The compiler calls these by their C names (`symbols.rs` gives them those); here they have names
//! of their own, so that the host can test them. String instructions are avoided on purpose: an
//! emulated processor needs ten times as long for `rep movsb` as for 16-byte moves.
//!
//! Nothing here may call what it implements. LLVM likes to recognise a loop that copies and to put
//! a call to memcpy in its place, so the loops over blocks are inline assembly. And unoptimised
//! code moves an array by calling memcpy, so values here are named one by one.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
    _mm_storeu_si128,
};

/// Bytes in one round of a block loop: four SSE registers.
const BLOCK: usize = 64;

/// Loads 16 bytes.
///
/// # Safety
/// `at` is readable for 16 bytes.
#[inline(always)]
unsafe fn load(at: *const u8) -> __m128i {
    // SAFETY: passed on to the caller.
    unsafe { _mm_loadu_si128(at.cast()) }
}

/// Stores 16 bytes.
///
/// # Safety
/// `at` is writable for 16 bytes.
#[inline(always)]
unsafe fn store(at: *mut u8, value: __m128i) {
    // SAFETY: passed on to the caller.
    unsafe { _mm_storeu_si128(at.cast(), value) }
}

/// Copies up to 64 bytes that may overlap: every byte is read before one is written.
///
/// # Safety
/// `n <= 64`; `from` is readable and `to` writable for `n` bytes.
#[inline(always)]
unsafe fn copy_small(to: *mut u8, from: *const u8, n: usize) {
    /// Two values of type `$t` cover everything: one from the start, one up to the end.
    macro_rules! both_ends {
        ($t:ty) => {{
            let last = n - size_of::<$t>();
            let head = from.cast::<$t>().read_unaligned();
            let tail = from.add(last).cast::<$t>().read_unaligned();
            to.cast::<$t>().write_unaligned(head);
            to.add(last).cast::<$t>().write_unaligned(tail);
        }};
    }
    // SAFETY: each branch reads and writes only within the first `n` bytes.
    unsafe {
        match n {
            33.. => {
                let (head_0, head_1) = (load(from), load(from.add(16)));
                let (tail_0, tail_1) = (load(from.add(n - 32)), load(from.add(n - 16)));
                store(to, head_0);
                store(to.add(16), head_1);
                store(to.add(n - 32), tail_0);
                store(to.add(n - 16), tail_1);
            }
            16.. => both_ends!(__m128i),
            8.. => both_ends!(u64),
            4.. => both_ends!(u32),
            2.. => both_ends!(u16),
            1 => *to = *from,
            0 => {}
        }
    }
}

/// Copies from low to high addresses: right when `to` is below `from` or they don't overlap.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes; if they overlap, `to <= from`.
#[inline(always)]
unsafe fn copy_up(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: `blocks * 64 < n`; the tail is the last 64 bytes of `n > 64`. It is loaded first,
    // since the loop may overwrite it where the two overlap. Within the loop a block is read
    // before it is written, and what is written lies below what is still to be read.
    unsafe {
        if n <= BLOCK {
            return copy_small(to, from, n);
        }
        let last = n - BLOCK;
        let tail_0 = load(from.add(last));
        let tail_1 = load(from.add(last + 16));
        let tail_2 = load(from.add(last + 32));
        let tail_3 = load(from.add(last + 48));
        asm!(
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "dec {blocks}",
            "jnz 2b",
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            blocks = inout(reg) (n - 1) / BLOCK => _,
            options(nostack),
        );
        store(to.add(last), tail_0);
        store(to.add(last + 16), tail_1);
        store(to.add(last + 32), tail_2);
        store(to.add(last + 48), tail_3);
    }
}

/// Copies from high to low addresses: right when `to` is above `from`.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes; if they overlap, `to >= from`.
#[inline(always)]
unsafe fn copy_down(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: as in `copy_up`, from the other end: here the first 64 bytes are kept.
    unsafe {
        if n <= BLOCK {
            return copy_small(to, from, n);
        }
        let head_0 = load(from);
        let head_1 = load(from.add(16));
        let head_2 = load(from.add(32));
        let head_3 = load(from.add(48));
        asm!(
            "2:",
            "movups {a}, [{from} - 16]",
            "movups {b}, [{from} - 32]",
            "movups {c}, [{from} - 48]",
            "movups {d}, [{from} - 64]",
            "movups [{to} - 16], {a}",
            "movups [{to} - 32], {b}",
            "movups [{to} - 48], {c}",
            "movups [{to} - 64], {d}",
            "sub {from}, 64",
            "sub {to}, 64",
            "dec {blocks}",
            "jnz 2b",
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            from = inout(reg) from.add(n) => _,
            to = inout(reg) to.add(n) => _,
            blocks = inout(reg) (n - 1) / BLOCK => _,
            options(nostack),
        );
        store(to, head_0);
        store(to.add(16), head_1);
        store(to.add(32), head_2);
        store(to.add(48), head_3);
    }
}

/// `memcpy`.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes; they don't overlap.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: passed on to the caller.
    unsafe { copy_up(to, from, n) }
}

/// `memmove`.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes; they may overlap.
#[inline(always)]
pub unsafe fn copy_overlapping(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: downwards only when `to` lies inside of `from..from + n`.
    unsafe {
        if to.addr().wrapping_sub(from.addr()) < n { copy_down(to, from, n) } else { copy_up(to, from, n) }
    }
}

/// `memset`.
///
/// # Safety
/// `to` is writable for `n` bytes.
#[inline(always)]
pub unsafe fn fill(to: *mut u8, byte: u8, n: usize) {
    /// Two values of type `$t` cover everything.
    macro_rules! both_ends {
        ($value:expr, $t:ty) => {{
            let value: $t = $value;
            to.cast::<$t>().write_unaligned(value);
            to.add(n - size_of::<$t>()).cast::<$t>().write_unaligned(value);
        }};
    }
    let words = u64::from(byte) * 0x0101_0101_0101_0101;
    // SAFETY: each branch writes only within the first `n` bytes; in the last one
    // `blocks * 64 < n`, and the rest is covered by the last 64 bytes.
    unsafe {
        let wide = _mm_set1_epi8(byte as i8);
        match n {
            0 => {}
            1 => *to = byte,
            2..4 => both_ends!(words as u16, u16),
            4..8 => both_ends!(words as u32, u32),
            8..16 => both_ends!(words, u64),
            16..=32 => both_ends!(wide, __m128i),
            33..=BLOCK => {
                store(to, wide);
                store(to.add(16), wide);
                store(to.add(n - 32), wide);
                store(to.add(n - 16), wide);
            }
            _ => {
                asm!(
                    "2:",
                    "movups [{to}], {wide}",
                    "movups [{to} + 16], {wide}",
                    "movups [{to} + 32], {wide}",
                    "movups [{to} + 48], {wide}",
                    "add {to}, 64",
                    "dec {blocks}",
                    "jnz 2b",
                    wide = in(xmm_reg) wide,
                    to = inout(reg) to => _,
                    blocks = inout(reg) (n - 1) / BLOCK => _,
                    options(nostack),
                );
                let last = to.add(n - BLOCK);
                store(last, wide);
                store(last.add(16), wide);
                store(last.add(32), wide);
                store(last.add(48), wide);
            }
        }
    }
}

/// `memcmp`: negative, zero or positive as the first byte that differs says.
///
/// # Safety
/// `a` and `b` are readable for `n` bytes.
#[inline(always)]
pub unsafe fn compare(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: every read is within the first `n` bytes.
    unsafe {
        let mut at = 0;
        // Blocks of 64 as long as they are equal.
        while n - at >= BLOCK {
            let equal = |i| _mm_cmpeq_epi8(load(a.add(at + i)), load(b.add(at + i)));
            let low = _mm_and_si128(equal(0), equal(16));
            let high = _mm_and_si128(equal(32), equal(48));
            if _mm_movemask_epi8(_mm_and_si128(low, high)) != 0xffff {
                break;
            }
            at += BLOCK;
        }
        // Sixteen at a time: the rest, or the block that differs.
        while n - at >= 16 {
            let equal = _mm_movemask_epi8(_mm_cmpeq_epi8(load(a.add(at)), load(b.add(at))));
            if equal != 0xffff {
                at += equal.trailing_ones() as usize;
                return i32::from(*a.add(at)) - i32::from(*b.add(at));
            }
            at += 16;
        }
        while at < n {
            let (x, y) = (*a.add(at), *b.add(at));
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            at += 1;
        }
        0
    }
}

/// `strlen`.
///
/// # Safety
/// `text` is readable up to its first zero byte.
#[inline(always)]
pub unsafe fn length(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: passed on to the caller. Volatile, or LLVM makes a call to strlen of this.
    while unsafe { text.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in which every position within 251 is different.
    fn pattern(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i % 251) as u8 + 1).collect()
    }

    /// Every size around the borders between the branches, and some pages.
    fn sizes() -> impl Iterator<Item = usize> {
        (0..300).chain([511, 512, 513, 4095, 4096, 4097, 12288])
    }

    #[test]
    fn copy_copies_exactly_n_bytes_at_any_alignment() {
        for n in sizes() {
            for (to_at, from_at) in [(0, 0), (1, 0), (0, 1), (7, 9), (16, 15)] {
                let from = pattern(n + 32);
                let mut to = vec![0u8; n + 48];
                // SAFETY: both are longer than their offset and `n`.
                unsafe { copy(to.as_mut_ptr().add(to_at), from.as_ptr().add(from_at), n) };
                assert_eq!(to[to_at..to_at + n], from[from_at..from_at + n]);
                assert!(to[..to_at].iter().chain(&to[to_at + n..]).all(|b| *b == 0), "n = {n}");
            }
        }
    }

    #[test]
    fn overlapping_copies_agree_with_the_library() {
        for n in sizes() {
            for (to, from) in
                [(0, 1), (1, 0), (0, 15), (15, 0), (0, 63), (64, 0), (65, 1), (3, 3), (0, 200), (199, 0)]
            {
                let mut ours = pattern(n + 256);
                let mut model = ours.clone();
                model.copy_within(from..from + n, to);
                let base = ours.as_mut_ptr();
                // SAFETY: both offsets and `n` stay within the vector.
                unsafe { copy_overlapping(base.add(to), base.add(from), n) };
                assert!(ours == model, "n = {n}, from {from} to {to}");
            }
        }
    }

    #[test]
    fn fill_fills_exactly_n_bytes() {
        for n in sizes() {
            for at in [0, 1, 13] {
                let mut ours = pattern(n + 32);
                let mut model = ours.clone();
                model[at..at + n].fill(0xa5);
                // SAFETY: the vector is longer than `at + n`.
                unsafe { fill(ours.as_mut_ptr().add(at), 0xa5, n) };
                assert!(ours == model, "n = {n} at {at}");
            }
        }
    }

    #[test]
    fn compare_finds_the_first_difference_and_its_sign() {
        for n in sizes() {
            let a = pattern(n + 16);
            let mut b = a.clone();
            b[n] ^= 0xff;
            // SAFETY: here and below, both are longer than `n`.
            assert_eq!(unsafe { compare(a.as_ptr(), b.as_ptr(), n) }, 0, "beyond n = {n}");
            for at in (0..n).step_by(1 + n / 40) {
                let mut b = a.clone();
                b[at] = 0xff;
                b[n - 1] = 0;
                let model = a[..n].cmp(&b[..n]) as i32;
                // SAFETY: as above.
                let (there, back) =
                    unsafe { (compare(a.as_ptr(), b.as_ptr(), n), compare(b.as_ptr(), a.as_ptr(), n)) };
                assert_eq!((there.signum(), back.signum()), (model, -model), "n = {n}, at {at}");
            }
        }
    }

    #[test]
    fn length_counts_up_to_the_first_zero() {
        // SAFETY: both end with a zero.
        unsafe {
            assert_eq!(length(c"".as_ptr().cast()), 0);
            assert_eq!(length(c"pool=8".as_ptr().cast()), 6);
        }
    }
}

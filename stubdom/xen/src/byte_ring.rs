//! Index arithmetic and copying of byte rings: console, xenstore and vchan are all alike.
//!
//! Indices run freely modulo 2^32; a ring's size is a power of two. The other side's index is an
//! allegation: it goes through [`used`] before anything is done with it.

/// Bytes in a ring of `size`, or `None` if there can't be that many.
pub const fn used(prod: u32, cons: u32, size: u32) -> Option<u32> {
    let count = prod.wrapping_sub(cons);
    if count <= size { Some(count) } else { None }
}

/// Bytes that fit into a ring of `size`, or `None` if the indices are impossible.
pub const fn space(prod: u32, cons: u32, size: u32) -> Option<u32> {
    match used(prod, cons, size) {
        Some(count) => Some(size - count),
        None => None,
    }
}

/// Where `len` bytes from `index` on lie: offset and length of the part before the ring's end,
/// and length of the part from its start. `len` beyond `size` is cut.
pub const fn spans(index: u32, len: u32, size: u32) -> (usize, usize, usize) {
    let len = if len > size { size } else { len };
    let offset = index & (size - 1);
    let before = size - offset;
    if len <= before {
        (offset as usize, len as usize, 0)
    } else {
        (offset as usize, before as usize, (len - before) as usize)
    }
}

/// Copies `bytes` into the ring from `index` on.
///
/// # Safety
/// `ring` is valid for writes of `size` bytes (a power of two), and `bytes` is no longer than
/// that. The other side may read or write there at the same time: it gets what it gets.
pub unsafe fn copy_in(ring: *mut u8, size: u32, index: u32, bytes: &[u8]) {
    debug_assert!(bytes.len() <= size as usize);
    let (offset, first, second) = spans(index, bytes.len() as u32, size);
    // SAFETY: `spans` stays within the ring, and within `bytes` since first + second <= len.
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), ring.add(offset), first);
        core::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), ring, second);
    }
}

/// Copies from the ring, from `index` on, until `bytes` is full.
///
/// # Safety
/// `ring` is valid for reads of `size` bytes (a power of two), and `bytes` is no longer than
/// that. The other side may write there at the same time: what arrives is an allegation.
pub unsafe fn copy_out(ring: *const u8, size: u32, index: u32, bytes: &mut [u8]) {
    debug_assert!(bytes.len() <= size as usize);
    let (offset, first, second) = spans(index, bytes.len() as u32, size);
    // SAFETY: `spans` stays within the ring, and within `bytes` since first + second <= len.
    unsafe {
        core::ptr::copy_nonoverlapping(ring.add(offset), bytes.as_mut_ptr(), first);
        core::ptr::copy_nonoverlapping(ring, bytes.as_mut_ptr().add(first), second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_wrap_around_two_to_the_32() {
        assert_eq!(used(3, u32::MAX - 1, 16), Some(5));
        assert_eq!(space(3, u32::MAX - 1, 16), Some(11));
    }

    #[test]
    fn more_bytes_than_the_ring_has_are_impossible() {
        assert_eq!(used(17, 0, 16), None);
        assert_eq!(used(0, 1, 16), None);
        assert_eq!(space(0, 1, 16), None);
        assert_eq!(used(16, 0, 16), Some(16));
    }

    #[test]
    fn a_span_is_cut_at_the_end_of_the_ring() {
        assert_eq!(spans(14, 5, 16), (14, 2, 3));
        assert_eq!(spans(16, 16, 16), (0, 16, 0));
        assert_eq!(spans(u32::MAX, 2, 16), (15, 1, 1));
        assert_eq!(spans(1, 99, 16), (1, 15, 1));
    }

    #[test]
    fn what_is_copied_in_comes_out_whatever_the_index() {
        let mut ring = [0u8; 16];
        for index in [0, 7, 15, u32::MAX - 3] {
            let bytes: [u8; 11] = core::array::from_fn(|i| (i as u8).wrapping_add(index as u8));
            let mut back = [0; 11];
            // SAFETY: the ring has 16 bytes.
            unsafe {
                copy_in(ring.as_mut_ptr(), 16, index, &bytes);
                copy_out(ring.as_ptr(), 16, index, &mut back);
            }
            assert_eq!(back, bytes);
        }
    }
}

//! Runs of what is equal and what has changed between two versions of a page.
//!
//! Compared by words of 8 bytes; the ends of a run of changes are exact to the byte. A run ends at
//! the first word that is equal: less would not pay for the two numbers of the next run.

use super::{BLOCK_SIZE, CodecError, Page};
use crate::PAGE_SIZE;

const WORD: usize = 8;

/// Flag: the blocks with changes enter the cache.
pub(super) const LEARN: u8 = 1;

/// Flag: the runs are one LZ4 block.
pub(super) const PACKED: u8 = 2;

/// A delta of this many bytes or more is not sent: three quarters of a page. CloudNet has a
/// threshold and does not say which.
pub(super) const THRESHOLD: usize = PAGE_SIZE / 4 * 3;

/// Writes the runs of `page` against `base` and returns their length. `None` if they take [`THRESHOLD`] or more.
pub(super) fn runs(base: &Page, page: &Page, out: &mut Page) -> Option<(usize, Touched)> {
    let (old, _) = base.as_chunks::<WORD>();
    let (new, _) = page.as_chunks::<WORD>();
    let differs = |at: usize| match (old.get(at), new.get(at)) {
        (Some(old), Some(new)) => u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new),
        _ => 0,
    };
    let words = PAGE_SIZE / WORD;
    let mut touched = Touched::default();
    let (mut len, mut done, mut at) = (0, 0, 0);
    while at < words {
        let first = differs(at);
        if first == 0 {
            at += 1;
            continue;
        }
        let start = at * WORD + first.trailing_zeros() as usize / 8;
        let mut last = first;
        at += 1;
        while at < words {
            let next = differs(at);
            if next == 0 {
                break;
            }
            last = next;
            at += 1;
        }
        let end = at * WORD - last.leading_zeros() as usize / 8;
        len = put_varint(out, len, start - done)?;
        len = put_varint(out, len, end - start)?;
        let changed = page.get(start..end)?;
        if len + changed.len() >= THRESHOLD {
            return None;
        }
        out.get_mut(len..len + changed.len())?.copy_from_slice(changed);
        len += changed.len();
        touched.add(start, end);
        done = end;
    }
    Some((len, touched))
}

/// Changes `page`, which is the base, by the runs in `bytes`.
pub(super) fn apply(mut bytes: &[u8], page: &mut Page) -> Result<Touched, CodecError> {
    let mut touched = Touched::default();
    let mut at = 0;
    while !bytes.is_empty() {
        let start = at + take_varint(&mut bytes)?;
        let len = take_varint(&mut bytes)?;
        let end = start + len;
        let (changed, rest) = bytes.split_at_checked(len).ok_or(CodecError::Delta)?;
        if len == 0 {
            return Err(CodecError::Delta);
        }
        page.get_mut(start..end).ok_or(CodecError::Delta)?.copy_from_slice(changed);
        touched.add(start, end);
        (at, bytes) = (end, rest);
    }
    Ok(touched)
}

/// The blocks that have changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched(u8);

impl Touched {
    /// The bytes from `start` up to `end`, which is larger.
    fn add(&mut self, start: usize, end: usize) {
        for block in start / BLOCK_SIZE..end.div_ceil(BLOCK_SIZE).min(super::BLOCKS) {
            self.0 |= 1 << block;
        }
    }

    pub(super) fn has(self, block: usize) -> bool {
        self.0 >> block & 1 == 1
    }
}

/// Puts a number below 2^14.
fn put_varint(out: &mut Page, at: usize, number: usize) -> Option<usize> {
    if number < 0x80 {
        *out.get_mut(at)? = number as u8;
        return Some(at + 1);
    }
    out.get_mut(at..at + 2)?.copy_from_slice(&[number as u8 | 0x80, (number >> 7) as u8]);
    Some(at + 2)
}

/// Takes a number below 2^15.
fn take_varint(bytes: &mut &[u8]) -> Result<usize, CodecError> {
    let (number, rest) = match **bytes {
        [low, ref rest @ ..] if low < 0x80 => (usize::from(low), rest),
        [low, high, ref rest @ ..] => (usize::from(low & 0x7f) | usize::from(high) << 7, rest),
        _ => return Err(CodecError::Delta),
    };
    *bytes = rest;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs of a page against zeroes of which so many bytes from each place have changed.
    fn changed(places: &[(usize, usize)]) -> Option<(usize, Touched)> {
        let base = [0; PAGE_SIZE];
        let mut page = base;
        places.iter().for_each(|(at, len)| page[*at..at + len].fill(9));
        let mut out = [0xee; PAGE_SIZE];
        let (len, touched) = runs(&base, &page, &mut out)?;
        let mut again = base;
        assert_eq!(apply(&out[..len], &mut again), Ok(touched));
        assert!(again == page, "{places:?}");
        Some((len, touched))
    }

    #[test]
    fn a_page_that_has_not_changed_has_no_runs() {
        assert_eq!(changed(&[]), Some((0, Touched(0))));
    }

    #[test]
    fn a_run_is_exact_to_the_byte_at_every_place() {
        for at in 0..PAGE_SIZE {
            for len in [1, 2, 7, 8, 9, 200] {
                let len = len.min(PAGE_SIZE - at);
                let numbers = if at < 0x80 { 1 } else { 2 } + if len < 0x80 { 1 } else { 2 };
                assert_eq!(changed(&[(at, len)]).unwrap().0, numbers + len, "{at} {len}");
            }
        }
    }

    #[test]
    fn a_word_that_is_equal_ends_a_run_and_less_does_not() {
        assert_eq!(changed(&[(0, 8), (16, 8)]).unwrap().0, 2 + 8 + 2 + 8);
        assert_eq!(changed(&[(0, 1), (15, 1)]).unwrap().0, 2 + 16);
        assert_eq!(changed(&[(0, 7), (16, 1)]).unwrap().0, 2 + 7 + 2 + 1);
    }

    #[test]
    fn three_quarters_of_a_page_are_too_much() {
        let most = THRESHOLD - 1 - 3;
        assert_eq!(changed(&[(0, most)]).unwrap().0, THRESHOLD - 1);
        assert_eq!(changed(&[(0, most + 1)]), None);
        assert_eq!(changed(&[(0, PAGE_SIZE)]), None);
    }

    #[test]
    fn the_blocks_that_changed_are_known() {
        assert_eq!(changed(&[(1023, 1)]).unwrap().1, Touched(0b0001));
        assert_eq!(changed(&[(1023, 2)]).unwrap().1, Touched(0b0011));
        assert_eq!(changed(&[(0, 1), (4095, 1)]).unwrap().1, Touched(0b1001));
        assert_eq!(changed(&[(1000, 2100)]).unwrap().1, Touched(0b1111));
    }
}

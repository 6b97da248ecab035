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

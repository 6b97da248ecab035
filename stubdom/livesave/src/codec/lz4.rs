//! LZ4 blocks (`lz4_flex`, safe code, no allocation per call).
//!
//! The table of the compressor is kept between calls and cleared by each: 8 KiB. The safe variant
//! of the decompressor checks every length and offset against the buffers.

use alloc::vec::Vec;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::config::{NoMemory, zeroes};
use super::{CodecError, Page};
use crate::PAGE_SIZE;

/// A compressor of up to a page at a time.
pub struct Lz4 {
    /// One table; in a vector because that can be had fallibly.
    table: Vec<CompressTable>,
    /// The compressor wants room for its worst case.
    scratch: Vec<u8>,
}

impl Lz4 {
    /// Bytes of heap that it takes.
    pub const BYTES: usize = size_of::<CompressTable>() + get_maximum_output_size(PAGE_SIZE);

    /// Takes its memory.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        let mut table = Vec::new();
        table.try_reserve_exact(1).map_err(|_| NoMemory)?;
        table.push(CompressTable::default());
        Ok(Self { table, scratch: zeroes(get_maximum_output_size(PAGE_SIZE))? })
    }

    /// Compresses at most a page. `None` unless that takes less than `limit` bytes.
    pub fn compress(&mut self, bytes: &[u8], limit: usize) -> Option<&[u8]> {
        if bytes.len() > PAGE_SIZE {
            return None;
        }
        let len = compress_into_with_table(bytes, &mut self.scratch, self.table.first_mut()?).ok()?;
        if len < limit { self.scratch.get(..len) } else { None }
    }

    /// Compresses a page. `None` unless it becomes smaller.
    pub fn compress_page(&mut self, page: &Page) -> Option<&[u8]> {
        self.compress(page, PAGE_SIZE)
    }
}

/// Decompresses what must give exactly as many bytes as `out` has. On an error `out` may be partly
/// written to.
///
/// # Errors
/// [`CodecError::Lz4`]: damaged, or of another length.
pub fn decompress(bytes: &[u8], out: &mut [u8]) -> Result<(), CodecError> {
    match decompress_into(bytes, out) {
        Ok(len) if len == out.len() => Ok(()),
        _ => Err(CodecError::Lz4),
    }
}

/// Decompresses what must give at most a page. Returns how many bytes.
pub(super) fn decompress_up_to(bytes: &[u8], out: &mut Page) -> Result<usize, CodecError> {
    decompress_into(bytes, out).map_err(|_| CodecError::Lz4)
}

/// Decompresses a page.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_page(bytes: &[u8], out: &mut Page) -> Result<(), CodecError> {
    decompress(bytes, out)
}

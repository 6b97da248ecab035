//! Pages at rest as LZ4 blocks, by the same code as the stub's.

use std::fmt;

use livesave::codec::lz4::{self, Lz4};

use crate::{PAGE_SIZE, Page};

/// Longest record: a page that does not get shorter is stored as it is.
pub(crate) const MAX_RECORD: usize = PAGE_SIZE - 1;

/// Longest record that is worth its own coding and decoding: it saves an eighth of a page.
const WORTH: usize = PAGE_SIZE - PAGE_SIZE / 8;

/// Codes pages.
pub(crate) struct Coder(Lz4);

impl Coder {
    /// `None` when there is no memory for it.
    pub(crate) fn new() -> Option<Coder> {
        Lz4::new().ok().map(Coder)
    }

    /// The record of a page; `None` if it isn't worth it.
    pub(crate) fn code(&mut self, page: &Page) -> Option<&[u8]> {
        self.0.compress(page, WORTH + 1)
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coder")
    }
}

/// Decodes a record. False if it isn't one of exactly a page; `page` is then undefined, and nothing
/// was written beyond it.
pub(crate) fn decode(record: &[u8], page: &mut Page) -> bool {
    lz4::decompress_page(record, page).is_ok()
}

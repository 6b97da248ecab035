//! Codecs of pages on their way to the image: what CloudNet (IV-B and V-C) does for memory, with
//! LZ4 for the rest.
//!
//! | coding | a page becomes | from |
//! | --- | --- | --- |
//! | zero | nothing | |
//! | [`Coding::Delta`] | its difference to what was sent last for its slot | CloudNet "page deltas"; QEMU's XBZRLE |
//! | [`Coding::Blocks`] | four blocks of 1 KiB, those sent before as their number in a cache | CloudNet "content-based redundancy" |
//! | [`Coding::Lz4`] | an LZ4 block | |
//!
//! An [`Encoder`] in the stub and a [`Decoder`] in the shim go in lock step: each page is encoded,
//! sent and decoded once, in the same order, and both begin anew together (`reset`). Every page
//! travels with its checksum, so that ends which went apart are noticed with the next page.
//!
//! What this module must never do: make a page larger than it is, allocate after construction,
//! read a clock of its own, panic on whatever bytes are to be decoded, or let a hash decide alone
//! that two blocks are equal.
//!
//! # Where this differs from the paper
//! - CloudNet looks for a block first and then for a delta, in one FIFO cache. Pre-copy comes to
//!   the dirty pages in the same order in each round, so that a FIFO cache smaller than what is
//!   dirty in a round has never kept what is asked for. Blocks have their FIFO here; what was sent
//!   for a slot is in a store of the sender's own which protects the pages that it has
//!   (`store`). The receiver needs no such store: its base is its own copy of the slot.
//! - The delta comes first: comparing with one page costs less than hashing four blocks.
//! - A run of a delta carries the new bytes, not their XOR: the same length, and LZ4 can pack it.

mod auto;
mod cache;
mod config;
mod decoder;
mod delta;
mod encoder;
pub mod lz4;
mod stats;
mod store;
#[cfg(test)]
mod tests;

pub use cache::{BlockHash, Xxh3};
pub use config::{CodecConfig, HeapPage, NoMemory, PageMemory};
pub use decoder::{CodecError, Decoder};
pub use encoder::Encoder;
pub use stats::{Stats, Tally};

use crate::PAGE_SIZE;

/// A page's bytes.
pub type Page = [u8; PAGE_SIZE];

/// Bytes in a block.
pub const BLOCK_SIZE: usize = 1024;

/// Blocks in a page: CloudNet's choice, a good trade of what is found against what it costs.
pub const BLOCKS: usize = PAGE_SIZE / BLOCK_SIZE;

/// A block's bytes.
pub type Block = [u8; BLOCK_SIZE];

/// What the bytes of a coded page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// An LZ4 block that gives 4096 bytes. Stands alone.
    Lz4,
    /// The difference to what the receiver has in this slot:
    /// `flags: u8`, then runs: `equal: varint, changed: varint, changed bytes`. The rest of the page is
    /// equal. Flag 1: the blocks with changes enter the cache. Flag 2: the runs are one LZ4 block.
    /// A varint is one byte, or two if the first has bit 7 set; low bits first.
    Delta,
    /// `kinds: u8`, two bits a block, lowest first; then the numbers of the known blocks (u32,
    /// little endian), then the new blocks, then an LZ4 block with the packed ones. Kind 0: zero,
    /// 1: known, 2: new, 3: new and packed. New blocks enter the cache. If there are 4096 bytes,
    /// they are the page itself: four new blocks.
    Blocks,
}

/// What became of a page. Bytes are in the buffer given to [`Encoder::encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// All bytes are zero: nothing needs to be sent but that.
    Zero,
    /// The page itself, and the decoder need not see it.
    Raw,
    /// So many bytes of this coding, 1 to 4096; 4096 only for [`Coding::Blocks`].
    Coded(Coding, usize),
}

impl Encoded {
    /// Bytes to send: 0 to 4096.
    pub fn len(&self) -> usize {
        match *self {
            Self::Zero => 0,
            Self::Raw => PAGE_SIZE,
            Self::Coded(_, len) => len,
        }
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether a page's slot was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    First,
    Again,
}

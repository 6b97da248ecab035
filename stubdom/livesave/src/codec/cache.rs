//! CloudNet's FIFO cache of blocks, the same at both ends.
//!
//! The sender finds blocks by their hash and compares them byte for byte; the receiver is told
//! the number of the block. A hit changes nothing at either end; a new block takes the place of
//! the oldest one.
//!
//! The index may point to places that have been reused: the comparison notices. It has four
//! candidates for a hash at most, of which the oldest goes: a guest that floods it with
//! blocks of equal hashes gets worse compression and nothing else.
//!
//! The hash is XXH3 with 64 bits instead of the paper's SuperFastHash with 32: it is in the tree
//! already, for the checksums of pages, it is several times faster without vectors, and its
//! upper half tells wrong candidates apart without a look at their bytes.

use alloc::vec::Vec;

use super::config::{NoMemory, PageMemory, take, zeroes};
use super::{BLOCKS, Block};

/// How blocks are looked up. Only how well blocks are found depends on it, never what is decoded.
pub trait BlockHash {
    /// The hash of a block.
    fn hash(block: &Block) -> u64;
}

/// XXH3, 64 bits, seed 0.
#[derive(Clone, Copy, Debug)]
pub enum Xxh3 {}

impl BlockHash for Xxh3 {
    fn hash(block: &Block) -> u64 {
        xxhash_rust::xxh3::xxh3_64(block)
    }
}

/// What one end remembers.
pub(super) struct Cache<P> {
    pages: Vec<P>,
    /// Blocks that fit.
    len: u32,
    /// Where the next new block goes.
    next: u32,
    /// Places below this have been used.
    used: u32,
    #[cfg(test)]
    pub(super) mutant: Mutant,
}

/// What may be broken on purpose, so that the tests prove that they see it.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mutant {
    #[default]
    None,
    NoVerify,
    HitPromotes,
}

impl<P: PageMemory> Cache<P> {
    pub(super) fn new(len: u32, from: impl FnMut() -> Option<P>) -> Result<Self, NoMemory> {
        Ok(Self {
            pages: take((len as usize).div_ceil(BLOCKS), from)?,
            len,
            next: 0,
            used: 0,
            #[cfg(test)]
            mutant: Mutant::None,
        })
    }

    pub(super) fn reset(&mut self) {
        (self.next, self.used) = (0, 0);
    }

    /// The block with this number, if there is one.
    pub(super) fn get(&self, number: u32) -> Option<&Block> {
        let number = if number < self.used { number as usize } else { return None };
        self.pages.get(number / BLOCKS)?.as_chunks().0.get(number % BLOCKS)
    }

    /// A new block takes the place of the oldest. Returns its number.
    pub(super) fn put(&mut self, block: &Block) -> u32 {
        let number = self.next;
        let page = self.pages.get_mut(number as usize / BLOCKS);
        if let Some(place) = page.and_then(|page| page.as_chunks_mut().0.get_mut(number as usize % BLOCKS)) {
            *place = *block;
            self.used = self.used.max(number + 1);
            self.next = if number + 1 < self.len { number + 1 } else { 0 };
        }
        number
    }

    /// Whether this is the block with that number, byte for byte.
    fn holds(&self, number: u32, block: &Block) -> bool {
        #[cfg(test)]
        if self.mutant == Mutant::NoVerify {
            return true;
        }
        self.get(number) == Some(block)
    }

    /// A block was used: nothing changes, at either end.
    pub(super) fn hit(&mut self, _number: u32) {
        #[cfg(test)]
        if self.mutant == Mutant::HitPromotes
            && let Some(block) = self.get(_number).copied()
        {
            self.put(&block);
        }
    }
}

/// Candidates for a hash.
const WAYS: usize = 4;

/// The sender's way from a block to its number.
pub(super) struct Index {
    /// Upper half: of the hash; lower half: the block's number, plus one.
    buckets: Vec<[u64; WAYS]>,
}

impl<P> Cache<P> {
    /// Bytes of an index for so many blocks.
    pub(super) fn index_bytes(blocks: u32) -> usize {
        Index::buckets(blocks) * size_of::<[u64; WAYS]>()
    }
}

impl Index {
    /// Two places a block, so that buckets seldom overflow.
    fn buckets(blocks: u32) -> usize {
        if blocks == 0 { 0 } else { (blocks as usize * 2 / WAYS).max(1).next_power_of_two() }
    }

    pub(super) fn new(blocks: u32) -> Result<Self, NoMemory> {
        Ok(Self { buckets: zeroes(Self::buckets(blocks))? })
    }

    pub(super) fn reset(&mut self) {
        self.buckets.fill([0; WAYS]);
    }

    fn bucket(&mut self, hash: u64) -> Option<&mut [u64; WAYS]> {
        let last = self.buckets.len().checked_sub(1)?;
        self.buckets.get_mut(hash as usize & last)
    }

    /// The number of a block with this hash that is equal to this one.
    pub(super) fn find<P: PageMemory>(&mut self, hash: u64, block: &Block, cache: &Cache<P>) -> Option<u32> {
        let candidates = self.bucket(hash)?.iter().filter(|entry| (**entry ^ hash) >> 32 == 0);
        let mut numbers = candidates.filter_map(|entry| (*entry as u32).checked_sub(1));
        numbers.find(|number| cache.holds(*number, block))
    }

    /// A block with this hash has got this number.
    pub(super) fn note(&mut self, hash: u64, number: u32) {
        if let Some(bucket) = self.bucket(hash) {
            bucket.rotate_right(1);
            bucket[0] = hash >> 32 << 32 | u64::from(number.wrapping_add(1));
        }
    }
}

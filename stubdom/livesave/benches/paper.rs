//! CloudNet's codec as the paper has it, to compare with: one FIFO cache of blocks with two
//! indexes, by content and by address. Only counts bytes; nothing is decoded.

use std::collections::HashMap;

use livesave::codec::{BLOCK_SIZE, BLOCKS, Block, BlockHash, Page, Xxh3};

/// A delta is sent if its runs are shorter: three quarters of a block.
const THRESHOLD: usize = BLOCK_SIZE / 4 * 3;

/// The sender's cache.
pub struct Paper {
    cache: Vec<Block>,
    len: usize,
    next: usize,
    by_hash: HashMap<u64, usize>,
    by_address: HashMap<(u32, usize), (usize, u64)>,
    puts: u64,
    /// Blocks that were sent before, and those of them whose last version was still there.
    pub again: u64,
    /// See `again`.
    pub bases: u64,
    sent: std::collections::HashSet<u32>,
}

impl Paper {
    /// A cache of so many blocks.
    pub fn new(len: usize) -> Self {
        let (cache, by_hash, by_address, sent) = Default::default();
        Self { cache, len: len.max(1), next: 0, by_hash, by_address, puts: 0, again: 0, bases: 0, sent }
    }

    /// Bytes to send for a page that is not zero.
    pub fn encode(&mut self, slot: u32, page: &Page) -> usize {
        let again = !self.sent.insert(slot);
        let blocks = page.as_chunks::<BLOCK_SIZE>().0.iter().enumerate();
        blocks
            .map(|(at, block)| self.block(slot, at, block, again))
            .sum::<usize>()
            .min(1 + BLOCKS * BLOCK_SIZE)
    }

    fn block(&mut self, slot: u32, at: usize, block: &Block, again: bool) -> usize {
        if block.iter().all(|byte| *byte == 0) {
            return 1;
        }
        // Of the address' last version: the place, and the number of its `put`, for places are reused.
        let base = self.by_address.get(&(slot, at)).copied();
        let base = base.filter(|(_, put)| self.puts - put <= self.len as u64);
        self.again += u64::from(again);
        self.bases += u64::from(again && base.is_some());
        let hash = Xxh3::hash(block);
        if let Some(&place) = self.by_hash.get(&hash)
            && self.cache.get(place) == Some(block)
        {
            let age = (self.next + self.len - place - 1) % self.len;
            self.by_address.insert((slot, at), (place, self.puts - age as u64));
            return 1 + 4;
        }
        let delta = base.map(|(place, _)| runs(&self.cache[place], block));
        self.put(slot, at, hash, block);
        match delta {
            Some(delta) if delta < THRESHOLD => 1 + 4 + delta,
            _ => 1 + BLOCK_SIZE,
        }
    }

    fn put(&mut self, slot: u32, at: usize, hash: u64, block: &Block) {
        if self.cache.len() < self.len {
            self.cache.push(*block);
        } else {
            self.cache[self.next] = *block;
        }
        self.by_hash.insert(hash, self.next);
        self.puts += 1;
        self.by_address.insert((slot, at), (self.next, self.puts));
        self.next = (self.next + 1) % self.len;
    }
}

/// Bytes of a run length encoding of the XOR: two a run, and the bytes that differ.
fn runs(base: &Block, block: &Block) -> usize {
    let mut bytes = 0;
    let mut differs = false;
    for (old, new) in base.iter().zip(block) {
        if (old != new) && !differs {
            bytes += 2;
        }
        differs = old != new;
        bytes += usize::from(differs);
    }
    bytes
}

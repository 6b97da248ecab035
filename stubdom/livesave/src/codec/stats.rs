//! What the codecs did, for the report.

use super::{Coding, Encoded};
use crate::PAGE_SIZE;

/// Pages of one coding, and the bytes that were sent for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pages.
    pub pages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What an encoder did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Zero pages.
    pub zero: Tally,
    /// Sent as they are.
    pub raw: Tally,
    /// Sent as LZ4 blocks.
    pub lz4: Tally,
    /// Sent as deltas.
    pub delta: Tally,
    /// Sent as blocks.
    pub blocks: Tally,
    /// Pages that were sent again, for which delta was on.
    pub again: u64,
    /// Those of which there was a base.
    pub bases: u64,
    /// Blocks that were looked for.
    pub looked_for: u64,
    /// Those that were found.
    pub found: u64,
}

impl Stats {
    pub(super) fn note(&mut self, encoded: Encoded) {
        let tally = match encoded {
            Encoded::Zero => &mut self.zero,
            Encoded::Raw => &mut self.raw,
            Encoded::Coded(Coding::Lz4, _) => &mut self.lz4,
            Encoded::Coded(Coding::Delta, _) => &mut self.delta,
            Encoded::Coded(Coding::Blocks, _) => &mut self.blocks,
        };
        tally.pages += 1;
        tally.bytes += encoded.len() as u64;
    }

    fn all(&self) -> [Tally; 5] {
        [self.zero, self.raw, self.lz4, self.delta, self.blocks]
    }

    /// Bytes that were sent.
    pub fn bytes(&self) -> u64 {
        self.all().iter().map(|tally| tally.bytes).sum()
    }

    /// Bytes of all pages, zero pages too.
    pub fn raw_bytes(&self) -> u64 {
        self.all().iter().map(|tally| tally.pages).sum::<u64>() * PAGE_SIZE as u64
    }
}

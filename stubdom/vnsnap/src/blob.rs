//! Octets that don't fit in one message: parts and manifests, pulled piece by piece by who wants them.
//!
//! The puller knows the length and the hash before the first piece, so nothing grows beyond what was
//! announced, and nothing is believed that is not what was announced.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::Retry;
use crate::message::PIECE;

/// What a blob is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Octets.
    pub total: u32,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

impl Digest {
    /// Of these octets.
    pub fn of(octets: &[u8]) -> Self {
        let total = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        Self { total, sha256: Sha256::digest(octets).into() }
    }

    /// Whether a blob of this length may be pulled.
    pub(crate) fn fits(&self, max: usize) -> bool {
        usize::try_from(self.total).is_ok_and(|total| total <= max)
    }
}

/// The piece of a blob at an offset; none beyond its end.
pub(crate) fn piece(blob: &[u8], offset: u32) -> Option<heapless::Vec<u8, PIECE>> {
    let rest = blob.get(usize::try_from(offset).ok()?..)?;
    let piece = rest.get(..rest.len().min(PIECE))?;
    heapless::Vec::from_slice(piece).ok()
}

/// A blob on its way.
#[derive(Clone, Debug)]
pub(crate) struct Pulling {
    /// Who has it.
    pub(crate) from: u64,
    digest: Digest,
    octets: Vec<u8>,
    /// When to ask for the next piece again.
    pub(crate) retry: Retry,
}

/// What a piece brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// Not the piece that was wanted.
    Nothing,
    /// The next is wanted.
    More,
    /// All, and it is what was announced.
    All(Vec<u8>),
    /// All, but it is something else: pulled from the start again.
    Wrong,
}

impl Pulling {
    pub(crate) fn new(from: u64, digest: Digest, now: u64) -> Self {
        Self { from, digest, octets: Vec::new(), retry: Retry::now(now) }
    }

    /// Which piece is wanted next.
    pub(crate) fn offset(&self) -> u32 {
        u32::try_from(self.octets.len()).unwrap_or(u32::MAX)
    }

    /// A piece that came from [`Pulling::from`].
    pub(crate) fn got(&mut self, offset: u32, piece: &[u8], now: u64) -> Got {
        let total = usize::try_from(self.digest.total).unwrap_or(usize::MAX);
        if offset != self.offset() || self.octets.len().saturating_add(piece.len()) > total {
            return Got::Nothing;
        }
        if piece.is_empty() && total > 0 {
            return Got::Nothing;
        }
        self.octets.extend_from_slice(piece);
        self.retry = Retry::now(now);
        if self.octets.len() < total {
            return Got::More;
        }
        let octets = core::mem::take(&mut self.octets);
        if Digest::of(&octets) == self.digest { Got::All(octets) } else { Got::Wrong }
    }
}

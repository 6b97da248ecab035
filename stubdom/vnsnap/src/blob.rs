//! Octets that don't fit in one message: parts and manifests, pulled piece by piece by who wants them.
//!
//! The puller knows the length and the hash before the first piece, so nothing grows beyond what was
//! announced, and nothing is believed that is not what was announced.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::Retry;
use crate::io::Io;
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

/// Pieces that are sent for one request.
const WINDOW: usize = 8;

/// The pieces that answer a request for what begins at an offset, each with its own offset. Of an empty
/// blob it is one, and empty; beyond the end there are none.
pub(crate) fn pieces(blob: &[u8], offset: u32) -> impl Iterator<Item = (u32, heapless::Vec<u8, PIECE>)> {
    let rest = usize::try_from(offset).ok().and_then(|offset| blob.get(offset..)).unwrap_or_default();
    let empty = if blob.is_empty() && offset == 0 { Some(&[][..]) } else { None };
    let pieces = rest.chunks(PIECE).take(WINDOW).chain(empty).enumerate();
    pieces.filter_map(move |(place, piece)| {
        let before = u32::try_from(place.checked_mul(PIECE)?).ok()?;
        Some((offset.checked_add(before)?, heapless::Vec::from_slice(piece).ok()?))
    })
}

/// A blob on its way.
#[derive(Clone, Debug)]
pub(crate) struct Pulling {
    /// Who has it.
    pub(crate) from: u64,
    digest: Digest,
    octets: Vec<u8>,
    /// When to ask (again).
    pub(crate) retry: Retry,
    /// What was asked for ends here.
    asked: usize,
    /// Pieces that came before those before them.
    early: BTreeMap<usize, Vec<u8>>,
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
        let retry = Retry::now(now);
        Self { from, digest, octets: Vec::new(), retry, asked: 0, early: BTreeMap::new() }
    }

    fn offset(&self) -> u32 {
        u32::try_from(self.octets.len()).unwrap_or(u32::MAX)
    }

    /// Which offset to ask for, if it is time to.
    pub(crate) fn ask(&mut self, io: &Io) -> Option<u32> {
        if !io.due(&mut self.retry) {
            return None;
        }
        self.asked = self.octets.len().saturating_add(PIECE * WINDOW);
        Some(self.offset())
    }

    /// A piece that came from [`Pulling::from`].
    pub(crate) fn got(&mut self, io: &Io, offset: u32, piece: &[u8]) -> Got {
        let total = usize::try_from(self.digest.total).unwrap_or(usize::MAX);
        let Ok(offset) = usize::try_from(offset) else { return Got::Nothing };
        let is_wanted = (self.octets.len()..self.asked).contains(&offset) && offset.is_multiple_of(PIECE);
        if !is_wanted || piece.len() != PIECE.min(total.saturating_sub(offset)) {
            return Got::Nothing;
        }
        // Pieces of one request may overtake each other. There are never more than a window of them.
        self.early.insert(offset, piece.to_vec());
        let before = self.octets.len();
        while let Some(piece) = self.early.remove(&self.octets.len()) {
            self.octets.extend_from_slice(&piece);
            if piece.len() < PIECE {
                break;
            }
        }
        if self.octets.len() >= total {
            let octets = core::mem::take(&mut self.octets);
            return if Digest::of(&octets) == self.digest { Got::All(octets) } else { Got::Wrong };
        }
        if self.octets.len() == before {
            return Got::Nothing;
        }
        // The others that were asked for are on their way.
        let wait = if self.octets.len() < self.asked { io.config.retry_ms } else { 0 };
        self.retry.delay(io.now.saturating_add(wait));
        Got::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// Pulls a blob; `take` says in which order the pieces of a request come, and how often.
    fn pull(blob: &[u8], take: fn(&mut Vec<(u32, heapless::Vec<u8, PIECE>)>)) -> (Got, u32) {
        let mut io = Io::new(1, 1, Config::default());
        let mut pulling = Pulling::new(2, Digest::of(blob), 0);
        let mut asks = 0;
        loop {
            io.now += 1;
            let Some(offset) = pulling.ask(&io) else { continue };
            asks += 1;
            let mut sent: Vec<_> = pieces(blob, offset).collect();
            assert!(sent.len() <= WINDOW);
            take(&mut sent);
            for (offset, piece) in sent {
                match pulling.got(&io, offset, &piece) {
                    Got::Nothing | Got::More => {}
                    end => return (end, asks),
                }
                assert!(pulling.early.len() < WINDOW);
            }
        }
    }

    #[test]
    fn a_blob_of_any_length_comes_in_windows() {
        for len in [0_usize, 1, 1023, 1024, 1025, 8 * 1024, 8 * 1024 + 1, 100_000] {
            let blob: Vec<u8> = (0..len).map(|place| (place % 251) as u8).collect();
            let windows = len.div_ceil(8 * 1024).max(1) as u32;
            assert_eq!(pull(&blob, |_| {}), (Got::All(blob.clone()), windows), "{len} octets");
            assert_eq!(pull(&blob, |sent| sent.reverse()), (Got::All(blob.clone()), windows));
        }
    }

    #[test]
    fn lost_and_doubled_pieces_only_cost_time() {
        let blob: Vec<u8> = (0..50_000).map(|place| (place % 251) as u8).collect();
        let (end, _) = pull(&blob, |sent| {
            sent.truncate(3);
            sent.extend_from_within(..);
            sent.swap(0, 1);
        });
        assert_eq!(end, Got::All(blob));
    }

    #[test]
    fn pieces_that_were_not_asked_for_or_do_not_fit_are_left() {
        let io = Io::new(1, 1, Config::default());
        let mut pulling = Pulling::new(2, Digest::of(&[7; 3000]), 0);
        assert_eq!(pulling.got(&io, 0, &[7; 1024]), Got::Nothing, "before anything was asked for");
        assert_eq!(pulling.ask(&io), Some(0));
        for (offset, len) in [(0, 1023), (1, 1024), (1024, 0), (2048, 1024), (3072, 1024), (u32::MAX, 1024)] {
            assert_eq!(pulling.got(&io, offset, &[7; 1024][..len]), Got::Nothing, "{len} octets at {offset}");
        }
        assert!(pulling.early.is_empty());
        assert_eq!(pieces(&[7; 3000], u32::MAX).count(), 0);
    }
}

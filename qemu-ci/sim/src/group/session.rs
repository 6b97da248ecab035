//! What the seal gives, without sealing: numbers in sequence for each pair of lives, duplicates
//! refused, and what is missing of a range. It has the meaning of `violin::session`, where it is
//! tested with real keys; here a hundred thousand schedules must not spend their time with ChaCha20.

use std::collections::BTreeSet;

use violin::session::{Missing, SeqPoint};

/// Octets before what a datagram carries.
pub const HEAD: usize = 16;

/// What one stub knows of its session with one other.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The peer's life, as last heard; none before anything was heard.
    life: Option<u32>,
    sent: u64,
    seen: Vec<bool>,
}

/// A datagram's place in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sender's life.
    pub from_life: u32,
    /// The receiver's, as the sender knows it.
    pub to_life: u32,
    /// Its number.
    pub counter: u64,
}

impl Head {
    /// As octets.
    pub fn emit(self) -> [u8; HEAD] {
        let mut octets = [0; HEAD];
        octets[..4].copy_from_slice(&self.from_life.to_le_bytes());
        octets[4..8].copy_from_slice(&self.to_life.to_le_bytes());
        octets[8..].copy_from_slice(&self.counter.to_le_bytes());
        octets
    }

    /// Taken off a datagram.
    pub fn take(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = octets.split_first_chunk::<HEAD>()?;
        let [a, b, c, d, e, f, g, h, counter @ ..] = *head;
        let (from_life, to_life) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        Some((Self { from_life, to_life, counter: u64::from_le_bytes(counter) }, rest))
    }
}

/// One key for one direction: both lives.
pub fn key(from_life: u32, to_life: u32) -> u32 {
    (from_life << 16) | (to_life & 0xffff)
}

impl Session {
    /// The peer is in this life: numbers begin anew if it is a new one.
    pub fn meet(&mut self, life: u32) {
        if self.life.is_none_or(|known| known < life) {
            *self = Self { life: Some(life), sent: 0, seen: Vec::new() };
        }
    }

    /// Whether it was ever met.
    pub fn is_established(&self) -> bool {
        self.life.is_some()
    }

    /// The head of the next datagram; none without a session.
    pub fn seal(&mut self, own_life: u32) -> Option<Head> {
        let to_life = self.life?;
        self.sent += 1;
        Some(Head { from_life: own_life, to_life, counter: self.sent - 1 })
    }

    /// Whether a datagram is genuine and new. With `twice`, also if it was seen before.
    pub fn open(&mut self, own_life: u32, head: Head, twice: bool) -> bool {
        if self.life != Some(head.from_life) || head.to_life != own_life {
            return false;
        }
        let at = head.counter as usize;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, false);
        }
        !std::mem::replace(&mut self.seen[at], true) || twice
    }

    /// As `Sessions::sent_point`.
    pub fn sent_point(&self, own_life: u32) -> Option<SeqPoint> {
        Some(SeqPoint { key: key(own_life, self.life?), counter: self.sent })
    }

    /// As `Sessions::seen_point`.
    pub fn seen_point(&self, own_life: u32) -> Option<SeqPoint> {
        Some(SeqPoint { key: key(self.life?, own_life), counter: self.seen.len() as u64 })
    }

    /// As `Sessions::missing`.
    pub fn missing(&self, own_life: u32, after: SeqPoint, upto: SeqPoint) -> Missing {
        match self.life {
            Some(life) if after.key == upto.key && upto.key == key(life, own_life) => {
                Missing::Known(self.gaps(after.counter, upto.counter).count() as u64)
            }
            _ => Missing::Unknown,
        }
    }

    /// Which numbers of a range have not come.
    pub fn missing_set(&self, after: SeqPoint, upto: SeqPoint) -> BTreeSet<u64> {
        self.gaps(after.counter, upto.counter).collect()
    }

    fn gaps(&self, first: u64, end: u64) -> impl Iterator<Item = u64> + '_ {
        (first..end).filter(|&number| !self.seen.get(number as usize).copied().unwrap_or(false))
    }
}

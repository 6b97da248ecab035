//! Cuts: each rule by itself, all of them against a plain model, and whole networks of guests that are
//! snapshotted again and again while their frames are lost, doubled and late.

mod model;
mod mutants;
mod rules;
mod world;

use violin::cut::{Arrival, Channel, Cut, Limits, Verdict};
use violin::id::{Epoch, NetworkId, PeerId, PortId};

pub(crate) const BLUE: NetworkId = NetworkId(7);
pub(crate) const RED: NetworkId = NetworkId(8);
pub(crate) const PEER: Channel = Channel::Peer(PeerId(3));

/// A frame of 100 octets that comes at this time.
pub(crate) fn frame(at_ms: u64, epoch: u32, from: Channel) -> Arrival {
    Arrival { at_ms, epoch: Epoch(epoch), from, octets: 100 }
}

/// Numbers that look random (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

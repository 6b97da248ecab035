//! What is played, and what comes of it.

pub use crate::schedule::Failure;

use vnsnap::Mode;

use super::fault::{Fault, Mutant};
use super::oracle::Sum;
use super::shared::Pace;
use crate::network::Links;
use crate::node::Host;

/// What is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all that is random.
    pub seed: u64,
    /// Hosts, and how many guests each has.
    pub guests: Vec<u32>,
    /// How many networks there are, 1 or 2.
    pub networks: u32,
    /// The links.
    pub links: Links,
    /// How fast things are.
    pub pace: Pace,
    /// Who asks, when, for which network, how.
    pub requests: Vec<(u64, Host, u32, Mode)>,
    /// What goes wrong at steps.
    pub faults: Vec<Fault>,
    /// The mean time between two frames of a guest, in milliseconds.
    pub every_ms: u64,
    /// How many of a million frames are for all guests.
    pub broadcast: u32,
    /// How often something random goes wrong: once in so many heartbeats; 0 for never.
    pub trouble: u64,
    /// How long there is trouble, in milliseconds.
    pub trouble_ms: u64,
    /// One of a million shims refuses.
    pub refuse: u32,
    /// How to be wrong.
    pub mutant: Mutant,
    /// Whether to print what happens.
    pub tell: bool,
}

impl Plan {
    /// A quiet plan: two hosts with two guests each, one request, good links.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            guests: vec![2, 2],
            networks: 1,
            links: Links::GOOD,
            pace: Pace::default(),
            requests: vec![(700, 0, 1, Mode::Together)],
            faults: Vec::new(),
            every_ms: 12,
            broadcast: 100_000,
            trouble: 0,
            trouble_ms: 1_500,
            refuse: 0,
            mutant: Mutant::None,
            tell: false,
        }
    }
}

/// What the first snapshot of a schedule cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Messages of the protocol, from all hosts.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// From the request to the commit, in milliseconds.
    pub commit_ms: u64,
    /// From the request until all hosts knew, in milliseconds.
    pub end_ms: u64,
}

/// What became of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests made.
    pub requests: u64,
    /// Snapshots committed.
    pub committed: u64,
    /// Of these taken back by all: the coordinator was cut off until all others had given it up.
    pub revoked: u64,
    /// Frames at their cuts.
    pub sum: Sum,
    /// Frames sent by guests.
    pub frames: u64,
    /// Things that went wrong.
    pub struck: u64,
    /// The longest time that a guest stood still, in milliseconds, where nothing had crashed.
    pub stood_ms: u64,
    /// Messages of the protocol.
    pub messages: u64,
    /// What its first snapshot cost.
    pub cost: Cost,
    /// Time from the end of trouble until all was well.
    pub settled_ms: u64,
    /// Events simulated.
    pub events: u64,
    /// The world's trace.
    pub trace: u64,
}

impl Outcome {
    /// Adds up what several came to: counts as sums, times as the longest.
    pub fn add(&mut self, other: &Outcome) {
        self.requests += other.requests;
        self.committed += other.committed;
        self.revoked += other.revoked;
        self.sum.in_transit += other.sum.in_transit;
        self.sum.recorded += other.sum.recorded;
        self.sum.lost += other.sum.lost;
        self.sum.earlier += other.sum.earlier;
        self.sum.overtaken += other.sum.overtaken;
        self.sum.spread_us = self.sum.spread_us.max(other.sum.spread_us);
        self.frames += other.frames;
        self.struck += other.struck;
        self.stood_ms = self.stood_ms.max(other.stood_ms);
        self.messages += other.messages;
        self.settled_ms = self.settled_ms.max(other.settled_ms);
        self.events += other.events;
        self.trace ^= other.trace;
    }
}

//! The names of things, as they travel.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The most switches in a group snapshot, the coordinator included.
pub const PEERS_MAX: usize = 256;

/// The most guests of one network on one host.
pub const JOBS_MAX: u8 = 48;

/// The longest name of a group, in octets.
pub const NAME_MAX: usize = 64;

/// The longest options of a group, in octets: the shims' own words.
pub const OPTIONS_MAX: usize = 512;

/// The longest part of one host, in octets.
pub const PART_MAX: usize = 16 * 1024;

/// The longest manifest, and the most octets of all parts together (each counted with 12 more).
pub const MANIFEST_MAX: usize = 1 << 20;

/// The name of a group among the hosts.
pub type Name = heapless::String<NAME_MAX>;

/// What the shims say to each other with a group's beginning.
pub type Options = heapless::Vec<u8, OPTIONS_MAX>;

/// A group snapshot among the switches.
///
/// The smaller of two that are begun at once wins, by epoch and then by initiator (algorithms.md 3a).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId {
    /// The network.
    pub network: u32,
    /// The epoch that its ports have after the cut.
    pub epoch: u32,
    /// The switch that began it: the coordinator.
    pub initiator: u64,
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of {:016x}", self.network, self.epoch, self.initiator)
    }
}

/// How the guests' cuts hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// All pre-copy until each is ready, then all are suspended at once.
    Together,
    /// As VNsnap was published: each is suspended when its own pre-copy ends. To compare with.
    Classic,
}

/// How far a session had counted its datagrams: the last one from before the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqPoint {
    /// Which key of the session.
    pub key: u32,
    /// The counter under that key.
    pub counter: u64,
}

/// A peer and a point of the channel between it and this switch.
pub type Point = (u64, SeqPoint);

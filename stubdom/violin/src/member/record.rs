//! What is known of a member, and what is told about it.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{NetworkId, SwitchId};

/// The most networks that one switch takes part in.
pub const NETWORKS_MAX: usize = 32;

/// The networks of one switch, sorted, each once.
pub type Networks = heapless::Vec<NetworkId, NETWORKS_MAX>;

/// Computes a switch's name from its public key: what the session module does, too.
pub type IdOf = fn(&[u8; 32]) -> SwitchId;

/// One switch, as it describes itself. Only the switch itself may say something newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: the hash of `key`.
    pub id: SwitchId,
    /// Its static public key.
    pub key: [u8; 32],
    /// Where it listens for UDP on the underlay.
    pub at: SocketAddr,
    /// Which of its lives: another one after each start, and higher, such as the milliseconds of the
    /// wall clock at start. After a lower one the switch is a member a round trip later only.
    pub incarnation: u64,
    /// Which record of this life: higher after each change.
    pub version: u32,
    /// The networks that it has ports in, sorted.
    pub networks: Networks,
}

impl Member {
    /// A switch that has just started and has no networks yet.
    pub fn new(id_of: IdOf, key: [u8; 32], at: SocketAddr, incarnation: u64) -> Self {
        Self { id: id_of(&key), key, at, incarnation, version: 0, networks: Networks::new() }
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { incarnation: self.incarnation, version: self.version }
    }

    pub(super) fn set_stamp(&mut self, stamp: Stamp) {
        self.incarnation = stamp.incarnation;
        self.version = stamp.version;
    }
}

/// How new a record is: compared by incarnation first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) incarnation: u64,
    pub(super) version: u32,
}

impl Stamp {
    /// The next record of the same life (or the first of the next, after four billion).
    pub(super) fn next(self) -> Self {
        match self.version.checked_add(1) {
            Some(version) => Self { version, ..self },
            None => self.next_life(),
        }
    }

    /// The first record of a life after this one.
    pub(super) fn next_life(self) -> Self {
        match self.incarnation.checked_add(1) {
            Some(incarnation) => Self { incarnation, version: 0 },
            // The end of the count, which only a liar reaches: at least never back.
            None => Self { version: self.version.saturating_add(1), ..self },
        }
    }
}

/// A member to join through: its public key and where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Its static public key.
    pub key: [u8; 32],
    /// Where it listens for UDP on the underlay.
    pub at: SocketAddr,
}

/// Where to send a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The peer's name.
    pub id: SwitchId,
    /// The peer's static public key, for a session with it.
    pub key: [u8; 32],
    /// Where it was last known to listen.
    pub at: SocketAddr,
}

/// What this switch thinks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Known by hearsay or as a seed; it has not answered yet.
    Calling,
    /// It is there.
    Up,
    /// It was there and went silent. It is called again now and then.
    Failed,
    /// It said goodbye. Remembered for a while, so that old messages don't bring it back.
    Left,
}

/// A line of `net peers`.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its record: without networks and with incarnation 0 while it has not answered.
    pub member: &'a Member,
    /// What this switch thinks of it.
    pub state: State,
    /// Milliseconds since it was last heard; none if never.
    pub heard_ms_ago: Option<u64>,
    /// Whether it was configured as a member to join through.
    pub seed: bool,
}

/// What the switch must act upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member is there: send it broadcasts of its networks, expect frames from it.
    Up(Member),
    /// A member that is there has other networks or another address.
    Changed(Member),
    /// A member is gone: flush what was learned through it, send it nothing more.
    Down(SwitchId, Why),
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It said goodbye.
    Left,
    /// It went silent.
    Failed,
    /// It started anew and knows nothing of before. An `Up` follows.
    Restarted,
}

/// Whether a peer's word of where it listens can be acted upon: one host, one port.
pub(super) fn sendable(at: &SocketAddr) -> bool {
    let ip = at.ip();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    at.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

//! What all hosts of one schedule share: the oracle, what is to go wrong, and who asked for what.

use std::collections::BTreeMap;

use vnsnap::GroupId;

use super::fault::Fault;
use super::oracle::{Oracle, Vif};
use crate::node::Host;

/// How a request ended for the client that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is committed.
    Committed,
    /// It did not begin, or was given up.
    Refused(String),
    /// The shim or its stub went away while the client waited.
    Gone,
}

/// A request for a group snapshot.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom the client asked.
    pub host: Host,
    /// When.
    pub at_ms: u64,
    /// Messages of the protocol that all hosts had sent until then, and their octets.
    pub messages: (u64, u64),
    /// What it became.
    pub group: Option<GroupId>,
    /// The answer, and when.
    pub answer: Option<(u64, Answer)>,
}

/// How fast things are, in milliseconds: least and most.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A shim's check before a snapshot.
    pub check: (u64, u64),
    /// A guest's pre-copy.
    pub copy: (u64, u64),
    /// From the word to suspend until the guest stands still.
    pub suspend: (u64, u64),
    /// From there until it runs again.
    pub stand: (u64, u64),
    /// From there until its image is durable.
    pub store: (u64, u64),
    /// Each small thing on the disk.
    pub sync: (u64, u64),
}

impl Default for Pace {
    fn default() -> Self {
        Self { check: (1, 10), copy: (5, 120), suspend: (1, 8), stand: (2, 12), store: (3, 80), sync: (0, 4) }
    }
}

/// What is shared.
#[derive(Debug, Default)]
pub struct Shared {
    /// Who knows everything.
    pub oracle: Oracle,
    /// What is still to go wrong.
    pub faults: Vec<Fault>,
    /// What has gone wrong, in words.
    pub struck: Vec<String>,
    /// All requests.
    pub requests: Vec<Request>,
    /// Snapshots whose manifest was renamed at their coordinator: when.
    pub committed: BTreeMap<GroupId, u64>,
    /// When all hosts knew of the end of a snapshot, and the messages sent until then.
    pub ended: BTreeMap<GroupId, (u64, (u64, u64))>,
    /// Snapshots whose commit was taken back, by the coordinator that found itself alone with it.
    pub revoked: BTreeMap<GroupId, u64>,
    /// Who gave up what it had complete, after its promise: when.
    pub gave_up: BTreeMap<(GroupId, Host), u64>,
    /// Guests living in each network: their vifs.
    pub mates: BTreeMap<u32, Vec<Vif>>,
    /// Guests ever made.
    pub guests: u32,
    /// How fast things are.
    pub pace: Pace,
    /// Until when guests send often, and until when they send at all.
    pub busy_until_ms: u64,
    /// See above.
    pub send_until_ms: u64,
    /// The mean time between two frames of a busy guest.
    pub every_ms: u64,
    /// How many of a million frames are for all.
    pub broadcast: u32,
    /// One of a million checks of a shim refuses.
    pub refuse: u32,
    /// The longest time that a guest stood still, in milliseconds, but for crashes.
    pub stood_ms: u64,
    /// Messages of the protocol sent, and their octets.
    pub messages: (u64, u64),
    /// Whether to tell what happens.
    pub tell: bool,
}

impl Shared {
    /// The mean time between two frames of a guest; none if it is to be silent.
    pub fn frame_every_ms(&self, now_ms: u64) -> Option<u64> {
        match now_ms {
            now if now < self.busy_until_ms => Some(self.every_ms.max(1)),
            now if now < self.send_until_ms => Some(self.every_ms.max(1) * 40),
            _ => None,
        }
    }

    /// The vifs of a network.
    pub fn mates(&self, network: u32) -> &[Vif] {
        self.mates.get(&network).map_or(&[], Vec::as_slice)
    }

    /// A line for a replay.
    pub fn say(&self, now_ms: u64, host: Host, what: impl FnOnce() -> String) {
        if self.tell {
            println!("{now_ms:>6} host {host} {}", what());
        }
    }
}

/// A group's name for the oracle.
pub fn name(group: GroupId) -> super::oracle::Group {
    (group.network, group.epoch, group.initiator)
}

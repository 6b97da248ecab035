//! A network: its epoch, and who is in it.
//!
//! An epoch never goes back. Each switch tells its own to each peer until that has it, too; so one that
//! comes up, or was cut off while the others gave up a snapshot, comes to the same epoch.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::clock::Retry;
use crate::io::Io;
use crate::message::Body;

/// The last epoch: from here on no snapshot can begin.
pub const EPOCH_MAX: u32 = u32::MAX - 1;

/// How far a peer's word alone raises an epoch: the rest takes another word. Keeps one mad peer from
/// using up all epochs at once.
const LEAP_MAX: u32 = 1 << 24;

/// What a switch that has ports in the network was told, and told itself.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The epoch that it told last.
    pub(crate) epoch: Option<u32>,
    retry: Retry,
}

impl Peer {
    fn new(now: u64) -> Self {
        Self { epoch: None, retry: Retry::now(now) }
    }
}

/// A network, as far as group snapshots go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    /// Whether this switch has ports in it.
    pub(crate) here: bool,
    pub(crate) epoch: u32,
    /// The last epoch that this switch began a snapshot with.
    pub(crate) begun: u32,
    /// An epoch that was heard of while a snapshot ran.
    pub(crate) later: u32,
    pub(crate) peers: BTreeMap<u64, Peer>,
}

impl Net {
    /// Takes over who is there; returns who is no more.
    pub(crate) fn set_peers(&mut self, peers: &[(u64, u64)], now: u64) -> Vec<u64> {
        let gone = |id: &u64| !peers.iter().any(|(peer, _)| peer == id);
        let lost: Vec<u64> = self.peers.keys().copied().filter(gone).collect();
        for id in &lost {
            self.peers.remove(id);
        }
        for &(id, _) in peers {
            self.peers.entry(id).or_insert_with(|| Peer::new(now));
        }
        lost
    }

    /// A peer has forgotten everything.
    pub(crate) fn renew(&mut self, id: u64, now: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            *peer = Peer::new(now);
        }
    }

    /// The peers and this switch, sorted.
    pub(crate) fn members(&self, me: u64) -> Vec<u64> {
        let mut members: Vec<u64> = self.peers.keys().copied().chain([me]).collect();
        members.sort_unstable();
        members
    }

    /// How far a peer's word raises the epoch; none if not at all.
    pub(crate) fn raised(&self, epoch: u32) -> Option<u32> {
        let epoch = epoch.min(EPOCH_MAX).min(self.epoch.saturating_add(LEAP_MAX));
        (epoch > self.epoch).then_some(epoch)
    }

    /// What a peer tells of its epoch.
    pub(crate) fn heard(&mut self, from: u64, epoch: u32) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.epoch = Some(epoch);
        }
    }

    /// All of these have this epoch now.
    pub(crate) fn all_at(&mut self, members: &[u64], epoch: u32) {
        for (_, peer) in self.peers.iter_mut().filter(|(id, _)| members.contains(id)) {
            peer.epoch = Some(peer.epoch.unwrap_or(0).max(epoch));
        }
    }

    /// A frame of a later epoch came from this peer: ask it.
    pub(crate) fn ask(&mut self, from: u64) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        // If it is not being asked already.
        if peer.epoch.is_some_and(|epoch| epoch >= self.epoch) {
            peer.epoch = None;
        }
    }

    fn is_told(peer: &Peer, epoch: u32) -> bool {
        peer.epoch.is_some_and(|known| known >= epoch)
    }

    /// Tells the epoch to those that may not have it.
    pub(crate) fn tick(&mut self, io: &mut Io, network: u32) {
        if !self.here {
            return;
        }
        for (&id, peer) in &mut self.peers {
            let max = io.config.retry_max_ms;
            if !Self::is_told(peer, self.epoch) && peer.retry.due(io.now, io.config.retry_ms, max) {
                io.send(id, Body::Sync { network, epoch: self.epoch, answer: false });
            }
        }
    }

    /// When [`Net::tick`] has something to do next.
    pub(crate) fn wake(&self) -> u64 {
        let asked = self.peers.values().filter(|peer| self.here && !Self::is_told(peer, self.epoch));
        asked.map(|peer| peer.retry.at).min().unwrap_or(u64::MAX)
    }
}

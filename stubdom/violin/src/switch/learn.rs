//! What the switch learns from the source of a frame, and when it forgets.

use crate::id::Mac;
use crate::table::{Entry, Key, Target};

use super::{DropReason, Switch};

/// An address is forgotten so long after the last frame from it, in milliseconds.
pub const AGE_MS: u64 = 300_000;

/// Entries that one [`Switch::tick`] looks at.
const SWEEP: usize = 512;

const SECOND: u64 = 1000;

impl Switch {
    /// Forgets addresses that were silent for [`AGE_MS`]; looks at a bounded number of them. Call it
    /// once in a second or so: lookups know the age themselves, this only makes room.
    pub fn tick(&mut self, now_ms: u64) {
        let from = self.swept;
        self.swept = self.sweep(from, SWEEP, |entry| is_stale(entry, now_ms));
    }

    /// Where the address is, if that is still known.
    pub(super) fn locate(&self, now_ms: u64, key: Key) -> Option<Target> {
        self.table.get(key).filter(|entry| !is_stale(entry, now_ms)).map(|entry| entry.place)
    }

    pub(super) fn learn(&mut self, now: u64, slot: u16, place: Target, mac: Mac) -> Result<(), DropReason> {
        if let Target::Port(id) = place
            && let Some(pinned) = self.port(id).and_then(|port| port.pinned)
        {
            return if pinned == mac { Ok(()) } else { Err(DropReason::Spoofed) };
        }
        let key = Key::new(slot, mac);
        let most = self.limits.moves_per_second;
        let Some(entry) = self.table.get_mut(key) else {
            self.enter_new(now, place, key);
            return Ok(());
        };
        if entry.place == place {
            entry.seen = now;
            return Ok(());
        }
        if entry.pinned {
            return Err(DropReason::Spoofed);
        }
        if now.abs_diff(entry.moves_since) >= SECOND {
            entry.moves_since = now;
            entry.moves = 0;
        }
        if entry.moves >= most {
            self.count_at(slot, place, DropReason::Flapping);
            return Ok(());
        }
        entry.moves = entry.moves.saturating_add(1);
        entry.seen = now;
        let old = core::mem::replace(&mut entry.place, place);
        self.count_learned(slot, old, false);
        if self.has_room(slot, place) {
            self.count_learned(slot, place, true);
        } else {
            // It is not where it was: frames to it are better flooded than sent there.
            self.table.remove(key);
            self.count_at(slot, place, DropReason::TableFull);
        }
        Ok(())
    }

    fn enter_new(&mut self, now: u64, place: Target, key: Key) {
        let entry = Entry { key, place, pinned: false, moves: 0, moves_since: now, seen: now };
        if self.has_room(key.network(), place) && self.table.insert(entry) {
            self.count_learned(key.network(), place, true);
        } else {
            self.count_at(key.network(), place, DropReason::TableFull);
        }
    }

    fn has_room(&mut self, slot: u16, place: Target) -> bool {
        let limits = self.limits;
        let network = self.network(slot).is_some_and(|network| network.macs < limits.macs_per_network);
        network
            && match place {
                Target::Port(_) => self.learned(slot, place).is_some_and(|n| n < limits.macs_per_port),
                Target::Peer(_) => self.learned(slot, place).is_some_and(|n| n < limits.macs_per_peer),
            }
    }

    fn learned(&self, slot: u16, place: Target) -> Option<usize> {
        match place {
            Target::Port(id) => self.port(id).map(|port| port.macs),
            Target::Peer(id) => {
                let peer = self.peers.get(usize::from(id.0))?.as_ref()?;
                peer.macs.get(usize::from(slot)).map(|n| usize::from(*n))
            }
        }
    }

    /// One learned address more or less at a place.
    fn count_learned(&mut self, slot: u16, place: Target, more: bool) {
        let step = |n: &mut usize| *n = if more { n.saturating_add(1) } else { n.saturating_sub(1) };
        if let Some(network) = self.network_mut(slot) {
            step(&mut network.macs);
        }
        match place {
            Target::Port(id) => {
                if let Some(port) = self.port_mut(id) {
                    step(&mut port.macs);
                }
            }
            Target::Peer(id) => {
                if let Some(n) = self.peer_mut(id).and_then(|peer| peer.macs.get_mut(usize::from(slot))) {
                    *n = if more { n.saturating_add(1) } else { n.saturating_sub(1) };
                }
            }
        }
    }

    /// Forgets, among `steps` entries from number `from` on, those that `leaves`.
    fn sweep(&mut self, from: usize, steps: usize, leaves: impl Fn(&Entry) -> bool) -> usize {
        let mut at = from;
        for _ in 0..steps {
            let Some(entry) = self.table.at(at).copied() else { return 0 };
            if leaves(&entry) {
                // Another entry now has this number: it is looked at next.
                self.table.remove(entry.key);
                if !entry.pinned {
                    self.count_learned(entry.key.network(), entry.place, false);
                }
            } else {
                at += 1;
            }
        }
        at
    }

    /// Forgets all entries that `leaves`.
    pub(super) fn forget(&mut self, leaves: impl Fn(&Entry) -> bool) {
        self.sweep(0, usize::MAX, leaves);
    }
}

fn is_stale(entry: &Entry, now: u64) -> bool {
    !entry.pinned && now.abs_diff(entry.seen) >= AGE_MS
}

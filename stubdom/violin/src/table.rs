//! MAC address to place, learned from source addresses.
//!
//! One table serves all networks: an address is looked up together with the network's slot. It never
//! grows, and never pushes an entry out for another: who may enter is the switch's business.
//!
//! Open addressing with Robin Hood probing over an index that is at most half full, and entries side
//! by side in one array. A lookup looks at one or two slots of the index whether there are 10 or
//! 10,000 entries. The hash is keyed (SipHash-1-3), so a guest cannot choose addresses that collide.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::id::{Mac, PeerId, PortId};

/// A place where a MAC address can be, and where a frame can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A port of this switch.
    Port(PortId),
    /// Another switch.
    Peer(PeerId),
}

/// A MAC address in a network, which is named by its slot in the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// `mac` in the network with slot `network`.
    pub const fn new(network: u16, mac: Mac) -> Self {
        let ([n0, n1], [a, b, c, d, e, f]) = (network.to_be_bytes(), mac.0);
        Self(u64::from_be_bytes([n0, n1, a, b, c, d, e, f]))
    }

    /// The network's slot.
    pub const fn network(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The address.
    pub const fn mac(self) -> Mac {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        Mac([a, b, c, d, e, f])
    }
}

/// What is known of an address. Times are milliseconds since boot.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Whose entry it is.
    pub key: Key,
    /// Where it is.
    pub place: Target,
    /// Configured, not learned: it neither ages nor moves.
    pub pinned: bool,
    /// Moves since `moves_since`.
    pub moves: u8,
    /// The begin of the second in which `moves` are counted.
    pub moves_since: u64,
    /// When a frame from it was seen last.
    pub seen: u64,
}

/// A slot of the index. The home of an entry is its hash, cut to the index.
#[derive(Clone, Copy)]
struct Slot {
    entry: u16,
    hash: u16,
}

const EMPTY: Slot = Slot { entry: u16::MAX, hash: 0 };

/// The table.
pub struct Table {
    hasher: SipHasher13,
    /// A power of two, at least twice the capacity, at most 65,536: positions are cut with `mask`, so
    /// no access is out of range, and there is always an empty slot where a walk ends.
    index: Box<[Slot]>,
    mask: usize,
    entries: Vec<Entry>,
    capacity: usize,
}

impl Table {
    /// The most entries that a table can have.
    pub const MAX: usize = 32_768;

    /// A table for `capacity` entries, at most [`MAX`](Self::MAX). `seed` should be random.
    pub fn new(capacity: usize, seed: &[u8; 16]) -> Self {
        let capacity = capacity.clamp(1, Self::MAX);
        let slots = (capacity * 2).next_power_of_two();
        Self {
            hasher: SipHasher13::new_with_key(seed),
            index: alloc::vec![EMPTY; slots].into_boxed_slice(),
            mask: slots - 1,
            entries: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries there can be.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Octets of heap that it takes, from its start on.
    pub fn heap_octets(&self) -> usize {
        size_of_val(&*self.index) + self.entries.capacity() * size_of::<Entry>()
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entry of `key`.
    pub fn get(&self, key: Key) -> Option<&Entry> {
        let at = self.find(key).0?;
        self.entries.get(self.index[at].entry as usize)
    }

    /// The entry of `key`. Its key must stay as it is.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        let at = self.find(key).0?;
        self.entries.get_mut(self.index[at].entry as usize)
    }

    /// How many slots of the index a lookup of `key` looks at. For tests: it must not grow with the
    /// number of entries.
    pub fn probes(&self, key: Key) -> usize {
        self.find(key).1
    }

    /// Puts an entry in, in place of the one of the same key. `false`: there is no room.
    pub fn insert(&mut self, entry: Entry) -> bool {
        if let Some(known) = self.get_mut(entry.key) {
            *known = entry;
            return true;
        }
        if self.entries.len() >= self.capacity {
            return false;
        }
        let mut carried = Slot { entry: self.entries.len() as u16, hash: self.hash(entry.key) };
        self.entries.push(entry);
        let (mut at, mut distance) = (carried.hash as usize & self.mask, 0);
        while self.index[at].entry != EMPTY.entry {
            // Who is closer to home gives way.
            let theirs = self.distance(at);
            if theirs < distance {
                core::mem::swap(&mut self.index[at], &mut carried);
                distance = theirs;
            }
            at = (at + 1) & self.mask;
            distance += 1;
        }
        self.index[at] = carried;
        true
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key) -> Option<Entry> {
        let mut at = self.find(key).0?;
        let removed = self.index[at].entry;
        // Those behind it move up, each one step nearer to its home.
        loop {
            let next = (at + 1) & self.mask;
            if self.index[next].entry == EMPTY.entry || self.distance(next) == 0 {
                break;
            }
            self.index[at] = self.index[next];
            at = next;
        }
        self.index[at] = EMPTY;
        // The last entry takes its place, and the index must know.
        let last = self.entries.len().checked_sub(1)? as u16;
        if removed != last {
            let hash = self.hash(self.entries.last()?.key);
            if let Some(at) = self.walk(hash, |slot| slot.entry == last).0 {
                self.index[at].entry = removed;
            }
        }
        Some(self.entries.swap_remove(removed as usize))
    }

    /// The entry with a number below [`len`](Self::len). A removal gives its number to another entry.
    pub fn at(&self, number: usize) -> Option<&Entry> {
        self.entries.get(number)
    }

    fn hash(&self, key: Key) -> u16 {
        let mut hasher = self.hasher;
        hasher.write_u64(key.0);
        hasher.finish() as u16
    }

    /// How far the slot's owner is from home.
    fn distance(&self, at: usize) -> usize {
        at.wrapping_sub(self.index[at].hash as usize) & self.mask
    }

    fn find(&self, key: Key) -> (Option<usize>, usize) {
        let hash = self.hash(key);
        self.walk(hash, |slot| {
            slot.hash == hash && self.entries.get(slot.entry as usize).is_some_and(|entry| entry.key == key)
        })
    }

    /// From the home of `hash` to the slot that is meant, or to where it would have to be. Answers the
    /// slots looked at, too.
    fn walk(&self, hash: u16, is_it: impl Fn(Slot) -> bool) -> (Option<usize>, usize) {
        let mut at = hash as usize & self.mask;
        let mut distance = 0;
        loop {
            let slot = self.index[at];
            if slot.entry == EMPTY.entry || self.distance(at) < distance {
                return (None, distance + 1);
            }
            if is_it(slot) {
                return (Some(at), distance + 1);
            }
            at = (at + 1) & self.mask;
            distance += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    fn entry(key: Key, place: u16) -> Entry {
        let place = Target::Port(PortId(place));
        Entry { key, place, pinned: false, moves: 0, moves_since: 0, seen: 0 }
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 32);
        assert_eq!(size_of::<Slot>(), 4);
    }

    /// VS3.
    #[test]
    fn lookups_look_at_as_few_slots_with_10_000_entries_as_with_10() {
        for seed in 0..2 {
            let mut table = Table::new(10_000, &[seed; 16]);
            let mut before = 0;
            for count in [10, 100, 1_000, 10_000] {
                (before..count).for_each(|n| assert!(table.insert(entry(Key::new(7, mac(n)), 1))));
                before = count;
                let known = (0..count).map(|n| table.probes(Key::new(7, mac(n))));
                let unknown = (0..count).map(|n| table.probes(Key::new(8, mac(n))));
                let (sum, most) = (known.clone().sum::<usize>(), known.chain(unknown.clone()).max().unwrap());
                assert!(sum <= 2 * count as usize, "{sum} probes for {count} known addresses");
                let sum = unknown.sum::<usize>();
                assert!(sum <= 2 * count as usize, "{sum} probes for {count} unknown addresses");
                assert!(most <= 16, "{most} probes for one address among {count}");
            }
        }
    }

    #[test]
    fn addresses_that_collide_under_one_seed_do_not_under_another() {
        let table = Table::new(128, &[1; 16]);
        let home = |table: &Table, n| table.hash(Key::new(0, mac(n))) as usize & table.mask;
        let chosen: Vec<u32> = (0..30_000).filter(|n| home(&table, *n) == 5).take(100).collect();
        assert!(chosen.len() > 50);
        let mut other = Table::new(128, &[2; 16]);
        chosen.iter().for_each(|n| assert!(other.insert(entry(Key::new(0, mac(*n)), 1))));
        assert!(chosen.iter().all(|n| other.probes(Key::new(0, mac(*n))) <= 16));
    }

    #[test]
    fn a_full_table_takes_no_more_and_forgets_nobody() {
        let mut table = Table::new(100, &[3; 16]);
        let taken = (0..1_000).filter(|n| table.insert(entry(Key::new(0, mac(*n)), 1))).count();
        assert_eq!((taken, table.len(), table.capacity()), (100, 100, 100));
        assert!((0..100).all(|n| table.get(Key::new(0, mac(n))).is_some()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn it_knows_what_a_hash_map_knows(ops in prop::collection::vec((0u8..4, 0u32..20, 0u16..2), 1..200)) {
            let mut table = Table::new(16, &[9; 16]);
            let mut model: HashMap<(u16, u32), u16> = HashMap::new();
            for (op, n, network) in ops {
                let key = Key::new(network, mac(n));
                match op {
                    0 | 1 => {
                        let room = model.len() < 16 || model.contains_key(&(network, n));
                        prop_assert_eq!(table.insert(entry(key, n as u16 + u16::from(op))), room);
                        if room {
                            model.insert((network, n), n as u16 + u16::from(op));
                        }
                    }
                    2 => {
                        prop_assert_eq!(table.remove(key).is_some(), model.remove(&(network, n)).is_some());
                    }
                    _ => {
                        let leaves = |key: Key| key.network() == network && key.mac().0[5].is_multiple_of(3);
                        let mut at = 0;
                        while let Some(key) = table.at(at).map(|entry| entry.key) {
                            if !leaves(key) {
                                at += 1;
                            } else {
                                prop_assert!(table.remove(key).is_some());
                            }
                        }
                        model.retain(|(network, n), _| !leaves(Key::new(*network, mac(*n))));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for (network, n) in (0..2).flat_map(|network| (0..20).map(move |n| (network, n))) {
                    let key = Key::new(network, mac(n));
                    let found = table.get(key).map(|entry| {
                        assert_eq!(entry.key, key);
                        entry.place
                    });
                    let place = |port: &u16| Target::Port(PortId(*port));
                    prop_assert_eq!(found, model.get(&(network, n)).map(place));
                }
            }
        }
    }
}

//! Counting what the driver tells, and showing what was counted.

use crate::id::{Mac, NetworkId, PeerId, PortId};
use crate::table::{Table, Target};

use super::{Counters, DropReason, Drops, From, Limits, Network, Peer, Port, Switch};

/// A port, for `net stats`.
#[derive(Clone, Copy, Debug)]
pub struct PortStats<'a> {
    /// Its number.
    pub id: PortId,
    /// Its network.
    pub network: NetworkId,
    /// The address pinned to it.
    pub pinned: Option<Mac>,
    /// Addresses learned on it.
    pub macs: usize,
    /// What it has seen.
    pub counters: &'a Counters,
}

/// A peer, for `net stats`.
#[derive(Clone, Copy, Debug)]
pub struct PeerStats<'a> {
    /// Its number.
    pub id: PeerId,
    /// The networks it says it is a member of, ours or not.
    pub networks: &'a [NetworkId],
    /// Addresses learned behind it, in all networks.
    pub macs: usize,
    /// What it has seen.
    pub counters: &'a Counters,
}

/// A network, for `net stats`.
#[derive(Clone, Copy, Debug)]
pub struct NetworkStats<'a> {
    /// Its number.
    pub id: NetworkId,
    /// The largest payload of a frame, in octets.
    pub mtu: u16,
    /// Ports in it.
    pub ports: usize,
    /// Peers that are members.
    pub peers: usize,
    /// Addresses learned in it; pinned ones are not counted.
    pub macs: usize,
    /// Frames to one address that were sent to all, as its place was not known.
    pub flooded: u64,
    /// What did not get through in it.
    pub drops: &'a Drops,
}

/// An entry of the table, for `net show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedMac {
    /// The address.
    pub mac: Mac,
    /// Where it is.
    pub place: Target,
    /// Configured, not learned.
    pub pinned: bool,
    /// When a frame from it was seen last, in milliseconds since boot; 0 if pinned.
    pub seen_ms: u64,
}

impl Switch {
    /// A frame of `len` octets went to `target`.
    pub fn count_out(&mut self, target: Target, len: usize) {
        if let Some(counters) = self.counters_mut(target) {
            counters.add_out(len);
        }
    }

    /// A frame for `target` did not get there: its queue was full, there was no buffer, it has closed.
    /// Counted for the target and, if it is a port, for its network.
    pub fn count_drop(&mut self, target: Target, reason: DropReason) {
        let slot = match target {
            Target::Port(id) => self.port(id).map(|port| port.network),
            Target::Peer(_) => None,
        };
        self.count(slot, target, reason);
    }

    /// A frame from there was refused, by the driver before it came to [`forward`](Self::forward): a
    /// runt, or no buffer for it.
    pub fn count_refused(&mut self, from: From, reason: DropReason) {
        let slot = match from {
            From::Port(id) => self.port(id).map(|port| port.network),
            From::Peer(_, network) => self.slot(network),
        };
        self.count(slot, from.place(), reason);
    }

    /// Drops of frames from and to ports and peers that are not there.
    pub const fn stray_drops(&self) -> &Drops {
        &self.stray
    }

    /// The limits, as cut to the maxima.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Entries in the table, pinned ones too, and how many there is room for.
    pub fn table_size(&self) -> (usize, usize) {
        (self.table.len(), self.table.capacity())
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = PortStats<'_>> {
        (0u16..).zip(&self.ports).filter_map(|(n, port)| {
            let Port { network, pinned, macs, ref counters, .. } = *port.as_ref()?;
            let network = self.network(network)?.id;
            Some(PortStats { id: PortId(n), network, pinned, macs, counters })
        })
    }

    /// The peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerStats<'_>> {
        (0u16..).zip(&self.peers).filter_map(|(n, peer)| {
            let Peer { networks, macs, counters } = peer.as_ref()?;
            let macs = macs.iter().map(|n| usize::from(*n)).sum();
            Some(PeerStats { id: PeerId(n), networks, macs, counters })
        })
    }

    /// The networks.
    pub fn networks(&self) -> impl Iterator<Item = NetworkStats<'_>> {
        self.networks.iter().flatten().map(|network| {
            let Network { id, mtu, ref ports, ref peers, macs, flooded, ref drops } = *network;
            NetworkStats { id, mtu, ports: ports.len(), peers: peers.len(), macs, flooded, drops }
        })
    }

    /// A network's MAC addresses, in no order; those that have aged but were not yet swept, too.
    pub fn macs(&self, network: NetworkId) -> impl Iterator<Item = LearnedMac> {
        let slot = self.slot(network);
        self.table.iter().filter(move |entry| slot == Some(entry.key.network())).map(|entry| LearnedMac {
            mac: entry.key.mac(),
            place: entry.place,
            pinned: entry.pinned,
            seen_ms: entry.seen,
        })
    }

    /// The network of a port.
    pub fn network_of(&self, port: PortId) -> Option<NetworkId> {
        self.network(self.port(port)?.network).map(|network| network.id)
    }

    /// A network's MTU.
    pub fn mtu(&self, network: NetworkId) -> Option<u16> {
        self.network(self.slot(network)?).map(|network| network.mtu)
    }

    /// Octets of heap that the switch takes.
    pub fn heap_octets(&self) -> usize {
        size_of_val(&*self.names)
            + size_of_val(&*self.networks)
            + size_of_val(&*self.ports)
            + size_of_val(&*self.peers)
            + Table::heap_octets(&self.table)
    }

    pub(super) fn count_at(&mut self, slot: u16, place: Target, reason: DropReason) {
        self.count(Some(slot), place, reason);
    }

    fn count(&mut self, slot: Option<u16>, place: Target, reason: DropReason) {
        if let Some(network) = slot.and_then(|slot| self.network_mut(slot)) {
            network.drops.add(reason);
        }
        match self.counters_mut(place) {
            Some(counters) => counters.drops.add(reason),
            None => self.stray.add(reason),
        }
    }

    fn counters_mut(&mut self, place: Target) -> Option<&mut Counters> {
        match place {
            Target::Port(id) => self.port_mut(id).map(|port| &mut port.counters),
            Target::Peer(id) => self.peer_mut(id).map(|peer| &mut peer.counters),
        }
    }
}

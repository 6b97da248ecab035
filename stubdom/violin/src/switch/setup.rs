//! Networks, ports and peers come and go.

use core::fmt;

use crate::id::{Mac, NetworkId, PeerId, PortId};
use crate::table::{Entry, Key, Target};

use super::{Counters, Drops, Network, Peer, Peers, Port, Ports, Switch};

/// Why a network cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddNetwork {
    /// There is one with this number.
    Exists,
    /// There are [`Limits::networks`](super::Limits::networks) of them.
    Full,
}

/// This switch does not have that network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

/// Why a port cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddPort {
    /// There is no such network: add it first.
    NoNetwork,
    /// There are [`Limits::ports`](super::Limits::ports) of them.
    Full,
    /// The address is pinned to this port of the same network: give the guest another.
    DuplicateMac(PortId),
    /// A group address or all zeros cannot be pinned.
    BadMac,
}

/// Why a peer cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetPeer {
    /// The number is not below [`Limits::peers`](super::Limits::peers).
    OutOfRange,
    /// It names more than [`MAX_NETWORKS`](super::MAX_NETWORKS).
    TooManyNetworks,
}

impl Switch {
    /// Adds a network. `mtu`: octets of the largest payload of a frame, that is, of what comes after
    /// the Ethernet header and a VLAN tag: 1400 for example. Peers which are known to be members
    /// of it take part at once.
    pub fn add_network(&mut self, id: NetworkId, mtu: u16) -> Result<(), AddNetwork> {
        if self.slot(id).is_some() {
            return Err(AddNetwork::Exists);
        }
        let mut peers = Peers::EMPTY;
        for (n, peer) in (0u16..).zip(&self.peers) {
            if peer.as_ref().is_some_and(|peer| peer.networks.contains(&id)) {
                peers.insert(n);
            }
        }
        let free = self.networks.iter().position(Option::is_none).ok_or(AddNetwork::Full)?;
        let network =
            Network { id, mtu, ports: Ports::EMPTY, peers, macs: 0, flooded: 0, drops: Drops::default() };
        if let (Some(name), Some(place)) = (self.names.get_mut(free), self.networks.get_mut(free)) {
            *name = Some(id);
            *place = Some(network);
        }
        Ok(())
    }

    /// Changes a network's MTU (see [`add_network`](Self::add_network)); from the next frame on.
    pub fn set_mtu(&mut self, id: NetworkId, mtu: u16) -> Result<(), NoNetwork> {
        let slot = self.slot(id).ok_or(NoNetwork)?;
        self.network_mut(slot).ok_or(NoNetwork)?.mtu = mtu;
        Ok(())
    }

    /// Removes a network, and with it its ports: their numbers are answered, for the driver to close
    /// the vifs. What was learned in it is forgotten.
    pub fn remove_network(&mut self, id: NetworkId) -> Result<Ports, NoNetwork> {
        let slot = self.slot(id).ok_or(NoNetwork)?;
        let ports = self.network(slot).ok_or(NoNetwork)?.ports;
        self.forget(|entry| entry.key.network() == slot);
        for port in ports.iter() {
            if let Some(place) = self.ports.get_mut(usize::from(port)) {
                *place = None;
            }
        }
        if let Some(name) = self.names.get_mut(usize::from(slot)) {
            *name = None;
        }
        if let Some(place) = self.networks.get_mut(usize::from(slot)) {
            *place = None;
        }
        Ok(ports)
    }

    /// Adds a port to a network: the lowest number that is free. With a `pinned` address the port
    /// uses that one and no other, frames to it arrive from the start, and nobody else can claim it.
    pub fn add_port(&mut self, network: NetworkId, pinned: Option<Mac>) -> Result<PortId, AddPort> {
        let slot = self.slot(network).ok_or(AddPort::NoNetwork)?;
        let free = self.ports.iter().position(Option::is_none).ok_or(AddPort::Full)?;
        let id = PortId(free as u16);
        if let Some(mac) = pinned {
            self.pin(slot, id, mac)?;
        }
        let flood_credit = self.limits.flood_copies_per_second;
        if let Some(place) = self.ports.get_mut(free) {
            let counters = Counters::default();
            *place = Some(Port { network: slot, pinned, macs: 0, flood_credit, flood_filled: 0, counters });
        }
        if let Some(network) = self.network_mut(slot) {
            network.ports.insert(id.0);
        }
        Ok(id)
    }

    fn pin(&mut self, slot: u16, id: PortId, mac: Mac) -> Result<(), AddPort> {
        if !mac.is_station() {
            return Err(AddPort::BadMac);
        }
        let key = Key::new(slot, mac);
        match self.table.get(key) {
            Some(Entry { pinned: true, place: Target::Port(other), .. }) => {
                return Err(AddPort::DuplicateMac(*other));
            }
            Some(_) => self.forget(|entry| entry.key == key),
            None => {}
        }
        // The table has room for one pinned address a port besides what can be learned.
        let entry = Entry { key, place: Target::Port(id), pinned: true, moves: 0, moves_since: 0, seen: 0 };
        if self.table.insert(entry) { Ok(()) } else { Err(AddPort::Full) }
    }

    /// Removes a port, and forgets what was learned on it. A port that is not there is no error.
    pub fn remove_port(&mut self, id: PortId) {
        let Some(port) = self.ports.get_mut(usize::from(id.0)).and_then(Option::take) else { return };
        if let Some(network) = self.network_mut(port.network) {
            network.ports.remove(id.0);
        }
        self.forget(|entry| entry.place == Target::Port(id));
    }

    /// Makes a peer known, or changes the networks it is a member of: those that are not named are
    /// left. Numbers of networks that this switch does not have are kept for when it gets them.
    pub fn set_peer(&mut self, id: PeerId, networks: &[NetworkId]) -> Result<(), SetPeer> {
        let named = heapless::Vec::from_slice(networks).map_err(|_| SetPeer::TooManyNetworks)?;
        let place = self.peers.get_mut(usize::from(id.0)).ok_or(SetPeer::OutOfRange)?;
        match place {
            Some(peer) => peer.networks = named,
            None => {
                let counters = Counters::default();
                *place = Some(Peer { networks: named, macs: [0; super::MAX_NETWORKS], counters });
            }
        }
        let mut left = 0u64;
        for (slot, network) in self.networks.iter_mut().enumerate() {
            let Some(network) = network else { continue };
            if networks.contains(&network.id) {
                network.peers.insert(id.0);
            } else if network.peers.contains(id.0) {
                network.peers.remove(id.0);
                left |= 1 << slot;
            }
        }
        if left != 0 {
            let left = |slot: u16| left >> slot & 1 == 1;
            self.forget(|entry| entry.place == Target::Peer(id) && left(entry.key.network()));
        }
        Ok(())
    }

    /// Removes a peer, and forgets what was learned behind it. A peer that is not there is no error.
    pub fn remove_peer(&mut self, id: PeerId) {
        let Some(place) = self.peers.get_mut(usize::from(id.0)) else { return };
        if place.take().is_some() {
            self.networks.iter_mut().flatten().for_each(|network| network.peers.remove(id.0));
            self.forget(|entry| entry.place == Target::Peer(id));
        }
    }
}

impl fmt::Display for AddNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "the network exists already",
            Self::Full => "the switch has no room for another network: delete one",
        })
    }
}

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such network: create it first")
    }
}

impl fmt::Display for AddPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork => NoNetwork.fmt(f),
            Self::Full => f.write_str("the switch has no room for another port: detach a guest"),
            Self::DuplicateMac(port) => {
                let PortId(port) = port;
                write!(f, "port {port} has this MAC address in the same network: choose another")
            }
            Self::BadMac => f.write_str("a group address or all zeros cannot be a guest's MAC address"),
        }
    }
}

impl fmt::Display for SetPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the switch has no room for another peer",
            Self::TooManyNetworks => "the peer is a member of more networks than a switch can have",
        })
    }
}

impl core::error::Error for AddNetwork {}
impl core::error::Error for NoNetwork {}
impl core::error::Error for AddPort {}
impl core::error::Error for SetPeer {}

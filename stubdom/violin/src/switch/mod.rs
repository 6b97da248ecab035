//! Where a frame goes.
//!
//! One [`Switch`] serves all networks of a stub. The driver hands it the header of each frame and
//! where the frame came from; it learns from the source address and answers where the frame goes to.
//! It never sees a payload, never queues, and allocates nothing after [`Switch::new`].
//!
//! The rules (the VIOLIN paper, section 2.1; what it leaves open is decided here):
//!
//! * A port is in one network. Nothing crosses networks: the same MAC address may be in each.
//! * A known address is sent to its place; a group address, and an unknown one, to all ports of the
//!   network but the one it came from, and to each peer that is a member, once.
//! * What came from a peer never goes to a peer (split horizon): each pair of switches talks directly.
//! * An address is where the last frame from it came from. It moves at once, but no more than
//!   [`Limits::moves_per_second`]; a real migration moves it once or a few times. It is forgotten
//!   [`AGE_MS`] after its last frame.
//! * An address pinned to a port is there and nowhere else while the port is: the port can use no
//!   other, and frames from elsewhere that claim it are dropped. Pin addresses: on ports with none
//!   pinned any guest of the network can take any such address, as on every learning switch.
//! * An address beyond the room for its port, peer or network is not learned, so frames to it are
//!   flooded; nobody else's is pushed out.
//! * 01:80:c2:00:00:00 to :0f are dropped ([`DropReason::LinkLocal`]), as in every bridge.

mod bits;
mod count;
mod learn;
mod limits;
mod setup;
mod stats;

use alloc::boxed::Box;

pub use crate::table::Target;
pub use bits::Bits;
pub use count::{Counters, DropReason, Drops};
pub use learn::AGE_MS;
pub use limits::{Limits, MAX_MACS, MAX_NETWORKS, MAX_PEERS, MAX_PORTS};
pub use setup::{AddNetwork, AddPort, NoNetwork, SetPeer};
pub use stats::{LearnedMac, NetworkStats, PeerStats, PortStats};

use crate::frame::Header;
use crate::id::{Mac, NetworkId, PeerId, PortId};
use crate::table::{Key, Table};

/// Ports, by number.
pub type Ports = Bits<{ MAX_PORTS / 64 }>;
/// Peers, by number.
pub type Peers = Bits<{ MAX_PEERS / 64 }>;

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A port, and so the network of that port.
    Port(PortId),
    /// A peer, for the network that its datagram names.
    Peer(PeerId, NetworkId),
}

impl From {
    const fn place(self) -> Target {
        match self {
            Self::Port(port) => Target::Port(port),
            Self::Peer(peer, _) => Target::Peer(peer),
        }
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Forward {
    /// Nowhere. It has been counted.
    Drop(DropReason),
    /// To one place.
    One(Target),
    /// To several places, or none if nobody else is there.
    Flood(Flood),
}

impl Forward {
    /// The targets as sets, one place as a flood of one.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn targets(self) -> Result<Flood, DropReason> {
        let mut flood = Flood { ports: Ports::EMPTY, peers: Peers::EMPTY };
        match self {
            Self::Drop(reason) => return Err(reason),
            Self::One(Target::Port(port)) => flood.ports.insert(port.0),
            Self::One(Target::Peer(peer)) => flood.peers.insert(peer.0),
            Self::Flood(all) => flood = all,
        }
        Ok(flood)
    }
}

/// The targets of a flood. A value of its own: the switch is free while the driver walks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// The ports.
    pub ports: Ports,
    /// The peers: one datagram to each.
    pub peers: Peers,
}

impl Flood {
    /// All targets: ports first, then peers.
    pub fn targets(self) -> impl Iterator<Item = Target> + Clone {
        let ports = self.ports.iter().map(|n| Target::Port(PortId(n)));
        ports.chain(self.peers.iter().map(|n| Target::Peer(PeerId(n))))
    }

    /// How many targets there are.
    pub fn len(&self) -> usize {
        self.ports.len() + self.peers.len()
    }

    /// Whether nobody else is there.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.peers.is_empty()
    }
}

struct Network {
    id: NetworkId,
    mtu: u16,
    ports: Ports,
    peers: Peers,
    /// Learned addresses, pinned ones not counted.
    macs: usize,
    flooded: u64,
    drops: Drops,
}

struct Port {
    network: u16,
    pinned: Option<Mac>,
    macs: usize,
    flood_credit: u32,
    flood_filled: u64,
    counters: Counters,
}

struct Peer {
    /// The networks it is a member of, ours or not: one of them can become ours later.
    networks: heapless::Vec<NetworkId, MAX_NETWORKS>,
    /// Learned addresses, by our network slots.
    macs: [u16; MAX_NETWORKS],
    counters: Counters,
}

/// A switch for all networks of a stub.
pub struct Switch {
    limits: Limits,
    table: Table,
    /// Who is in which slot of `networks`, close together for the look up.
    names: Box<[Option<NetworkId>]>,
    networks: Box<[Option<Network>]>,
    ports: Box<[Option<Port>]>,
    peers: Box<[Option<Peer>]>,
    /// Drops of frames from ports and peers that are not there.
    stray: Drops,
    /// Where ageing goes on.
    swept: usize,
}

impl Switch {
    /// A switch without networks. Allocates all that it will ever need; limits beyond the maxima are
    /// cut to them. `seed` keys the table's hash: random, and unknown to guests.
    pub fn new(limits: Limits, seed: [u8; 16]) -> Self {
        let limits = limits.cut();
        Self {
            table: Table::new(limits.macs(), &seed),
            names: (0..limits.networks).map(|_| None).collect(),
            networks: (0..limits.networks).map(|_| None).collect(),
            ports: (0..limits.ports).map(|_| None).collect(),
            peers: (0..limits.peers).map(|_| None).collect(),
            stray: Drops::default(),
            swept: 0,
            limits,
        }
    }

    /// Decides where a frame goes, learns from it and counts it as come in.
    ///
    /// `now_ms`: milliseconds since boot. `len`: octets of the whole frame, header included.
    /// `oversize_ok`: the frame may be longer than the MTU, because the sender left its segmentation
    /// to us (GSO). The driver tells what became of it with [`count_out`](Self::count_out) or
    /// [`count_drop`](Self::count_drop) for each target.
    pub fn forward(
        &mut self,
        now_ms: u64,
        from: From,
        header: &Header,
        len: usize,
        oversize_ok: bool,
    ) -> Forward {
        let decided = self.enter(from, len).and_then(|slot| {
            self.check(slot, header, len, oversize_ok)?;
            self.learn(now_ms, slot, from.place(), header.src)?;
            self.decide(now_ms, slot, from.place(), header.dst)
        });
        decided.unwrap_or_else(|reason| {
            self.count_refused(from, reason);
            Forward::Drop(reason)
        })
    }

    /// Counts a frame in, and finds its network's slot.
    fn enter(&mut self, from: From, len: usize) -> Result<u16, DropReason> {
        match from {
            From::Port(id) => {
                let port = self.port_mut(id).ok_or(DropReason::Closed)?;
                port.counters.add_in(len);
                Ok(port.network)
            }
            From::Peer(id, network) => {
                let peer = self.peer_mut(id).ok_or(DropReason::NotMember)?;
                peer.counters.add_in(len);
                let slot = self.slot(network).ok_or(DropReason::NoNetwork)?;
                let member = self.network(slot).is_some_and(|network| network.peers.contains(id.0));
                if member { Ok(slot) } else { Err(DropReason::NotMember) }
            }
        }
    }

    fn check(&self, slot: u16, header: &Header, len: usize, oversize_ok: bool) -> Result<(), DropReason> {
        let network = self.network(slot).ok_or(DropReason::NoNetwork)?;
        let payload = len.checked_sub(header.header_len()).ok_or(DropReason::Runt)?;
        if payload > usize::from(network.mtu) && !oversize_ok {
            Err(DropReason::TooBig)
        } else if !header.src.is_station() {
            Err(DropReason::BadSource)
        } else if header.dst.is_link_local() {
            Err(DropReason::LinkLocal)
        } else {
            Ok(())
        }
    }

    fn decide(&mut self, now_ms: u64, slot: u16, from: Target, dst: Mac) -> Result<Forward, DropReason> {
        if !dst.is_group()
            && let Some(place) = self.locate(now_ms, Key::new(slot, dst))
        {
            return match (from, place) {
                (Target::Peer(_), Target::Peer(_)) => Err(DropReason::SplitHorizon),
                _ if from == place => Err(DropReason::SamePort),
                _ => Ok(Forward::One(place)),
            };
        }
        let network = self.network_mut(slot).ok_or(DropReason::NoNetwork)?;
        network.flooded += u64::from(!dst.is_group());
        let mut flood = Flood { ports: network.ports, peers: network.peers };
        match from {
            Target::Port(id) => {
                flood.ports.remove(id.0);
                self.may_flood(now_ms, id, flood.len())?;
            }
            Target::Peer(_) => flood.peers = Peers::EMPTY,
        }
        Ok(Forward::Flood(flood))
    }

    /// Storm control: takes `copies` from the port's allowance. It may overdraw once, so that any
    /// flood passes when the allowance is full.
    fn may_flood(&mut self, now_ms: u64, id: PortId, copies: usize) -> Result<(), DropReason> {
        let rate = self.limits.flood_copies_per_second;
        let port = self.port_mut(id).ok_or(DropReason::Closed)?;
        if rate == u32::MAX {
            return Ok(());
        }
        let refill = u64::from(rate).saturating_mul(now_ms.abs_diff(port.flood_filled)) / 1000;
        if refill > 0 {
            let credit = refill.saturating_add(port.flood_credit.into()).min(rate.into());
            port.flood_credit = credit as u32;
            port.flood_filled = now_ms;
        }
        if port.flood_credit == 0 {
            return Err(DropReason::FloodLimit);
        }
        port.flood_credit = port.flood_credit.saturating_sub(copies.try_into().unwrap_or(u32::MAX));
        Ok(())
    }

    fn slot(&self, id: NetworkId) -> Option<u16> {
        self.names.iter().position(|name| *name == Some(id)).map(|at| at as u16)
    }

    fn network(&self, slot: u16) -> Option<&Network> {
        self.networks.get(usize::from(slot))?.as_ref()
    }

    fn network_mut(&mut self, slot: u16) -> Option<&mut Network> {
        self.networks.get_mut(usize::from(slot))?.as_mut()
    }

    fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))?.as_ref()
    }

    fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(usize::from(id.0))?.as_mut()
    }

    fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(id.0))?.as_mut()
    }
}

//! A node with a membership, the switch and guests: what a stub domain is, without rings and seals.

use std::collections::BTreeMap;

use violin::frame::{HEADER_LEN, Header};
use violin::id::{Mac, NetworkId, PeerId, PortId, SwitchId};
use violin::member::{Config, Event};
use violin::switch::{DropReason, Forward, From, Limits, Switch, Target};

use crate::mesh::{self, MeshNode};
use crate::node::{Host, Kind, Node, Outbox};

/// An experimental ethertype (IEEE 802), for the frames of simulated guests.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The MTU of all networks.
const MTU: u16 = 1400;

/// A guest on a host: what it received.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its MAC address.
    pub mac: Mac,
    /// Its port.
    pub port: PortId,
    /// Who sent what, in order.
    pub received: Vec<(Mac, u64)>,
}

/// A host with a switch and guests.
pub struct SwitchedNode {
    /// Its membership.
    pub mesh: MeshNode,
    /// Its switch.
    pub switch: Switch,
    /// Its guests.
    pub guests: Vec<Guest>,
    /// Frames sent to other switches.
    pub frames_sent: u64,
    networks: Vec<NetworkId>,
    /// The places of peers in the switch's tables.
    peers: BTreeMap<SwitchId, (PeerId, Host)>,
    waiting: Vec<(Host, Box<[u8]>)>,
}

impl SwitchedNode {
    /// A host without guests, that joins through these hosts.
    pub fn new(on: Host, incarnation: u64, seeds: &[Host], now_ms: u64) -> Self {
        Self {
            mesh: MeshNode::new(on, incarnation, Config::default(), seeds, now_ms),
            switch: Switch::new(Limits::default(), [on as u8; 16]),
            guests: Vec::new(),
            frames_sent: 0,
            networks: Vec::new(),
            peers: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Starts a guest in a network; says so to all.
    pub fn add_guest(&mut self, now_ms: u64, mac: Mac, network: NetworkId) {
        if !self.networks.contains(&network) {
            self.networks.push(network);
            self.switch.add_network(network, MTU).expect("room for a network");
            self.mesh.set_networks(now_ms, &self.networks);
        }
        let port = self.switch.add_port(network, None).expect("room for a port");
        self.guests.push(Guest { mac, port, received: Vec::new() });
    }

    /// Takes a guest away, as when it migrates.
    pub fn remove_guest(&mut self, mac: Mac) -> Option<Guest> {
        let at = self.guests.iter().position(|guest| guest.mac == mac)?;
        let guest = self.guests.remove(at);
        self.switch.remove_port(guest.port);
        Some(guest)
    }

    /// A guest sends a frame with this number in it.
    pub fn send(&mut self, now_ms: u64, from: Mac, to: Mac, number: u64) {
        let Some(guest) = self.guests.iter().find(|guest| guest.mac == from) else { return };
        let mut frame = Vec::with_capacity(HEADER_LEN + 8);
        frame.extend_from_slice(&to.0);
        frame.extend_from_slice(&from.0);
        frame.extend_from_slice(&ETHERTYPE);
        frame.extend_from_slice(&number.to_be_bytes());
        let network = self.switch.network_of(guest.port).expect("a port has a network");
        self.forward(now_ms, From::Port(guest.port), network, &frame);
    }

    fn forward(&mut self, now_ms: u64, from: From, network: NetworkId, frame: &[u8]) {
        let Ok(header) = Header::parse(frame) else {
            return self.switch.count_refused(from, DropReason::Runt);
        };
        match self.switch.forward(now_ms, from, &header, frame.len(), false) {
            Forward::Drop(_) => (),
            Forward::One(target) => self.deliver(target, network, frame),
            Forward::Flood(flood) => flood.targets().for_each(|target| self.deliver(target, network, frame)),
        }
    }

    fn deliver(&mut self, target: Target, network: NetworkId, frame: &[u8]) {
        self.switch.count_out(target, frame.len());
        match target {
            Target::Port(port) => {
                let guest = self.guests.iter_mut().find(|guest| guest.port == port);
                if let (Some(guest), Ok(header), Some(number)) =
                    (guest, Header::parse(frame), frame.get(HEADER_LEN..).and_then(|rest| rest.first_chunk()))
                {
                    guest.received.push((header.src, u64::from_be_bytes(*number)));
                }
            }
            Target::Peer(peer) => {
                if let Some((_, host)) = self.peers.values().find(|(id, _)| *id == peer) {
                    let datagram = [&network.0.to_be_bytes(), frame].concat();
                    self.frames_sent += 1;
                    self.waiting.push((*host, datagram.into()));
                }
            }
        }
    }
}

/// Tells the switch what the membership tells.
fn apply(peers: &mut BTreeMap<SwitchId, (PeerId, Host)>, switch: &mut Switch, event: &Event) {
    match event {
        Event::Up(member) | Event::Changed(member) => {
            let free = (0..).map(PeerId).find(|free| peers.values().all(|(taken, _)| taken != free));
            let host = mesh::host(member.at);
            let (peer, _) = *peers.entry(member.id).or_insert((free.expect("few peers"), host));
            switch.set_peer(peer, &member.networks).expect("room for a peer");
        }
        Event::Down(id, _) => {
            if let Some((peer, _)) = peers.remove(id) {
                switch.remove_peer(peer);
            }
        }
    }
}

impl Node for SwitchedNode {
    fn on_datagram(&mut self, now_ms: u64, from: Host, kind: Kind, octets: &[u8]) {
        if kind == Kind::Control {
            return self.mesh.on_datagram(now_ms, from, kind, octets);
        }
        let sender = self.peers.get(&mesh::id_of(&mesh::key(from)));
        if let (Some((peer, _)), Some((network, frame))) = (sender, octets.split_first_chunk()) {
            let network = NetworkId(u32::from_be_bytes(*network));
            self.forward(now_ms, From::Peer(*peer, network), network, frame);
        }
    }

    fn poll(&mut self, now_ms: u64, out: &mut Outbox) {
        let (peers, switch) = (&mut self.peers, &mut self.switch);
        self.mesh.poll_with(now_ms, out, |event| apply(peers, switch, event));
        for (host, datagram) in self.waiting.drain(..) {
            out.send(host, Kind::Frame, &datagram);
        }
    }

    fn poll_at(&self) -> Option<u64> {
        self.mesh.poll_at()
    }
}

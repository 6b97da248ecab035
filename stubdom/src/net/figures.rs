//! Figures for the shim: of the switch, its networks, ports and peers.

use alloc::vec::Vec;

use handoff::{Counters, MacEntry, NetAnswer, Place, Traffic, word};
use violin::id::{NetworkId, PeerId};
use violin::member;
use violin::switch::{Drops, Target};

use super::far::Far;
use super::state::{Network, State};
use super::{Net, now_ms};

impl Net {
    /// Figures of everything, or of one network.
    pub(super) fn stats(&self, network: Option<NetworkId>) -> Vec<NetAnswer> {
        let state = self.state.borrow();
        let mut answers = alloc::vec![NetAnswer::Switch(state.switch_stats(self.uplink))];
        let wanted = |n: &&Network| network.is_none_or(|id| n.id == id);
        for network in state.networks.iter().filter(wanted) {
            answers.extend(state.network_stats(network));
            answers.extend(state.port_stats(network));
        }
        if network.is_none() {
            // Vifs whose network is not here: an operator looks for them.
            answers.extend(state.stray_ports());
        }
        answers.extend(state.peer_stats());
        answers
    }

    /// Figures of all peers.
    pub(super) fn peers(&self) -> Vec<NetAnswer> {
        self.state.borrow().peer_stats()
    }

    /// The MAC table of a network.
    pub(super) fn macs(&self, network: NetworkId) -> Vec<NetAnswer> {
        let state = self.state.borrow();
        let now = now_ms();
        let entries: Vec<MacEntry> = state
            .switch
            .macs(network)
            .filter_map(|mac| {
                let place = match mac.place {
                    Target::Port(port) => {
                        let device = state.devices.get(usize::from(state.device_at(port)?))?.as_ref()?;
                        Place::Port { domid: device.dom, devid: device.devid }
                    }
                    Target::Peer(peer) => {
                        Place::Peer { switch: state.far.as_ref()?.sessions.switch(peer)?.0 }
                    }
                };
                let age_s = if mac.pinned { 0 } else { now.saturating_sub(mac.seen_ms) / 1000 };
                Some(MacEntry { mac: mac.mac.0, place, age_s: age_s as u32, pinned: mac.pinned })
            })
            .collect();
        let chunks = entries.chunks(handoff::MACS_PER_MESSAGE);
        chunks.map(|c| NetAnswer::Macs { entries: c.iter().copied().collect() }).collect()
    }
}

impl State {
    fn switch_stats(&self, uplink: &vif::front::Front) -> handoff::SwitchStats {
        let mut counters = Counters::default();
        let (copy_calls, copies) = self.hub.counters();
        counters.add("hypercalls", xen::hypercalls());
        counters.add("copy-hypercalls", copy_calls);
        counters.add("copies", copies);
        counters.add("wakeups", self.wakeups);
        let front = uplink.counters();
        counters.add("uplink-frames-out", front.tx_frames.get());
        counters.add("uplink-frames-in", front.rx_frames.get());
        counters.add("uplink-notified", front.notifications_sent.get());
        counters.add("uplink-notifications", front.notifications_received.get());
        let mut drops = Counters::default();
        add(&mut drops, self.switch.stray_drops());
        if let Some(far) = &self.far {
            for (name, count) in far.sessions.counters().iter().filter(|(name, _)| !ordinary(name)) {
                drops.add(name, count);
            }
            let of = far.underlay.counters();
            drops.add("unroutable", of.unroutable.get());
            drops.add("unresolved", of.unresolved.get());
            drops.add("fragment", of.fragments.get());
            drops.add("udp-checksum", of.checksum.get());
            drops.add("malformed", of.malformed.get());
        }
        let state = match (&self.far, uplink.link_up()) {
            (None, _) => "none",
            (Some(_), true) => "up",
            (Some(_), false) => "down",
        };
        handoff::SwitchStats {
            id: self.far.as_ref().map_or(0, |far| far.sessions.id().0),
            key: self.far.as_ref().map_or([0; 32], |far| far.sessions.public_key()),
            incarnation: self.far.as_ref().map_or(0, |far| far.incarnation),
            uplink: word(state),
            counters,
            drops,
        }
    }

    fn network_stats(&self, network: &Network) -> Option<NetAnswer> {
        let of = self.switch.networks().find(|n| n.id == network.id)?;
        let mut drops = Counters::default();
        add(&mut drops, of.drops);
        Some(NetAnswer::Network(handoff::NetworkStats {
            id: network.id.0,
            name: network.name.clone(),
            mtu: of.mtu,
            macs: of.macs as u32,
            macs_limit: self.switch.limits().macs_per_network as u32,
            ports: of.ports as u16,
            peers: of.peers as u16,
            flooded: of.flooded,
            drops,
        }))
    }

    fn port_stats<'a>(&'a self, network: &'a Network) -> impl Iterator<Item = NetAnswer> + 'a {
        self.switch.ports().filter(|port| port.network == network.id).filter_map(|port| {
            let index = self.device_at(port.id)?;
            let mut stats = self.device_stats(index)?;
            stats.network = network.id.0;
            stats.pinned = port.pinned.is_some();
            stats.from_guest = Traffic { frames: port.counters.frames_in, bytes: port.counters.bytes_in };
            stats.to_guest = Traffic { frames: port.counters.frames_out, bytes: port.counters.bytes_out };
            add(&mut stats.drops, &port.counters.drops);
            Some(NetAnswer::Port(stats))
        })
    }

    /// Vifs that are in no network.
    fn stray_ports(&self) -> impl Iterator<Item = NetAnswer> + '_ {
        (0u16..).zip(&self.devices).filter_map(|(index, device)| {
            device.as_ref().filter(|device| device.port.is_none())?;
            self.device_stats(index).map(NetAnswer::Port)
        })
    }

    fn device_stats(&self, index: u16) -> Option<handoff::PortStats> {
        let device = self.devices.get(usize::from(index))?.as_ref()?;
        let (queued, notifications) = self.hub.figures(index);
        let state = match (device.connected, device.broken.is_some() || device.failed) {
            (_, true) => "closed",
            (true, _) => "connected",
            (false, _) => "waiting",
        };
        Some(handoff::PortStats {
            network: 0,
            domid: device.dom,
            devid: device.devid,
            mac: device.mac.0,
            pinned: false,
            state: word(state),
            reason: word(&device.reason),
            from_guest: Traffic::default(),
            to_guest: Traffic::default(),
            drops: Counters::default(),
            notified: self.hub.port(index).map_or(0, |port| port.notified),
            notifications,
            queued: queued as u32,
        })
    }

    fn peer_stats(&self) -> Vec<NetAnswer> {
        let Some(far) = &self.far else { return Vec::new() };
        let of_member = |peer| NetAnswer::Peer(self.peer(far, peer));
        far.members.members().map(of_member).collect()
    }

    fn peer(&self, far: &Far, of: member::Peer<'_>) -> handoff::PeerStats {
        let state = match of.state {
            member::State::Calling => "joining",
            member::State::Up => "up",
            member::State::Failed => "silent",
            member::State::Left => "left",
        };
        let id: Option<PeerId> = far.sessions.peer(of.member.id);
        let at = id.and_then(|id| far.sessions.address(id)).unwrap_or(of.member.at);
        let traffic = self.switch.peers().find(|peer| Some(peer.id) == id);
        let mut drops = Counters::default();
        let (mut to_peer, mut from_peer) = (Traffic::default(), Traffic::default());
        if let Some(peer) = traffic {
            to_peer = Traffic { frames: peer.counters.frames_out, bytes: peer.counters.bytes_out };
            from_peer = Traffic { frames: peer.counters.frames_in, bytes: peer.counters.bytes_in };
            add(&mut drops, &peer.counters.drops);
        }
        let sealed = id.and_then(|id| far.sessions.peer_counters(id));
        for (name, count) in sealed.iter().flat_map(|c| c.iter()).filter(|(name, _)| !ordinary(name)) {
            drops.add(name, count);
        }
        let ours = |id: &&NetworkId| self.networks.iter().any(|n| n.id == **id);
        handoff::PeerStats {
            switch: of.member.id.0,
            address: match at.ip() {
                core::net::IpAddr::V4(address) => address.octets(),
                core::net::IpAddr::V6(_) => [0; 4],
            },
            port: at.port(),
            state: word(state),
            incarnation: of.member.incarnation,
            networks: of.member.networks.iter().filter(ours).map(|id| id.0).collect(),
            to_peer,
            from_peer,
            drops,
            heard_ms: of.heard_ms_ago.map(|ms| ms.min(u32::MAX.into()) as u32),
            rtt_us: None,
        }
    }
}

/// Whether a counter of sessions is of what is meant to happen.
fn ordinary(name: &str) -> bool {
    !violin::session::Reason::ALL.iter().any(|reason| reason.name() == name)
}

fn add(counters: &mut Counters, drops: &Drops) {
    for (reason, count) in drops.iter() {
        counters.add(reason.name(), count);
    }
}

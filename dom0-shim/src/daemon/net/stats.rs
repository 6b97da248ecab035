//! The switch's figures as JSON, for people's and programs' eyes alike.

use std::net::Ipv4Addr;
use std::time::Duration;

use handoff::{Counters, MacEntry, NetAnswer, NetOrder, NetworkStats, PeerStats, Place};
use handoff::{PortStats, SwitchStats, Traffic};
use serde_json::{Map, Value, json};

use super::ask::{GLANCE, TIMEOUT};
use super::place::PublicKey;
use super::{Host, Net, ask, in_words, shown};
use crate::error::Result;

/// The most items that one question may bring: more than a stub can have.
const MOST: usize = 100_000;

impl Net {
    /// All items that answer an order.
    fn items(&self, order: NetOrder, patience: Duration) -> Result<Vec<NetAnswer>> {
        let mut items = Vec::new();
        ask::order(&*self.switch, order, patience, &mut |item| {
            if items.len() < MOST {
                items.push(item);
            }
        })?
        .map_err(|e| in_words(&e))?;
        Ok(items)
    }

    /// Every network, with what the stub says of it if there is one.
    pub(in crate::daemon) fn list(&self) -> Result<Value> {
        let state = self.keeper.load()?;
        let live = self.items(NetOrder::Stats { network: None }, GLANCE).unwrap_or_default();
        let of = |id: u32| {
            live.iter()
                .find_map(|i| if let NetAnswer::Network(n) = i { (n.id == id).then_some(n) } else { None })
        };
        let with_figures = |network| {
            let mut value: Value = shown(network);
            if let (Some(n), Some(map)) = (of(network.id), value.as_object_mut()) {
                map.insert("ports".into(), n.ports.into());
                map.insert("peers".into(), n.peers.into());
                map.insert("macs".into(), n.macs.into());
            }
            value
        };
        Ok(state.networks.iter().map(with_figures).collect())
    }

    /// The figures of one network or of all.
    pub(super) fn stats(&self, name: Option<&str>, host: &dyn Host) -> Result<Value> {
        let state = self.keeper.load()?;
        let network = name.map(|name| state.find(name).map(|n| n.id)).transpose()?;
        let items = self.items(NetOrder::Stats { network }, TIMEOUT)?;
        let name_of = |id: u32| state.networks.iter().find(|n| n.id == id).map(|n| n.name.as_str());
        let (mut switch, mut networks, mut peers) = (Value::Null, Vec::new(), Vec::new());
        let mut ports: Vec<(u32, Value)> = Vec::new();
        for item in &items {
            match item {
                NetAnswer::Switch(s) => switch = of_switch(s),
                NetAnswer::Network(n) => networks.push((n.id, of_network(n))),
                NetAnswer::Port(p) => ports.push((p.network, of_port(p, host))),
                NetAnswer::Peer(p) if network.is_none_or(|id| p.networks.contains(&id)) => {
                    peers.push(of_peer(p, &name_of));
                }
                _ => {}
            }
        }
        for (id, value) in &mut networks {
            let its = ports.iter().filter(|(network, _)| network == id).map(|(_, port)| port.clone());
            if let Some(map) = value.as_object_mut() {
                map.insert("ports".into(), its.collect());
            }
        }
        // Vifs that say a network which the stub does not have.
        let nowhere = |(id, _): &&(u32, Value)| networks.iter().all(|(network, _)| network != id);
        let strays: Vec<Value> = ports.iter().filter(nowhere).map(|(_, port)| port.clone()).collect();
        let networks: Vec<Value> = networks.into_iter().map(|(_, n)| n).collect();
        Ok(json!({"switch": switch, "networks": networks, "strays": strays, "peers": peers}))
    }

    /// Everything about one network: figures, and where each address is.
    pub(super) fn show(&self, name: &str, host: &dyn Host) -> Result<Value> {
        let state = self.keeper.load()?;
        let network = state.find(name)?;
        let mut value = shown(network);
        let mut stats = self.stats(Some(name), host)?;
        let macs: Vec<Value> = self
            .items(NetOrder::Macs { network: network.id }, TIMEOUT)?
            .iter()
            .filter_map(|i| if let NetAnswer::Macs { entries } = i { Some(entries) } else { None })
            .flatten()
            .map(|entry| of_mac(entry, host))
            .collect();
        if let Some(map) = value.as_object_mut() {
            if let Some(figures) = stats.pointer_mut("/networks/0").and_then(Value::as_object_mut) {
                map.append(figures);
            }
            map.insert("peers".into(), stats.get("peers").cloned().unwrap_or_default());
            map.insert("table".into(), macs.into());
        }
        Ok(value)
    }

    /// The other hosts' switches.
    pub(super) fn peers(&self) -> Result<Value> {
        let state = self.keeper.load()?;
        let name_of = |id: u32| state.networks.iter().find(|n| n.id == id).map(|n| n.name.as_str());
        let of = |item: &NetAnswer| {
            if let NetAnswer::Peer(p) = item { Some(of_peer(p, &name_of)) } else { None }
        };
        Ok(self.items(NetOrder::Peers, TIMEOUT)?.iter().filter_map(of).collect())
    }
}

/// A switch's id, as it is written everywhere.
pub(super) fn switch_id(id: u64) -> String {
    format!("{id:016x}")
}

pub(super) fn mac_text(mac: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn counters(counters: &Counters) -> Value {
    let entry = |c: &handoff::Counter| (c.name.to_string(), c.count.into());
    Value::Object(counters.0.iter().map(entry).collect::<Map<String, Value>>())
}

fn traffic(traffic: &Traffic) -> Value {
    json!({"frames": traffic.frames, "bytes": traffic.bytes})
}

fn of_switch(s: &SwitchStats) -> Value {
    let SwitchStats { id, key, incarnation, uplink, counters: work, drops } = s;
    json!({
        "id": switch_id(*id), "key": PublicKey(*key), "incarnation": incarnation,
        "uplink": uplink.as_str(), "counters": counters(work), "drops": counters(drops),
    })
}

fn of_network(n: &NetworkStats) -> Value {
    let NetworkStats { id, name, mtu, macs, macs_limit, ports: _, peers, flooded, drops } = n;
    json!({
        "name": name.as_str(), "id": id, "mtu": mtu, "macs": macs, "macs_limit": macs_limit,
        "peers": peers, "flooded": flooded, "drops": counters(drops),
    })
}

fn of_port(p: &PortStats, host: &dyn Host) -> Value {
    let PortStats { network: _, domid, devid, mac, pinned, state, reason, from_guest, to_guest, .. } = p;
    let PortStats { drops, notified, notifications, queued, .. } = p;
    json!({
        "guest": host.name(*domid), "domid": domid, "devid": devid, "mac": mac_text(mac), "pinned": pinned,
        "state": state.as_str(), "reason": reason.as_str(),
        "from_guest": traffic(from_guest), "to_guest": traffic(to_guest), "drops": counters(drops),
        "notified": notified, "notifications": notifications, "queued": queued,
    })
}

fn of_peer<'a>(p: &PeerStats, name_of: &impl Fn(u32) -> Option<&'a str>) -> Value {
    let PeerStats { switch, address, port, state, incarnation, networks, to_peer, from_peer, .. } = p;
    let PeerStats { drops, heard_ms, rtt_us, .. } = p;
    let networks: Vec<String> =
        networks.iter().map(|id| name_of(*id).map_or_else(|| id.to_string(), str::to_owned)).collect();
    json!({
        "switch": switch_id(*switch), "address": format!("{}:{port}", Ipv4Addr::from(*address)),
        "state": state.as_str(), "incarnation": incarnation, "networks": networks,
        "to_peer": traffic(to_peer), "from_peer": traffic(from_peer), "drops": counters(drops),
        "heard_ms": heard_ms, "rtt_us": rtt_us,
    })
}

fn of_mac(entry: &MacEntry, host: &dyn Host) -> Value {
    let MacEntry { mac, place, age_s, pinned } = entry;
    let (guest, domid, devid, switch) = match place {
        Place::Port { domid, devid } => (host.name(*domid), Some(domid), Some(devid), None),
        Place::Peer { switch } => (None, None, None, Some(switch_id(*switch))),
    };
    json!({
        "mac": mac_text(mac), "guest": guest, "domid": domid, "devid": devid, "switch": switch,
        "age_s": age_s, "pinned": pinned,
    })
}

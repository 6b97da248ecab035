//! What the shim orders and asks.

use handoff::{NetAnswer, NetError, NetErrorKind, NetOrder, word};
use log::info;
use violin::id::NetworkId;
use violin::switch::AddNetwork;

use super::Net;
use super::state::{Network, State};

impl Net {
    /// Carries out an order. `Ok`: it is done.
    pub(crate) fn order(&self, order: NetOrder) -> NetAnswer {
        let mut state = self.state.borrow_mut();
        let result = match order {
            NetOrder::Add { id, name, mtu, pin } => state.add_network(NetworkId(id), name, mtu, pin),
            NetOrder::Remove { id } => {
                state.remove_network(NetworkId(id));
                Ok(())
            }
            NetOrder::Only { ids } => {
                let others: heapless::Vec<NetworkId, { handoff::MAX_NETWORKS }> =
                    state.networks.iter().map(|n| n.id).filter(|id| !ids.contains(&id.0)).collect();
                for id in others {
                    state.remove_network(id);
                }
                Ok(())
            }
            _ => Err(failure(NetErrorKind::Unsupported, "this stub can't do it yet")),
        };
        drop(state);
        self.wake.signal(());
        result.map_or_else(NetAnswer::Failed, |()| NetAnswer::Done)
    }
}

fn failure(kind: NetErrorKind, detail: &str) -> NetError {
    NetError { kind, detail: word(detail) }
}

impl State {
    fn add_network(
        &mut self,
        id: NetworkId,
        name: handoff::NetName,
        mtu: u16,
        pin: bool,
    ) -> Result<(), NetError> {
        match self.switch.add_network(id, mtu) {
            Ok(()) => {
                info!("network {name} ({id}) is here, MTU {mtu}");
                self.networks.push(Network { id, name, pin });
                self.plug_all();
            }
            Err(AddNetwork::Exists) => {
                let _ = self.switch.set_mtu(id, mtu);
                if let Some(network) = self.networks.iter_mut().find(|n| n.id == id) {
                    (network.name, network.pin) = (name, pin);
                }
                self.plug_all();
            }
            Err(_) => return Err(failure(NetErrorKind::Full, "the switch has no room for another network")),
        }
        Ok(())
    }

    fn remove_network(&mut self, id: NetworkId) {
        let Some(at) = self.networks.iter().position(|n| n.id == id) else { return };
        let network = self.networks.swap_remove(at);
        info!("network {} ({id}) is removed", network.name);
        for index in 0..self.devices.len() as u16 {
            let port = self.device(index).and_then(|device| device.port);
            if port.is_some_and(|port| self.switch.network_of(port) == Some(id)) {
                self.unplug(index);
                if let Some(device) = self.device(index) {
                    device.reason = alloc::format!("network {} was removed", network.name);
                }
            }
        }
        let _ = self.switch.remove_network(id);
    }
}

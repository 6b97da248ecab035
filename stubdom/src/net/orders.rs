//! What the shim orders and asks.

use alloc::vec::Vec;

use handoff::{NetAnswer, NetError, NetErrorKind, NetOrder, RequestId, word};
use log::info;
use vif::front::Front;
use violin::id::{Epoch, NetworkId};
use violin::switch::AddNetwork;

use super::far::Far;
use super::state::{Network, State};
use super::{Net, now_ms};

impl Net {
    /// Carries out an order, or answers a question: the last answer is the end. Each answer is for
    /// the request that it names.
    pub(crate) fn order(&self, request: RequestId, order: NetOrder) -> Vec<(RequestId, NetAnswer)> {
        let mut answers = match order {
            NetOrder::Stats { network } => self.stats(network.map(NetworkId)),
            NetOrder::Peers => self.peers(),
            NetOrder::Macs { network } => self.macs(NetworkId(network)),
            NetOrder::Freeze { network, on } => {
                let answer = match self.freeze(network, on) {
                    true => NetAnswer::Done,
                    false => NetAnswer::Failed(failure(NetErrorKind::Full, "too many networks are frozen")),
                };
                self.wake.signal(());
                return alloc::vec![(request, answer)];
            }
            NetOrder::Capture { network, on, snaplen } => {
                return self.capture(request, NetworkId(network), on.then_some(snaplen));
            }
            order => return alloc::vec![(request, self.act(order))],
        };
        answers.push(NetAnswer::Done);
        answers.into_iter().map(|answer| (request, answer)).collect()
    }

    /// Begins or ends a capture.
    fn capture(
        &self,
        request: RequestId,
        network: NetworkId,
        snaplen: Option<u16>,
    ) -> Vec<(RequestId, NetAnswer)> {
        let mut state = self.state.borrow_mut();
        if !state.networks.iter().any(|n| n.id == network) {
            let why = failure(NetErrorKind::NoNetwork, "there is no such network");
            return alloc::vec![(request, NetAnswer::Failed(why))];
        }
        let captures = &mut state.captures;
        match snaplen {
            Some(snaplen) => match captures.begin(request, network, snaplen) {
                Ok(ended) => ended.map(|ended| (ended, NetAnswer::Done)).into_iter().collect(),
                Err(()) => {
                    let why = failure(NetErrorKind::Full, "as many networks as can be are captured already");
                    alloc::vec![(request, NetAnswer::Failed(why))]
                }
            },
            None => {
                captures.end(network).into_iter().chain([request]).map(|r| (r, NetAnswer::Done)).collect()
            }
        }
    }

    fn act(&self, order: NetOrder) -> NetAnswer {
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
            NetOrder::Underlay(underlay) => state.set_underlay(self.uplink, &underlay),
            NetOrder::Join(seed) => state.join(seed),
            NetOrder::Leave => {
                if let Some(far) = &mut state.far {
                    far.leave(now_ms());
                }
                Ok(())
            }
            _ => Err(failure(NetErrorKind::Unsupported, "this stub can't do it yet")),
        };
        state.tell_networks();
        drop(state);
        self.wake.signal(());
        result.map_or_else(NetAnswer::Failed, |()| NetAnswer::Done)
    }
}

fn failure(kind: NetErrorKind, detail: &str) -> NetError {
    NetError { kind, detail: word(detail) }
}

impl State {
    fn set_underlay(&mut self, uplink: &'static Front, order: &handoff::Underlay) -> Result<(), NetError> {
        self.timeouts_percent = order.timeouts_percent;
        if let Some(far) = &self.far {
            let why = "the address or key of a running switch can't change: luthier down, luthier up";
            return if far.is(order) { Ok(()) } else { Err(failure(NetErrorKind::Restart, why)) };
        }
        self.far = Some(Far::new(uplink, order).map_err(|why| failure(NetErrorKind::Invalid, &why))?);
        Ok(())
    }

    fn join(&mut self, seed: handoff::Seed) -> Result<(), NetError> {
        let Self { far, switch, .. } = self;
        let far =
            far.as_mut().ok_or_else(|| failure(NetErrorKind::NoUplink, "this switch has no address yet"))?;
        far.join(switch, now_ms(), seed);
        Ok(())
    }

    /// Tells peers which networks are here.
    fn tell_networks(&mut self) {
        let ids: heapless::Vec<NetworkId, { handoff::MAX_NETWORKS }> =
            self.networks.iter().map(|n| n.id).collect();
        if let Some(far) = &mut self.far
            && far.members.set_networks(now_ms(), &ids).is_err()
        {
            log::error!("peers can be told of no more than {} networks", violin::member::NETWORKS_MAX);
        }
    }

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
                self.networks.push(Network { id, name, pin, epoch: Epoch::default() });
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

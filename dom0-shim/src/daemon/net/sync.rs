//! Tells a stub everything: at each connection, and when the seeds have changed.

use handoff::{NetOrder, word};

use super::config::Underlay;
use super::state::{Network, State};
use super::{Net, in_words, key, mtu};
use crate::daemon::lock;
use crate::error::{Error, Result};

impl Net {
    /// Tells all, with a new incarnation: the stub may be a new one. Returns what was refused.
    ///
    /// # Errors
    /// A file that can't be read, or no stub.
    pub(in crate::daemon) fn sync(&self) -> Result<Vec<Error>> {
        let _changing = lock(&self.changing);
        let mut state = self.keeper.load()?;
        state.raise();
        self.keeper.save(&state)?;
        self.tell(&state)
    }

    /// Tells all; `changing` is held.
    pub(super) fn tell(&self, state: &State) -> Result<Vec<Error>> {
        let mut refused = Vec::new();
        for order in self.orders(state)? {
            if let Err(why) = self.order(order)? {
                refused.push(in_words(&why));
            }
        }
        Ok(refused)
    }

    fn orders(&self, state: &State) -> Result<Vec<NetOrder>> {
        let mut orders = Vec::new();
        let underlay = Underlay::load(&self.files.config)?;
        if let Some(underlay) = &underlay {
            for network in too_large(&state.networks, underlay) {
                tracing::error!(
                    network = network.name,
                    mtu = network.mtu,
                    underlay = underlay.mtu,
                    "the network's MTU does not fit the underlay: large frames won't reach other hosts"
                );
            }
            orders.push(NetOrder::Underlay(handoff::Underlay {
                address: underlay.address.ip.octets(),
                prefix: underlay.prefix,
                gateway: underlay.gateway.map(|g| g.octets()),
                port: underlay.address.port,
                mtu: underlay.mtu,
                timeouts_percent: underlay.timeouts_percent,
                incarnation: state.incarnation,
                key: key::load_or_make(&self.files.key)?,
            }));
        }
        orders.push(NetOrder::Only { ids: state.networks.iter().map(|n| n.id).collect() });
        orders.extend(state.networks.iter().map(add));
        if state.left {
            orders.push(NetOrder::Leave);
        } else if let Some(underlay) = underlay {
            let seeds = underlay.peers.iter().chain(&state.seeds);
            orders.extend(seeds.map(|peer| NetOrder::Join((*peer).into())));
        }
        Ok(orders)
    }
}

/// Networks whose packets don't fit the underlay.
pub(super) fn too_large<'a>(
    networks: &'a [Network],
    underlay: &Underlay,
) -> impl Iterator<Item = &'a Network> {
    let largest = mtu::largest_inside(underlay.mtu).unwrap_or(0);
    networks.iter().filter(move |n| n.mtu > largest)
}

/// The order to have a network.
pub(super) fn add(network: &Network) -> NetOrder {
    NetOrder::Add { id: network.id, name: word(&network.name), mtu: network.mtu, pin: network.pin }
}

//! The operator's side of the networks (VIOLINs): what the stub's switch is to be, kept over
//! reboots and told at each connection; and its figures.
//!
//! Files are the truth and are read again for each request. The stub goes on without the daemon:
//! what is told twice changes nothing there.

mod ask;
mod capture;
mod config;
mod fitness;
mod key;
mod mtu;
mod place;
mod state;
mod stats;
mod sync;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use handoff::{NetError, NetErrorKind, NetOrder};
use serde_json::{Value, json};

use self::config::Underlay;
use self::place::{Address, Peer, PublicKey};
use self::state::{Keeper, MAX_SEEDS};
use super::lock;
use crate::api::NetRequest;
use crate::error::{Error, Result};
use crate::xl::Vif;

pub(super) use ask::{Answers, Asks, Switch};
pub(super) use capture::Wish;
pub(super) use state::Network;

/// What is to be known of this host's guests.
pub(super) trait Host {
    /// The vifs that our stub serves, with their guests' names. This may take a while.
    fn vifs(&self) -> Result<Vec<(String, Vif)>>;
    /// A guest's name.
    fn name(&self, domid: u16) -> Option<String>;
}

/// Files of the networks.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// Folder of `net.json`.
    pub(super) state: PathBuf,
    /// `net.toml`.
    pub(super) config: PathBuf,
    /// `switch.key`.
    pub(super) key: PathBuf,
}

/// The operator's side of the networks.
pub(super) struct Net {
    files: Files,
    keeper: Keeper,
    switch: Arc<dyn Switch>,
    /// Held while the state is changed or told to the stub.
    changing: Mutex<()>,
}

impl Net {
    /// Reads nothing yet.
    pub(super) fn new(files: Files, switch: Arc<dyn Switch>) -> Self {
        Self { keeper: Keeper::new(&files.state), files, switch, changing: Mutex::default() }
    }

    /// Answers a client.
    pub(super) fn answer(&self, request: NetRequest, host: &dyn Host) -> Result<Value> {
        match request {
            NetRequest::Create { name, id, mtu, pin } => self.create(name, id, mtu, pin),
            NetRequest::Delete { name } => self.delete(&name, host),
            NetRequest::List => self.list(),
            NetRequest::Show { name } => self.show(&name, host),
            NetRequest::Peers => self.peers(),
            NetRequest::Stats { name } => self.stats(name.as_deref(), host),
            NetRequest::Capture { .. } => Err(Error::new("a capture has events, and is asked for apart")),
            NetRequest::Join { address, key } => self.join(&address, &key),
            NetRequest::Freeze { name, on } => {
                let network = self.find(&name)?.id;
                self.order(NetOrder::Freeze { network, on })?.map_err(|e| in_words(&e))?;
                Ok(json!({"name": name, "frozen": on}))
            }
            NetRequest::Inject { .. } => Err(Error::new("frames are given to the stub apart")),
            NetRequest::Fitness => Ok(self.fitness()),
            NetRequest::Leave => self.leave(),
            NetRequest::Key => self.key(),
        }
    }

    /// The network of this name.
    pub(super) fn find(&self, name: &str) -> Result<Network> {
        self.keeper.load()?.find(name).cloned()
    }

    /// The network of this number.
    pub(super) fn numbered(&self, id: u32) -> Result<Network> {
        let found = self.keeper.load()?.networks.into_iter().find(|n| n.id == id);
        found.ok_or_else(|| Error::new(format!("network number {id} does not exist here")))
    }

    /// The id of this host's switch, as other hosts know it.
    pub(super) fn switch(&self) -> Result<u64> {
        Ok(violin::session::switch_id(&self.public_key()?.0).0)
    }

    /// The networks that these vifs are on: what an image says of them.
    pub(super) fn of_vifs(&self, vifs: &[Vif]) -> Value {
        let networks = self.keeper.load().unwrap_or_default().networks;
        let on = |n: &&Network| vifs.iter().any(|vif| vif.is_ours(None) && vif.says(&n.name, n.id));
        networks.iter().filter(on).map(shown).collect()
    }

    fn create(&self, name: String, id: Option<u32>, mtu: Option<u16>, pin: bool) -> Result<Value> {
        let _changing = lock(&self.changing);
        let mut state = self.keeper.load()?;
        let underlay = Underlay::load(&self.files.config)?;
        let mtu = mtu::choose(mtu, underlay.as_ref().map(|u| u.mtu))?;
        let id = id.unwrap_or_else(|| state::id_of(&name));
        let new = Network { name, id, mtu, pin };
        let before = state.clone();
        state.add(new.clone())?;
        self.keeper.save(&state)?;
        // Without a stub: it is told when there is one.
        if let Ok(Err(refused)) = self.order(sync::add(&new)) {
            self.keeper.save(&before)?;
            return Err(in_words(&refused));
        }
        tracing::info!(network = new.name, id, mtu, "network created");
        Ok(shown(&new))
    }

    fn delete(&self, name: &str, host: &dyn Host) -> Result<Value> {
        let _changing = lock(&self.changing);
        let mut state = self.keeper.load()?;
        let old = state.find(name)?.clone();
        let mut users: Vec<String> = host
            .vifs()?
            .into_iter()
            .filter(|(_, vif)| vif.says(&old.name, old.id))
            .map(|(guest, _)| guest)
            .collect();
        users.dedup();
        if !users.is_empty() {
            return Err(Error::new(format!("network {name} is used by {}", users.join(", ")))
                .hint("Take their vifs off it first: xl network-detach GUEST DEVID"));
        }
        state.networks.retain(|n| n.name != name);
        self.keeper.save(&state)?;
        let _ = self.order(NetOrder::Remove { id: old.id });
        tracing::info!(network = name, "network deleted");
        Ok(shown(&old))
    }

    fn join(&self, address: &str, key: &str) -> Result<Value> {
        let underlay = self.underlay()?;
        let address = Address::parse(address, underlay.address.port)?;
        let peer = Peer { address, key: PublicKey::parse(key)? };
        if address.ip == underlay.address.ip || self.public_key()? == peer.key {
            return Err(Error::new(format!("{address} with this key is this host's own switch"))
                .hint("Take address and key from `luthier net key` on the other host"));
        }
        let _changing = lock(&self.changing);
        let mut state = self.keeper.load()?;
        let before = state.clone();
        state.seeds.retain(|s| s.address != address);
        if state.seeds.len() >= MAX_SEEDS {
            return Err(Error::new(format!("{MAX_SEEDS} switches to join through are noted already"))
                .hint("One is enough: it tells all the others. `luthier net leave` forgets them"));
        }
        state.seeds.push(peer);
        state.left = false;
        self.keeper.save(&state)?;
        let told = self.tell(&state);
        if let Ok(refused) = &told
            && let Some(refused) = refused.first()
        {
            self.keeper.save(&before)?;
            return Err(refused.clone());
        }
        Ok(json!({"address": address, "key": peer.key, "told": told.is_ok()}))
    }

    fn leave(&self) -> Result<Value> {
        let _changing = lock(&self.changing);
        let mut state = self.keeper.load()?;
        state.seeds.clear();
        state.left = true;
        self.keeper.save(&state)?;
        let told = self.order(NetOrder::Leave);
        if let Ok(Err(refused)) = &told {
            return Err(in_words(refused));
        }
        Ok(json!({"told": told.is_ok()}))
    }

    fn key(&self) -> Result<Value> {
        let key = self.public_key()?;
        let underlay = Underlay::load(&self.files.config)?;
        let join = underlay.as_ref().map(|u| format!("luthier net join {} --key {key}", u.address));
        let switch = stats::switch_id(violin::session::switch_id(&key.0).0);
        Ok(json!({"key": key, "switch": switch, "address": underlay.map(|u| u.address), "join": join}))
    }

    /// Gives an order that has no answers but the last.
    fn order(&self, order: NetOrder) -> Result<std::result::Result<(), NetError>> {
        ask::order(&*self.switch, order, ask::TIMEOUT, &mut |_| {})
    }

    /// The underlay, where there must be one.
    fn underlay(&self) -> Result<Underlay> {
        Underlay::load(&self.files.config)?.ok_or_else(|| {
            Error::new("this host's switch has no address: its networks are local").hint(format!(
                "Give the stub an uplink (vif= in stub.cfg), and {} a line: address = \"10.0.0.11/24\"",
                self.files.config.display()
            ))
        })
    }

    fn public_key(&self) -> Result<PublicKey> {
        key::load_or_make(&self.files.key).map(|k| key::public(&k))
    }
}

/// A network as a client sees it.
fn shown(network: &Network) -> Value {
    let Network { name, id, mtu, pin } = network;
    json!({"name": name, "id": id, "mtu": mtu, "pin": pin})
}

/// The stub's refusal for an operator.
fn in_words(e: &NetError) -> Error {
    let error = Error::new(format!("the stub domain refused: {}", e.detail));
    match e.kind {
        NetErrorKind::NoNetwork => error.hint("`luthier net list` shows the networks that there are"),
        NetErrorKind::NoUplink => {
            error.hint("Give the stub a vif in stub.cfg, then: luthier down && luthier up")
        }
        NetErrorKind::Full => error.hint("`luthier net stats` shows what is in use"),
        NetErrorKind::Invalid => error.hint("Change the request as it says"),
        NetErrorKind::Restart => {
            error.hint("luthier down --force && luthier up, and then plug guests' vifs again, as `up` says")
        }
        NetErrorKind::Unsupported => error.hint("Install stub and shim of one release"),
    }
}

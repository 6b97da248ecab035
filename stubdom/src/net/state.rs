//! Networks, devices and ports, and which is which.
//!
//! A device is a vif that the toolstack gave to us. It has a place in the hub, by its own number,
//! and a port of the switch once its network is there. A vif of a network that is not there yet
//! is connected all the same: a cable that is plugged into nothing.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use log::{info, warn};
use vif::back::hub::{Hub, Lost};
use vif::back::port::Broken;
use violin::id::{Epoch, Mac, NetworkId, PortId};
use violin::switch::{AddPort, DropReason, Limits, Switch, Target};
use xen::DomId;

use super::capture::Captures;
use super::convert::Answers;
use super::far::{Far, MAX_PEERS};
use super::gate::Gate;
use super::restore::Restoring;

/// Vifs at a time: each takes two event channels of 128, a task, a watch.
pub(super) const MAX_VIFS: usize = 48;

/// Frames on their way at a time: a share for each vif, and as many again for others and for what
/// comes from peers. 560 octets each.
const FRAMES: u16 = 4096;
const _: () = assert!(FRAMES as usize * 3 / 4 >= MAX_VIFS * vif::back::hub::SHARE as usize);

/// Octets of memory for frames that are read.
const STAGING: usize = 128 << 10;

/// A network.
pub(super) struct Network {
    pub(super) id: NetworkId,
    pub(super) name: handoff::NetName,
    pub(super) pin: bool,
    /// The epoch of a port that comes.
    pub(super) epoch: Epoch,
}

/// A vif.
pub(super) struct Device {
    pub(super) dom: DomId,
    pub(super) devid: u16,
    pub(super) mac: Mac,
    /// The network's name or number, as the toolstack wrote it.
    pub(super) network: String,
    pub(super) port: Option<PortId>,
    pub(super) connected: bool,
    /// Its front end broke the protocol, or could not be connected to.
    pub(super) failed: bool,
    /// Why it is not connected, or not to its network.
    pub(super) reason: String,
    /// Set when its task should look again.
    pub(super) look: alloc::rc::Rc<Signal<NoopRawMutex, ()>>,
    /// Set when its front end broke the protocol.
    pub(super) broken: Option<Broken>,
    /// Answers about the MTU that it got.
    pub(super) answers: Answers,
}

/// All of it.
pub(super) struct State {
    pub(super) hub: Hub,
    pub(super) switch: Switch,
    /// The colours of its ports.
    pub(super) gate: Gate,
    /// What is being restored.
    pub(super) restoring: Restoring,
    pub(super) networks: Vec<Network>,
    pub(super) devices: Box<[Option<Device>]>,
    /// The device of each port of the switch.
    pub(super) device_of: Box<[Option<u16>]>,
    /// The way to other hosts, once it is configured.
    pub(super) far: Option<Far>,
    /// Time-outs of group snapshots, if the operator has said.
    pub(super) timeouts_percent: Option<u32>,
    /// Memory for frames that are read: more than one of the largest.
    pub(super) staging: Box<[u8]>,
    /// Captures that are going on.
    pub(super) captures: Captures,
    /// When the MAC table was aged last.
    pub(super) aged_ms: u64,
    /// Wake-ups of the data path.
    pub(super) wakeups: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let limits = Limits { ports: MAX_VIFS, peers: MAX_PEERS, ..Limits::default() };
        let mut seed = [0; 16];
        xen::entropy::fill(&mut seed);
        Self {
            hub: Hub::new(MAX_VIFS, FRAMES),
            switch: Switch::new(limits, seed),
            gate: Gate::new(),
            restoring: Restoring::default(),
            networks: Vec::new(),
            devices: (0..MAX_VIFS).map(|_| None).collect(),
            device_of: (0..MAX_VIFS).map(|_| None).collect(),
            far: None,
            timeouts_percent: None,
            staging: alloc::vec![0; STAGING].into_boxed_slice(),
            captures: Captures::default(),
            aged_ms: 0,
            wakeups: 0,
        }
    }

    /// The network that a vif means: by name, else by number.
    pub(super) fn network_named(&self, name: &str) -> Option<&Network> {
        let by_name = self.networks.iter().find(|n| n.name == name);
        by_name.or_else(|| self.networks.iter().find(|n| name.parse() == Ok(n.id.0)))
    }

    /// A device.
    pub(super) fn device(&mut self, index: u16) -> Option<&mut Device> {
        self.devices.get_mut(usize::from(index))?.as_mut()
    }

    /// The device of a port.
    pub(super) fn device_at(&self, port: PortId) -> Option<u16> {
        *self.device_of.get(usize::from(port.0))?
    }

    /// Takes a device in. `None`: there are [`MAX_VIFS`].
    pub(super) fn add_device(&mut self, device: Device) -> Option<u16> {
        let index = self.devices.iter().position(Option::is_none)?;
        if let Some(place) = self.devices.get_mut(index) {
            *place = Some(device);
        }
        self.plug(index as u16);
        Some(index as u16)
    }

    /// Forgets a device.
    pub(super) fn remove_device(&mut self, index: u16) {
        self.disconnect(index);
        self.unplug(index);
        if let Some(place) = self.devices.get_mut(usize::from(index)) {
            *place = None;
        }
        // Somebody may have waited for its address.
        self.plug_all();
    }

    /// Gives a device its port, if its network is there.
    pub(super) fn plug(&mut self, index: u16) {
        let Some(device) = self.devices.get(usize::from(index)).and_then(Option::as_ref) else { return };
        if device.port.is_some() {
            return;
        }
        let (dom, devid, mac) = (device.dom, device.devid, device.mac);
        let (port, reason) = match self.network_named(&device.network) {
            None => (None, alloc::format!("there is no network {}", device.network)),
            Some(network) => {
                let (id, pin, epoch) = (network.id, network.pin, network.epoch);
                match self.switch.add_port(id, pin.then_some(mac)) {
                    Ok(port) => {
                        self.gate.cut.open(port, id, epoch);
                        (Some(port), String::new())
                    }
                    Err(AddPort::DuplicateMac(_)) => {
                        (None, alloc::format!("{mac} is another vif's in network {}", device.network))
                    }
                    Err(_) => (None, String::from("the switch has no port left")),
                }
            }
        };
        match port {
            Some(port) => {
                info!("vif {dom}.{devid}: {mac} is in network {}", device.network);
                if let Some(place) = self.device_of.get_mut(usize::from(port.0)) {
                    *place = Some(index);
                }
            }
            None => warn!("vif {dom}.{devid}: {reason}"),
        }
        if let Some(device) = self.device(index) {
            device.port = port;
            device.reason = reason;
        }
        self.apply_freezes();
    }

    /// Takes its port from a device.
    pub(super) fn unplug(&mut self, index: u16) {
        let Some(port) = self.device(index).and_then(|device| device.port.take()) else { return };
        self.switch.remove_port(port);
        self.gate.close(&mut self.hub, port);
        if let Some(place) = self.device_of.get_mut(usize::from(port.0)) {
            *place = None;
        }
    }

    /// Plugs in whoever waited for a network.
    pub(super) fn plug_all(&mut self) {
        for index in 0..MAX_VIFS as u16 {
            self.plug(index);
        }
    }

    /// Connects a device's front end.
    pub(super) fn connect(&mut self, index: u16, port: vif::back::port::Port) {
        self.hub.connect(index, port);
        if let Some(device) = self.device(index) {
            (device.connected, device.failed, device.broken) = (true, false, None);
            if device.port.is_some() {
                device.reason.clear();
            }
        }
    }

    /// Disconnects a device's front end: its rings are unmapped.
    pub(super) fn disconnect(&mut self, index: u16) {
        if let Some(device) = self.device(index) {
            device.connected = false;
        }
        let Self { hub, switch, devices, .. } = self;
        drop(hub.disconnect(index, &mut |at, outcome| count(switch, devices, at, outcome)));
    }
}

/// Counts what became of a frame at a device.
pub(super) fn count(
    switch: &mut Switch,
    devices: &[Option<Device>],
    at: u16,
    outcome: vif::back::hub::Outcome,
) {
    let device = devices.get(usize::from(at)).and_then(Option::as_ref);
    let Some(port) = device.and_then(|device| device.port) else { return };
    match outcome {
        Ok(len) => switch.count_out(Target::Port(port), len.into()),
        Err(lost) => switch.count_drop(Target::Port(port), reason(lost)),
    }
}

/// The switch's word for it.
pub(super) fn reason(lost: Lost) -> DropReason {
    match lost {
        Lost::Closed => DropReason::Closed,
        Lost::QueueFull => DropReason::QueueFull,
        Lost::Stale => DropReason::Stale,
        Lost::Unreadable | Lost::Unwritable => DropReason::BadGrant,
        Lost::Unsupported => DropReason::Unsupported,
    }
}

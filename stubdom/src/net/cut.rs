//! A group snapshot's work at the guests' vifs: pausing, flipping, what was on its way.
//!
//! The order at one guest: frames go to it and come from it until it stands still, as TCP sends again what
//! nobody acknowledges for 200 ms, and a guest that suspends itself may take longer than that. Then what
//! is left in its ring is taken, with the old epoch, its ports are flipped, and what it was given and has not
//! taken is recorded, then what waits for it. From then until it runs again nothing is done at its ports.

use alloc::vec::Vec;

use handoff::ChannelTally;
use violin::cut::{Channel, Limits, Mode, Verdict};
use violin::id::{Epoch, NetworkId, PortId};
use violin::session::{Missing, SeqPoint};
use violin::switch::{DropReason, Target};
use xen::DomId;
use xen::page::PagePool;

use super::gate::{ChannelLog, Held};
use super::state::State;
use super::{Net, now_ms};

/// Turns that are made to empty the rings of a guest that stands still. Each takes at least one frame of
/// each port; a ring has 256.
const TURNS: usize = 256;

/// A switch without an uplink, which nobody else ever hears of.
const ALONE: (u64, u64) = (1, 1);

/// The longest that frames are held for a cut, in milliseconds, however slow the machine.
const HOLD_MOST_MS: u64 = 3000;

impl Net {
    /// A cut begins: frames are judged from now on. `false`: the network is beyond this epoch.
    pub(crate) fn begin_cut(&self, network: u32, epoch: u32, hold: bool) -> bool {
        let mut state = self.state.borrow_mut();
        let (network, epoch) = (NetworkId(network), Epoch(epoch));
        let mode = if hold { Mode::Hold } else { Mode::Drop };
        let again = state.gate.cut.running() == Some((network, epoch));
        let begun = state.gate.cut.begin(network, epoch, mode).is_ok();
        if begun && !again {
            state.gate.log = Some(ChannelLog::new());
            // Ports that were left behind have been raised: what was held for them is let go first.
            let before = Epoch(epoch.0.saturating_sub(1));
            if let Some(known) = state.networks.iter_mut().find(|n| n.id == network) {
                known.epoch = known.epoch.max(before);
            }
            state.let_go(self.pool, now_ms());
        }
        begun
    }

    /// A cut is given up before any guest was suspended for it: as if it had not begun.
    pub(crate) fn cancel_cut(&self, network: u32, epoch: u32) {
        self.state.borrow_mut().gate.cut.cancel(NetworkId(network), Epoch(epoch));
    }

    /// The guest stands still: its vifs pass over to the epoch of the cut.
    pub(crate) fn flip(&self, guest: DomId, network: u32) {
        self.state.borrow_mut().flip(self.pool, guest, NetworkId(network));
        // What was held for it, and what others had sent to it, is looked at again.
        self.wake.signal(());
    }

    /// The guest runs again.
    pub(crate) fn go_on(&self, guest: DomId) {
        self.state.borrow_mut().go_on(guest);
        self.wake.signal(());
    }

    /// Guests that came while the cut ran are not in it: their vifs pass over without.
    pub(crate) fn skip_rest(&self, network: u32) {
        let mut state = self.state.borrow_mut();
        let State { gate, devices, switch, .. } = &mut *state;
        for port in devices.iter().flatten().filter_map(|device| device.port) {
            if switch.network_of(port) == Some(NetworkId(network)) {
                gate.cut.skip(port);
            }
        }
        state.let_go(self.pool, now_ms());
    }

    /// This switch among all, and its incarnation.
    pub(crate) fn switch(&self) -> (u64, u64) {
        let state = self.state.borrow();
        state.far.as_ref().map_or(ALONE, |far| (far.members.me().id.0, far.incarnation))
    }

    /// Time-outs of group snapshots, in percent, if the operator has said.
    pub(crate) fn timeouts_percent(&self) -> Option<u32> {
        self.state.borrow().timeouts_percent
    }

    /// How slow this machine is, in percent: so much longer, heartbeats of other switches are waited for, and
    /// frames from after a cut for a port before it. Held beyond 200 ms, Linux may send a segment of TCP again,
    /// and its peer drops the double; but what is dropped here, nobody sends again for UDP.
    pub(crate) fn set_slow_percent(&self, percent: u32) {
        let mut state = self.state.borrow_mut();
        let hold_ms = Limits::default().hold_ms * u64::from(percent) / 100;
        state.gate.cut.set_hold_ms(hold_ms.min(HOLD_MOST_MS));
        if let Some(far) = &mut state.far {
            far.members.set_slow_percent(percent.into());
        }
    }

    /// Where the uplink of another switch is.
    pub(crate) fn address_of(&self, switch: u64) -> Option<core::net::IpAddr> {
        let state = self.state.borrow();
        let mut members = state.far.iter().flat_map(|far| far.members.members());
        members.find(|peer| peer.member.id.0 == switch).map(|peer| peer.member.at.ip())
    }

    /// For each network here: who else has it, and in which life.
    pub(crate) fn group_peers(&self) -> Vec<(u32, Vec<(u64, u64)>)> {
        let state = self.state.borrow();
        let with = |network: NetworkId| -> Vec<(u64, u64)> {
            let members = state.far.iter().flat_map(|far| far.members.members());
            let there = members.filter(|peer| {
                peer.state == violin::member::State::Up && peer.member.networks.contains(&network)
            });
            there.map(|peer| (peer.member.id.0, peer.member.incarnation)).collect()
        };
        state.networks.iter().map(|network| (network.id.0, with(network.id))).collect()
    }

    /// All other switches that are up, and in which life.
    pub(crate) fn switches(&self) -> Vec<(u64, u64)> {
        let state = self.state.borrow();
        let members = state.far.iter().flat_map(|far| far.members.members());
        let up = members.filter(|peer| peer.state == violin::member::State::Up);
        up.map(|peer| (peer.member.id.0, peer.member.incarnation)).collect()
    }

    /// A peer that went, or has started anew, and its life that is over.
    pub(crate) fn take_lost(&self) -> Option<(u64, u64)> {
        self.state.borrow_mut().far.as_mut()?.lost.pop()
    }

    /// What a peer said of groups.
    pub(crate) fn take_told(&self) -> Option<(u64, Vec<u8>)> {
        self.state.borrow_mut().far.as_mut()?.told.pop_front()
    }

    /// A network of which a frame came from a later epoch, and the switch that it came from.
    pub(crate) fn next_ahead(&self) -> Option<(u32, u64)> {
        let mut state = self.state.borrow_mut();
        let ahead = state.gate.cut.next_ahead()?;
        let Channel::Peer(peer) = ahead.from else { return None };
        let from = state.far.as_ref()?.sessions.switch(peer)?;
        Some((ahead.network.0, from.0))
    }

    /// Says something to a peer. What does not go, its sender says again.
    pub(crate) fn send_group(&self, to: u64, octets: &[u8]) {
        if let Some(far) = &mut self.state.borrow_mut().far {
            far.say(to, octets, now_ms());
        }
        self.wake.signal(());
    }

    /// Ready when there is something of [`Net::take_told`], [`Net::take_lost`] or [`Net::next_ahead`].
    pub(crate) async fn group_event(&self) {
        self.grouped.wait().await;
    }

    /// Where the datagrams of each peer are now.
    pub(crate) fn seen_points(&self) -> Vec<(u64, SeqPoint)> {
        let state = self.state.borrow();
        let peers = state.far.iter().flat_map(|far| {
            far.sessions.peers().filter_map(|(id, peer)| Some((id.0, far.sessions.seen_point(peer)?)))
        });
        peers.collect()
    }

    /// A network is at this epoch, as a snapshot has ended there or elsewhere.
    pub(crate) fn settle(&self, network: u32, epoch: u32) {
        let mut state = self.state.borrow_mut();
        let (network, epoch) = (NetworkId(network), Epoch(epoch));
        state.gate.cut.raise(network, epoch);
        if let Some(known) = state.networks.iter_mut().find(|n| n.id == network) {
            known.epoch = known.epoch.max(epoch);
        }
        state.let_go(self.pool, now_ms());
        drop(state);
        self.wake.signal(());
    }

    /// For each peer by its switch: the last datagram that went there. `None` while frames from before the cut wait
    /// for the uplink.
    pub(crate) fn sent_points(&self, network: u32, epoch: u32) -> Option<Vec<(u64, SeqPoint)>> {
        let state = self.state.borrow();
        let Some(far) = &state.far else { return Some(Vec::new()) };
        let before = |w: &super::carry::Waiting| w.network == NetworkId(network) && w.epoch < Epoch(epoch);
        if far.queue.iter().any(before) {
            return None;
        }
        let points = far.sessions.peers().filter_map(|(id, peer)| {
            let point = far.sessions.sent_point(peer)?;
            Some((id.0, point))
        });
        Some(points.collect())
    }

    /// What has not come yet of what a peer sent from `after` (none: the beginning of its key) up to a point.
    pub(crate) fn missing(&self, peer: u64, after: Option<SeqPoint>, upto: SeqPoint) -> Missing {
        let state = self.state.borrow();
        let Some(far) = &state.far else { return Missing::Unknown };
        let Some(peer) = far.sessions.peer(violin::id::SwitchId(peer)) else { return Missing::Unknown };
        let after = after.unwrap_or(SeqPoint { counter: 0, ..upto });
        far.sessions.missing(peer, after, upto)
    }

    /// Nothing is recorded any more.
    pub(crate) fn close_channels(&self) {
        self.state.borrow_mut().gate.cut.close_all();
    }

    /// A channel is empty.
    pub(crate) fn close_channel(&self, peer: u64) {
        let mut state = self.state.borrow_mut();
        let peer = state.far.as_ref().and_then(|far| far.sessions.peer(violin::id::SwitchId(peer)));
        if let Some(peer) = peer {
            state.gate.cut.close(Channel::Peer(peer));
        }
    }

    /// Recorded frames for the shim: how many, and their octets.
    pub(crate) fn take_channel(&self) -> Option<(u16, Vec<u8>)> {
        self.state.borrow_mut().gate.log.as_mut()?.take()
    }

    /// What became of frames around the cut.
    pub(crate) fn tally(&self, network: u32) -> ChannelTally {
        let state = self.state.borrow();
        let counts = state.gate.cut.sum(NetworkId(network));
        let log = state.gate.log.as_ref();
        ChannelTally {
            recorded: log.map_or(0, |log| log.recorded),
            missed: log.map_or(0, |log| log.missed),
            held: counts.held.frames,
            dropped: counts.dropped.frames,
            ..ChannelTally::default()
        }
    }
}

impl State {
    /// The vifs of a guest in a network: device and port.
    fn vifs_of(&self, guest: DomId, network: NetworkId) -> heapless::Vec<(u16, PortId), 8> {
        let devices = (0u16..).zip(&self.devices).filter_map(|(index, device)| {
            let device = device.as_ref().filter(|device| device.dom == guest)?;
            Some((index, device.port?))
        });
        devices.filter(|(_, port)| self.switch.network_of(*port) == Some(network)).take(8).collect()
    }

    /// Of whatever network: a guest that runs is not paused anywhere.
    fn go_on(&mut self, guest: DomId) {
        for (index, device) in (0u16..).zip(&self.devices) {
            if device.as_ref().is_some_and(|device| device.dom == guest) {
                self.hub.pause(index, false);
            }
        }
    }

    fn flip(&mut self, pool: &'static PagePool, guest: DomId, network: NetworkId) {
        let vifs = self.vifs_of(guest, network);
        for _ in 0..TURNS {
            if !vifs.iter().any(|(index, _)| self.hub.has_sent(*index)) {
                break;
            }
            self.turn(pool);
        }
        for (index, port) in vifs {
            if self.gate.cut.flip(port) {
                self.record_untaken(index, port);
                self.record_backlog(index, port);
            }
            self.hub.pause(index, true);
        }
        self.let_go(pool, now_ms());
    }

    /// What lies in a guest's ring is in its memory, and yet on its way.
    fn record_untaken(&mut self, index: u16, port: PortId) {
        let Self { hub, gate, staging, devices, switch, .. } = self;
        let device = devices.get(usize::from(index)).and_then(Option::as_ref);
        if let (Some(device), Some(network)) = (device, switch.network_of(port)) {
            gate.record_untaken(hub, staging, index, (port, network, device.mac));
        }
    }

    /// What was accepted for a guest, and is not in its memory, is on its way.
    fn record_backlog(&mut self, index: u16, port: PortId) {
        let waiting: heapless::Vec<u16, { vif::back::hub::QUEUE }> = self.hub.backlog(index).collect();
        waiting.iter().for_each(|frame| self.record(*frame, port));
    }

    /// Judges again what was held for ports that were flipped, or for too long.
    pub(super) fn let_go(&mut self, pool: &'static PagePool, now: u64) {
        while let Some(port) = self.gate.cut.due(now) {
            for held in self.gate.take(port) {
                let frame = held.frame;
                match self.again(now, &held) {
                    Ok(true) => self.enqueue(pool, frame, port, now),
                    Ok(false) => {}
                    Err(reason) => self.switch.count_drop(Target::Port(port), reason),
                }
                self.hub.release(frame);
            }
        }
    }

    /// Whether a held frame goes into its port's queue now. If not, it is held on.
    fn again(&mut self, now: u64, held: &Held) -> Result<bool, DropReason> {
        let Held { frame, port, arrival } = *held;
        match self.gate.cut.again(now, port, &arrival) {
            Verdict::Deliver => Ok(true),
            Verdict::Record => {
                self.record(frame, port);
                Ok(true)
            }
            Verdict::Hold => {
                self.gate.hold(&mut self.hub, Held { frame, port, arrival });
                Ok(false)
            }
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// Copies a frame for a port into the image.
    fn record(&mut self, frame: u16, port: PortId) {
        let Self { hub, gate, staging, devices, device_of, switch, .. } = self;
        let at = device_of.get(usize::from(port.0)).copied().flatten();
        let device = at.and_then(|at| devices.get(usize::from(at))?.as_ref());
        if let (Some(device), Some(network)) = (device, switch.network_of(port)) {
            gate.record(hub, staging, frame, (port, network, device.mac));
        }
    }
}

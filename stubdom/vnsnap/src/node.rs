//! One switch's side of all group snapshots.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::coordinator::{Coordinator, view_of};
use crate::decided::Decided;
use crate::error::{Cause, Dropped, Refusal, Why};
use crate::io::{Io, Output};
use crate::message::{Body, Unreadable, parse};
use crate::net::{EPOCH_MAX, Net};
use crate::participant::Participant;
use crate::pending::Pending;
use crate::switches::{Change, Life, Switches};
use crate::{Config, GroupId, Mode, Name, Options, PEERS_MAX};

/// Networks whose epochs are remembered.
const NETS_MAX: usize = 1024;

/// How often one call looks for something to say.
const ROUNDS_MAX: usize = 64;

/// Undecided groups that are complete here.
pub(crate) const PENDING_MAX: usize = 16;

/// A group snapshot to begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// The network.
    pub network: u32,
    /// How.
    pub mode: Mode,
    /// Its name on all hosts, at most [`NAME_MAX`](crate::NAME_MAX) octets.
    pub name: &'a str,
    /// The shims' own words, at most [`OPTIONS_MAX`](crate::OPTIONS_MAX) octets.
    pub options: &'a [u8],
}

/// Takes part in group snapshots, and coordinates those that are begun here.
///
/// Time is the driver's, in milliseconds from any start. After each call, ask [`Node::poll`] until none.
pub struct Node {
    pub(crate) io: Io,
    pub(crate) switches: Switches,
    pub(crate) nets: BTreeMap<u32, Net>,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) participant: Option<Participant>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) decided: VecDeque<Decided>,
    pub(crate) questions: Vec<(GroupId, u64)>,
    /// A group whose members are not those that are seen here, and since when.
    pub(crate) view_wait: Option<(GroupId, u64)>,
    /// When there is something to do next.
    pub(crate) wake: u64,
}

impl Node {
    /// A switch that knows nobody yet. `life` must be higher after each start, as the membership's
    /// incarnation is: by it the others know that this one has forgotten what it was at.
    pub fn new(me: u64, life: u64, config: Config) -> Self {
        Self {
            io: Io::new(me, life, config),
            switches: Switches::default(),
            nets: BTreeMap::new(),
            coordinator: None,
            participant: None,
            pending: Vec::new(),
            decided: VecDeque::new(),
            questions: Vec::new(),
            view_wait: None,
            wake: 0,
        }
    }

    /// Other time-outs, from now on; signs of life stay as they were.
    pub fn set_config(&mut self, config: Config) {
        self.io.config = Config { sign_ms: self.io.config.sign_ms, ..config.scaled() };
    }

    /// Which switches are up, besides this one, whatever networks they have: name and incarnation of each.
    /// One that has come back without its guests is asked, and may ask, how a group ended.
    pub fn set_switches(&mut self, now_ms: u64, switches: &[(u64, u64)]) {
        self.advance(now_ms);
        for peer in self.switches.unlist(switches) {
            for net in self.nets.values_mut() {
                net.peers.remove(&peer);
            }
            self.switches.remove(peer);
            self.lose(peer);
        }
        for &(peer, incarnation) in switches {
            self.see(peer, incarnation, true);
        }
        self.settle();
    }

    /// Who of them has ports in this network. This switch has ports in it, too. To be told anew after each
    /// change; more than 255 are kept, but no snapshot can begin then.
    pub fn set_peers(&mut self, now_ms: u64, network: u32, peers: &[(u64, u64)]) {
        self.advance(now_ms);
        for &(peer, incarnation) in peers {
            self.see(peer, incarnation, false);
        }
        let now = self.io.now;
        let net = self.net(network);
        net.here = true;
        for peer in net.set_peers(peers, now) {
            let elsewhere = self.nets.values().any(|net| net.peers.contains_key(&peer));
            if self.switches.is_listed(peer) || elsewhere {
                self.lose_from(peer, network);
            } else {
                self.switches.remove(peer);
                self.lose(peer);
            }
        }
        self.settle();
    }

    fn see(&mut self, peer: u64, incarnation: u64, listed: bool) {
        match self.switches.see(peer, incarnation, listed) {
            Change::None => {}
            Change::Came => self.come(peer),
            Change::Anew => self.renew(peer),
        }
    }

    /// A switch has forgotten everything.
    fn renew(&mut self, peer: u64) {
        let now = self.io.now;
        for net in self.nets.values_mut() {
            net.renew(peer, now);
        }
        self.lose(peer);
        self.come(peer);
    }

    /// This switch has no ports in this network any more. Its epoch is remembered.
    pub fn leave(&mut self, now_ms: u64, network: u32) {
        self.set_peers(now_ms, network, &[]);
        self.net(network).here = false;
        self.settle();
    }

    /// A peer left, failed, or started anew, in all networks. `incarnation`: the one that is gone, or a later one.
    /// If it is back already, it has to be told of anew ([`Node::set_switches`], [`Node::set_peers`]), as nothing
    /// takes place here with who is not known.
    pub fn peer_lost(&mut self, now_ms: u64, peer: u64, incarnation: u64) {
        self.advance(now_ms);
        if self.switches.is_of(peer, incarnation) {
            for net in self.nets.values_mut() {
                net.peers.remove(&peer);
            }
            self.switches.remove(peer);
            self.lose(peer);
        }
        self.settle();
    }

    /// Begins a group snapshot, with this switch as coordinator.
    ///
    /// # Errors
    /// Why it can't begin; nothing has happened then.
    pub fn begin(&mut self, now_ms: u64, begin: Begin<'_>) -> Result<GroupId, Refusal> {
        self.advance(now_ms);
        let mut name = Name::new();
        name.push_str(begin.name).map_err(|_| Refusal::TooLong)?;
        let options = Options::from_slice(begin.options).map_err(|_| Refusal::TooLong)?;
        if let Some(group) = self.running() {
            return Err(Refusal::Busy(group));
        }
        let me = self.io.me;
        let net = self.nets.get_mut(&begin.network).filter(|net| net.here).ok_or(Refusal::NoNetwork)?;
        if net.peers.len() >= PEERS_MAX {
            return Err(Refusal::TooMany(net.peers.len().saturating_add(1)));
        }
        let mut last = net.epoch.max(net.begun);
        for (&member, peer) in &net.peers {
            let cause = match (self.switches.version(member), peer.epoch) {
                (Some(version), _) => Cause::Version(version),
                (None, None) => Cause::NoAnswer,
                (None, Some(epoch)) => {
                    last = last.max(epoch);
                    continue;
                }
            };
            return Err(Refusal::Member(Box::new(Why { member, cause })));
        }
        if last >= EPOCH_MAX {
            return Err(Refusal::Epochs);
        }
        net.begun = last.saturating_add(1);
        let group = GroupId { network: begin.network, epoch: net.begun, initiator: me };
        let members = net.members(me);
        let view = view_of(&members);
        self.coordinator = Some(Coordinator::new(&self.io, group, begin.mode, name, options, view, &members));
        self.settle();
        Ok(group)
    }

    /// A message that came sealed from this peer.
    ///
    /// # Errors
    /// Why it did nothing; to be counted only.
    pub fn receive(&mut self, now_ms: u64, from: u64, octets: &[u8]) -> Result<(), Dropped> {
        self.advance(now_ms);
        let done = match parse(octets) {
            Err(Unreadable::Malformed) => Err(Dropped::Malformed),
            Err(Unreadable::Version(version)) => {
                self.meet_version(from, version, octets.len());
                Err(Dropped::Version)
            }
            Ok((life, body)) => self.meet(from, life, &body).and_then(|()| self.take(from, body)),
        };
        self.settle();
        done
    }

    /// The next thing to do. Ask until none.
    pub fn poll(&mut self, now_ms: u64) -> Option<Output> {
        self.advance(now_ms);
        // What this switch says to itself takes some rounds; never an endless number, whatever goes wrong.
        for _ in 0..ROUNDS_MAX {
            if !self.io.out.is_empty() || self.io.now < self.wake {
                break;
            }
            self.tick();
            self.settle();
        }
        self.io.out.pop_front()
    }

    /// When to call [`Node::poll`] again, in the driver's time, if nothing happens before; none while
    /// there is nothing to wait for.
    pub fn poll_at(&self) -> Option<u64> {
        if !self.io.out.is_empty() {
            return Some(self.io.clock.driver_time(0));
        }
        (self.wake < u64::MAX).then(|| self.io.clock.driver_time(self.wake))
    }

    /// The epoch of a network: what its ports are to be opened with. Never goes back.
    pub fn epoch(&self, network: u32) -> u32 {
        self.nets.get(&network).map_or(0, |net| net.epoch)
    }

    /// The shim knows of a group of this network with this epoch: the network's is not lower.
    pub fn raise_epoch(&mut self, now_ms: u64, network: u32, epoch: u32) {
        self.advance(now_ms);
        self.hear_of(network, epoch.min(EPOCH_MAX));
        self.settle();
    }

    /// A frame of a later epoch than this network's came from this peer, and no snapshot explains it.
    pub fn ahead(&mut self, now_ms: u64, network: u32, from: u64) {
        self.advance(now_ms);
        if !self.is_busy_with(network) {
            self.net(network).ask(from);
        }
        self.settle();
    }

    /// The group snapshot that is under way here.
    pub fn running(&self) -> Option<GroupId> {
        let own = self.coordinator.as_ref().map(|coordinator| coordinator.group);
        let part = self.participant.as_ref().map(|participant| participant.group);
        let pending = self.pending.iter().find(|pending| !pending.locked).map(|pending| pending.group);
        own.or(part).or(pending)
    }

    fn advance(&mut self, now_ms: u64) {
        self.io.now = self.io.clock.advance(now_ms);
    }

    pub(crate) fn net(&mut self, network: u32) -> &mut Net {
        if self.nets.len() >= NETS_MAX && !self.nets.contains_key(&network) {
            self.nets.retain(|_, net| net.here);
        }
        self.nets.entry(network).or_default()
    }

    /// Whether epochs of this network are in the hands of a snapshot.
    pub(crate) fn is_busy_with(&self, network: u32) -> bool {
        let own = self.coordinator.as_ref().map(|coordinator| coordinator.group.network);
        let part = self.participant.as_ref().map(|participant| participant.group.network);
        own == Some(network) || part == Some(network)
    }

    /// Somebody has this epoch: so have the ports here, as soon as no snapshot runs.
    pub(crate) fn hear_of(&mut self, network: u32, epoch: u32) {
        let net = self.net(network);
        net.later = net.later.max(epoch);
    }

    /// A well-formed message of another version.
    fn meet_version(&mut self, from: u64, version: u8, len: usize) {
        let known = self.switches.set_version(from, version);
        // One octet is enough to tell it ours, and is not answered itself.
        if known && len > 1 {
            self.io.send_version(from);
        }
    }

    /// Whether a message is of a switch that is up, and of its present life. What is about a group that is under
    /// way or decided may come from anywhere, as its sender may have lost its guests; the rest only from
    /// who is in the network.
    fn meet(&mut self, from: u64, life: u64, body: &Body) -> Result<(), Dropped> {
        match self.switches.meet(from, life).ok_or(Dropped::Stranger)? {
            Life::Same => {}
            Life::Old => return Err(Dropped::Stale),
            Life::New => self.renew(from),
        }
        if matches!(body, Body::Sync { .. } | Body::Prepare { .. }) {
            let net = self.nets.get(&body.network()).filter(|net| net.here && net.peers.contains_key(&from));
            net.ok_or(Dropped::Stranger)?;
        }
        Ok(())
    }
}

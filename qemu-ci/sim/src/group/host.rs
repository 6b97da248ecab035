//! A simulated host: guests, a stub with `vnsnap` and the cut, a shim with a disk. Each of the three may
//! go away at any step and come back with what survives it.

use std::cell::RefCell;
use std::rc::Rc;

use violin::cut::{Cut, Limits};
use violin::id::{Epoch, NetworkId, PortId};
use violin::session::SeqPoint;
use vnsnap::{Config, GroupId, Local, Mode, Node as Vnsnap};

use super::disk::Disk;
use super::fault::{Mutant, Step};
use super::guest::Guest;
use super::jobs::Job;
use super::oracle::{FrameNo, Vif};
use super::session::{Head, Session};
use super::shared::{Answer, Shared};
use super::shim::Shim;
use crate::node::{Host, Kind, Node, Outbox};
use crate::rng::Rng;

/// The most ports of a simulated switch.
const PORTS: usize = 64;

/// How long a frame is held, in milliseconds.
pub const HOLD_MS: u64 = 150;

/// Guests are silent for so long at the start, in milliseconds: what they'd say then teaches nothing.
pub(super) const SILENCE_MS: u64 = 400;

/// A guest stands still no longer than this, in milliseconds, unless something of its host crashed.
pub const STAND_MAX_MS: u64 = 40;

/// What a stub knows.
pub struct Stub {
    /// Which life of this host's stub it is.
    pub life: u32,
    /// The protocol.
    pub node: Vnsnap,
    /// The colours.
    pub cut: Cut,
    /// A session with each host.
    pub sessions: Vec<Session>,
    /// The hosts that membership sees.
    pub peers: Vec<Host>,
    /// The snapshot that runs here.
    pub(super) local: Option<Running>,
}

/// A snapshot that runs on this host, in the stub's memory.
pub(super) struct Running {
    pub(super) group: GroupId,
    pub(super) mode: Mode,
    /// Where each peer's sequence was when the first guest was to be cut here.
    pub(super) after: Option<Vec<(Host, SeqPoint)>>,
    /// What each peer sent before its cut.
    pub(super) upto: Option<Vec<(Host, SeqPoint)>>,
    pub(super) recorded: Vec<(Vif, FrameNo)>,
    /// The shim has answered.
    pub(super) prepared: bool,
    pub(super) ready: bool,
    /// The word to flip was heard.
    pub(super) go: bool,
    pub(super) flipped: bool,
    pub(super) drained: bool,
    /// The part was given: from here on only the shim knows.
    pub(super) stored: bool,
}

/// A host.
pub struct GroupHost {
    pub(super) at: Host,
    hosts: usize,
    pub(super) shared: Rc<RefCell<Shared>>,
    pub(super) rng: Rng,
    pub(super) mutant: Mutant,
    config: Config,
    /// Its stub, if it runs.
    pub stub: Option<Stub>,
    /// Its shim, if it runs.
    pub shim: Option<Shim>,
    /// Its disk.
    pub disk: Disk,
    /// Its guests.
    pub guests: Vec<Guest>,
    pub(super) jobs: Vec<Job>,
    life: u32,
    pub(super) stub_at: u64,
    pub(super) shim_at: u64,
    pub(super) cable_at: u64,
    /// When something of it crashed last.
    pub(super) crashed_at: Option<u64>,
    pub(super) powered: bool,
    /// The networks of the guests that start when power is back.
    pub(super) booted: Vec<Vec<u32>>,
    pub(super) out: Vec<(Host, Kind, Box<[u8]>)>,
}

impl GroupHost {
    /// A host without guests, all of it running.
    pub fn new(
        at: Host,
        hosts: usize,
        shared: Rc<RefCell<Shared>>,
        seed: u64,
        config: Config,
        mutant: Mutant,
    ) -> Self {
        let mut host = Self {
            at,
            hosts,
            shared,
            rng: Rng::new(seed),
            mutant,
            config,
            stub: None,
            shim: Some(Shim::default()),
            disk: Disk::default(),
            guests: Vec::new(),
            jobs: Vec::new(),
            life: 0,
            stub_at: u64::MAX,
            shim_at: u64::MAX,
            cable_at: 0,
            crashed_at: None,
            powered: true,
            booted: Vec::new(),
            out: Vec::new(),
        };
        host.start_stub(0);
        host
    }

    /// Its name as a switch.
    pub fn id(&self) -> u64 {
        id_of(self.at)
    }

    /// The life of its stub, if it is there and can be reached.
    pub fn life(&self, now_ms: u64) -> Option<u32> {
        self.stub.as_ref().filter(|_| now_ms >= self.cable_at).map(|stub| stub.life)
    }

    /// The networks that its guests have.
    pub fn networks(&self) -> Vec<u32> {
        let mut networks: Vec<u32> =
            self.guests.iter().flat_map(|guest| &guest.ports).map(|port| port.network).collect();
        networks.sort_unstable();
        networks.dedup();
        networks
    }

    /// Starts a guest with a vif in each of these networks.
    pub fn add_guest(&mut self, now_ms: u64, networks: &[u32]) {
        let mut vifs = Vec::new();
        let number = {
            let shared = &mut *self.shared.borrow_mut();
            shared.guests += 1;
            for &network in networks {
                let vif = shared.oracle.born(self.at, shared.guests, network);
                shared.mates.entry(network).or_default().push(vif);
                let free = |id: &u16| {
                    let taken = |guest: &Guest| guest.ports.iter().any(|port| port.id.0 == *id);
                    !self.guests.iter().any(taken) && !vifs.iter().any(|(_, PortId(other), _)| other == id)
                };
                let Some(id) = (0..PORTS as u16).find(free) else { return };
                vifs.push((vif, PortId(id), network));
            }
            shared.guests
        };
        let wait = 1 + self.rng.below(20) + SILENCE_MS.saturating_sub(now_ms);
        self.guests.push(Guest::new(number, &vifs, now_ms + wait));
        for (vif, id, network) in vifs {
            self.open(now_ms, vif, id, network);
        }
    }

    /// The stub finds a vif.
    fn open(&mut self, now_ms: u64, vif: Vif, id: PortId, network: u32) {
        if let Some(stub) = &mut self.stub {
            let epoch = stub.node.epoch(network);
            stub.cut.open(id, NetworkId(network), Epoch(epoch));
            self.shared.borrow_mut().oracle.epoch(vif, epoch);
        }
        let _ = now_ms;
    }

    /// Membership sees these hosts, in these lives, with these networks.
    pub fn set_peers(&mut self, now_ms: u64, peers: &[(Host, u32, Vec<u32>)]) {
        let own = self.networks();
        let Some(stub) = &mut self.stub else { return };
        stub.peers = peers.iter().map(|(host, ..)| *host).collect();
        for &(host, life, _) in peers {
            stub.sessions[host].meet(life);
        }
        let all: Vec<_> = peers.iter().map(|(host, life, _)| (id_of(*host), u64::from(*life))).collect();
        stub.node.set_switches(now_ms, &all);
        for network in own {
            let have = peers.iter().filter(|(_, _, networks)| networks.contains(&network));
            let have: Vec<_> = have.map(|(host, life, _)| (id_of(*host), u64::from(*life))).collect();
            stub.node.set_peers(now_ms, network, &have);
        }
    }

    pub(super) fn start_stub(&mut self, now_ms: u64) {
        self.life += 1;
        self.stub_at = u64::MAX;
        let cut = Cut::new(Limits { ports: PORTS, hold_ms: HOLD_MS, ..Limits::default() });
        let node = Vnsnap::new(self.id(), u64::from(self.life), self.config);
        let sessions = vec![Session::default(); self.hosts];
        self.stub = Some(Stub { life: self.life, node, cut, sessions, peers: Vec::new(), local: None });
        let ports: Vec<_> = self.guests.iter().flat_map(|guest| &guest.ports).collect();
        let ports: Vec<_> = ports.into_iter().map(|port| (port.vif, port.id, port.network)).collect();
        for (vif, id, network) in ports {
            self.shared.borrow_mut().oracle.forgot_epoch(vif);
            self.open(now_ms, vif, id, network);
        }
        self.attach(now_ms);
    }

    /// Answers the clients that wait at this host.
    pub(super) fn answer_all(&mut self, now_ms: u64, answer: &Answer) {
        let at = self.at;
        let waiting = |request: &&mut super::shared::Request| request.host == at && request.answer.is_none();
        for request in self.shared.borrow_mut().requests.iter_mut().filter(waiting) {
            request.answer = Some((now_ms, answer.clone()));
        }
    }

    /// The snapshot that runs here.
    pub fn local_group(&self) -> Option<GroupId> {
        Some(self.stub.as_ref()?.local.as_ref()?.group)
    }

    pub(super) fn running(&mut self, group: GroupId) -> Option<&mut Running> {
        self.stub.as_mut()?.local.as_mut().filter(|running| running.group == group)
    }

    pub(super) fn tell_node(&mut self, now_ms: u64, local: Local<'_>) {
        if let Some(stub) = &mut self.stub {
            stub.node.local(now_ms, local);
        }
    }

    pub(super) fn fail(&mut self, now_ms: u64, group: GroupId, why: &str) {
        self.tell_node(now_ms, Local::Failed { group, why });
    }

    /// A guest that stood still goes on.
    pub(super) fn let_run(&mut self, now_ms: u64, number: u32) {
        let Some(guest) = self.guests.iter_mut().find(|guest| guest.number == number) else { return };
        guest.wake(now_ms, &mut self.rng);
        guest.send_at = guest.send_at.max(now_ms);
        if let Some(since) = guest.suspended.take() {
            let stood = now_ms - since;
            if self.crashed_at.is_some_and(|at| at >= since) {
                return;
            }
            let shared = &mut *self.shared.borrow_mut();
            shared.stood_ms = shared.stood_ms.max(stood);
            if stood > STAND_MAX_MS {
                shared.oracle.complain(|| format!("guest {number} stood still for {stood} ms"));
            }
        }
    }

    /// Notes the epochs of all vifs, for the oracle.
    pub(super) fn note_epochs(&mut self) {
        let Some(stub) = &self.stub else { return };
        let mut shared = self.shared.borrow_mut();
        for port in self.guests.iter().flat_map(|guest| &guest.ports) {
            if let Some(epoch) = stub.cut.epoch(port.id) {
                shared.oracle.epoch(port.vif, epoch.0);
            }
        }
    }

    /// Does all that is due.
    fn work(&mut self, now_ms: u64) {
        // Far more than any snapshot takes in one millisecond.
        for _ in 0..10_000 {
            self.come_back(now_ms);
            if let Some(at) = self.guests.iter().position(|guest| guest.next() <= now_ms) {
                let guest = &self.guests[at];
                if guest.send_at <= now_ms { self.guest_sends(now_ms, at) } else { self.rings(now_ms, at) }
            } else if let Some(at) = self.jobs.iter().position(|job| job.at <= now_ms) {
                self.job_due(now_ms, at);
            } else if self.shim.as_ref().is_some_and(|shim| shim.next() <= now_ms) {
                self.shim_due(now_ms);
            } else {
                self.release(now_ms);
                if !self.outputs(now_ms) {
                    return;
                }
            }
        }
        self.shared.borrow_mut().oracle.complain(|| "something spins".into());
    }
}

/// The name of a host's switch.
pub fn id_of(host: Host) -> u64 {
    host as u64 + 1
}

/// The host of a switch.
pub fn host_of(id: u64) -> Host {
    (id as usize).wrapping_sub(1)
}

impl Node for GroupHost {
    fn on_datagram(&mut self, now_ms: u64, from: Host, kind: Kind, octets: &[u8]) {
        self.work(now_ms);
        let twice = self.mutant == Mutant::NoDuplicateSuppression && kind == Kind::Frame;
        let Some(stub) = self.stub.as_mut().filter(|_| now_ms >= self.cable_at) else { return };
        let Some((head, payload)) = Head::take(octets) else { return };
        if !stub.peers.contains(&from) {
            return;
        }
        stub.sessions[from].meet(head.from_life);
        if head.to_life != stub.life {
            // As when a session is asked for anew: whoever hears us knows our life.
            self.hello(from);
            return;
        }
        if !stub.sessions[from].open(stub.life, head, twice) {
            return;
        }
        match kind {
            Kind::Frame => self.on_frame(now_ms, from, payload),
            Kind::Control if payload.is_empty() => (),
            Kind::Control => {
                if let Err(dropped) = stub.node.receive(now_ms, id_of(from), payload) {
                    self.shared
                        .borrow()
                        .say(now_ms, self.at, || format!("drops a message of {from}: {dropped:?}"));
                }
                if let Some(group) = self.local_group() {
                    let _ = self.step(now_ms, Step::Took, group);
                }
            }
        }
        self.check_drained(now_ms);
    }

    fn poll(&mut self, now_ms: u64, out: &mut Outbox) {
        self.work(now_ms);
        let plugged = now_ms >= self.cable_at;
        for (to, kind, octets) in self.out.drain(..).filter(|_| plugged) {
            out.send(to, kind, &octets);
        }
    }

    fn poll_at(&self) -> Option<u64> {
        let guests = self.guests.iter().map(Guest::next).min();
        let jobs = self.jobs.iter().map(|job| job.at).min();
        let shim = self.shim.as_ref().map(Shim::next);
        let node = self.stub.as_ref().and_then(|stub| stub.node.poll_at());
        let cut = self.stub.as_ref().and_then(|stub| stub.cut.poll_at());
        let back = if self.powered { self.stub_at.min(self.shim_at) } else { self.stub_at.max(self.shim_at) };
        let all = [guests, jobs, shim, node, cut, Some(back)];
        all.into_iter().flatten().min().filter(|at| *at != u64::MAX)
    }
}

impl GroupHost {
    fn hello(&mut self, to: Host) {
        if let Some(stub) = &mut self.stub
            && let Some(head) = stub.sessions[to].seal(stub.life)
        {
            self.out.push((to, Kind::Control, head.emit().into()));
        }
    }
}

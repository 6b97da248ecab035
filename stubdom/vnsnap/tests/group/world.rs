//! Several nodes, each with a shim that does what it is asked, and a network that loses, doubles and
//! disorders messages. Deterministic by its seed.

mod shim;

use std::collections::{BTreeMap, BTreeSet};

use vnsnap::{Begin, Config, GroupId, Local, Mode, Node, Output, Refusal, SeqPoint, Why};

use shim::name;

pub(crate) const NET: u32 = 7;

/// What a host has of a group on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Pending,
    Committed(Vec<u8>),
}

/// A host: node, shim, disk.
pub(crate) struct Host {
    /// It has guests in the network.
    pub(crate) here: bool,
    pub(crate) node: Option<Node>,
    life: u64,
    /// What survives everything.
    pub(crate) disk: BTreeMap<GroupId, Disk>,
    pub(crate) members: BTreeMap<GroupId, Vec<u64>>,
    /// The last epoch of which its shim heard, if it keeps that.
    pub(crate) highest: Option<u32>,
    /// The epoch of its port, and epochs at which it was captured.
    pub(crate) epoch: u32,
    pub(crate) cuts: Vec<u32>,
    pub(crate) ended: Vec<(GroupId, Result<Vec<u64>, Why>)>,
    pub(crate) aborted: Vec<(GroupId, Why)>,
    pub(crate) log: Vec<&'static str>,
    /// What the shim leaves undone, by name of the output.
    pub(crate) deaf: BTreeSet<&'static str>,
    /// What the shim answers `Prepare` with, if it refuses.
    pub(crate) refuse: Option<&'static str>,
    /// Its guests are never ready.
    pub(crate) unready: bool,
    /// It answers `Close` with a failure.
    pub(crate) no_space: bool,
    pub(crate) manifest: Option<Vec<(u64, Vec<u8>)>>,
}

/// From, to, octets: whether to lose it.
pub(crate) type Lose = Box<dyn FnMut(u64, u64, &[u8]) -> bool>;

/// When, which host, in which life, about which group, what.
type Deed = (u64, u64, u64, Option<GroupId>, Box<dyn FnOnce(&mut Host, u64)>);

pub(crate) struct World {
    shims: Vec<Deed>,
    /// How long a shim takes at most.
    pub(crate) shim_delay: u64,
    pub(crate) now: u64,
    pub(crate) config: Config,
    pub(crate) hosts: BTreeMap<u64, Host>,
    /// On their way: when, from, to, octets.
    wire: Vec<(u64, u64, u64, Vec<u8>)>,
    random: u64,
    /// In percent.
    pub(crate) loss: u64,
    pub(crate) doubles: u64,
    pub(crate) delay: u64,
    /// Links that are cut.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) messages: u64,
    pub(crate) trace: bool,
    pub(crate) stop_at: Option<(u64, &'static str)>,
    /// Called before each message is put on the wire: lose it?
    pub(crate) lose: Option<Lose>,
}

impl World {
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        Self::with(count, seed, Config::default())
    }

    pub(crate) fn with(count: u64, seed: u64, config: Config) -> Self {
        let mut world = Self {
            now: 1_000_000,
            shims: Vec::new(),
            shim_delay: 0,
            config,
            hosts: BTreeMap::new(),
            wire: Vec::new(),
            random: seed,
            loss: 0,
            doubles: 0,
            delay: 2,
            cut: BTreeSet::new(),
            messages: 0,
            trace: std::env::var("TRACE").is_ok(),
            stop_at: None,
            lose: None,
        };
        for id in 1..=count {
            world.hosts.insert(id, Host::new());
            world.start(id);
        }
        world.tell_peers();
        world
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    pub(crate) fn host(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&id).unwrap()
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.host(id).node.as_mut().unwrap()
    }

    /// The stub starts, and its shim tells what it finds on the disk.
    pub(crate) fn start(&mut self, id: u64) {
        let (config, now) = (self.config, self.now);
        if self.trace {
            println!("{now} host {id} starts");
        }
        let host = self.host(id);
        host.life += 1;
        host.node = Some(Node::new(id, host.life, config));
        host.manifest = None;
        host.aborted.clear();
        // The guests' ports connect anew.
        host.epoch = 0;
        let node = host.node.as_mut().unwrap();
        node.raise_epoch(now, NET, host.highest.unwrap_or(0));
        for (group, disk) in &host.disk {
            let members = host.members.get(group).cloned().unwrap_or_default();
            match disk {
                Disk::Pending => node.local(now, Local::Ask { group: *group, members: &members }),
                Disk::Committed(manifest) if group.initiator == id => {
                    let decision =
                        Local::Decision { group: *group, manifest: Some(manifest), members: &members };
                    node.local(now, decision);
                }
                Disk::Committed(_) => node.raise_epoch(now, group.network, group.epoch),
            }
        }
    }

    pub(crate) fn stop(&mut self, id: u64) {
        if self.trace {
            println!("{} host {id} stops", self.now);
        }
        self.host(id).node = None;
    }

    /// The membership is right at once, unless a test wants something else.
    pub(crate) fn tell_peers(&mut self) {
        let up: Vec<u64> = self.up();
        if self.trace {
            println!("{} up {up:?}, cut {:?}", self.now, self.cut);
        }
        for &id in &up {
            let seen = |peer: &&u64| **peer != id && !self.cut.contains(&(id, **peer));
            let all: Vec<(u64, u64)> =
                up.iter().filter(seen).map(|&peer| (peer, self.hosts[&peer].life)).collect();
            let peers: Vec<(u64, u64)> =
                all.iter().copied().filter(|(peer, _)| self.hosts[peer].here).collect();
            let (now, here) = (self.now, self.hosts[&id].here);
            self.node(id).set_switches(now, &all);
            if here {
                self.node(id).set_peers(now, NET, &peers);
            } else {
                self.node(id).leave(now, NET);
            }
        }
    }

    pub(crate) fn up(&self) -> Vec<u64> {
        self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(&id, _)| id).collect()
    }

    pub(crate) fn begin(&mut self, id: u64, mode: Mode) -> Result<GroupId, Refusal> {
        let now = self.now;
        self.node(id).begin(now, Begin { network: NET, mode, name: "blue@now", options: b"options" })
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end && !self.step() {
            let wire = self.wire.iter().map(|(at, ..)| *at);
            let wake = self.hosts.values().filter_map(|host| host.node.as_ref()?.poll_at());
            let shims = self.shims.iter().map(|(at, ..)| *at);
            let next = wire.chain(wake).chain(shims).min().unwrap_or(end);
            self.now = next.clamp(self.now + 1, end);
        }
    }

    /// Runs until this host has been asked to do this; whether it has.
    pub(crate) fn run_until(&mut self, id: u64, what: &'static str, ms: u64) -> bool {
        self.stop_at = Some((id, what));
        let seen = |world: &Self| world.hosts[&id].log.iter().filter(|known| **known == what).count();
        let before = seen(self);
        self.run(ms);
        self.stop_at = None;
        seen(self) > before
    }

    /// One moment; whether `stop_at` has been done.
    pub(crate) fn step(&mut self) -> bool {
        let now = self.now;
        let due: Vec<_> = self.wire.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, from, to, octets) in due {
            if self.cut.contains(&(from, to)) {
                continue;
            }
            if let Some(node) = self.host(to).node.as_mut() {
                let _ = node.receive(now, from, &octets);
            }
        }
        self.run_shims();
        for id in self.up() {
            while let Some(output) = self.hosts.get_mut(&id).and_then(|host| host.node.as_mut()?.poll(now)) {
                let name = name(&output);
                self.act(id, output);
                if self.stop_at == Some((id, name)) {
                    return true;
                }
            }
        }
        false
    }

    fn post(&mut self, from: u64, to: u64, octets: Vec<u8>) {
        assert!(octets.len() <= vnsnap::MESSAGE_MAX && !octets.is_empty());
        self.messages += 1;
        if self.lose.as_mut().is_some_and(|lose| lose(from, to, &octets)) {
            return;
        }
        let times = 1 + u64::from(self.random(100) < self.doubles);
        for _ in 0..times {
            if self.random(100) >= self.loss {
                let delay = 1 + self.random(self.delay);
                self.wire.push((self.now + delay, from, to, octets.clone()));
            }
        }
    }

    /// On how many hosts it is committed, and on how many it is pending.
    pub(crate) fn on_disks(&self, group: GroupId) -> (usize, usize) {
        let of = |wanted: fn(&Disk) -> bool| {
            self.hosts.values().filter(|host| host.disk.get(&group).is_some_and(wanted)).count()
        };
        (of(|disk| matches!(disk, Disk::Committed(_))), of(|disk| *disk == Disk::Pending))
    }

    /// All or none, nothing undecided, and all at one epoch.
    pub(crate) fn assert_whole(&self, group: GroupId, committed: bool) {
        let (done, pending) = self.on_disks(group);
        let wanted = if committed { self.hosts.len() } else { 0 };
        assert_eq!((done, pending), (wanted, 0), "hosts with {group} committed, and undecided");
        self.assert_one_epoch();
    }

    fn here(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(|host| host.here)
    }

    pub(crate) fn assert_one_epoch(&self) {
        let epochs: BTreeSet<u32> =
            self.here().filter_map(|host| host.node.as_ref()).map(|node| node.epoch(NET)).collect();
        assert!(epochs.len() <= 1, "epochs {epochs:?}");
        for host in self.here().filter(|host| host.node.is_some()) {
            let epoch = host.node.as_ref().unwrap().epoch(NET);
            assert_eq!(host.epoch, epoch, "port and network");
        }
    }
}

impl Host {
    fn local(&mut self, now: u64, local: Local<'_>) {
        if let Some(node) = self.node.as_mut() {
            node.local(now, local);
        }
    }

    fn new() -> Self {
        Self {
            here: true,
            node: None,
            life: 0,
            disk: BTreeMap::new(),
            members: BTreeMap::new(),
            highest: Some(0),
            epoch: 0,
            cuts: Vec::new(),
            ended: Vec::new(),
            aborted: Vec::new(),
            log: Vec::new(),
            deaf: BTreeSet::new(),
            refuse: None,
            unready: false,
            no_space: false,
            manifest: None,
        }
    }
}

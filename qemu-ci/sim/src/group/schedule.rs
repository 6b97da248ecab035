//! Schedules of group snapshots: hosts with guests that talk, operators that ask, and trouble; then all is
//! quiet, and after a while all must be well.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use vnsnap::{Begin, Config, GroupId, Mode};

use super::disk::{Part, parts};
use super::fault::{Fault, Mutant, Victim};
use super::host::{GroupHost, host_of, id_of};
use super::oracle::{Held, Sum, Vif};
use super::shared::{Answer, Pace, Request, Shared, name};
use crate::network::Links;
use crate::node::Host;
use crate::rng::Rng;
use crate::world::World;

/// How often the simulated membership looks, in milliseconds: the heartbeat.
const HEARTBEAT_MS: u64 = 200;

/// Heartbeats missed until a host is gone.
const MISSES: u32 = 3;

/// The latest that a client is answered, in milliseconds.
const ANSWER_MS: u64 = 20_000;

/// All is well when nothing has been under way for this long, in milliseconds.
const IDLE_MS: u64 = 1_200;

/// The longest wait for all to be well, in milliseconds, once there is no more trouble.
pub const PATIENCE_MS: u64 = 40_000;

/// The time-outs of a schedule: a fifth of the usual ones where long waits teach nothing.
pub fn config() -> Config {
    Config {
        prepare_ms: 5_000,
        ready_ms: Some(5_000),
        orphan_ms: 3_000,
        silence_ms: 2_000,
        store_ms: 10_000,
        ..Config::default()
    }
}

/// A schedule that did not end well. Run it again with its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIM_SEED={} {}", self.seed, self.what)
    }
}

/// What the first snapshot of a schedule cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Messages of the protocol, from all hosts.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// From the request to the commit, in milliseconds.
    pub commit_ms: u64,
    /// From the request until all hosts knew, in milliseconds.
    pub end_ms: u64,
}

/// What became of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests made.
    pub requests: u64,
    /// Snapshots committed.
    pub committed: u64,
    /// Of these taken back by all: the coordinator was cut off until all others had given it up.
    pub revoked: u64,
    /// Frames at their cuts.
    pub sum: Sum,
    /// Frames sent by guests.
    pub frames: u64,
    /// Things that went wrong.
    pub struck: u64,
    /// The longest time that a guest stood still, in milliseconds, where nothing had crashed.
    pub stood_ms: u64,
    /// Messages of the protocol.
    pub messages: u64,
    /// What its first snapshot cost.
    pub cost: Cost,
    /// Time from the end of trouble until all was well.
    pub settled_ms: u64,
    /// Events simulated.
    pub events: u64,
    /// The world's trace.
    pub trace: u64,
}

impl Outcome {
    /// Adds up what several came to: counts as sums, times as the longest.
    pub fn add(&mut self, other: &Outcome) {
        self.requests += other.requests;
        self.committed += other.committed;
        self.revoked += other.revoked;
        self.sum.in_transit += other.sum.in_transit;
        self.sum.recorded += other.sum.recorded;
        self.sum.lost += other.sum.lost;
        self.sum.earlier += other.sum.earlier;
        self.sum.overtaken += other.sum.overtaken;
        self.sum.spread_us = self.sum.spread_us.max(other.sum.spread_us);
        self.frames += other.frames;
        self.struck += other.struck;
        self.stood_ms = self.stood_ms.max(other.stood_ms);
        self.messages += other.messages;
        self.settled_ms = self.settled_ms.max(other.settled_ms);
        self.events += other.events;
        self.trace ^= other.trace;
    }
}

/// What is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all that is random.
    pub seed: u64,
    /// Hosts, and how many guests each has.
    pub guests: Vec<u32>,
    /// How many networks there are, 1 or 2.
    pub networks: u32,
    /// The links.
    pub links: Links,
    /// How fast things are.
    pub pace: Pace,
    /// Who asks, when, for which network, how.
    pub requests: Vec<(u64, Host, u32, Mode)>,
    /// What goes wrong at steps.
    pub faults: Vec<Fault>,
    /// The mean time between two frames of a guest, in milliseconds.
    pub every_ms: u64,
    /// How many of a million frames are for all guests.
    pub broadcast: u32,
    /// How often something random goes wrong: once in so many heartbeats; 0 for never.
    pub trouble: u64,
    /// How long there is trouble, in milliseconds.
    pub trouble_ms: u64,
    /// One of a million shims refuses.
    pub refuse: u32,
    /// How to be wrong.
    pub mutant: Mutant,
    /// Whether to print what happens.
    pub tell: bool,
}

impl Plan {
    /// A quiet plan: two hosts with two guests each, one request, good links.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            guests: vec![2, 2],
            networks: 1,
            links: Links::GOOD,
            pace: Pace::default(),
            requests: vec![(700, 0, 1, Mode::Together)],
            faults: Vec::new(),
            every_ms: 12,
            broadcast: 100_000,
            trouble: 0,
            trouble_ms: 1_500,
            refuse: 0,
            mutant: Mutant::None,
            tell: false,
        }
    }
}

/// Plays a plan.
///
/// # Errors
/// The first property that does not hold.
pub fn play(plan: &Plan) -> Result<Outcome, Failure> {
    Schedule::new(plan).run().map_err(|what| Failure { seed: plan.seed, what })
}

struct Schedule<'a> {
    plan: &'a Plan,
    rng: Rng,
    world: World<GroupHost>,
    shared: Rc<RefCell<Shared>>,
    /// What the membership of each host sees: heartbeats missed of each other.
    misses: Vec<Vec<u32>>,
    seen: Vec<Vec<Option<(u32, Vec<u32>)>>>,
}

impl<'a> Schedule<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let hosts = plan.guests.len();
        let mut world = World::new(rng.number(), hosts, Links::GOOD);
        let last = plan.requests.iter().map(|request| request.0).max().unwrap_or(0);
        let shared = Shared {
            faults: plan.faults.clone(),
            pace: plan.pace,
            busy_until_ms: last + 450,
            send_until_ms: plan.trouble_ms + 1_500,
            every_ms: plan.every_ms,
            broadcast: plan.broadcast,
            refuse: plan.refuse,
            tell: plan.tell,
            ..Shared::default()
        };
        let shared = Rc::new(RefCell::new(shared));
        for host in 0..hosts {
            world.start(
                host,
                GroupHost::new(host, hosts, shared.clone(), rng.number(), config(), plan.mutant),
            );
        }
        let mut schedule = Self {
            plan,
            rng,
            world,
            shared,
            misses: vec![vec![0; hosts]; hosts],
            seen: vec![vec![None; hosts]; hosts],
        };
        for (host, &guests) in plan.guests.iter().enumerate() {
            for _ in 0..guests {
                schedule.add_guest(host, plan.networks);
            }
        }
        schedule
    }

    fn add_guest(&mut self, host: Host, networks: u32) {
        let networks: &[u32] = match self.rng.below(4) {
            0 if networks > 1 => &[1, 2],
            1 if networks > 1 => &[2],
            _ => &[1],
        };
        self.world.with(host, |node, now_ms| node.add_guest(now_ms, networks));
    }

    fn run(mut self) -> Result<Outcome, String> {
        self.membership();
        self.world.run(500);
        // Guests are quiet until just before the first request: their frames would teach nothing.
        self.world.network.links = self.plan.links;
        let mut requests = self.plan.requests.clone();
        requests.sort_by_key(|request| request.0);
        let mut requests = requests.into_iter().peekable();
        while self.world.now_ms() < self.plan.trouble_ms {
            let next = (self.world.now_ms() / HEARTBEAT_MS + 1) * HEARTBEAT_MS;
            while let Some((_, host, network, mode)) = requests.next_if(|request| request.0 <= next) {
                self.ask(host, network, mode);
            }
            self.world.run(next - self.world.now_ms());
            self.heartbeat()?;
            if self.plan.trouble > 0 && self.rng.below(self.plan.trouble) == 0 {
                self.trouble();
            }
        }
        self.settle()
    }

    fn ask(&mut self, host: Host, network: u32, mode: Mode) {
        let at_ms = self.world.now_ms();
        let shared = self.shared.clone();
        self.world.with(host, |node, now_ms| {
            let mut request =
                Request { host, at_ms, messages: shared.borrow().messages, group: None, answer: None };
            let begin = Begin { network, mode, name: "blue@20261122T081500Z", options: b"{}" };
            match (&node.shim, &mut node.stub) {
                (Some(_), Some(stub)) => match stub.node.begin(now_ms, begin) {
                    Ok(group) => request.group = Some(group),
                    Err(refusal) => request.answer = Some((now_ms, Answer::Refused(refusal.to_string()))),
                },
                _ => request.answer = Some((now_ms, Answer::Gone)),
            }
            shared
                .borrow()
                .say(now_ms, host, || format!("is asked for network {network} {mode:?}: {request:?}"));
            shared.borrow_mut().requests.push(request);
        });
    }

    /// What the membership does: heartbeats, and who is gone after three were missed.
    fn heartbeat(&mut self) -> Result<(), String> {
        self.membership();
        let now_ms = self.world.now_ms();
        let shared = self.shared.borrow();
        if let Some(wrong) = &shared.oracle.wrong {
            return Err(wrong.clone());
        }
        let late = |request: &&Request| request.answer.is_none() && now_ms > request.at_ms + ANSWER_MS;
        match shared.requests.iter().find(late) {
            Some(request) => Err(format!("{request:?} was not answered in {ANSWER_MS} ms")),
            None => Ok(()),
        }
    }

    fn membership(&mut self) {
        let now_ms = self.world.now_ms();
        let hosts = self.world.len();
        let states: Vec<_> = (0..hosts)
            .map(|host| self.world.node(host).and_then(|node| Some((node.life(now_ms)?, node.networks()))))
            .collect();
        for at in 0..hosts {
            let mut changed = false;
            for other in (0..hosts).filter(|other| *other != at) {
                let kind = crate::node::Kind::Control;
                let both = self.world.network.reaches(at, other, kind)
                    && self.world.network.reaches(other, at, kind);
                let heard = both && states[at].is_some() && states[other].is_some();
                let seen = &mut self.seen[at][other];
                if heard {
                    self.misses[at][other] = 0;
                    changed |= *seen != states[other];
                    seen.clone_from(&states[other]);
                } else {
                    self.misses[at][other] += 1;
                    if self.misses[at][other] >= MISSES && seen.is_some() {
                        *seen = None;
                        changed = true;
                    }
                }
            }
            // A stub that has just started knows nobody.
            let fresh = self
                .world
                .node(at)
                .is_some_and(|node| node.stub.as_ref().is_some_and(|stub| stub.peers.is_empty()));
            if changed || fresh {
                let peers: Vec<_> = self.seen[at]
                    .iter()
                    .enumerate()
                    .filter_map(|(host, seen)| {
                        seen.as_ref().map(|(life, networks)| (host, *life, networks.clone()))
                    })
                    .collect();
                self.world.with(at, |node, now_ms| node.set_peers(now_ms, &peers));
            }
        }
    }

    /// Something random goes wrong, or right.
    fn trouble(&mut self) {
        let hosts = self.world.len();
        let host = self.rng.index(hosts);
        let back_ms = 50 + self.rng.below(2_000);
        let victim = match self.rng.below(12) {
            0..=1 => Victim::Shim,
            2..=3 => Victim::Stub,
            4 => Victim::Host,
            5..=6 => Victim::Cable,
            7 => Victim::Job,
            8 => Victim::Operator,
            9 => {
                let sides = (0..hosts).map(|_| self.rng.below(2) as u32).collect();
                return self.world.network.split(sides);
            }
            10 => return self.world.network.heal(),
            _ => {
                let networks = self.plan.networks;
                return self.add_guest(host, networks);
            }
        };
        self.world.with(host, |node, now_ms| node.strike(now_ms, victim, back_ms));
    }

    /// The end of trouble: all must be well after a while.
    fn settle(mut self) -> Result<Outcome, String> {
        self.shared.borrow_mut().faults.clear();
        self.world.network.heal();
        self.world.network.links = Links::GOOD;
        let quiet_ms = self.world.now_ms();
        let mut idle_ms = 0;
        loop {
            self.world.run(HEARTBEAT_MS);
            self.heartbeat()?;
            let now_ms = self.world.now_ms();
            let busy = self.busy();
            idle_ms = if busy.is_none() { idle_ms + HEARTBEAT_MS } else { 0 };
            if idle_ms >= IDLE_MS && now_ms > self.shared.borrow().send_until_ms {
                break;
            }
            if now_ms > quiet_ms + PATIENCE_MS {
                return Err(format!("after {PATIENCE_MS} ms without trouble: {}", busy.unwrap_or_default()));
            }
        }
        self.judge(quiet_ms)
    }

    fn busy(&self) -> Option<String> {
        self.world.nodes().find_map(|(_, node)| node.is_idle(self.world.now_ms()).err())
    }

    fn judge(&self, quiet_ms: u64) -> Result<Outcome, String> {
        let shared = self.shared.borrow();
        let mut outcome = Outcome {
            requests: shared.requests.len() as u64,
            frames: shared.oracle.frames.len() as u64,
            struck: shared.struck.len() as u64,
            stood_ms: shared.stood_ms,
            messages: shared.messages.0,
            settled_ms: self.world.now_ms() - quiet_ms,
            events: self.world.events(),
            trace: self.world.trace(),
            ..Outcome::default()
        };
        if let Some(first) = shared.requests.first()
            && let Some(group) = first.group
            && let Some(&commit_ms) = shared.committed.get(&group)
            && let Some(&(end_ms, (messages, octets))) = shared.ended.get(&group)
        {
            outcome.cost = Cost {
                messages: messages - first.messages.0,
                octets: octets - first.messages.1,
                commit_ms: commit_ms - first.at_ms,
                end_ms: end_ms - first.at_ms,
            };
        }
        let mut epochs: BTreeMap<(Vif, u32), GroupId> = BTreeMap::new();
        let mut groups: Vec<GroupId> =
            self.world.nodes().flat_map(|(_, node)| node.disk.folders.keys().copied()).collect();
        groups.extend(shared.committed.keys());
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            outcome.committed += 1;
            match self.whole(&shared, group)? {
                Some(held) => {
                    for &vif in &held.vifs {
                        // Two sides of a split network may each use an epoch, but no guest twice.
                        if let Some(other) = epochs.insert((vif, group.epoch), group) {
                            return Err(format!("vif {vif} is in {other} and in {group}: one epoch twice"));
                        }
                    }
                    let sum =
                        shared.oracle.judge(name(group), &held).map_err(|what| format!("{group}: {what}"))?;
                    outcome.sum.in_transit += sum.in_transit;
                    outcome.sum.recorded += sum.recorded;
                    outcome.sum.lost += sum.lost;
                    outcome.sum.earlier += sum.earlier;
                    outcome.sum.overtaken += sum.overtaken;
                    outcome.sum.spread_us = outcome.sum.spread_us.max(sum.spread_us);
                }
                None => outcome.revoked += 1,
            }
        }
        for request in &shared.requests {
            let Some((answered_ms, answer)) = &request.answer else {
                return Err(format!("{request:?} was never answered"));
            };
            let committed = request.group.and_then(|group| shared.committed.get(&group));
            if *answer == Answer::Committed && committed.is_none() {
                return Err(format!("{request:?} was told of a commit that was none"));
            }
            // A stub that forgot everything may use a name again that was given up.
            if matches!(answer, Answer::Refused(_)) && committed.is_some_and(|at_ms| at_ms <= answered_ms) {
                return Err(format!("{request:?} was refused, and is committed"));
            }
        }
        Ok(outcome)
    }

    /// What a committed group holds, if it is whole everywhere; none if a double failure excuses that it is
    /// not.
    fn whole(&self, shared: &Shared, group: GroupId) -> Result<Option<Held>, String> {
        let coordinator = host_of(group.initiator);
        let manifests: Vec<(Host, &Vec<u8>)> = self
            .world
            .nodes()
            .filter_map(|(host, node)| Some((host, node.disk.folders.get(&group)?.manifest.as_ref()?)))
            .collect();
        let at = shared.committed.get(&group);
        let Some((first, manifest)) = manifests.first() else {
            // Committed, and everybody agreed to take it back.
            return match shared.revoked.contains_key(&group) {
                true => Ok(None),
                false => Err(format!("{group} was committed, and no manifest of it exists")),
            };
        };
        if at.is_none() {
            return Err(format!("{group} has a manifest on host {first}, and was never committed"));
        }
        if let Some((other, _)) = manifests.iter().find(|(_, other)| other != manifest) {
            return Err(format!("{group} has two manifests, on hosts {first} and {other}"));
        }
        let parts: Vec<Part> = parts(manifest);
        let mut held = Held::default();
        for part in &parts {
            let host = part.host as Host;
            let folder = self.world.node(host).and_then(|node| node.disk.folders.get(&group));
            let Some(folder) = folder.filter(|folder| folder.committed) else {
                return Err(format!(
                    "{group} is committed on host {first} (coordinator {coordinator}), and host {host} has nothing of it; revoked {:?}, given up {:?}, trouble {:?}",
                    shared.revoked, shared.gave_up, shared.struck
                ));
            };
            if !part.guests.iter().all(|guest| folder.images.contains(guest)) {
                return Err(format!("{group}: an image is missing on host {host}"));
            }
            let channel = folder.channel.as_deref().unwrap_or_default();
            if channel.len() != part.recorded as usize {
                return Err(format!("{group}: the channel of host {host} is not what its part says"));
            }
            held.vifs.extend(&part.vifs);
            held.recorded.extend(channel);
        }
        debug_assert!(parts.iter().any(|part| id_of(part.host as Host) == group.initiator));
        Ok(Some(held))
    }
}

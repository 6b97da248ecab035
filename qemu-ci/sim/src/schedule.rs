//! Random schedules: hosts join, leave, crash and start again while the network is split, healed,
//! lossy and late; then all is quiet, and after a while all must see the same, which is the truth.

use std::collections::BTreeMap;
use std::fmt;

use violin::id::{NetworkId, SwitchId};
use violin::member::{Config, Member, State};

use crate::mesh::{MeshNode, host};
use crate::network::Links;
use crate::node::Host;
use crate::rng::Rng;
use crate::world::World;

/// All must see the same after this long without trouble: the longest time between two calls to
/// one that was lost, and some for what follows.
pub const PATIENCE_MS: u64 = 45_000;

/// The latest that a datagram is.
const LATE_MS: u64 = Links::BAD.delay.late_us / 1000 + 500;

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

/// What became of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Time from the end of trouble until all saw the same.
    pub settled_ms: u64,
    /// Events simulated.
    pub events: u64,
    /// The world's trace.
    pub trace: u64,
}

/// Plays the schedule of a seed; `tell` is called with each thing that is done, for a replay.
pub fn play(seed: u64, tell: &mut dyn FnMut(u64, String)) -> Result<Outcome, Failure> {
    let mut schedule = Schedule::new(seed);
    let end_ms = 5_000 + schedule.rng.below(20_000);
    while schedule.world.now_ms() < end_ms {
        let what = schedule.act();
        tell(schedule.world.now_ms(), what);
        let pause = schedule.rng.below(1_500);
        schedule.world.run(pause);
    }
    schedule.end_trouble();
    tell(schedule.world.now_ms(), "quiet".into());
    schedule.judge()
}

struct Schedule {
    seed: u64,
    rng: Rng,
    world: World<MeshNode>,
    hosts: usize,
    lives: Vec<u64>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = 3 + rng.index(10);
        let world = World::new(rng.number(), hosts, Links::GOOD);
        let mut schedule = Self { seed, rng, world, hosts, lives: vec![0; hosts] };
        for host in 0..hosts {
            if schedule.rng.chance(700_000) {
                schedule.start(host);
            }
        }
        schedule
    }

    fn start(&mut self, host: Host) {
        self.lives[host] += 10;
        // Now and then the clock that incarnations are made from went back, but never to the same.
        let back = if self.rng.chance(50_000) { 15 } else { 0 };
        let incarnation = self.lives[host].saturating_sub(back);
        let seeds = [self.other(host), self.other(host)];
        let count = if host == 0 { 0 } else { 1 + self.rng.index(2) };
        let now_ms = self.world.now_ms();
        let node = MeshNode::new(host, incarnation, Config::default(), &seeds[..count], now_ms);
        self.world.start(host, node);
    }

    fn other(&mut self, host: Host) -> Host {
        (host + 1 + self.rng.index(self.hosts - 1)) % self.hosts
    }

    /// Does one random thing, and says what.
    fn act(&mut self) -> String {
        let host = self.rng.index(self.hosts);
        let on = self.world.node(host).is_some();
        let left = self.world.node(host).is_some_and(MeshNode::has_left);
        match self.rng.below(20) {
            0..=3 if !on => {
                self.start(host);
                format!("{host} starts, life {}", self.lives[host])
            }
            0..=1 if left => {
                let seed = self.other(host);
                self.world.with(host, |node, now_ms| node.join(now_ms, seed));
                format!("{host} joins again through {seed}")
            }
            0..=3 => {
                self.start(host);
                format!("{host} starts anew, life {}", self.lives[host])
            }
            4..=5 => {
                self.world.crash(host);
                format!("{host} crashes")
            }
            6..=8 => {
                self.world.with(host, MeshNode::leave);
                format!("{host} leaves")
            }
            9..=10 => {
                let sides = 1 + self.rng.below(3);
                let sides: Vec<_> = (0..self.hosts).map(|_| self.rng.below(sides) as u32).collect();
                let what = format!("split {sides:?}");
                self.world.network.split(sides);
                what
            }
            11..=12 => {
                self.world.network.heal();
                "heals".into()
            }
            13 => {
                let other = self.other(host);
                self.world.network.cut(host, other);
                format!("cut from {host} to {other}")
            }
            14..=15 => {
                self.world.network.links = self.links();
                format!("links {:?}", self.world.network.links)
            }
            16..=18 => {
                let networks: Vec<_> = (0..self.rng.below(5)).map(|n| NetworkId(n as u32)).collect();
                self.world.with(host, |node, now_ms| node.set_networks(now_ms, &networks));
                format!("{host} has networks {networks:?}")
            }
            _ => {
                self.world.leap(host, 3_600_000);
                format!("the clock of {host} leaps")
            }
        }
    }

    fn links(&mut self) -> Links {
        let mut links = Links::BAD;
        links.loss = self.rng.below(u64::from(links.loss)) as u32;
        links.duplicate = self.rng.below(u64::from(links.duplicate)) as u32;
        links.delay.most_us = 1_000 + self.rng.below(links.delay.most_us);
        links.delay.late = self.rng.below(u64::from(links.delay.late)) as u32;
        links
    }

    /// Makes the network whole and good, and has an operator join what can't know of each other.
    fn end_trouble(&mut self) {
        self.world.network.heal();
        self.world.network.links = Links::GOOD;
        // What is late comes now: a goodbye of an earlier life is trouble, too.
        self.world.run(LATE_MS);
        for host in 0..2 {
            if self.world.node(host).is_none_or(MeshNode::has_left) {
                self.start(host);
            }
        }
        let islands = self.islands();
        let first = islands.iter().position(|&island| island == 0).unwrap_or(0);
        let mut joined = vec![0];
        for (host, &island) in islands.iter().enumerate() {
            if island != usize::MAX && !joined.contains(&island) {
                joined.push(island);
                self.world.with(host, |node, now_ms| node.join(now_ms, first));
            }
        }
    }

    /// For each host the lowest host that it is connected with by what they know; MAX if it is off.
    fn islands(&self) -> Vec<usize> {
        let members: Vec<_> = self.world.nodes().filter(|(_, node)| !node.has_left()).collect();
        let mut islands = vec![usize::MAX; self.hosts];
        members.iter().for_each(|&(host, _)| islands[host] = host);
        for _ in 0..self.hosts {
            for &(at, node) in &members {
                for peer in node.members.members().filter(|peer| peer.seed || peer.state != State::Left) {
                    let other = host(peer.member.at);
                    if islands[other] != usize::MAX {
                        let lowest = islands[at].min(islands[other]);
                        (islands[at], islands[other]) = (lowest, lowest);
                    }
                }
            }
        }
        islands
    }

    fn judge(mut self) -> Result<Outcome, Failure> {
        let quiet_ms = self.world.now_ms();
        let converged = self.world.run_until(PATIENCE_MS, 250, converges);
        let settled_ms = self.world.now_ms() - quiet_ms;
        if converged && self.seed.is_multiple_of(16) {
            // From now on, nothing changes any more.
            let downs = |world: &World<MeshNode>| world.nodes().map(|(_, node)| node.downs[1]).sum::<u64>();
            let before = downs(&self.world);
            self.world.run(6_000);
            if downs(&self.world) != before || !converges(&self.world) {
                return self.fail("all saw the same, but not for long");
            }
        }
        if let Some(what) = self.world.nodes().find_map(|(_, node)| node.nonsense.clone()) {
            return self.fail(&what);
        }
        if !converged {
            return self.fail("not all see the same");
        }
        let (events, trace) = (self.world.events(), self.world.trace());
        Ok(Outcome { settled_ms, events, trace })
    }

    fn fail(&self, what: &str) -> Result<Outcome, Failure> {
        let all: Vec<_> = members(&self.world).into_values().map(|member| host(member.at)).collect();
        let mut what = format!("{what}; members are {all:?}");
        for (at, node) in self.world.nodes() {
            let sees: Vec<_> = node.up.values().map(|member| host(member.at)).collect();
            what += &format!("\n  {at} sees {sees:?} left {} dropped {:?}", node.has_left(), node.dropped);
            for peer in node.members.members().filter(|peer| peer.state != State::Up) {
                let member = peer.member;
                let stamp = (member.incarnation, member.version);
                what +=
                    &format!("\n    {} is {:?} {stamp:?} seed {}", host(member.at), peer.state, peer.seed);
            }
        }
        Err(Failure { seed: self.seed, what })
    }
}

/// The truth: all members that are on and have not left.
pub fn members(world: &World<MeshNode>) -> BTreeMap<SwitchId, Member> {
    let members = world.nodes().filter(|(_, node)| !node.has_left());
    members.map(|(_, node)| (node.me().id, node.me().clone())).collect()
}

/// Whether all members see the truth.
pub fn converges(world: &World<MeshNode>) -> bool {
    let truth = members(world);
    world.nodes().filter(|(_, node)| !node.has_left()).all(|(_, node)| node.sees(&truth))
}

//! Schedules of group snapshots: hosts with guests that talk, operators that ask, and trouble; then all is
//! quiet, and after a while all must be well.

use std::cell::RefCell;
use std::rc::Rc;

use vnsnap::{Begin, Config, Mode};

use super::fault::Victim;
use super::host::{GroupHost, SILENCE_MS};
pub use super::plan::{Cost, Failure, Outcome, Plan};
use super::shared::{Answer, Request, Shared};
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

/// Plays a plan.
///
/// # Errors
/// The first property that does not hold.
pub fn play(plan: &Plan) -> Result<Outcome, Failure> {
    Schedule::new(plan).run().map_err(|what| Failure { seed: plan.seed, what })
}

/// What is known of a host by membership: its life, its networks.
type Seen = Option<(u32, Vec<u32>)>;

pub(super) struct Schedule<'a> {
    plan: &'a Plan,
    rng: Rng,
    pub(super) world: World<GroupHost>,
    pub(super) shared: Rc<RefCell<Shared>>,
    /// What the membership of each host sees: heartbeats missed of each other.
    misses: Vec<Vec<u32>>,
    seen: Vec<Vec<Seen>>,
}

impl<'a> Schedule<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let hosts = plan.guests.len();
        let mut world = World::new(rng.number(), hosts, Links::GOOD);
        let last = plan.requests.iter().map(|request| request.0).max().unwrap_or(0);
        let mut shared = Shared {
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
        let delay = plan.links.delay;
        shared.oracle.in_order =
            delay.least_us == delay.most_us && delay.late == 0 && plan.links.duplicate == 0;
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
        self.world.run(SILENCE_MS);
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
        let in_order = self.shared.borrow().oracle.in_order;
        self.world.network.links = if in_order { Links { loss: 0, ..self.plan.links } } else { Links::GOOD };
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
}

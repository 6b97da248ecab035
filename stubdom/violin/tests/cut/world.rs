//! Hosts with guests that talk all the time and are snapshotted again and again. The network loses,
//! doubles and delays; some snapshots are aborted in the middle; hosts hear of a snapshot at
//! different times. Then the books are checked: was each cut consistent, and is each frame that was in transit
//! recorded once, or lost?

mod books;
mod frames;

use std::collections::{BTreeMap, BTreeSet};

use violin::cut::Mode;

use super::*;

const HOSTS: usize = 3;
const GUESTS: usize = 7;
const SNAPSHOTS: u32 = 6;

/// A driver that does something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// It does not.
    None,
    /// What is to be held is delivered.
    DeliverEarly,
    /// The tag on the wire has one bit.
    OneBit,
    /// Datagrams that come twice are taken twice.
    Doubles,
    /// All guests of a host have the colour of the first that is flipped.
    EpochPerHost,
    /// What waits for a guest when it is flipped is not recorded.
    NoBacklog,
    /// The tag is that of the time at which a frame leaves the host.
    TagLate,
    /// An abort takes the epoch back, and it is used again.
    AbortBack,
}

type Id = usize;

/// A frame, as it was.
struct Sent {
    by: usize,
    /// When, in events of the whole world.
    event: u64,
}

struct Datagram {
    from: usize,
    to: usize,
    number: u64,
    tag: Epoch,
    id: Id,
    guests: Vec<usize>,
}

#[derive(Default)]
struct Guest {
    /// Suspended: nothing is delivered, and it sends nothing.
    suspended: bool,
    queue: Vec<Id>,
    received: BTreeMap<Id, u64>,
    /// Its moment in each snapshot.
    moment: BTreeMap<u32, u64>,
    doubled: u64,
}

struct Host {
    cut: Cut,
    seen: BTreeSet<(usize, u64)>,
    next: Vec<u64>,
    held: BTreeMap<usize, Vec<(Id, Arrival)>>,
    /// What left a guest and waits for the uplink, with its tag.
    uplink: Vec<(usize, Epoch, Id, Vec<usize>)>,
    /// When its channels were closed, for each snapshot.
    closed_at: BTreeMap<u32, u64>,
}

/// What a host or guest will do.
#[derive(Clone, Copy, Debug)]
enum Plan {
    Begin(usize),
    Suspend(usize),
    Flip(usize),
    Resume(usize),
    Close(usize),
    End(usize),
}

pub(crate) struct World {
    mutant: Mutant,
    mode: Mode,
    dice: Dice,
    now: u64,
    event: u64,
    hosts: Vec<Host>,
    guests: Vec<Guest>,
    sent: Vec<Sent>,
    way: BTreeMap<(u64, u64), Datagram>,
    posted: u64,
    plans: BTreeMap<(u64, u64), Plan>,
    k: u32,
    committed: BTreeSet<u32>,
    /// Snapshot, receiver, frame.
    recorded: BTreeMap<(u32, usize, Id), u64>,
    /// When a frame came to its receiver's host first, and whether it was dropped there.
    arrived: BTreeMap<(usize, Id), u64>,
    dropped: BTreeSet<(usize, Id)>,
    pub(crate) orphans_avoided: u64,
    pub(crate) records: u64,
    pub(crate) asked: u64,
}

fn host_of(guest: usize) -> usize {
    guest % HOSTS
}

fn port_of(guest: usize) -> PortId {
    PortId((guest / HOSTS) as u16)
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Mutant, mode: Mode) -> Self {
        let hosts = (0..HOSTS).map(|host| {
            let mut cut = Cut::new(Limits { ports: 4, ..Limits::default() });
            for guest in (0..GUESTS).filter(|guest| host_of(*guest) == host) {
                cut.open(port_of(guest), BLUE, Epoch(0));
            }
            Host {
                cut,
                seen: BTreeSet::new(),
                next: vec![0; HOSTS],
                held: BTreeMap::new(),
                uplink: Vec::new(),
                closed_at: BTreeMap::new(),
            }
        });
        Self {
            mutant,
            mode,
            dice: Dice::new(seed),
            now: 0,
            event: 0,
            hosts: hosts.collect(),
            guests: (0..GUESTS).map(|_| Guest::default()).collect(),
            sent: Vec::new(),
            way: BTreeMap::new(),
            posted: 0,
            plans: BTreeMap::new(),
            k: 0,
            committed: BTreeSet::new(),
            recorded: BTreeMap::new(),
            arrived: BTreeMap::new(),
            dropped: BTreeSet::new(),
            orphans_avoided: 0,
            records: 0,
            asked: 0,
        }
    }

    /// Some snapshots one after the other; then nobody says any more, and everything that is on its way
    /// arrives.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..SNAPSHOTS {
            let until = self.plan();
            while self.now < until {
                self.step(true);
            }
        }
        for _ in 0..600 {
            self.step(false);
        }
        self.check()
    }

    /// The times of the next snapshot; returns when it is over.
    fn plan(&mut self) -> u64 {
        let aborted = self.k > 0 && !self.committed.contains(&self.k);
        if aborted && self.mutant == Mutant::AbortBack {
            // The aborted snapshot is gone, as if it had never been.
            self.recorded.retain(|(k, ..), _| *k != self.k);
            self.guests.iter_mut().for_each(|guest| _ = guest.moment.remove(&self.k));
        } else {
            self.k += 1;
        }
        let start = self.now + 1 + self.dice.below(30);
        let mut last = start;
        for host in 0..HOSTS {
            // Some hear of it when others are flipped already.
            let begin = start + self.dice.below(25);
            self.later(begin, Plan::Begin(host));
            for guest in (0..GUESTS).filter(|guest| host_of(*guest) == host) {
                let suspend = begin + 1 + self.dice.below(30);
                let flip = suspend + 1 + self.dice.below(5);
                let resume = flip + 1 + self.dice.below(10);
                for (at, plan) in [
                    (suspend, Plan::Suspend(guest)),
                    (flip, Plan::Flip(guest)),
                    (resume, Plan::Resume(guest)),
                ] {
                    self.later(at, plan);
                }
                last = last.max(resume);
            }
        }
        let aborted = self.dice.percent(30);
        if !aborted {
            self.committed.insert(self.k);
        }
        let end = if aborted { start + 25 + self.dice.below(20) } else { last + 60 };
        for host in 0..HOSTS {
            let close = last + self.dice.below(50);
            if !aborted {
                self.later(close, Plan::Close(host));
            }
            let at = end + self.dice.below(10);
            self.later(at, Plan::End(host));
        }
        last.max(end) + 12
    }

    fn later(&mut self, at: u64, plan: Plan) {
        self.posted += 1;
        self.plans.insert((at, self.posted), plan);
    }

    /// A millisecond.
    fn step(&mut self, talk: bool) {
        self.now += 1;
        while let Some(entry) = self.plans.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let plan = entry.remove();
            self.act(plan);
        }
        while let Some(entry) = self.way.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let datagram = entry.remove();
            self.arrive(datagram);
        }
        for guest in 0..GUESTS {
            if talk && !self.guests[guest].suspended && self.dice.percent(60) {
                self.send(guest);
            }
        }
        for host in 0..HOSTS {
            if self.dice.percent(70) {
                self.uplink(host);
            }
            self.let_go(host);
            while self.hosts[host].cut.next_ahead().is_some() {
                self.asked += 1;
            }
        }
    }

    fn act(&mut self, plan: Plan) {
        let k = Epoch(self.k);
        match plan {
            Plan::Begin(host) => {
                let begun = self.hosts[host].cut.begin(BLUE, k, self.mode);
                assert!(begun.is_ok() || self.mutant != Mutant::None, "{begun:?}");
            }
            Plan::Suspend(guest) => {
                // Nobody is suspended for a snapshot that was aborted.
                let port = self.hosts[host_of(guest)].cut.epoch(port_of(guest));
                self.guests[guest].suspended = port < Some(k) || self.mutant != Mutant::None;
            }
            Plan::Flip(guest) => self.flip(guest),
            Plan::Resume(guest) => {
                self.guests[guest].suspended = false;
                for id in std::mem::take(&mut self.guests[guest].queue) {
                    self.receive(guest, id);
                }
            }
            Plan::Close(host) => {
                self.hosts[host].cut.close_all();
                self.hosts[host].closed_at.insert(self.k, self.event);
            }
            Plan::End(host) if self.mutant == Mutant::AbortBack && !self.committed.contains(&self.k) => {
                self.hosts[host].cut.raise(BLUE, k);
                self.let_go(host);
                for guest in (0..GUESTS).filter(|guest| host_of(*guest) == host) {
                    self.hosts[host].cut.open(port_of(guest), BLUE, Epoch(self.k - 1));
                }
            }
            Plan::End(host) => self.hosts[host].cut.raise(BLUE, k),
        }
        for host in 0..HOSTS {
            self.let_go(host);
        }
    }

    fn flip(&mut self, guest: usize) {
        let host = host_of(guest);
        self.event += 1;
        if self.mutant == Mutant::EpochPerHost {
            for other in (0..GUESTS).filter(|other| host_of(*other) == host) {
                self.hosts[host].cut.flip(port_of(other));
            }
        } else if !self.hosts[host].cut.flip(port_of(guest)) {
            return;
        }
        let waiting = self.guests[guest].queue.clone();
        self.guests[guest].moment.insert(self.k, self.event);
        if self.mutant != Mutant::NoBacklog {
            for id in waiting {
                *self.recorded.entry((self.k, guest, id)).or_default() += 1;
            }
        }
    }
}

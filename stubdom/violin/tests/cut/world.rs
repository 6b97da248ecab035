//! Hosts with guests that talk all the time and are snapshotted again and again. The network loses,
//! doubles and delays; some snapshots are aborted in the middle; hosts hear of a snapshot at
//! different times. Then the books are checked: was each cut consistent, and is each frame that was in transit
//! recorded once, or lost?

mod books;

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

    fn send(&mut self, by: usize) {
        let id = self.sent.len();
        self.event += 1;
        self.sent.push(Sent { by, event: self.event });
        let tag = self.hosts[host_of(by)].cut.epoch(port_of(by)).unwrap();
        let to: Vec<usize> = if self.dice.percent(15) {
            (0..GUESTS).filter(|guest| *guest != by).collect()
        } else {
            vec![self.dice.below(GUESTS as u64) as usize].into_iter().filter(|guest| *guest != by).collect()
        };
        for host in 0..HOSTS {
            let guests: Vec<usize> = to.iter().copied().filter(|guest| host_of(*guest) == host).collect();
            if host == host_of(by) {
                for guest in guests {
                    self.judge(guest, id, tag, Channel::Local);
                }
            } else if !guests.is_empty() {
                self.hosts[host_of(by)].uplink.push((host, tag, id, guests));
            }
        }
    }

    /// What waits for the uplink of a host is sent.
    fn uplink(&mut self, from: usize) {
        for (to, tag, id, guests) in std::mem::take(&mut self.hosts[from].uplink) {
            let number = self.hosts[from].next[to];
            self.hosts[from].next[to] += 1;
            let tag = match self.mutant {
                Mutant::TagLate => self.hosts[from].cut.epoch(port_of(self.sent[id].by)).unwrap(),
                Mutant::OneBit => Epoch(tag.0 % 2),
                _ => tag,
            };
            let copies = if self.dice.percent(5) { 0 } else { 1 + u64::from(self.dice.percent(5)) };
            for _ in 0..copies {
                // Some are late by a whole snapshot, or two.
                let most = if self.dice.percent(3) { 400 } else { 30 };
                let at = self.now + 1 + self.dice.below(most);
                self.posted += 1;
                let datagram = Datagram { from, to, number, tag, id, guests: guests.clone() };
                self.way.insert((at, self.posted), datagram);
            }
        }
    }

    fn arrive(&mut self, datagram: Datagram) {
        let Datagram { from, to, number, tag, id, guests } = datagram;
        if !self.hosts[to].seen.insert((from, number)) && self.mutant != Mutant::Doubles {
            return;
        }
        for guest in guests {
            let mut tag = tag;
            if self.mutant == Mutant::OneBit {
                // As good as it gets with one bit: another colour at a port that the cut that runs has flipped is
                // white, else it is red.
                let port = self.hosts[to].cut.epoch(port_of(guest)).unwrap();
                let flipped = self.hosts[to].cut.running() == Some((BLUE, port));
                tag = match (tag.0 == port.0 % 2, flipped) {
                    (true, _) => port,
                    (false, true) => Epoch(port.0 - 1),
                    (false, false) => Epoch(port.0 + 1),
                };
            }
            self.judge(guest, id, tag, Channel::Peer(PeerId(from as u16)));
        }
    }

    fn judge(&mut self, guest: usize, id: Id, epoch: Epoch, from: Channel) {
        self.event += 1;
        self.arrived.entry((guest, id)).or_insert(self.event);
        let frame = Arrival { at_ms: self.now, epoch, from, octets: 100 };
        let verdict = self.hosts[host_of(guest)].cut.judge(port_of(guest), &frame);
        self.obey(guest, id, frame, verdict);
    }

    fn obey(&mut self, guest: usize, id: Id, frame: Arrival, verdict: Verdict) {
        match verdict {
            Verdict::Hold if self.mutant == Mutant::DeliverEarly => {
                self.hosts[host_of(guest)].cut.forget(port_of(guest), &frame);
                self.put(guest, id);
            }
            Verdict::Hold => {
                self.orphans_avoided += 1;
                self.hosts[host_of(guest)].held.entry(guest).or_default().push((id, frame));
            }
            Verdict::Record => {
                self.records += 1;
                *self.recorded.entry((self.k, guest, id)).or_default() += 1;
                self.put(guest, id);
            }
            Verdict::Deliver => self.put(guest, id),
            Verdict::Drop(_) => {
                self.orphans_avoided += 1;
                self.dropped.insert((guest, id));
            }
        }
    }

    /// Into the guest's queue.
    fn put(&mut self, guest: usize, id: Id) {
        if self.guests[guest].suspended {
            self.guests[guest].queue.push(id);
        } else {
            self.receive(guest, id);
        }
    }

    fn receive(&mut self, guest: usize, id: Id) {
        self.event += 1;
        if self.guests[guest].received.insert(id, self.event).is_some() {
            self.guests[guest].doubled += 1;
        }
    }

    fn let_go(&mut self, host: usize) {
        while let Some(port) = self.hosts[host].cut.due(self.now) {
            let guest = usize::from(port.0) * HOSTS + host;
            for (id, frame) in self.hosts[host].held.remove(&guest).unwrap_or_default() {
                let verdict = self.hosts[host].cut.again(self.now, port, &frame);
                self.obey(guest, id, frame, verdict);
            }
        }
    }
}

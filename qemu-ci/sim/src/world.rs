//! The queue of events, the hosts, the clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::network::{Links, Network};
use crate::node::{Host, Kind, Node, Outbox};
use crate::rng::{Rng, mix};

/// Hosts with nodes, a network between them, and virtual time.
pub struct World<N> {
    /// The network: may be changed at any time.
    pub network: Network,
    now_us: u64,
    rng: Rng,
    hosts: Vec<Place<N>>,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    events: u64,
    trace: u64,
    outbox: Outbox,
}

struct Place<N> {
    node: Option<N>,
    /// How far its clock is ahead.
    ahead_ms: u64,
    /// When its timer is set, in the world's microseconds.
    timer: Option<u64>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at_us: u64,
    sequence: u64,
    to: Host,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Timer,
    Datagram { from: Host, kind: Kind, octets: Box<[u8]> },
}

impl<N: Node> World<N> {
    /// A world of this many hosts, all of them off. All that is random comes from the seed.
    pub fn new(seed: u64, hosts: usize, links: Links) -> Self {
        let place = || Place { node: None, ahead_ms: 0, timer: None };
        Self {
            network: Network::new(links),
            now_us: 0,
            rng: Rng::new(seed),
            hosts: (0..hosts).map(|_| place()).collect(),
            queue: BinaryHeap::new(),
            sequence: 0,
            events: 0,
            trace: mix(seed),
            outbox: Outbox::default(),
        }
    }

    /// How many hosts there are, on or off.
    #[expect(clippy::len_without_is_empty, reason = "a world without hosts is of no use")]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// The world's time, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A hash of all events so far: equal for equal runs.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Puts a node on a host: it starts, or starts again.
    pub fn start(&mut self, host: Host, node: N) {
        self.hosts[host].node = Some(node);
        self.hosts[host].timer = None;
        self.flush(host);
    }

    /// Takes the node away: what it knew is lost, what it sent still arrives.
    pub fn crash(&mut self, host: Host) -> Option<N> {
        self.hosts[host].timer = None;
        self.hosts[host].node.take()
    }

    /// The node of a host, if it is on.
    pub fn node(&self, host: Host) -> Option<&N> {
        self.hosts[host].node.as_ref()
    }

    /// All that are on.
    pub fn nodes(&self) -> impl Iterator<Item = (Host, &N)> {
        self.hosts.iter().enumerate().filter_map(|(host, place)| Some((host, place.node.as_ref()?)))
    }

    /// Does something with a node, at its host's time, and sends what comes of it. Nothing if it is off.
    pub fn with<T>(&mut self, host: Host, act: impl FnOnce(&mut N, u64) -> T) -> Option<T> {
        let now_ms = self.now_us / 1000 + self.hosts[host].ahead_ms;
        let done = act(self.hosts[host].node.as_mut()?, now_ms);
        self.flush(host);
        Some(done)
    }

    /// Makes a host's clock leap forward.
    pub fn leap(&mut self, host: Host, by_ms: u64) {
        self.hosts[host].ahead_ms += by_ms;
        self.flush(host);
    }

    /// Runs all events up to this time from now, in milliseconds.
    pub fn run(&mut self, for_ms: u64) {
        let end_us = self.now_us + for_ms * 1000;
        while let Some(Reverse(entry)) = self.queue.peek()
            && entry.at_us <= end_us
            && let Some(Reverse(entry)) = self.queue.pop()
        {
            self.now_us = entry.at_us;
            self.happen(entry.to, entry.what);
        }
        self.now_us = end_us;
    }

    /// Runs until something is so, looked at every `step_ms`: true; or for this long: false.
    pub fn run_until(&mut self, for_ms: u64, step_ms: u64, mut so: impl FnMut(&Self) -> bool) -> bool {
        let end_us = self.now_us + for_ms * 1000;
        loop {
            if so(self) {
                return true;
            }
            if self.now_us >= end_us {
                return false;
            }
            self.run(step_ms);
        }
    }

    fn happen(&mut self, to: Host, what: What) {
        let now_us = self.now_us;
        let place = &mut self.hosts[to];
        let Some(node) = &mut place.node else { return };
        let now_ms = now_us / 1000 + place.ahead_ms;
        match what {
            What::Timer => {
                if place.timer != Some(now_us) {
                    return; // set anew since
                }
                place.timer = None;
                fold(&mut self.trace, &[now_us, to as u64]);
                node.on_timer(now_ms);
            }
            What::Datagram { from, kind, octets } => {
                fold(&mut self.trace, &[now_us, to as u64, from as u64, kind as u64, hash(&octets)]);
                node.on_datagram(now_ms, from, kind, &octets);
            }
        }
        self.events += 1;
        self.flush(to);
    }

    /// Sends what a node wants to send, and sets its timer.
    fn flush(&mut self, host: Host) {
        let now_us = self.now_us;
        let place = &mut self.hosts[host];
        let Some(node) = &mut place.node else { return };
        let now_ms = now_us / 1000 + place.ahead_ms;
        let mut outbox = std::mem::take(&mut self.outbox);
        node.poll(now_ms, &mut outbox);
        // Never in this same millisecond: it was polled in it.
        let timer = node.poll_at().map(|at| (at.max(now_ms + 1) - place.ahead_ms) * 1000);
        // One that is set too early does no harm: it is set again when it comes.
        if timer.is_some_and(|timer| place.timer.is_none_or(|set| timer < set)) {
            place.timer = timer;
            self.push(timer.unwrap_or(now_us), host, What::Timer);
        }
        for (to, kind, octets) in outbox.datagrams.drain(..) {
            let copies = self.network.route(&mut self.rng, host, to, kind, octets.len());
            for delay in copies.into_iter().flatten() {
                self.push(now_us + delay, to, What::Datagram { from: host, kind, octets: octets.clone() });
            }
        }
        self.outbox = outbox;
    }

    fn push(&mut self, at_us: u64, to: Host, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry { at_us, sequence: self.sequence, to, what }));
    }
}

fn fold(trace: &mut u64, words: &[u64]) {
    for &word in words {
        *trace = (*trace ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}

fn hash(octets: &[u8]) -> u64 {
    let mut sum = octets.len() as u64;
    for chunk in octets.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        fold(&mut sum, &[u64::from_le_bytes(word)]);
    }
    sum
}

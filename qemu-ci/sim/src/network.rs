//! What becomes of a datagram between two hosts.

use std::collections::BTreeSet;

use crate::node::{Host, Kind};
use crate::rng::Rng;

/// How long a datagram takes, in microseconds. Datagrams of different delays overtake each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At least.
    pub least_us: u64,
    /// At most, for most of them; all values between are as likely.
    pub most_us: u64,
    /// How many of a million are late.
    pub late: u32,
    /// How much later the late ones are at most.
    pub late_us: u64,
}

/// How good the links are: the same for all. Chances are of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Chance that a datagram is lost.
    pub loss: u32,
    /// Chance that it arrives twice.
    pub duplicate: u32,
    /// How long it takes.
    pub delay: Delay,
}

impl Links {
    /// A network in a rack: nothing lost, 0.1 to 0.5 ms.
    pub const GOOD: Links =
        Links { loss: 0, duplicate: 0, delay: Delay { least_us: 100, most_us: 500, late: 0, late_us: 0 } };

    /// The worst that a schedule plays: a fifth lost, some doubled, some seconds late.
    pub const BAD: Links = Links {
        loss: 200_000,
        duplicate: 100_000,
        delay: Delay { least_us: 100, most_us: 200_000, late: 50_000, late_us: 4_000_000 },
    };
}

/// What is counted of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Datagrams sent, of the kinds control and frame.
    pub sent: [u64; 2],
    /// Their octets.
    pub octets: [u64; 2],
    /// Datagrams lost: by chance, a split, a cut or an outage.
    pub lost: u64,
}

/// The network between all hosts.
#[derive(Clone, Debug)]
pub struct Network {
    /// How good its links are.
    pub links: Links,
    /// Counters since the start.
    pub count: Count,
    side: Vec<u32>,
    cuts: BTreeSet<(Host, Host)>,
    outage: BTreeSet<Kind>,
}

impl Network {
    /// A network with these links.
    pub fn new(links: Links) -> Self {
        Self {
            links,
            count: Count::default(),
            side: Vec::new(),
            cuts: BTreeSet::new(),
            outage: BTreeSet::new(),
        }
    }

    /// Splits the network: hosts with different numbers don't reach each other. Hosts beyond the list are on
    /// side 0.
    pub fn split(&mut self, side: Vec<u32>) {
        self.side = side;
    }

    /// Cuts one direction of one link.
    pub fn cut(&mut self, from: Host, to: Host) {
        self.cuts.insert((from, to));
    }

    /// Makes the network whole again: no sides, no cuts, no outage.
    pub fn heal(&mut self) {
        self.side.clear();
        self.cuts.clear();
        self.outage.clear();
    }

    /// Loses all datagrams of one kind, or no longer.
    pub fn set_outage(&mut self, kind: Kind, lost: bool) {
        if lost {
            self.outage.insert(kind);
        } else {
            self.outage.remove(&kind);
        }
    }

    /// Whether a datagram could get through at all.
    pub fn reaches(&self, from: Host, to: Host, kind: Kind) -> bool {
        let side = |host: Host| self.side.get(host).copied().unwrap_or(0);
        side(from) == side(to) && !self.cuts.contains(&(from, to)) && !self.outage.contains(&kind)
    }

    /// When the copies of a datagram arrive, in microseconds from now: none, one or two.
    pub(crate) fn route(
        &mut self,
        rng: &mut Rng,
        from: Host,
        to: Host,
        kind: Kind,
        len: usize,
    ) -> [Option<u64>; 2] {
        self.count.sent[kind as usize] += 1;
        self.count.octets[kind as usize] += len as u64;
        if !self.reaches(from, to, kind) || rng.chance(self.links.loss) {
            self.count.lost += 1;
            return [None, None];
        }
        let first = self.delay(rng);
        let second = rng.chance(self.links.duplicate).then(|| self.delay(rng));
        [Some(first), second]
    }

    fn delay(&self, rng: &mut Rng) -> u64 {
        let delay = self.links.delay;
        let late = if rng.chance(delay.late) { rng.below(delay.late_us) } else { 0 };
        delay.least_us + rng.below(delay.most_us.saturating_sub(delay.least_us) + 1) + late
    }
}

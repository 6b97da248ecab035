//! Two switches and the network between them, in virtual time and from one seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use violin::id::{Epoch, NetworkId, PeerId};
use violin::session::{Counters, NotSealed, Opened, Reason, Sessions, What, public_key};
use violin::wire::{Flags, HEADER_LEN, OVERHEAD};

pub(crate) const FRAME: What =
    What::Frame { network: NetworkId(7), epoch: Epoch(3), flags: Flags::CHECKSUM_BLANK };

/// Numbers that look random (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

pub(crate) fn address(switch: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, switch as u8 + 1], 4789))
}

pub(crate) fn secret(switch: usize) -> [u8; 32] {
    [switch as u8 + 1; 32]
}

pub(crate) fn switch(number: usize, incarnation: u64) -> Sessions {
    Sessions::new(secret(number), [0x5a; 32], 8, incarnation)
}

/// What a receiver was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Frame(Vec<u8>),
    Control(Vec<u8>),
    Group(Vec<u8>),
    Established,
    Alive,
    Answer,
    Dropped(Reason),
}

pub(crate) fn told(opened: Opened<'_>) -> Told {
    match opened {
        Opened::Frame { network, epoch, flags, payload, .. } => {
            assert_eq!(What::Frame { network, epoch, flags }, FRAME);
            Told::Frame(payload.to_vec())
        }
        Opened::Control { payload, .. } => Told::Control(payload.to_vec()),
        Opened::Group { payload, .. } => Told::Group(payload.to_vec()),
        Opened::Established { .. } => Told::Established,
        Opened::Alive { .. } => Told::Alive,
        Opened::Answer { .. } => Told::Answer,
        Opened::Dropped(reason) => Told::Dropped(reason),
    }
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Out of a thousand.
    pub(crate) lost: u64,
    /// Out of a thousand.
    pub(crate) doubled: u64,
    /// Milliseconds, at most; each datagram has its own.
    pub(crate) delay: u64,
}

/// Switches 0 and 1, each the other's peer, and the datagrams between them.
pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) switches: [Sessions; 2],
    pub(crate) faults: Faults,
    pub(crate) dice: Dice,
    /// By time of arrival, then order of sending: to whom, and what.
    way: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// All datagrams that were ever sent, with their receiver.
    pub(crate) wire: Vec<(usize, Vec<u8>)>,
    /// What each switch was told.
    pub(crate) told: [Vec<Told>; 2],
}

impl Net {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let mut switches = [switch(0, 1), switch(1, 1)];
        let [a, b] = &mut switches;
        a.add_peer(public_key(&secret(1)), address(1)).unwrap();
        b.add_peer(public_key(&secret(0)), address(0)).unwrap();
        let dice = Dice::new(seed);
        let (way, wire, told) = (BTreeMap::new(), Vec::new(), [Vec::new(), Vec::new()]);
        Self { now: 1000, switches, faults, dice, way, sent: 0, wire, told }
    }

    /// With a session between the two.
    pub(crate) fn established(seed: u64) -> Self {
        let mut net = Self::new(seed, Faults::default());
        net.switches[0].connect(net.now, PEER);
        net.run(10);
        assert!(net.switches.iter().all(|switch| switch.is_established(PEER)));
        net.wire.clear();
        net.told = [Vec::new(), Vec::new()];
        net
    }

    /// Restarts a switch with the same key.
    pub(crate) fn restart(&mut self, number: usize, incarnation: u64) {
        self.switches[number] = switch(number, incarnation);
        let other = 1 - number;
        self.switches[number].add_peer(public_key(&secret(other)), address(other)).unwrap();
    }

    pub(crate) fn seal(&mut self, from: usize, what: What, text: &[u8]) -> Result<Vec<u8>, NotSealed> {
        let mut buf = vec![0; text.len() + OVERHEAD];
        buf[HEADER_LEN..][..text.len()].copy_from_slice(text);
        let (len, to) = self.switches[from].seal(self.now, PEER, what, &mut buf, text.len())?;
        assert_eq!((len, to), (buf.len(), address(1 - from)));
        Ok(buf)
    }

    pub(crate) fn send(&mut self, from: usize, text: &[u8]) -> Result<(), NotSealed> {
        let datagram = self.seal(from, FRAME, text)?;
        self.put(1 - from, datagram);
        Ok(())
    }

    /// Puts a datagram on its way.
    pub(crate) fn put(&mut self, to: usize, datagram: Vec<u8>) {
        self.wire.push((to, datagram.clone()));
        let Faults { lost, doubled, delay } = self.faults;
        let copies =
            if self.dice.below(1000) < lost { 0 } else { 1 + u64::from(self.dice.below(1000) < doubled) };
        for _ in 0..copies {
            let arrives = self.now + self.dice.below(delay + 1);
            self.sent += 1;
            self.way.insert((arrives, self.sent), (to, datagram.clone()));
        }
    }

    /// Gives a datagram to a switch at once.
    pub(crate) fn give(&mut self, to: usize, datagram: &[u8]) -> Told {
        let now = self.now;
        told(self.switches[to].open(now, address(1 - to), &mut datagram.to_vec()))
    }

    /// What a switch sends of itself.
    pub(crate) fn poll(&mut self, from: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buf = [0; 200];
        while let Some((len, to)) = self.switches[from].poll_transmit(self.now, &mut buf) {
            assert_eq!(to, address(1 - from));
            all.push(buf[..len].to_vec());
        }
        all
    }

    /// Lets `ms` milliseconds pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            for from in [0, 1] {
                for datagram in self.poll(from) {
                    self.put(1 - from, datagram);
                }
            }
            let arrival = self.way.first_key_value().map(|((at, _), _)| *at);
            let timers = self.switches.iter().filter_map(Sessions::poll_at);
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, datagram) = entry.remove();
                let told = self.give(to, &datagram);
                self.told[to].push(told);
            }
        }
        self.now = end;
    }

    pub(crate) fn counters(&self, switch: usize) -> &Counters {
        self.switches[switch].peer_counters(PEER).unwrap()
    }

    /// Asserts that exactly these drops were counted at a switch.
    pub(crate) fn assert_dropped(&self, switch: usize, expected: &[(Reason, u64)]) {
        let all = self.switches[switch].counters();
        for reason in Reason::ALL {
            let count = expected.iter().find(|(other, _)| *other == reason).map_or(0, |(_, count)| *count);
            assert_eq!(all.dropped(reason), count, "{}", reason.name());
        }
    }

    /// The frames that a switch was told of.
    pub(crate) fn frames(&self, switch: usize) -> Vec<Vec<u8>> {
        let frames = self.told[switch].iter();
        frames
            .filter_map(|told| if let Told::Frame(text) = told { Some(text.clone()) } else { None })
            .collect()
    }
}

/// The only peer of each.
pub(crate) const PEER: PeerId = PeerId(0);

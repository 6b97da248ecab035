//! Two switches with a session, and an attacker who may read, change, repeat and invent every
//! datagram between them: what is opened is what was sealed, once.
#![no_main]

use std::net::SocketAddr;

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use violin::id::{Epoch, NetworkId, PeerId};
use violin::session::{Missing, Opened, SeqPoint, Sessions, TRANSMIT_LEN, What};
use violin::wire::{Flags, HEADER_LEN, OVERHEAD};

const NETWORK: NetworkId = NetworkId(0x5a5a);
const FRAME: What = What::Frame { network: NETWORK, epoch: Epoch(3), flags: Flags::NONE };
/// The octet that payloads are made of.
const SEALED: u8 = 0xc3;

struct Two {
    ends: [Sessions; 2],
    peer: [PeerId; 2],
    now: u64,
    /// Datagrams that were sealed or made, and whether each was taken already, by receiver.
    wire: Vec<(usize, Vec<u8>, bool)>,
}

fn address(end: usize) -> SocketAddr {
    ([10, 0, 0, end as u8 + 1], 4790).into()
}

impl Two {
    fn new() -> Two {
        let mut ends = [1, 2].map(|n| Sessions::new([n; 32], [n + 10; 32], 4, 1));
        let keys = [ends[0].public_key(), ends[1].public_key()];
        let peer = [0, 1].map(|i| ends[i].add_peer(keys[1 - i], address(1 - i)).expect("a new peer"));
        let mut two = Two { ends, peer, now: 1000, wire: Vec::new() };
        two.ends[0].connect(two.now, two.peer[0]);
        for _ in 0..4 {
            two.transmit();
            let all = two.wire.len();
            for i in 0..all {
                if !two.wire[i].2 {
                    two.deliver(i);
                }
            }
        }
        assert!(two.ends[0].is_established(two.peer[0]) && two.ends[1].is_established(two.peer[1]));
        two
    }

    /// What the ends send of themselves goes on the wire.
    fn transmit(&mut self) {
        for end in 0..2 {
            let mut buffer = [0; TRANSMIT_LEN];
            while let Some((len, _)) = self.ends[end].poll_transmit(self.now, &mut buffer) {
                self.wire.push((1 - end, buffer[..len].to_vec(), false));
                assert!(self.wire.len() < 10_000, "they never stop to talk");
            }
        }
    }

    fn seal(&mut self, end: usize, what: What, len: usize) {
        let mut buffer = vec![SEALED; len + OVERHEAD];
        if let Ok((len, _)) = self.ends[end].seal(self.now, self.peer[end], what, &mut buffer, len) {
            assert!(len < OVERHEAD + 8 || buffer[HEADER_LEN..HEADER_LEN + 8] != [SEALED; 8], "not sealed");
            self.wire.push((1 - end, buffer[..len].to_vec(), false));
        }
    }

    /// As it was sent.
    fn deliver(&mut self, index: usize) {
        let (to, mut datagram, taken) = self.wire[index].clone();
        let (from, own) = (address(1 - to), self.peer[to]);
        match self.ends[to].open(self.now, from, &mut datagram) {
            Opened::Frame { peer, network, epoch, payload, .. } => {
                assert!(!taken, "a frame was taken twice");
                assert_eq!((peer, network, epoch), (own, NETWORK, Epoch(3)));
                assert!(payload.iter().all(|octet| *octet == SEALED));
            }
            Opened::Group { peer, payload } => {
                assert!(!taken, "a message was taken twice");
                assert_eq!((peer, self.wire[index].1[1]), (own, 5), "it was none of a group");
                assert!(payload.iter().all(|octet| *octet == SEALED));
            }
            Opened::Control { .. } => panic!("nobody sent a message"),
            Opened::Dropped(_) => return,
            Opened::Established { .. } | Opened::Alive { .. } | Opened::Answer { .. } => assert!(!taken),
        }
        self.wire[index].2 = true;
    }

    /// Whatever points a peer names, no more is missing than there are numbers between them.
    fn count(&self, end: usize, lie: [u8; 8]) {
        let Some(seen) = self.ends[end].seen_point(self.peer[end]) else { return };
        let said = SeqPoint { counter: u64::from_le_bytes(lie), ..seen };
        for (after, upto) in [(seen, said), (said, seen), (said, said)] {
            let (Missing::Known(missing) | Missing::Past(missing)) =
                self.ends[end].missing(self.peer[end], after, upto)
            else {
                panic!("a key that is there is not known")
            };
            assert!(missing <= upto.counter.saturating_sub(after.counter));
        }
        let all = self.ends[end].missing(self.peer[end], SeqPoint { counter: 0, ..seen }, seen);
        let unseen = self.wire.iter().filter(|(to, _, taken)| *to == end && !taken).count();
        // Only what was sealed has a number that can be missing; some of it under other keys.
        assert!(matches!(all, Missing::Known(missing) | Missing::Past(missing) if missing <= unseen as u64));
    }

    /// Anything that nobody sent.
    fn forge(&mut self, to: usize, mut datagram: Vec<u8>) {
        if self.wire.iter().any(|(_, sent, _)| *sent == datagram) {
            return;
        }
        let from = ([192, 0, 2, 1], 1).into();
        let before = self.ends[to].address(self.peer[to]);
        let opened = self.ends[to].open(self.now, from, &mut datagram);
        assert!(matches!(opened, Opened::Dropped(_)), "it believed {opened:?}");
        assert_eq!(self.ends[to].address(self.peer[to]), before, "it believed where it came from");
    }
}

fuzz_target!(|octets: &[u8]| {
    let mut input = Input(octets);
    let mut two = Two::new();
    let mut rounds = 0;
    while !input.is_empty() && rounds < 64 {
        rounds += 1;
        let what = input.octet();
        let end = usize::from(what >> 7);
        match what & 7 {
            0 => {
                let what = if what & 8 == 0 { FRAME } else { What::Group };
                two.seal(end, what, usize::from(input.short() % 1600));
            }
            1 if what & 8 != 0 => two.count(end, input.array()),
            1 => two.now += u64::from(input.short()) * 4,
            2 if !two.wire.is_empty() => {
                let index = usize::from(input.octet()) % two.wire.len();
                two.deliver(index);
            }
            // Changed in one place, cut or made longer.
            3..=5 if !two.wire.is_empty() => {
                let (to, mut datagram, _) = two.wire[usize::from(input.octet()) % two.wire.len()].clone();
                let (place, change) = (usize::from(input.short()), input.octet());
                match what & 7 {
                    3 => {
                        let place = place % datagram.len();
                        datagram[place] ^= change;
                    }
                    4 => datagram.truncate(place % datagram.len()),
                    _ => datagram.extend(std::iter::repeat_n(change, 1 + place % 64)),
                }
                two.forge(if what & 64 == 0 { to } else { 1 - to }, datagram);
            }
            6 => two.transmit(),
            _ => {
                let len = usize::from(input.octet());
                two.forge(end, input.take(len).to_vec());
            }
        }
    }
});

//! What can't be seen from outside, or needs what an attacker has and the crate does not give.

use core::net::SocketAddr;
use std::vec::Vec;

use super::handshake::{self, INITIATION_LEN, Said, Stamp};
use super::*;
use crate::id::PeerId;
use crate::wire::{Body, HEADER_LEN, OVERHEAD, Repr, TAG_LEN};

const PEER: PeerId = PeerId(0);

fn address(switch: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, switch], 4789))
}

fn pair() -> [Sessions; 2] {
    let mut pair = [1u8, 2].map(|number| Sessions::new([number; 32], [number; 32], 4, 1));
    let keys = pair.each_ref().map(Sessions::public_key);
    pair[0].add_peer(keys[1], address(2)).unwrap();
    pair[1].add_peer(keys[0], address(1)).unwrap();
    pair
}

/// Carries what the two send of themselves until there is nothing more.
fn settle(now: u64, pair: &mut [Sessions; 2]) {
    let mut buf = [0; TRANSMIT_LEN];
    let mut quiet = 0;
    for from in [0, 1].into_iter().cycle() {
        match pair[from].poll_transmit(now, &mut buf) {
            Some((len, _)) => {
                pair[1 - from].open(now, address(from as u8 + 1), &mut buf[..len]);
                quiet = 0;
            }
            None => quiet += 1,
        }
        if quiet == 2 {
            return;
        }
    }
}

fn established() -> [Sessions; 2] {
    let mut pair = pair();
    pair[0].connect(0, PEER);
    settle(0, &mut pair);
    assert!(pair.iter().all(|switch| switch.is_established(PEER)));
    pair
}

fn seal(now: u64, switch: &mut Sessions) -> Result<Vec<u8>, NotSealed> {
    let mut buf = std::vec![0; OVERHEAD + 4];
    switch.seal(now, PEER, What::Control, &mut buf, 4)?;
    Ok(buf)
}

#[test]
fn a_million_datagrams_ask_for_a_new_key_which_begins_at_zero() {
    for from in [0, 1] {
        let mut pair = established();
        let current = |pair: &mut [Sessions; 2]| pair[from].slot_mut(PEER).unwrap().current.take().unwrap();
        let mut key = current(&mut pair);
        key.skip_to(REKEY_AFTER_DATAGRAMS - 2);
        pair[from].slot_mut(PEER).unwrap().current = Some(key);
        for expected in [0, 1] {
            let datagram = seal(1, &mut pair[from]).unwrap();
            let number = crate::wire::Datagram::new_checked(&datagram).unwrap().counter();
            assert_eq!(number, REKEY_AFTER_DATAGRAMS - 2 + expected);
            let made = pair[from].slot(PEER).unwrap().counters.established;
            settle(1, &mut pair);
            assert_eq!(pair[from].slot(PEER).unwrap().counters.established - made, expected);
        }
        assert!(current(&mut pair).next() < 2);
    }
}

#[test]
fn a_key_whose_numbers_are_spent_seals_no_more() {
    let [mut a, _] = established();
    let mut key = a.slot_mut(PEER).unwrap().current.take().unwrap();
    key.skip_to(REJECT_AFTER_DATAGRAMS - 1);
    a.slot_mut(PEER).unwrap().current = Some(key);
    assert!(seal(1, &mut a).is_ok());
    assert_eq!(seal(1, &mut a), Err(NotSealed::NoSession));
}

#[test]
fn who_claims_a_peers_id_and_holds_another_key_is_told_apart() {
    let [a, mut b] = pair();
    let mallory = x25519_dalek::StaticSecret::from([9; 32]);
    let header = Repr { source: a.id(), destination: b.id(), body: Body::Initiation };
    let said = Said { index: 1, stamp: Stamp { incarnation: 9, number: 9 } };
    let mut datagram = [0; INITIATION_LEN];
    handshake::initiate(&mallory, [8; 32], &b.public_key(), header, said, &mut datagram).unwrap();
    assert_eq!(b.open(0, address(9), &mut datagram), Opened::Dropped(Reason::WrongKey));
    assert_eq!(b.counters().dropped(Reason::WrongKey), 1);
    assert_eq!(b.poll_transmit(0, &mut datagram), None, "and gets no answer");
}

#[test]
fn one_seed_twice_gives_other_ephemeral_keys_in_another_incarnation() {
    let ephemeral = |incarnation| Sessions::new([1; 32], [0; 32], 1, incarnation).say().1;
    assert_ne!(ephemeral(1), ephemeral(2));
    assert_eq!(ephemeral(1), ephemeral(1));
}

#[test]
fn a_flood_of_genuine_first_messages_is_answered_only_as_fast_as_allowed() {
    let [a, mut b] = pair();
    let header = Repr { source: a.id(), destination: b.id(), body: Body::Initiation };
    let (mut answered, mut limited) = (0, 0);
    for number in 1..=200 {
        let said = Said { index: 1, stamp: Stamp { incarnation: 9, number } };
        let mut datagram = [0; INITIATION_LEN];
        handshake::initiate(&a.secret, [8; 32], &b.public_key(), header, said, &mut datagram).unwrap();
        // A clock that goes back now and then saves up nothing.
        let now = if number % 3 == 0 { 0 } else { number * 5 };
        match b.open(now, address(1), &mut datagram) {
            Opened::Answer { .. } => answered += 1,
            Opened::Dropped(Reason::HandshakeLimit) => limited += 1,
            other => panic!("{other:?}"),
        }
    }
    // In one second: what was saved up, and a second's worth.
    assert_eq!(answered, 2 * PEER_HANDSHAKES_PER_SECOND - 1);
    assert_eq!(b.counters().dropped(Reason::HandshakeLimit), limited);
    assert_eq!(answered + limited as u32, 200);
}

#[test]
fn a_handshake_altered_by_somebody_who_can_make_the_mac_is_forged_and_the_genuine_one_still_taken() {
    /// A second passes for each, as handshakes are only so many a second.
    fn alter_everywhere(receiver: &mut Sessions, datagram: &[u8]) {
        for at in HEADER_LEN..datagram.len() - TAG_LEN {
            let mut forged = datagram.to_vec();
            forged[at] ^= 1;
            let (octets, mac) = forged.split_last_chunk_mut().unwrap();
            *mac = handshake::mac(&receiver.mac_key, octets);
            let opened = receiver.open(at as u64 * 1000, address(9), &mut forged);
            assert_eq!(opened, Opened::Dropped(Reason::Forged), "octet {at}");
        }
    }
    let [mut a, mut b] = pair();
    let (mut first, mut second) = ([0; TRANSMIT_LEN], [0; TRANSMIT_LEN]);
    a.connect(0, PEER);
    a.poll_transmit(0, &mut first).unwrap();
    alter_everywhere(&mut b, &first);
    assert_eq!(b.open(0, address(1), &mut first), Opened::Answer { peer: PEER });
    let (len, _) = b.poll_transmit(0, &mut second).unwrap();
    alter_everywhere(&mut a, &second[..len]);
    assert_eq!(a.open(0, address(2), &mut second[..len]), Opened::Established { peer: PEER });
    assert_eq!(a.address(PEER), Some(address(2)), "and the forger's address was not taken");
}

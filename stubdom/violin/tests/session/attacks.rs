//! Whatever an attacker sends is dropped under its own counter, changes nothing, and is not answered.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use violin::session::{AddError, Opened, Reason, public_key, switch_id};
use violin::wire::{HEADER_LEN, OVERHEAD};

use crate::net::{FRAME, Net, PEER, Told, address, secret, switch};

/// One datagram of each kind, as switch 1 would take them: from a network where nothing was taken.
fn every_kind() -> [(&'static str, Net, Vec<u8>); 4] {
    let mut initiation = Net::new(1, Default::default());
    initiation.switches[0].connect(initiation.now, PEER);
    let first = initiation.poll(0).remove(0);
    let mut response = Net::new(1, Default::default());
    response.switches[1].connect(response.now, PEER);
    let asked = response.poll(1).remove(0);
    assert_eq!(response.give(0, &asked), Told::Answer);
    let second = response.poll(0).remove(0);
    let mut frame = Net::established(1);
    let framed = frame.seal(0, FRAME, b"a guest's frame").unwrap();
    let mut control = Net::established(1);
    let controlled = control.seal(0, violin::session::What::Control, b"a message").unwrap();
    [
        ("initiation", initiation, first),
        ("response", response, second),
        ("frame", frame, framed),
        ("control", control, controlled),
    ]
}

/// That switch 1 still takes the genuine datagram.
fn assert_taken(mut net: Net, datagram: &[u8], what: &str) {
    let told = net.give(1, datagram);
    assert!(!matches!(told, Told::Dropped(_)), "{what}: {told:?}");
}

#[test]
fn a_bit_changed_anywhere_is_found() {
    for (what, mut net, datagram) in every_kind() {
        let mut counted = [0; Reason::ALL.len()];
        for bit in 0..datagram.len() * 8 {
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let Told::Dropped(reason) = net.give(1, &forged) else {
                panic!("{what}: bit {bit} was believed")
            };
            counted[reason as usize] += 1;
            let expected: &[Reason] = match bit / 8 {
                0 => &[Reason::Version],
                // Another kind's checks come first, when there is such a kind.
                1 => &[
                    Reason::Malformed,
                    Reason::Truncated,
                    Reason::Forged,
                    Reason::NoSession,
                    Reason::StaleKey,
                ],
                3 => &[Reason::Malformed],
                2 => &[Reason::Malformed, Reason::Forged],
                8..16 if what == "frame" || what == "control" => &[Reason::UnknownPeer],
                16..24 => &[Reason::NotForUs],
                28..32 if what == "frame" || what == "control" => &[Reason::StaleKey],
                4..40 => &[Reason::Malformed, Reason::Forged],
                _ => &[Reason::Forged],
            };
            assert!(expected.contains(&reason), "{what}: bit {bit} was {}", reason.name());
        }
        let expected = Reason::ALL.map(|reason| (reason, counted[reason as usize]));
        net.assert_dropped(1, &expected);
        assert!(counted[Reason::Forged as usize] as usize >= (datagram.len() - HEADER_LEN) * 8);
    }
}

#[test]
fn a_datagram_cut_or_lengthened_anywhere_is_found_and_the_whole_one_still_taken() {
    for (what, mut net, datagram) in every_kind() {
        for len in 0..datagram.len() {
            let expected = match what {
                "initiation" | "response" => &[Reason::Truncated][..],
                _ if len < OVERHEAD => &[Reason::Truncated],
                _ => &[Reason::Forged],
            };
            let told = net.give(1, &datagram[..len]);
            assert!(
                matches!(told, Told::Dropped(reason) if expected.contains(&reason)),
                "{what} of {len}: {told:?}"
            );
        }
        let mut longer = datagram.clone();
        longer.push(0);
        assert!(matches!(net.give(1, &longer), Told::Dropped(Reason::Forged | Reason::Malformed)), "{what}");
        assert_taken(net, &datagram, what);
    }
}

#[test]
fn a_datagram_taken_before_is_a_replay_near_and_far() {
    let mut net = Net::established(1);
    let mut all = Vec::new();
    for number in 0u32..3000 {
        all.push(net.seal(0, FRAME, &number.to_be_bytes()).unwrap());
        if number != 10 && number != 2990 {
            assert!(matches!(net.give(1, &all[number as usize]), Told::Frame(_)));
        }
    }
    assert!(matches!(net.give(1, &all[2990]), Told::Frame(_)), "late, but within the window");
    for datagram in &all {
        assert_eq!(net.give(1, datagram), Told::Dropped(Reason::Replay));
    }
    net.assert_dropped(1, &[(Reason::Replay, 3000)]);
}

#[test]
fn one_text_never_looks_the_same_twice() {
    let mut net = Net::established(1);
    let mut texts = BTreeSet::new();
    // Both directions have the same numbers, and so has the second session.
    for _ in 0..2 {
        for from in [0, 1].repeat(10) {
            let datagram = net.seal(from, FRAME, &[0; 64]).unwrap();
            let (sealed, tag) = datagram[HEADER_LEN..].split_at(64);
            assert!(texts.insert(sealed.to_vec()) && texts.insert(tag.to_vec()));
            assert!(sealed.iter().filter(|octet| **octet == 0).count() < 16, "nor like the plain text");
        }
        net.now += violin::session::REJECT_AFTER_MS;
        net.switches[0].connect(net.now, PEER);
        net.run(10);
    }
}

#[test]
fn a_datagram_held_back_until_its_key_has_ended_is_stale() {
    let mut net = Net::established(1);
    let datagrams = [b"1", b"2"].map(|text| net.seal(0, FRAME, text).unwrap());
    net.now += violin::session::REJECT_AFTER_MS - 1000;
    assert_eq!(net.give(1, &datagrams[0]), Told::Frame(b"1".to_vec()));
    net.now += 1000;
    assert_eq!(net.give(1, &datagrams[1]), Told::Dropped(Reason::StaleKey));
}

#[test]
fn a_forged_number_does_not_move_the_window() {
    let mut net = Net::established(1);
    let genuine = net.seal(0, FRAME, b"genuine").unwrap();
    let mut forged = genuine.clone();
    forged[32..40].copy_from_slice(&(1u64 << 50).to_be_bytes());
    assert_eq!(net.give(1, &forged), Told::Dropped(Reason::Forged));
    assert_eq!(net.give(1, &genuine), Told::Frame(b"genuine".to_vec()));
}

#[test]
fn somebody_who_was_not_introduced_gets_no_answer() {
    let mut net = Net::established(1);
    let mut stranger = switch(5, 1);
    let peer = stranger.add_peer(net.switches[1].public_key(), address(1)).unwrap();
    stranger.connect(net.now, peer);
    let mut buf = [0; 200];
    let (len, _) = stranger.poll_transmit(net.now, &mut buf).unwrap();
    assert_eq!(net.give(1, &buf[..len]), Told::Dropped(Reason::UnknownPeer));
    let mut datagram = net.seal(0, FRAME, b"x").unwrap();
    datagram[8..16].copy_from_slice(&stranger.id().0.to_be_bytes());
    assert_eq!(net.give(1, &datagram), Told::Dropped(Reason::UnknownPeer));
    assert_eq!(net.poll(1), Vec::<Vec<u8>>::new());
    net.assert_dropped(1, &[(Reason::UnknownPeer, 2)]);
}

#[test]
fn who_does_not_know_our_key_costs_us_no_handshake() {
    // It knows our id and address only, so it has the MAC of another key.
    let mut net = Net::established(1);
    let mut other = switch(0, 2);
    let peer = other.add_peer(public_key(&secret(6)), address(1)).unwrap();
    other.connect(net.now, peer);
    let mut buf = [0; 200];
    let (len, _) = other.poll_transmit(net.now, &mut buf).unwrap();
    assert_eq!(net.give(1, &buf[..len]), Told::Dropped(Reason::NotForUs));
    buf[16..24].copy_from_slice(&net.switches[1].id().0.to_be_bytes());
    assert_eq!(net.give(1, &buf[..len]), Told::Dropped(Reason::Forged));
    net.assert_dropped(1, &[(Reason::NotForUs, 1), (Reason::Forged, 1)]);
}

#[test]
fn a_datagram_sent_back_or_with_its_ends_swapped_is_not_believed() {
    for (what, mut net, datagram) in every_kind() {
        assert_eq!(net.give(0, &datagram), Told::Dropped(Reason::NotForUs), "{what}");
        let mut swapped = datagram.clone();
        let (source, destination) = (datagram[8..16].to_vec(), datagram[16..24].to_vec());
        swapped[8..16].copy_from_slice(&destination);
        swapped[16..24].copy_from_slice(&source);
        let told = net.give(0, &swapped);
        assert!(
            matches!(told, Told::Dropped(Reason::Forged | Reason::StaleKey | Reason::NoSession)),
            "{what}: {told:?}"
        );
        assert_taken(net, &datagram, what);
    }
}

#[test]
fn a_datagram_of_another_pair_or_an_earlier_life_is_not_believed() {
    let mut other = Net::established(2);
    let foreign = other.seal(0, FRAME, b"x").unwrap();
    let mut net = Net::new(1, Default::default());
    net.restart(0, 7);
    net.restart(1, 7);
    assert_eq!(net.give(1, &foreign), Told::Dropped(Reason::NoSession));
    net.switches[0].connect(net.now, PEER);
    net.run(10);
    assert_eq!(net.give(1, &foreign), Told::Dropped(Reason::StaleKey));
    // With the right index it is another key that does not fit.
    let mut renamed = foreign;
    let genuine = net.seal(0, FRAME, b"x").unwrap();
    renamed[28..32].copy_from_slice(&genuine[28..32]);
    assert_eq!(net.give(1, &renamed), Told::Dropped(Reason::Forged));
    assert_taken(net, &genuine, "genuine");
}

#[test]
fn a_first_message_taken_before_is_not_answered_again() {
    let mut net = Net::new(1, Default::default());
    net.switches[0].connect(net.now, PEER);
    net.run(10);
    let first = net.wire[0].1.clone();
    for _ in 0..50 {
        assert_eq!(net.give(1, &first), Told::Dropped(Reason::HandshakeReplay));
    }
    // Nor when a newer one was taken since.
    net.now += violin::session::REKEY_AFTER_MS;
    net.send(0, b"rekey").unwrap();
    net.run(10);
    assert_eq!(net.counters(1).responses, 2);
    net.now += 5000;
    assert_eq!(net.give(1, &first), Told::Dropped(Reason::HandshakeReplay));
    assert_eq!(net.poll(1), Vec::<Vec<u8>>::new());
    net.assert_dropped(1, &[(Reason::HandshakeReplay, 51)]);
    net.send(0, b"still there").unwrap();
    net.run(10);
    assert_eq!(net.frames(1).last().unwrap(), b"still there");
}

#[test]
fn a_first_message_repeated_after_a_restart_ends_nothing() {
    let mut net = Net::new(1, Default::default());
    net.switches[0].connect(net.now, PEER);
    net.run(10);
    let first = net.wire[0].1.clone();
    net.restart(1, 2);
    net.switches[1].connect(net.now, PEER);
    net.run(10);
    // The restarted switch has heard a newer number in the answer to its own handshake.
    assert_eq!(net.give(1, &first), Told::Dropped(Reason::HandshakeReplay));
    net.restart(1, 3);
    assert_eq!(net.give(1, &first), Told::Answer, "nothing was heard yet");
    assert!(!net.switches[1].is_established(PEER));
    net.poll(1);
    net.run(20_000);
    net.switches[0].connect(net.now, PEER);
    net.send(0, b"x").ok();
    net.run(20_000);
    assert!(net.switches[1].is_established(PEER));
}

#[test]
fn a_second_message_taken_before_or_not_asked_for_is_dropped() {
    let mut net = Net::new(1, Default::default());
    net.switches[0].connect(net.now, PEER);
    net.run(10);
    let second = net.wire[1].1.clone();
    assert_eq!(net.give(0, &second), Told::Dropped(Reason::HandshakeUnasked));
    net.assert_dropped(0, &[(Reason::HandshakeUnasked, 1)]);
}

#[test]
fn the_address_follows_only_the_newest_genuine_datagram() {
    let mut net = Net::established(1);
    let elsewhere = address(77);
    let [older, newer, newest] = [b"1", b"2", b"3"].map(|text| net.seal(0, FRAME, text).unwrap());
    let mut forged = newest.clone();
    forged[50] ^= 1;
    let open = |net: &mut Net, from, datagram: &[u8]| {
        matches!(net.switches[1].open(2000, from, &mut datagram.to_vec()), Opened::Frame { .. })
    };
    assert!(!open(&mut net, elsewhere, &forged));
    assert!(open(&mut net, address(0), &newer));
    assert!(open(&mut net, elsewhere, &older), "genuine, but late");
    assert!(!open(&mut net, elsewhere, &newer), "a replay");
    assert_eq!(net.switches[1].address(PEER), Some(address(0)));
    assert!(open(&mut net, elsewhere, &newest));
    assert_eq!(net.switches[1].address(PEER), Some(elsewhere));
    assert_eq!(net.counters(1).roamed, 1);
}

#[test]
fn a_removed_peer_is_unknown_and_its_place_is_used_again() {
    let mut net = Net::established(1);
    let datagram = net.seal(0, FRAME, b"x").unwrap();
    net.switches[1].remove_peer(PEER);
    assert_eq!(net.give(1, &datagram), Told::Dropped(Reason::UnknownPeer));
    assert_eq!(net.switches[1].add_peer(public_key(&secret(4)), address(4)), Ok(PEER));
    assert_eq!(net.give(1, &datagram), Told::Dropped(Reason::UnknownPeer));
    assert_eq!(net.switches[1].counters().established, 1, "what was counted stays");
}

#[test]
fn peers_are_bounded_and_none_is_ourselves() {
    let mut switch = switch(0, 1);
    let own = switch.public_key();
    assert_eq!(switch.add_peer(own, address(0)), Err(AddError::OwnKey));
    for number in 1..=8 {
        let key = public_key(&secret(number));
        let peer = switch.add_peer(key, address(number)).unwrap();
        assert_eq!(switch.add_peer(key, address(99)), Ok(peer), "known already");
        assert_eq!(switch.peer(switch_id(&key)), Some(peer));
        assert_eq!(switch.address(peer), Some(address(number)));
    }
    assert_eq!(switch.add_peer(public_key(&secret(9)), address(9)), Err(AddError::Full));
}

#[test]
fn no_octets_whatever_are_believed_or_panic() {
    let net = RefCell::new(Net::established(1));
    proptest!(|(octets in prop::collection::vec(any::<u8>(), 0..300))| {
        prop_assert!(matches!(net.borrow_mut().give(1, &octets), Told::Dropped(_)));
    });
}

#[test]
fn nor_with_a_header_that_fits() {
    let net = RefCell::new(Net::established(1));
    let octets = prop::collection::vec(any::<u8>(), 24..200);
    proptest!(|(octets in octets, kind in 1u8..5, patch in any::<bool>())| {
        let mut net = net.borrow_mut();
        let mut datagram = net.seal(0, FRAME, b"x").unwrap();
        datagram[1] = kind;
        if kind != 3 {
            datagram[2..8].fill(0);
            datagram[24..28].fill(0);
        }
        if patch {
            datagram[28..40].copy_from_slice(&octets[..12]);
        }
        datagram.truncate(HEADER_LEN);
        datagram.extend(&octets[12..]);
        prop_assert!(matches!(net.give(1, &datagram), Told::Dropped(_)));
    });
}

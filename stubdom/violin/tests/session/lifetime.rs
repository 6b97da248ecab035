//! Sessions begin, are replaced, end; switches restart.

use std::collections::BTreeSet;

use violin::session::{NotSealed, REJECT_AFTER_MS, REKEY_AFTER_MS, Reason, public_key};

use crate::net::{Faults, Net, PEER, Told, address, secret};

#[test]
fn the_first_frame_begins_a_handshake_of_two_messages_and_a_confirmation() {
    let mut net = Net::new(1, Faults::default());
    assert_eq!(net.send(0, b"too early"), Err(NotSealed::NoSession));
    net.run(10);
    assert_eq!(
        net.wire.iter().map(|(to, text)| (*to, text.len())).collect::<Vec<_>>(),
        [(1, 172), (0, 124), (1, 56)]
    );
    assert_eq!(net.told[0], [Told::Established]);
    assert_eq!(net.told[1], [Told::Answer, Told::Established]);
    net.send(0, b"from 0").unwrap();
    net.send(1, b"from 1").unwrap();
    net.run(10);
    assert_eq!(net.frames(1), [b"from 0"]);
    assert_eq!(net.frames(0), [b"from 1"]);
    let (a, b) = (net.counters(0), net.counters(1));
    assert_eq!((a.sealed, a.sealed_octets, a.opened, a.opened_octets), (2, 6, 1, 6));
    assert_eq!((b.sealed, b.sealed_octets, b.opened, b.opened_octets), (1, 6, 2, 6));
    assert_eq!((a.unsealed_no_session, a.initiations, a.responses, a.established), (1, 1, 0, 1));
    assert_eq!((b.unsealed_no_session, b.initiations, b.responses, b.established), (0, 0, 1, 1));
    assert_eq!((a.roamed, b.roamed, a.handshake_timeouts, b.handshake_timeouts), (0, 0, 0, 0));
    net.assert_dropped(0, &[]);
    net.assert_dropped(1, &[]);
}

#[test]
fn both_beginning_at_once_make_one_session_and_the_lower_id_is_its_maker() {
    let mut net = Net::new(1, Faults { delay: 5, ..Faults::default() });
    for switch in 0..2 {
        net.switches[switch].connect(net.now, PEER);
    }
    net.run(100);
    let low = usize::from(net.switches[1].id() < net.switches[0].id());
    assert!(net.switches.iter().all(|switch| switch.is_established(PEER)));
    assert_eq!(net.counters(low).established, 1);
    assert_eq!(net.counters(1 - low).responses, 1);
    net.assert_dropped(low, &[(Reason::HandshakeCrossed, 1)]);
    net.assert_dropped(1 - low, &[]);
}

#[test]
fn traffic_over_many_new_keys_loses_no_frame() {
    for seed in 0..4 {
        let mut net = Net::established(seed);
        net.faults = Faults { lost: 0, doubled: 100, delay: 40 };
        let mut sent = [0u32; 2];
        let end = net.now + 10 * REKEY_AFTER_MS;
        while net.now < end {
            for (from, sent) in sent.iter_mut().enumerate() {
                net.send(from, &sent.to_be_bytes()).unwrap();
                *sent += 1;
            }
            let pause = 20 + net.dice.below(400);
            net.run(pause);
        }
        net.run(1000);
        for to in 0..2 {
            let mut frames = net.frames(to);
            frames.sort();
            let expected: Vec<_> = (0..sent[1 - to]).map(|number| number.to_be_bytes().to_vec()).collect();
            assert_eq!(frames, expected, "seed {seed}");
            let counters = net.counters(to);
            assert!((9..=12).contains(&counters.established), "{} sessions", counters.established);
            let drops = counters.dropped(Reason::Replay) + counters.dropped(Reason::HandshakeReplay);
            let unasked = counters.dropped(Reason::HandshakeUnasked);
            assert_eq!(counters.dropped_in_all(), drops + unasked, "only second copies are dropped");
        }
    }
}

#[test]
fn a_session_without_traffic_ends_and_the_next_frame_makes_another() {
    let mut net = Net::established(1);
    net.run(REJECT_AFTER_MS);
    assert_eq!(net.wire.len(), 2, "only two more confirmations, as nothing came back");
    assert_eq!(net.send(0, b"late"), Err(NotSealed::NoSession));
    net.run(10);
    net.send(0, b"again").unwrap();
    net.run(10);
    assert_eq!(net.frames(1), [b"again"]);
    assert!(net.switches.iter().all(|switch| switch.poll_at().is_some()));
}

#[test]
fn a_restarted_peer_takes_over_at_once() {
    let mut net = Net::established(1);
    net.restart(1, 2);
    let before = net.seal(0, crate::net::FRAME, b"to the dead").unwrap();
    assert_eq!(net.give(1, &before), Told::Dropped(Reason::NoSession));
    assert_eq!(net.send(1, b"new"), Err(NotSealed::NoSession));
    net.run(10);
    net.send(0, b"to the living").unwrap();
    net.send(1, b"new").unwrap();
    net.run(10);
    assert_eq!((net.frames(0), net.frames(1)), (vec![b"new".to_vec()], vec![b"to the living".to_vec()]));
    assert_eq!(net.give(1, &before), Told::Dropped(Reason::StaleKey));
}

#[test]
fn the_old_session_lives_until_the_new_one_is_confirmed() {
    let mut net = Net::established(1);
    let old = net.seal(1, crate::net::FRAME, b"before the restart").unwrap();
    let older = net.seal(1, crate::net::FRAME, b"before the restart").unwrap();
    net.restart(1, 2);
    net.switches[1].connect(net.now, PEER);
    let initiation = net.poll(1).remove(0);
    assert_eq!(net.give(0, &initiation), Told::Answer);
    assert_eq!(net.give(0, &old), Told::Frame(b"before the restart".to_vec()), "not confirmed yet");
    let answer = net.poll(0).remove(0);
    assert_eq!(net.give(1, &answer), Told::Established);
    let confirmation = net.poll(1).remove(0);
    assert_eq!(net.give(0, &confirmation), Told::Established);
    assert_eq!(net.give(0, &older), Told::Dropped(Reason::StaleKey), "of a former incarnation");
}

#[test]
fn a_peer_that_restarted_silently_is_found_out_by_its_silence() {
    let mut net = Net::established(1);
    net.restart(1, 2);
    for _ in 0..20 {
        net.send(0, b"anybody?").unwrap();
        net.run(1000);
    }
    assert!(net.switches[1].is_established(PEER));
    assert!(net.frames(1).len() >= 4, "{} frames", net.frames(1).len());
}

#[test]
fn a_peer_whose_clock_went_back_is_heard_all_the_same() {
    let mut net = Net::established(1);
    net.restart(0, 1000);
    net.switches[0].connect(net.now, PEER);
    net.run(10);
    net.restart(0, 5);
    net.switches[0].connect(net.now, PEER);
    net.run(5000);
    assert!(net.switches.iter().all(|switch| switch.is_established(PEER)));
    assert!(net.counters(1).dropped(Reason::HandshakeReplay) > 0);
    net.send(0, b"here").unwrap();
    net.send(1, b"there").unwrap();
    net.run(10);
    assert_eq!((net.frames(1).len(), net.frames(0).len()), (1, 1));
}

#[test]
fn a_clock_that_jumps_forward_costs_a_handshake_and_nothing_else() {
    for jump in [200_000, 1 << 40, u64::MAX / 2] {
        let mut net = Net::established(1);
        net.send(0, b"before").unwrap();
        net.run(10);
        net.now += jump;
        assert_eq!(net.send(0, b"after"), Err(NotSealed::NoSession));
        net.run(10);
        net.send(0, b"after").unwrap();
        net.run(10);
        assert_eq!(net.frames(1), [b"before".to_vec(), b"after".to_vec()]);
    }
}

#[test]
fn a_clock_that_says_an_earlier_time_is_not_believed() {
    let mut net = Net::established(1);
    net.now = 0;
    net.send(0, b"earlier").unwrap();
    net.now = 2000;
    net.run(10);
    assert_eq!(net.frames(1), [b"earlier"]);
}

#[test]
fn switches_that_begin_together_try_again_apart() {
    let again = |number| {
        let mut switch = crate::net::switch(number, 1);
        let peer = switch.add_peer(public_key(&secret(7)), address(7)).unwrap();
        switch.connect(0, peer);
        while switch.poll_transmit(0, &mut [0; 200]).is_some() {}
        switch.poll_at().unwrap()
    };
    let times: BTreeSet<_> = (0..6).map(again).collect();
    assert!(times.len() >= 4 && times.iter().all(|at| (375..625).contains(at)), "{times:?}");
}

#[test]
fn nobody_answering_is_given_up_and_tried_anew_with_the_next_frame() {
    let mut net = Net::new(1, Faults { lost: 1000, ..Faults::default() });
    assert_eq!(net.send(0, b"x"), Err(NotSealed::NoSession));
    net.run(600_000);
    let counters = net.counters(0);
    assert_eq!(counters.handshake_timeouts, 1);
    assert!((12..=22).contains(&counters.initiations), "{} tries in 90 s", counters.initiations);
    assert_eq!(net.switches[0].poll_at(), None);
    net.faults.lost = 0;
    assert_eq!(net.send(0, b"x"), Err(NotSealed::NoSession));
    net.run(10);
    assert!(net.switches[1].is_established(PEER));
}

#[test]
fn confirmations_that_are_lost_are_said_again() {
    let mut net = Net::new(1, Faults::default());
    net.switches[0].connect(net.now, PEER);
    let initiation = net.poll(0).remove(0);
    assert_eq!(net.give(1, &initiation), Told::Answer);
    let answer = net.poll(1).remove(0);
    assert_eq!(net.give(0, &answer), Told::Established);
    assert_eq!(net.poll(0).len(), 1, "and it is lost");
    assert!(!net.switches[1].is_established(PEER));
    net.run(1000);
    assert!(net.switches[1].is_established(PEER));
    net.send(1, b"heard").unwrap();
    net.run(10_000);
    assert_eq!(net.wire.len(), 2, "the second confirmation, the frame, and no third");
}

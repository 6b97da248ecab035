//! A network that loses, doubles and reorders.

use std::collections::BTreeSet;

use violin::session::Reason;

use crate::net::{Faults, Net, PEER};

#[test]
fn two_switches_agree_through_a_bad_network_whoever_begins() {
    for seed in 0..40 {
        let mut net = Net::new(seed, Faults { lost: 300, doubled: 200, delay: 700 });
        let begin = net.dice.below(3);
        for from in 0..2 {
            if begin != from as u64 {
                net.switches[from].connect(net.now, PEER);
            }
        }
        for second in 0.. {
            if net.switches.iter().all(|switch| switch.is_established(PEER)) {
                break;
            }
            assert!(second < 60, "seed {seed}: no session after a minute");
            // As the heartbeats of members would.
            for from in 0..2 {
                net.send(from, b"hello").ok();
            }
            net.run(1000);
        }
    }
}

#[test]
fn each_frame_arrives_at_most_once_and_unaltered() {
    for seed in 0..6 {
        let mut net = Net::established(seed);
        net.faults = Faults { lost: 100, doubled: 300, delay: 50 };
        let mut sent = [BTreeSet::new(), BTreeSet::new()];
        for number in 0u32..3000 {
            let from = net.dice.below(2) as usize;
            let text = number.to_be_bytes().repeat(1 + net.dice.below(90) as usize);
            if net.send(from, &text).is_ok() {
                sent[from].insert(text);
            }
            let pause = net.dice.below(200);
            net.run(pause);
        }
        net.faults.lost = 0;
        net.run(5000);
        for to in 0..2 {
            let frames = net.frames(to);
            let different: BTreeSet<_> = frames.iter().cloned().collect();
            assert_eq!(different.len(), frames.len(), "seed {seed}: none twice");
            assert!(different.is_subset(&sent[1 - to]), "seed {seed}: none made up");
            assert!(
                frames.len() * 100 > sent[1 - to].len() * 80,
                "seed {seed}: about the lost ones are missing"
            );
            let counters = net.counters(to);
            assert_eq!(counters.dropped(Reason::Forged), 0);
            let opened = frames.len() as u64;
            assert!(counters.opened >= opened && counters.opened <= opened + 40, "confirmations besides");
        }
    }
}

#[test]
fn sessions_never_stop_for_long_while_a_third_is_lost() {
    let mut net = Net::new(7, Faults { lost: 330, doubled: 50, delay: 200 });
    let mut refused = 0;
    for _ in 0..3600 {
        for from in 0..2 {
            refused += u32::from(net.send(from, b"heartbeat").is_err());
        }
        net.run(1000);
    }
    assert!(refused < 40, "{refused} of 7200 heartbeats had no session");
}

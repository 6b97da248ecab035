//! Guests and peers that mean ill.

use proptest::prelude::*;
use violin::frame::{HEADER_LEN, Runt};

use super::*;

fn random_mac(n: u32) -> Mac {
    let [a, b, c, d] = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    Mac([0x0a, a, b, c, d, n as u8])
}

#[test]
fn a_guest_that_makes_addresses_up_neither_fills_the_table_nor_pushes_others_out() {
    let mut switch = switch();
    send(&mut switch, from_port(1), mac(1), Mac::BROADCAST);
    send(&mut switch, from_peer(0, RED), mac(2), Mac::BROADCAST);
    for n in 0..20_000 {
        send(&mut switch, from_port(0), random_mac(n), mac(1));
    }
    let limits = *switch.limits();
    assert_eq!(switch.table_size().0, 2 + limits.macs_per_port);
    assert_eq!(send(&mut switch, from_port(2), mac(3), mac(1)), [port(1)]);
    assert_eq!(send(&mut switch, from_port(2), mac(3), mac(2)), [peer(0)]);
    // Newcomers elsewhere are learned.
    send(&mut switch, from_port(1), mac(4), Mac::BROADCAST);
    assert_eq!(send(&mut switch, from_port(2), mac(3), mac(4)), [port(1)]);
}

#[test]
fn all_ports_and_peers_of_a_network_together_cannot_take_another_networks_room() {
    let mut switch = switch_with(Limits { networks: 2, ..Limits::default() });
    let ports = [from_port(0), from_port(1), from_port(2)];
    let peers = [from_peer(0, RED), from_peer(1, RED), from_peer(3, RED)];
    for n in 0..2_000 {
        for (at, from) in (0..).zip(ports.into_iter().chain(peers)) {
            send(&mut switch, from, random_mac(n * 6 + at), mac(1));
        }
    }
    assert_eq!(switch.networks().next().unwrap().macs, switch.limits().macs_per_network);
    for n in 0..200 {
        send(&mut switch, from_peer(2, BLUE), random_mac(n), mac(1));
    }
    assert_eq!(switch.macs(BLUE).count(), 200);
}

#[test]
fn lookups_stay_short_whatever_addresses_a_guest_chooses() {
    // A guest that could choose what it likes: runs of addresses, and steps of powers of two.
    let mut table = violin::table::Table::new(8192, &[0x5a; 16]);
    let chosen = |n: u64| {
        let n = if n.is_multiple_of(2) { n } else { n << 20 };
        let [_, _, a, b, c, d, e, f] = n.to_be_bytes();
        violin::table::Key::new(0, Mac([a & 0xfe, b, c, d, e, f]))
    };
    for n in 0..8192 {
        let (key, place) = (chosen(n), port(0));
        table.insert(violin::table::Entry { key, place, pinned: false, moves: 0, moves_since: 0, seen: 0 });
    }
    assert!((0..20_000).all(|n| table.probes(chosen(n)) <= 16));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_octets_make_it_panic_or_send_a_frame_back(
        frames in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..32), any::<(u16, u32, bool, u64)>(), 0usize..70_000), 0..40),
    ) {
        let mut switch = switch();
        for (octets, (n, network, port, now), len) in frames {
            let header = match Header::parse(&octets) {
                Ok(header) => header,
                Err(Runt) => {
                    prop_assert!(octets.len() < HEADER_LEN);
                    switch.count_refused(from_port(n), DropReason::Runt);
                    continue;
                }
            };
            let from = if port { from_port(n % 5) } else { from_peer(n % 5, [RED, BLUE, NetworkId(network)][n as usize % 3]) };
            let to = targets(switch.forward(now, from, &header, len, now % 2 == 0));
            switch.tick(now);
            for target in to {
                match (from, target) {
                    (From::Port(from), Target::Port(to)) => prop_assert_ne!(from, to),
                    (From::Peer(..), to) => prop_assert!(matches!(to, Target::Port(_))),
                    (From::Port(_), Target::Peer(_)) => {}
                }
                switch.count_out(target, len);
            }
        }
    }
}

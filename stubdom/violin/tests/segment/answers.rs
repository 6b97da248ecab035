//! Answers to what is too big, as smoltcp reads them.

use proptest::prelude::*;
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet};
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet};
use violin::segment::{TOO_BIG_HEAD, TOO_BIG_LEN, too_big};

use crate::build::{ACK, Around, TCP, UDP, V4, V6, around, open, tcp};

const MTU: u16 = 1398;

fn answer(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let mut out = [0xaa; TOO_BIG_LEN];
    let len = too_big(&frame[..frame.len().min(TOO_BIG_HEAD)], mtu, &mut out)?;
    Some(out[..len].to_vec())
}

/// A frame of TCP whose packet has 1,500 octets.
fn large(around: &Around) -> Vec<u8> {
    let rest = 1500 - 20 - (around.transport() - around.ip());
    around.frame(TCP, &tcp(1, ACK, 0, &vec![0x77; rest]))
}

/// A large frame with some octets changed, counted from `from`.
fn changed(around: &Around, from: usize, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = large(around);
    for (at, octet) in changes {
        frame[from + at] = *octet;
    }
    frame
}

/// Checks an answer as its receiver would, and returns the MTU in it.
fn read(answer: &[u8], frame: &[u8], around: &Around) -> u32 {
    let ip = around.ip();
    assert_eq!(answer[..6], frame[6..12], "to the sender");
    assert_eq!(answer[6..12], frame[..6], "from the receiver");
    assert_eq!(answer[12..ip], frame[12..ip], "tags and type are kept");
    let (src, dst, icmp) = open(answer, ip, 0);
    let (quote, mtu) = match (src, dst) {
        (IpAddress::Ipv4(src), IpAddress::Ipv4(dst)) => {
            let theirs = Ipv4Packet::new_unchecked(&frame[ip..]);
            assert_eq!((src, dst), (theirs.dst_addr(), theirs.src_addr()));
            let packet = Icmpv4Packet::new_checked(icmp).unwrap();
            assert!(packet.verify_checksum());
            assert_eq!(packet.msg_type(), Icmpv4Message::DstUnreachable);
            assert_eq!(packet.msg_code(), u8::from(Icmpv4DstUnreachable::FragRequired));
            assert_eq!(icmp[4..6], [0, 0]);
            (packet.data(), u16::from_be_bytes([icmp[6], icmp[7]]).into())
        }
        (IpAddress::Ipv6(src), IpAddress::Ipv6(dst)) => {
            let theirs = Ipv6Packet::new_unchecked(&frame[ip..]);
            assert_eq!((src, dst), (theirs.dst_addr(), theirs.src_addr()));
            let packet = Icmpv6Packet::new_checked(icmp).unwrap();
            assert!(packet.verify_checksum(&src, &dst));
            assert_eq!((packet.msg_type(), packet.msg_code()), (Icmpv6Message::PktTooBig, 0));
            (packet.payload(), packet.pkt_too_big_mtu())
        }
        _ => unreachable!(),
    };
    assert_eq!(quote, &frame[ip..TOO_BIG_HEAD], "as much as there is of the packet");
    mtu
}

proptest! {
    #[test]
    fn a_packet_that_is_too_big_is_answered_with_the_mtu_and_right_checksums(around in around()) {
        let frame = large(&around);
        let mtu = read(&answer(&frame, MTU).unwrap(), &frame, &around);
        // The second tag takes its place from the packet.
        prop_assert_eq!(mtu, if around.tags == 2 { 1394 } else { 1398 });
    }
}

#[test]
fn a_packet_that_fits_is_not_answered() {
    for around in [V4, V6, Around { tags: 1, ..V4 }] {
        assert_eq!(answer(&large(&around), 1500), None);
        assert!(answer(&large(&around), 1499).is_some());
    }
    let two_tags = Around { tags: 2, ..V4 };
    assert_eq!(answer(&large(&two_tags), 1504), None);
    assert!(answer(&large(&two_tags), 1503).is_some());
}

#[test]
fn an_mtu_that_the_ip_version_forbids_is_not_told() {
    assert_eq!(answer(&large(&V4), 67), None);
    assert!(answer(&large(&V4), 68).is_some());
    assert_eq!(answer(&large(&V6), 1279), None);
    assert!(answer(&large(&V6), 1280).is_some());
    assert_eq!(answer(&large(&Around { tags: 2, ..V4 }), 3), None);
}

#[test]
fn ipv4_that_may_be_fragmented_is_not_answered() {
    assert_eq!(answer(&changed(&V4, V4.ip(), &[(6, 0)]), MTU), None);
}

#[test]
fn the_first_fragment_is_answered_and_a_later_one_is_not() {
    assert!(answer(&changed(&V4, V4.ip(), &[(6, 0x60)]), MTU).is_some());
    assert_eq!(answer(&changed(&V4, V4.ip(), &[(6, 0x60), (7, 1)]), MTU), None);
    assert_eq!(answer(&changed(&V4, V4.ip(), &[(6, 0x41)]), MTU), None);
    let fragment =
        |offset: [u8; 2]| changed(&V6, V6.ip(), &[(6, 44), (40, TCP), (42, offset[0]), (43, offset[1])]);
    assert!(answer(&fragment([0, 1]), MTU).is_some());
    assert_eq!(answer(&fragment([0, 9]), MTU), None);
    assert_eq!(answer(&fragment([1, 0]), MTU), None);
}

#[test]
fn icmp_errors_are_not_answered_and_queries_are() {
    let v4 = |of: u8| answer(&changed(&V4, V4.ip(), &[(9, 1), (20, of)]), MTU).is_some();
    for query in [0, 8, 13, 14] {
        assert!(v4(query), "{query}");
    }
    for error in [3, 4, 5, 11, 12, 19, 255] {
        assert!(!v4(error), "{error}");
    }
    let v6 = |of: u8| answer(&changed(&V6, V6.ip(), &[(6, 58), (40, of)]), MTU).is_some();
    for query in [128, 129, 143] {
        assert!(v6(query), "{query}");
    }
    for error in [1, 2, 3, 4, 127, 137] {
        assert!(!v6(error), "{error}");
    }
    // Nor behind extensions: destination options, then ICMPv6.
    let hidden = |of: u8| changed(&V6, V6.ip(), &[(6, 60), (40, 58), (41, 0), (48, of)]);
    assert_eq!(answer(&hidden(1), MTU), None);
    assert!(answer(&hidden(128), MTU).is_some());
}

#[test]
fn addresses_that_are_not_of_one_station_are_not_answered() {
    for at in [0, 6] {
        let group = changed(&V4, at, &[(0, 1)]);
        assert_eq!(answer(&group, MTU), None, "Ethernet, octet {at}");
    }
    for at in [12, 16] {
        for first in [0, 127, 224, 239, 240, 255] {
            let frame = changed(&V4, V4.ip(), &[(at, first)]);
            assert_eq!(answer(&frame, MTU), None, "IPv4, {first} at octet {at}");
        }
    }
    for at in [8, 24] {
        assert_eq!(answer(&changed(&V6, V6.ip(), &[(at, 0xff)]), MTU), None);
        for last in [0, 1] {
            let address: Vec<_> = (0..16).map(|i| (at + i, if i == 15 { last } else { 0 })).collect();
            assert_eq!(answer(&changed(&V6, V6.ip(), &address), MTU), None, "unspecified or loopback");
        }
    }
}

#[test]
fn a_head_that_says_too_little_is_not_answered() {
    for around in [V4, V6] {
        let frame = large(&around);
        let enough = around.transport() + 8;
        for len in 0..enough {
            assert_eq!(answer(&frame[..len], MTU), None, "{len} octets");
        }
        assert!(answer(&frame[..enough], MTU).is_some());
    }
    // Extensions up to the end of the head.
    let frame = changed(&V6, V6.ip(), &[(6, 60), (40, TCP), (41, 30)]);
    assert_eq!(answer(&frame, MTU), None);
    assert_eq!(answer(&[V4.frame(UDP, &[]), vec![0; 300]].concat(), MTU), None);
}

#[test]
fn what_is_behind_the_packet_is_not_quoted() {
    let packet = V4.frame(UDP, &[1; 80]);
    let padded = [&packet[..], &[0xee; 40]].concat();
    let answer = answer(&padded, 68).unwrap();
    assert_eq!(answer[V4.ip() + 28..], packet[V4.ip()..]);
}

#[test]
fn no_answer_where_there_is_no_room_for_it() {
    let frame = large(&V6);
    let len = answer(&frame, MTU).unwrap().len();
    let mut out = [0; TOO_BIG_LEN];
    for short in 0..len {
        assert_eq!(too_big(&frame, MTU, &mut out[..short]), None);
    }
    assert_eq!(too_big(&frame, MTU, &mut out[..len]), Some(len));
    assert_eq!(len, TOO_BIG_LEN);
}

//! Every lie of a frame is refused for its reason.

use proptest::prelude::*;
use violin::segment::{BadPacket, NotSegmentable, Segments, complete_checksum};

use crate::build::{ACK, Around, TCP, UDP, V4, V6, around, tcp, udp};

const PAYLOAD: [u8; 300] = [0x5a; 300];

/// A good frame with some octets changed, counted from the IP header.
fn changed(around: &Around, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = around.frame(TCP, &tcp(1, ACK, 0, &PAYLOAD));
    for (at, octet) in changes {
        frame[around.ip() + at] = *octet;
    }
    frame
}

fn refusal(frame: &[u8], v6: bool) -> Option<NotSegmentable> {
    Segments::new(frame, 100, v6, 1514).err()
}

/// The frame is refused by both, for the same reason.
fn both(frame: &mut [u8], v6: bool) -> Option<BadPacket> {
    let before = frame.to_vec();
    let bad = complete_checksum(frame).err()?;
    assert_eq!(frame, before, "what is refused stays as it was");
    assert_eq!(refusal(frame, v6), Some(NotSegmentable::Packet(bad)));
    Some(bad)
}

#[test]
fn lies_of_ipv4_are_refused() {
    use BadPacket::{Fragment, Length};

    let cases: [(&[(usize, u8)], BadPacket); 8] = [
        (&[(0, 0x65)], Length),            // version 6
        (&[(0, 0x44)], Length),            // a header of 16 octets
        (&[(2, 0), (3, 19)], Length),      // a packet shorter than its header
        (&[(2, 0xff), (3, 0xff)], Length), // and one longer than the frame
        (&[(2, 0), (3, 30)], Length),      // an end inside of the TCP header
        (&[(6, 0x20)], Fragment),
        (&[(7, 1)], Fragment),
        (&[(9, 1)], BadPacket::Protocol(1)),
    ];
    for (changes, reason) in cases {
        assert_eq!(both(&mut changed(&V4, changes), false), Some(reason), "{changes:?}");
    }
    let mut short = V4.frame(TCP, &[]);
    short[V4.ip()] = 0x4f;
    assert_eq!(both(&mut short, false), Some(Length));
    let mut cut = V4.frame(TCP, &[0; 60]);
    cut[V4.ip()] = 0x4f;
    assert_eq!(both(&mut cut[..V4.ip() + 40], false), Some(BadPacket::Cut));
}

#[test]
fn lies_of_ipv6_are_refused() {
    use BadPacket::{Extensions, Fragment, Length, Protocol, Routed};

    let cases: [(&[(usize, u8)], BadPacket); 9] = [
        (&[(0, 0x45)], Length),
        (&[(4, 0), (5, 0)], Length),
        (&[(4, 0xff)], Length),
        (&[(6, 58)], Protocol(58)),
        (&[(6, 51)], Protocol(51)),
        (&[(6, 44), (40, 6), (43, 1)], Fragment),
        (&[(6, 44), (40, 6), (42, 1)], Fragment),
        (&[(6, 43), (40, 6), (41, 0)], Routed),
        (&[(6, 60), (40, 6), (41, 255)], Length), // an extension longer than the packet
    ];
    for (changes, reason) in cases {
        assert_eq!(both(&mut changed(&V6, changes), true), Some(reason), "{changes:?}");
    }
    let mut many = Around { options: 8, ..V6 }.frame(TCP, &tcp(1, ACK, 0, &PAYLOAD));
    assert_eq!(both(&mut many, true), Some(Extensions));
    let mut cut = Around { options: 1, ..V6 }.frame(TCP, &[0; 40]);
    cut[V6.ip() + 41] = 3;
    assert_eq!(both(&mut cut[..V6.ip() + 60], true), Some(BadPacket::Cut));
}

#[test]
fn a_second_fragment_header_makes_no_fragment_whole() {
    // The first of several, and a later one, in front of another header that says "all of it".
    for part in [1, 8] {
        let changes = [(6, 44), (40, 44), (43, part), (48, TCP), (49, 0), (50, 0), (51, 0)];
        let mut frame = changed(&V6, &changes);
        assert_eq!(both(&mut frame, true), Some(BadPacket::Fragment));
    }
    // What is behind a later one's header is no header, even if it looks like a long one.
    let mut frame = changed(&V6, &[(6, 44), (40, 60), (43, 8), (49, 255)]);
    assert_eq!(both(&mut frame, true), Some(BadPacket::Fragment));
    // One alone that says so is taken.
    let mut whole = V6.frame(TCP, &[&[TCP, 0, 0, 0, 0, 0, 0, 1], &tcp(1, ACK, 0, &PAYLOAD)[..]].concat());
    whole[V6.ip() + 6] = 44;
    assert_eq!(both(&mut whole, true), None);
}

#[test]
fn what_is_no_ip_is_refused() {
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(both(&mut arp, false), Some(BadPacket::NotIp));
    let mut three_tags = Around { tags: 2, ..V4 }.frame(TCP, &tcp(1, ACK, 0, &PAYLOAD));
    three_tags.splice(12..12, [0x81, 0, 0, 1]);
    assert_eq!(both(&mut three_tags, false), Some(BadPacket::NotIp));
}

#[test]
fn lies_of_tcp_are_refused() {
    let frame = |octet: usize, value: u8| changed(&V4, &[(20 + octet, value)]);
    let length = Some(NotSegmentable::Packet(BadPacket::Length));
    assert_eq!(refusal(&frame(12, 0x40), false), length, "a header of 16 octets");
    let mut short = V4.frame(TCP, &tcp(1, ACK, 0, &[]));
    short[V4.transport() + 12] = 0xf0;
    assert_eq!(refusal(&short, false), length, "a header beyond the frame");
    for flag in [0x02, 0x04, 0x20] {
        assert_eq!(refusal(&frame(13, ACK | flag), false), Some(NotSegmentable::Flags));
    }
    for len in 0..20 {
        let mut cut = V4.frame(TCP, &tcp(1, ACK, 0, &[])[..len]);
        assert_eq!(complete_checksum(&mut cut), Err(BadPacket::Length), "{len} octets");
    }
    let mut padded = frame(0, 0);
    padded.push(0);
    assert_eq!(refusal(&padded, false), length, "octets behind the packet");
}

#[test]
fn lies_of_udp_are_refused() {
    for (len, there) in [(0, 40), (7, 40), (49, 40), (8, 0)] {
        let mut frame = V4.frame(UDP, &udp(len, &vec![1; there]));
        let result = complete_checksum(&mut frame);
        assert_eq!(result, if there == 0 { Ok(()) } else { Err(BadPacket::Length) }, "{len}");
    }
    assert_eq!(complete_checksum(&mut V4.frame(UDP, &[0; 7])), Err(BadPacket::Length));
    let mut longer = V4.frame(UDP, &udp(8, &[]));
    longer[V4.ip() + 3] += 1;
    assert_eq!(complete_checksum(&mut longer), Err(BadPacket::Length), "a packet longer than the frame");
}

#[test]
fn what_the_guest_said_of_the_frame_must_be_true() {
    let (v4, v6) = (changed(&V4, &[]), changed(&V6, &[]));
    assert_eq!(refusal(&v4, true), Some(NotSegmentable::Version));
    assert_eq!(refusal(&v6, false), Some(NotSegmentable::Version));
    assert_eq!(Segments::new(&v4, 0, false, 1514).err(), Some(NotSegmentable::NoSize));
    let headers = 14 + 20 + 20;
    for max in [0, 14, headers - 1, headers] {
        assert_eq!(Segments::new(&v4, 100, false, max).err(), Some(NotSegmentable::NoRoom));
    }
    let one = V4.frame(TCP, &tcp(1, ACK, 0, &[1]));
    assert_eq!(Segments::new(&one, 1, false, headers + 1).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn every_cut_of_a_good_frame_is_refused(around in around(), options in 0..11usize) {
        let frame = around.frame(TCP, &tcp(1, ACK, options, &[1; 20]));
        for len in 0..frame.len() {
            prop_assert!(refusal(&frame[..len], around.v6).is_some());
            prop_assert!(complete_checksum(&mut frame[..len].to_vec()).is_err());
        }
        prop_assert_eq!(refusal(&frame, around.v6), None);
    }
}

#[test]
fn every_reason_says_what_is_wrong() {
    let bad = NotSegmentable::Packet(BadPacket::Protocol(47));
    assert_eq!(bad.to_string(), "IP protocol 47, neither TCP nor UDP");
    assert!(NotSegmentable::NoRoom.to_string().contains("MTU"));
}

//! Checksums as smoltcp computes them, and as the Internet does.

use proptest::prelude::*;
use smoltcp::wire::UdpPacket;
use violin::segment::complete_checksum;

use crate::build::{ACK, TCP, UDP, V4, V6, around, open, tcp, tcp_is_complete, udp};

proptest! {
    #[test]
    fn a_completed_tcp_checksum_is_right_at_every_length(
        around in around(),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        padding in 0..9usize,
    ) {
        let whole = around.frame(TCP, &tcp(9, ACK, 0, &payload));
        let mut frame = [&whole[..], &vec![0xff; padding]].concat();
        complete_checksum(&mut frame).unwrap();
        prop_assert!(tcp_is_complete(&frame[..whole.len()], &around));
        prop_assert_eq!(&frame[whole.len()..], &vec![0xff; padding]);
    }

    #[test]
    fn a_completed_udp_checksum_is_right_and_leaves_out_what_is_behind_the_datagram(
        around in around(),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        behind in 0..3usize,
    ) {
        let len = (8 + payload.len()) as u16;
        let mut frame = around.frame(UDP, &udp(len, &[&payload[..], &vec![9; behind]].concat()));
        complete_checksum(&mut frame).unwrap();
        let (src, dst, datagram) = open(&frame, around.ip(), if around.v6 { 8 * around.options } else { 0 });
        prop_assert!(UdpPacket::new_checked(&datagram[..len.into()]).unwrap().verify_checksum(&src, &dst));
        prop_assert_ne!(&datagram[6..8], &[0, 0][..]);
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ffff_and_one_of_tcp_as_zero() {
    for around in [V4, V6] {
        // With its own checksum for payload, a frame has the sum 0xffff.
        let mut frame = around.frame(UDP, &udp(10, &[0, 0]));
        complete_checksum(&mut frame).unwrap();
        let at = around.transport();
        let (checksum, payload) = (at + 6, at + 8);
        frame.copy_within(checksum..checksum + 2, payload);
        complete_checksum(&mut frame).unwrap();
        assert_eq!(frame[checksum..checksum + 2], [0xff, 0xff]);

        let mut frame = around.frame(TCP, &tcp(0, ACK, 0, &[0, 0]));
        complete_checksum(&mut frame).unwrap();
        let (checksum, payload) = (at + 16, at + 20);
        frame.copy_within(checksum..checksum + 2, payload);
        complete_checksum(&mut frame).unwrap();
        assert_eq!(frame[checksum..checksum + 2], [0, 0]);
    }
}

#[test]
fn the_largest_frame_of_all_ones_does_not_overflow_the_sum() {
    for around in [V4, V6] {
        let mut frame = around.frame(TCP, &tcp(u32::MAX, ACK, 0, &vec![0xff; 65_000]));
        complete_checksum(&mut frame).unwrap();
        assert!(tcp_is_complete(&frame, &around));
    }
}

//! Segments against a model that smoltcp's setters write, octet for octet.

use proptest::prelude::*;
use smoltcp::wire::{Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};
use violin::segment::{MAX_SEGMENTS, MIN_PAYLOAD, NotSegmentable, Segments, complete_checksum};

use crate::build::{ACK, Around, CWR, FIN, PSH, TCP, V4, V6, around, blank, tcp, tcp_is_complete};

/// All segments.
fn split(frame: &[u8], size: u16, v6: bool, max: usize) -> Result<Vec<Vec<u8>>, NotSegmentable> {
    let mut segments = Segments::new(frame, size, v6, max)?;
    let mut all = Vec::new();
    let mut out = vec![0xaa; max];
    while let Some(len) = segments.next_into(&mut out) {
        all.push(out[..len].to_vec());
    }
    assert_eq!(segments.count(), all.len());
    assert_eq!(segments.next_into(&mut out), None);
    Ok(all)
}

/// What must come out: the headers of the large frame, changed by smoltcp.
fn model(frame: &[u8], around: &Around, tcp_len: usize, size: usize) -> Vec<Vec<u8>> {
    let (ip, at) = (around.ip(), around.transport());
    let (headers, payload) = frame.split_at(at + tcp_len);
    let flags = headers[at + 13];
    let pieces: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(size).collect() };
    let mut all = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let last = i + 1 == pieces.len();
        let mut segment = [headers, piece].concat();
        let len = (segment.len() - ip) as u16;
        if around.v6 {
            Ipv6Packet::new_unchecked(&mut segment[ip..]).set_payload_len(len - 40);
        } else {
            let mut packet = Ipv4Packet::new_unchecked(&mut segment[ip..]);
            packet.set_total_len(len);
            packet.set_ident(around.id.wrapping_add(i as u16));
            packet.fill_checksum();
        }
        let blank = blank(&segment, around);
        let mut packet = TcpPacket::new_unchecked(&mut segment[at..]);
        packet.set_seq_number(TcpSeqNumber(packet.seq_number().0.wrapping_add((i * size) as i32)));
        packet.set_fin(last && flags & FIN != 0);
        packet.set_psh(last && flags & PSH != 0);
        packet.set_cwr(i == 0 && flags & CWR != 0);
        packet.set_checksum(blank);
        all.push(segment);
    }
    all
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

proptest! {
    #[test]
    fn segments_are_those_of_the_model_and_join_to_the_payload_with_right_checksums(
        around in around(),
        len in prop_oneof![0..400usize, 0..20_000usize, 64_000..65_300usize],
        (sequence, flags, options) in (any::<u32>(), any::<u8>(), 0..11usize),
        size in MIN_PAYLOAD as u16..9000,
        room in MIN_PAYLOAD..9000,
    ) {
        // Without SYN, RST and URG.
        let flags = flags & !0x26 | ACK;
        let len = len.min(65_535 - 100 - (around.transport() - around.ip()));
        let payload = payload(len);
        let frame = around.frame(TCP, &tcp(sequence, flags, options, &payload));
        let tcp_len = 20 + 4 * options;
        let headers = around.transport() + tcp_len;
        let all = split(&frame, size, around.v6, headers + room).unwrap();
        prop_assert!(all.len() <= MAX_SEGMENTS);
        let size = room.min(size.into());
        let expected = model(&frame, &around, tcp_len, size);
        prop_assert_eq!(all.len(), expected.len());
        let mut joined = Vec::new();
        for (mut ours, model) in all.into_iter().zip(expected) {
            prop_assert!(ours.len() <= headers + size);
            prop_assert_eq!(&ours, &model);
            joined.extend_from_slice(&ours[headers..]);
            complete_checksum(&mut ours).unwrap();
            prop_assert!(tcp_is_complete(&ours, &around));
        }
        prop_assert_eq!(joined, payload);
    }
}

#[test]
fn a_frame_that_fits_comes_out_as_it_is_but_for_its_blank_checksum() {
    for (around, len) in [(V4, 0), (V4, 1), (V4, 1000), (V6, 0), (V6, 1000)] {
        let mut frame = around.frame(TCP, &tcp(5, ACK | PSH | CWR, 3, &payload(len)));
        let all = split(&frame, 1000, around.v6, 1514).unwrap();
        let checksum = blank(&frame, &around);
        TcpPacket::new_unchecked(&mut frame[around.transport()..]).set_checksum(checksum);
        assert_eq!(all, [frame], "{len} octets over {around:?}");
    }
}

#[test]
fn the_largest_frame_makes_no_more_than_the_most_segments() {
    let frame = V4.frame(TCP, &tcp(0, ACK, 0, &payload(65_535 - 40)));
    let all = split(&frame, MIN_PAYLOAD as u16, false, 1514).unwrap();
    assert_eq!(all.len(), MAX_SEGMENTS);
}

#[test]
fn segments_with_few_octets_are_refused_and_a_last_one_is_not() {
    let few = MIN_PAYLOAD as u16 - 1;
    let two = V4.frame(TCP, &tcp(0, ACK, 0, &payload(usize::from(few) + 1)));
    assert_eq!(split(&two, few, false, 1514), Err(NotSegmentable::SmallSegments));
    let headers = V4.transport() + 20;
    assert_eq!(split(&two, 1448, false, headers + usize::from(few)), Err(NotSegmentable::SmallSegments));
    let one = V4.frame(TCP, &tcp(0, ACK, 0, &payload(few.into())));
    assert_eq!(split(&one, few, false, 1514).unwrap().len(), 1);
    let last = V4.frame(TCP, &tcp(0, ACK, 0, &payload(MIN_PAYLOAD + 1)));
    assert_eq!(split(&last, MIN_PAYLOAD as u16, false, 1514).unwrap().len(), 2);
}

#[test]
fn a_place_that_is_too_short_loses_no_segment() {
    let frame = V6.frame(TCP, &tcp(0, ACK, 0, &payload(250)));
    let whole = split(&frame, 100, true, 1514).unwrap();
    let mut segments = Segments::new(&frame, 100, true, 1514).unwrap();
    let mut out = [0; 1514];
    for expected in &whole {
        for len in [0, 1, 60, expected.len() - 1] {
            assert_eq!(segments.next_into(&mut out[..len]), None);
        }
        let len = segments.next_into(&mut out[..expected.len()]).unwrap();
        assert_eq!(&out[..len], expected);
    }
}

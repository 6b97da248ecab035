//! What Linux makes of the same frames.
//!
//! Each frame was handed to Linux 6 through a packet socket with a segment size of 64 octets, for an interface
//! without segmentation offload but with checksum offload; the segments are what came out, captured on
//! that interface. The sequence number and the IPv4 identification wrap on the way. The payload
//! is the octets from 0 to 149, and is not repeated here.

use violin::segment::Segments;

/// Headers in hexadecimal digits, and the payload's octets.
type Captured = (&'static str, core::ops::Range<u8>);

const V4: [Captured; 4] = [
    (
        "0200000000020200000000010800460200ceffff400040061f1f0a0102030a01020401010100123401bbffffffc00102\
        0304809901f518c500000101080aaabbccdd11223344",
        0..150,
    ),
    (
        "020000000002020000000001080046020078ffff400040061f750a0102030a01020401010100123401bbffffffc00102\
        0304809001f5186f00000101080aaabbccdd11223344",
        0..64,
    ),
    (
        "0200000000020200000000010800460200780000400040061f750a0102030a01020401010100123401bb000000000102\
        0304801001f5186f00000101080aaabbccdd11223344",
        64..128,
    ),
    (
        "02000000000202000000000108004602004e0001400040061f9e0a0102030a01020401010100123401bb000000400102\
        0304801901f5184500000101080aaabbccdd11223344",
        128..150,
    ),
];

const V6: [Captured; 4] = [
    (
        "02000000000202000000000186dd6012abcd00b60640fd00000000000000000000000000000afd000000000000000000\
        00000000000b123401bbffffffc001020304809901f5fad200000101080aaabbccdd11223344",
        0..150,
    ),
    (
        "02000000000202000000000186dd6012abcd00600640fd00000000000000000000000000000afd000000000000000000\
        00000000000b123401bbffffffc001020304809001f5fa7c00000101080aaabbccdd11223344",
        0..64,
    ),
    (
        "02000000000202000000000186dd6012abcd00600640fd00000000000000000000000000000afd000000000000000000\
        00000000000b123401bb0000000001020304801001f5fa7c00000101080aaabbccdd11223344",
        64..128,
    ),
    (
        "02000000000202000000000186dd6012abcd00360640fd00000000000000000000000000000afd000000000000000000\
        00000000000b123401bb0000004001020304801901f5fa5200000101080aaabbccdd11223344",
        128..150,
    ),
];

fn frame((headers, payload): &Captured) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&headers[at..at + 2], 16).unwrap();
    (0..headers.len()).step_by(2).map(digits).chain(payload.clone()).collect()
}

fn assert_segments([large, segments @ ..]: &[Captured; 4], v6: bool) {
    let large = frame(large);
    let mut ours = Segments::new(&large, 64, v6, 1514).unwrap();
    assert_eq!(ours.count(), segments.len());
    let mut out = [0; 1514];
    for theirs in segments {
        let len = ours.next_into(&mut out).unwrap();
        assert_eq!(&out[..len], frame(theirs));
    }
    assert_eq!(ours.next_into(&mut out), None);
}

#[test]
fn the_segments_of_ipv4_are_those_of_linux_to_the_octet() {
    assert_segments(&V4, false);
}

#[test]
fn the_segments_of_ipv6_are_those_of_linux_to_the_octet() {
    assert_segments(&V6, true);
}

//! The header, octet by octet.

use super::header::*;
use crate::id::{Epoch, NetworkId, SwitchId};

const FRAME: [u8; OVERHEAD] = [
    0x01, 0x03, 0x01, 0x00, // version, kind, flags, reserved
    0x00, 0x00, 0x00, 0x2a, // network
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, // source
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // destination
    0x00, 0x00, 0x00, 0x07, // epoch
    0xde, 0xad, 0xbe, 0xef, // key
    0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x02, // counter
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // an empty frame's tag
];

fn frame() -> Repr {
    Repr {
        source: SwitchId(0x0102_0304_0506_0708),
        destination: SwitchId(0x1112_1314_1516_1718),
        body: Body::Frame {
            key: 0xdead_beef,
            counter: 0x1_0002,
            network: NetworkId(42),
            epoch: Epoch(7),
            flags: Flags::CHECKSUM_BLANK,
        },
    }
}

fn parse(octets: &[u8]) -> Result<Repr, Error> {
    Repr::parse(&Datagram::new_checked(octets)?)
}

#[test]
fn a_frame_header_is_these_octets() {
    assert_eq!(parse(&FRAME), Ok(frame()));
    let mut header = [0xff; HEADER_LEN];
    frame().emit(&mut header);
    assert_eq!(header, FRAME[..HEADER_LEN]);
    assert_eq!(frame().buffer_len(), header.len());
}

#[test]
fn another_version_is_told_whatever_follows() {
    let mut octets = FRAME;
    octets[0] = 2;
    assert_eq!(parse(&octets), Err(Error::Version(2)));
    assert_eq!(parse(&octets[..1]), Err(Error::Version(2)));
}

#[test]
fn every_shorter_datagram_is_truncated() {
    for len in 0..OVERHEAD {
        assert_eq!(parse(&FRAME[..len]), Err(Error::Truncated), "{len} octets");
    }
}

#[test]
fn unknown_kinds_flags_and_fields_that_must_be_zero_are_refused() {
    for (at, value) in [(1, 0), (1, 6), (1, 255), (2, 4), (2, 0x81), (3, 1)] {
        let mut octets = FRAME;
        octets[at] = value;
        assert_eq!(parse(&octets), Err(Error::Malformed), "octet {at} is {value}");
    }
}

#[test]
fn every_kind_has_one_way_to_be_written() {
    let bodies = [
        Body::Initiation,
        Body::Response { key: 9 },
        frame().body,
        Body::Control { key: 0xffff_ffff, counter: u64::MAX },
        Body::Group { key: 1, counter: 2 },
    ];
    for body in bodies {
        let repr = Repr { body, ..frame() };
        let mut octets = [0; OVERHEAD];
        repr.emit(octets.first_chunk_mut().unwrap());
        assert_eq!(parse(&octets), Ok(repr));
        for bit in 0..HEADER_LEN * 8 {
            let mut other = octets;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(parse(&other), Ok(repr), "bit {bit} says nothing");
        }
    }
}

proptest::proptest! {
    #[test]
    fn what_parses_is_written_again_as_it_was(octets: [u8; OVERHEAD], kind in 0u8..7, flags in 0u8..5) {
        let mut octets = octets;
        octets[..4].copy_from_slice(&[VERSION, kind, flags, 0]);
        if kind != 3 {
            octets[4..8].fill(0);
            octets[24..28].fill(0);
        }
        if let Ok(repr) = parse(&octets) {
            let mut header = [0; HEADER_LEN];
            repr.emit(&mut header);
            proptest::prop_assert_eq!(&header[..], &octets[..HEADER_LEN]);
        }
    }
}

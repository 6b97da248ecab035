//! The classic pcap format: every tool reads it.

use std::io::{self, Write};

use crate::api::Frame;

/// Microseconds, in the byte order of the writer.
const MAGIC: u32 = 0xa1b2_c3d4;

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Writes what precedes all frames.
pub(super) fn head(out: &mut impl Write, snaplen: u16) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(4u16.to_le_bytes());
    // Times are UTC, with no known error.
    bytes.extend([0; 8]);
    bytes.extend(u32::from(snaplen).to_le_bytes());
    bytes.extend(ETHERNET.to_le_bytes());
    out.write_all(&bytes)
}

/// Writes a frame.
pub(super) fn frame(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let octets = octets(&frame.octets).ok_or_else(|| io::Error::other("octets that are none"))?;
    let seconds = u32::try_from(frame.time_us / 1_000_000).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(16 + octets.len());
    bytes.extend(seconds.to_le_bytes());
    bytes.extend(((frame.time_us % 1_000_000) as u32).to_le_bytes());
    bytes.extend((octets.len() as u32).to_le_bytes());
    bytes.extend(frame.len.to_le_bytes());
    bytes.extend(octets);
    out.write_all(&bytes)
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_octets_are_those_of_the_format() {
        let mut out = Vec::new();
        head(&mut out, 96).unwrap();
        let f = Frame { time_us: 2_000_003, from: "5/0".into(), len: 60, octets: "ff01".into() };
        frame(&mut out, &f).unwrap();
        let wanted = [
            &b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\x60\0\0\0\x01\0\0\0"[..],
            b"\x02\0\0\0\x03\0\0\0\x02\0\0\0\x3c\0\0\0\xff\x01",
        ]
        .concat();
        assert_eq!(out, wanted);
        assert!(frame(&mut out, &Frame { octets: "f".into(), ..f.clone() }).is_err());
        assert!(frame(&mut out, &Frame { octets: "+1".into(), ..f }).is_err());
    }
}

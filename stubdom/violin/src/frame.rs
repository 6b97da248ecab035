//! The Ethernet header, checked.
//!
//! What the switch needs to know of a frame stands in its first octets; it never looks further, so
//! that any protocol passes (VS13). VLAN tags pass through untouched: one is measured, since an MTU
//! speaks of what comes after it (a second one counts as payload, as in Linux), and they mean nothing
//! else here.

use core::fmt;

use crate::id::Mac;

mod field {
    use core::ops::Range;

    pub(super) const DESTINATION: Range<usize> = 0..6;
    pub(super) const SOURCE: Range<usize> = 6..12;
    pub(super) const ETHERTYPE: Range<usize> = 12..14;
    pub(super) const INNER_ETHERTYPE: Range<usize> = 16..18;
}

/// Octets of an Ethernet header without tags. A shorter frame is a runt.
pub const HEADER_LEN: usize = 14;

/// Octets of the longest header that is measured: with one VLAN tag. With as many octets of a frame,
/// or all of it if it is shorter, [`Header::parse`] sees all that it looks at.
pub const HEADER_LEN_MAX: usize = HEADER_LEN + TAG_LEN;

const TAG_LEN: usize = 4;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// The frame has fewer than [`HEADER_LEN`] octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runt;

impl fmt::Display for Runt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shorter than an Ethernet header")
    }
}

impl core::error::Error for Runt {}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the frame goes to.
    pub dst: Mac,
    /// Where it says that it comes from.
    pub src: Mac,
    /// What it carries: the type behind the tag, if there is one.
    pub ethertype: u16,
    /// Octets in front of the payload: 14 or 18.
    len: u8,
}

impl Header {
    /// Reads the header from the first octets of a frame: up to [`HEADER_LEN_MAX`] are looked at.
    ///
    /// A tag that is cut off is taken for payload: whom the frame is for is known all the same.
    pub fn parse(octets: &[u8]) -> Result<Header, Runt> {
        let dst = Mac(array(octets, field::DESTINATION)?);
        let src = Mac(array(octets, field::SOURCE)?);
        let mut ethertype = u16::from_be_bytes(array(octets, field::ETHERTYPE)?);
        let mut len = HEADER_LEN;
        if TAGS.contains(&ethertype)
            && let Ok(inner) = array(octets, field::INNER_ETHERTYPE)
        {
            ethertype = u16::from_be_bytes(inner);
            len += TAG_LEN;
        }
        Ok(Header { dst, src, ethertype, len: len as u8 })
    }

    /// Octets of the header, its tag included: 14 or 18.
    pub const fn header_len(&self) -> usize {
        self.len as usize
    }
}

fn array<const N: usize>(octets: &[u8], range: core::ops::Range<usize>) -> Result<[u8; N], Runt> {
    octets.get(range).and_then(|field| field.try_into().ok()).ok_or(Runt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 18] =
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06, 0x00, 0x01, 0x08, 0x00];

    #[test]
    fn a_plain_header_is_read() {
        let header = Header::parse(&PLAIN).unwrap();
        assert_eq!(header.dst, Mac::BROADCAST);
        assert_eq!(header.src, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(header.ethertype, 0x0806);
        assert_eq!(header.header_len(), 14);
    }

    #[test]
    fn every_cut_below_fourteen_octets_is_a_runt() {
        for len in 0..HEADER_LEN {
            assert_eq!(Header::parse(&PLAIN[..len]), Err(Runt), "{len} octets");
        }
        assert!(Header::parse(&PLAIN[..HEADER_LEN]).is_ok());
    }

    #[test]
    fn one_tag_is_measured_and_a_second_or_a_cut_one_is_payload() {
        let mut frame = [0u8; 26];
        frame[12..22].copy_from_slice(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xdd]);
        let parsed = |len: usize| Header::parse(&frame[..len]).map(|h| (h.header_len(), h.ethertype));
        assert_eq!(parsed(26), Ok((18, 0x8100)));
        assert_eq!(parsed(18), Ok((18, 0x8100)));
        assert_eq!(parsed(17), Ok((14, 0x88a8)));
    }
}

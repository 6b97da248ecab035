//! Where the parts of a frame with an IP packet are.

use core::fmt;
use core::ops::Range;

use crate::frame::HEADER_LEN;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// Octets of an IPv4 header without options.
pub(super) const IPV4_LEN: usize = 20;
/// Octets of an IPv6 header without extensions.
pub(super) const IPV6_LEN: usize = 40;

const TAGS: [u16; 2] = [0x8100, 0x88a8];
const TAG_LEN: usize = 4;
const MAX_TAGS: usize = 2;
/// More extension headers than any stack sends; it bounds the walk through them.
const MAX_EXTENSIONS: usize = 8;

/// Why a frame's packet can not be worked on. The sender made it so: drop the frame and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPacket {
    /// Neither IPv4 nor IPv6 behind the Ethernet header and up to two VLAN tags.
    NotIp,
    /// It ends inside of its headers.
    Cut,
    /// A length or a header's own version that contradicts the rest of the frame.
    Length,
    /// A part of a packet: its transport header or checksum is not in it alone.
    Fragment,
    /// An IPv6 routing header, which hides the address that the checksum is made with.
    Routed,
    /// More than eight IPv6 extension headers.
    Extensions,
    /// Neither TCP nor UDP.
    Protocol(u8),
}

impl fmt::Display for BadPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotIp => "no IP packet",
            Self::Cut => "ends inside of its headers",
            Self::Length => "a length that contradicts the frame's",
            Self::Fragment => "a fragment",
            Self::Routed => "an IPv6 routing header",
            Self::Extensions => "too many IPv6 extension headers",
            Self::Protocol(other) => return write!(f, "IP protocol {other}, neither TCP nor UDP"),
        })
    }
}

impl core::error::Error for BadPacket {}

/// How much of a packet is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    Whole,
    First,
    Later,
}

/// Where the parts of an IP packet are, in octets from the frame's beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) v6: bool,
    /// The IP header: behind the Ethernet header and its tags.
    pub(super) ip: usize,
    /// What follows the IP header and, with IPv6, its extensions.
    pub(super) transport: usize,
    /// Where the packet ends as it says itself: not before `transport`, maybe behind the frame.
    pub(super) end: usize,
    /// The protocol of what is at `transport`.
    pub(super) protocol: u8,
    pub(super) fragment: Fragment,
    /// There is an IPv6 routing header.
    pub(super) routed: bool,
}

impl Packet {
    /// Reads the headers up to the transport's, which must be among `octets`: a frame or its head.
    pub(super) fn parse(octets: &[u8]) -> Result<Packet, BadPacket> {
        let (ethertype, ip) = ethertype(octets)?;
        match ethertype {
            0x0800 => Self::v4(octets, ip),
            0x86dd => Self::v6(octets, ip),
            _ => Err(BadPacket::NotIp),
        }
    }

    fn v4(octets: &[u8], ip: usize) -> Result<Packet, BadPacket> {
        let header: [u8; IPV4_LEN] = array(octets, ip)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_len < IPV4_LEN || total < header_len {
            return Err(BadPacket::Length);
        }
        let (transport, end) = (ip + header_len, ip + total);
        if octets.len() < transport {
            return Err(BadPacket::Cut);
        }
        let part = u16::from_be_bytes([header[6], header[7]]);
        let fragment = fragment(part & 0x1fff, part & 0x2000 != 0);
        Ok(Packet { v6: false, ip, transport, end, protocol: header[9], fragment, routed: false })
    }

    fn v6(octets: &[u8], ip: usize) -> Result<Packet, BadPacket> {
        let header: [u8; IPV6_LEN] = array(octets, ip)?;
        if header[0] >> 4 != 6 {
            return Err(BadPacket::Length);
        }
        let transport = ip + IPV6_LEN;
        let end = transport + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut packet = Packet {
            v6: true,
            ip,
            transport,
            end,
            protocol: header[6],
            fragment: Fragment::Whole,
            routed: false,
        };
        for _ in 0..MAX_EXTENSIONS {
            if !packet.skip_extension(octets)? {
                return Ok(packet);
            }
        }
        Err(BadPacket::Extensions)
    }

    /// Steps over one IPv6 extension header; false when there is none to be stepped over.
    fn skip_extension(&mut self, octets: &[u8]) -> Result<bool, BadPacket> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const DESTINATION: u8 = 60;

        // What follows the fragment header of a later fragment is no header.
        let header = matches!(self.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION);
        if !header || self.fragment == Fragment::Later {
            return Ok(false);
        }
        let extension: [u8; 8] = array(octets, self.transport)?;
        let mut len = 8 + usize::from(extension[1]) * 8;
        match self.protocol {
            FRAGMENT => {
                len = 8;
                let part = u16::from_be_bytes([extension[2], extension[3]]);
                // A second one can not make the packet whole again.
                if self.fragment == Fragment::Whole {
                    self.fragment = fragment(part >> 3, part & 1 != 0);
                }
            }
            ROUTING => self.routed = true,
            _ => {}
        }
        self.protocol = extension[0];
        self.transport += len;
        if self.transport > self.end {
            return Err(BadPacket::Length);
        }
        if self.transport > octets.len() {
            return Err(BadPacket::Cut);
        }
        Ok(true)
    }

    /// Refuses what has no transport checksum that could be worked on, and what is not all here:
    /// `frame` must be the whole frame; padding behind the packet is fine.
    pub(super) fn whole(self, frame: &[u8]) -> Result<Self, BadPacket> {
        match self {
            _ if self.end > frame.len() => Err(BadPacket::Length),
            Self { fragment: Fragment::First | Fragment::Later, .. } => Err(BadPacket::Fragment),
            Self { routed: true, .. } => Err(BadPacket::Routed),
            _ => Ok(self),
        }
    }

    /// Where both addresses are, the source's first.
    pub(super) fn addresses(&self) -> Range<usize> {
        if self.v6 { self.ip + 8..self.ip + 40 } else { self.ip + 12..self.ip + 20 }
    }
}

fn fragment(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

/// The type of what is behind up to two VLAN tags, and where that is.
fn ethertype(octets: &[u8]) -> Result<(u16, usize), BadPacket> {
    let mut at = HEADER_LEN;
    for _ in 0..=MAX_TAGS {
        let ethertype = u16::from_be_bytes(array(octets, at - 2)?);
        if !TAGS.contains(&ethertype) {
            return Ok((ethertype, at));
        }
        at += TAG_LEN;
    }
    Err(BadPacket::NotIp)
}

/// The `N` octets at `at`.
pub(super) fn array<const N: usize>(octets: &[u8], at: usize) -> Result<[u8; N], BadPacket> {
    octets.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(BadPacket::Cut)
}

/// Writes `value` at `at`; an error, with nothing written, where there is no room for it.
pub(super) fn put<const N: usize>(octets: &mut [u8], at: usize, value: [u8; N]) -> Result<(), BadPacket> {
    let place = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut()).ok_or(BadPacket::Cut)?;
    *place = value;
    Ok(())
}

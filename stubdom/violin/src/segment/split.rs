//! Large TCP frames cut into segments.

use core::fmt;

use super::checksum::{TCP_CHECKSUM, TCP_LEN, fold, pseudo_header, sum};
use super::packet::{BadPacket, IPV6_LEN, Packet, TCP, array, put};

/// The fewest octets of payload in a segment that is not the last. A guest that asked for less would
/// have others do much work with few octets of its own; no stack sends such large frames.
pub const MIN_PAYLOAD: usize = 64;
/// The most segments that one frame is cut into: IP lengths have 16 bits.
pub const MAX_SEGMENTS: usize = (u16::MAX as usize).div_ceil(MIN_PAYLOAD);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// Why a frame can not be cut into segments: drop it and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSegmentable {
    /// Its packet is malformed, no TCP, or a fragment.
    Packet(BadPacket),
    /// IPv4 where the guest said IPv6, or the reverse.
    Version,
    /// With SYN, RST or URG: what they say holds for one segment only, and no stack has them segmented.
    Flags,
    /// A segment size of 0.
    NoSize,
    /// The longest frame has no room for the headers and one octet: the receiver's MTU is too small
    /// for TCP.
    NoRoom,
    /// Several segments, each with less than [`MIN_PAYLOAD`] octets.
    SmallSegments,
}

impl fmt::Display for NotSegmentable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packet(bad) => return bad.fmt(f),
            Self::Version => "another IP version than the guest said",
            Self::Flags => "a large frame with SYN, RST or URG",
            Self::NoSize => "a segment size of 0",
            Self::NoRoom => "no room for a segment's headers and one octet: the MTU is too small for TCP",
            Self::SmallSegments => "segments of less than 64 octets",
        })
    }
}

impl core::error::Error for NotSegmentable {}

impl From<BadPacket> for NotSegmentable {
    fn from(bad: BadPacket) -> Self {
        Self::Packet(bad)
    }
}

/// The segments of a large TCP frame, one after the other.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    packet: Packet,
    /// All up to the end of the TCP header.
    headers: &'a [u8],
    payload: &'a [u8],
    /// Octets of payload in each segment but the last.
    size: usize,
    count: usize,
    /// The number of the next segment.
    next: usize,
}

impl<'a> Segments<'a> {
    /// The segments of `frame`: a whole Ethernet frame with up to two VLAN tags and TCP over IPv4
    /// (options are kept) or IPv6 (hop-by-hop and destination options are kept). Its checksums are
    /// not looked at.
    ///
    /// A segment has at most `gso_size` octets of payload, as the sending guest said, and at most
    /// `max_frame` octets in all, the Ethernet header included. `v6`: the guest said that it is IPv6.
    ///
    /// # Errors
    /// [`NotSegmentable`]: see there.
    pub fn new(frame: &'a [u8], gso_size: u16, v6: bool, max_frame: usize) -> Result<Self, NotSegmentable> {
        let packet = Packet::parse(frame)?.whole(frame)?;
        if packet.v6 != v6 {
            return Err(NotSegmentable::Version);
        }
        if packet.protocol != TCP {
            return Err(BadPacket::Protocol(packet.protocol).into());
        }
        // A large frame needs no padding.
        if packet.end != frame.len() {
            return Err(BadPacket::Length.into());
        }
        let [data_offset, flags] = array(frame, packet.transport + 12)?;
        let tcp_len = usize::from(data_offset >> 4) * 4;
        let (headers, payload) = frame
            .split_at_checked(packet.transport + tcp_len)
            .filter(|_| tcp_len >= TCP_LEN)
            .ok_or(BadPacket::Length)?;
        if flags & (SYN | RST | URG) != 0 {
            return Err(NotSegmentable::Flags);
        }
        if gso_size == 0 {
            return Err(NotSegmentable::NoSize);
        }
        let room = max_frame.checked_sub(headers.len()).filter(|room| *room > 0);
        let size = room.ok_or(NotSegmentable::NoRoom)?.min(gso_size.into());
        if size < MIN_PAYLOAD && size < payload.len() {
            return Err(NotSegmentable::SmallSegments);
        }
        // A frame without payload is a segment as well.
        let count = payload.len().div_ceil(size).max(1);
        Ok(Self { packet, headers, payload, size, count, next: 0 })
    }

    /// How many segments there are in all: from 1 to [`MAX_SEGMENTS`].
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes the next segment to the beginning of `out` and returns its length in octets. Its
    /// transport checksum is blank, the IPv4 header's is filled in.
    ///
    /// `None` after the last one. Also when `out` is shorter than the segment (it never is with
    /// `max_frame` octets): the segment is then still the next one, and what `out` holds means nothing.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.next >= self.count {
            return None;
        }
        let done = self.next * self.size;
        let rest = self.payload.get(done..)?;
        let payload = rest.get(..self.size).unwrap_or(rest);
        let out = out.get_mut(..self.headers.len() + payload.len())?;
        let (headers, place) = out.split_at_mut_checked(self.headers.len())?;
        headers.copy_from_slice(self.headers);
        place.copy_from_slice(payload);
        self.write_ip(headers, payload.len()).ok()?;
        self.write_tcp(headers, payload.len(), done).ok()?;
        self.next += 1;
        Some(out.len())
    }

    fn write_ip(&self, headers: &mut [u8], payload: usize) -> Result<(), BadPacket> {
        let ip = self.packet.ip;
        let len = headers.len() - ip + payload;
        if self.packet.v6 {
            return put(headers, ip + 4, ((len - IPV6_LEN) as u16).to_be_bytes());
        }
        put(headers, ip + 2, (len as u16).to_be_bytes())?;
        let id = u16::from_be_bytes(array(headers, ip + 4)?).wrapping_add(self.next as u16);
        put(headers, ip + 4, id.to_be_bytes())?;
        put(headers, ip + 10, [0; 2])?;
        let header = headers.get(ip..self.packet.transport).ok_or(BadPacket::Cut)?;
        let checksum = !fold(sum(header));
        put(headers, ip + 10, checksum.to_be_bytes())
    }

    fn write_tcp(&self, headers: &mut [u8], payload: usize, done: usize) -> Result<(), BadPacket> {
        let tcp = self.packet.transport;
        let sequence = u32::from_be_bytes(array(headers, tcp + 4)?).wrapping_add(done as u32);
        put(headers, tcp + 4, sequence.to_be_bytes())?;
        let [mut flags] = array(headers, tcp + 13)?;
        if self.next > 0 {
            flags &= !CWR;
        }
        if self.next + 1 < self.count {
            flags &= !(FIN | PSH);
        }
        put(headers, tcp + 13, [flags])?;
        let blank = fold(pseudo_header(headers, &self.packet, TCP, headers.len() - tcp + payload));
        put(headers, tcp + TCP_CHECKSUM, blank.to_be_bytes())
    }
}

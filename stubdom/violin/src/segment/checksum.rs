//! The Internet checksum (RFC 1071).

use super::packet::{BadPacket, Packet, TCP, UDP, array, put};

/// Octets of a TCP header without options.
pub(super) const TCP_LEN: usize = 20;
/// Where the checksum is in a TCP header.
pub(super) const TCP_CHECKSUM: usize = 16;
const UDP_LEN: usize = 8;
const UDP_CHECKSUM: usize = 6;

/// Fills in the TCP or UDP checksum of a whole frame (IPv4 or IPv6, up to two VLAN tags), for a
/// receiver that can not take a blank one. What the field held before does not matter.
///
/// Octets behind the packet (padding to the shortest Ethernet frame) are not part of the sum.
///
/// # Errors
/// A [`BadPacket`] for which there is no such checksum; the frame is as it was.
pub fn complete_checksum(frame: &mut [u8]) -> Result<(), BadPacket> {
    let packet = Packet::parse(frame)?.whole(frame)?;
    let available = packet.end - packet.transport;
    let (at, len) = match packet.protocol {
        TCP if available >= TCP_LEN => (TCP_CHECKSUM, available),
        UDP if available >= UDP_LEN => {
            let len = usize::from(u16::from_be_bytes(array(frame, packet.transport + 4)?));
            if !(UDP_LEN..=available).contains(&len) {
                return Err(BadPacket::Length);
            }
            (UDP_CHECKSUM, len)
        }
        TCP | UDP => return Err(BadPacket::Length),
        other => return Err(BadPacket::Protocol(other)),
    };
    let pseudo = pseudo_header(frame, &packet, packet.protocol, len);
    let segment = frame.get_mut(packet.transport..packet.transport + len).ok_or(BadPacket::Length)?;
    put(segment, at, [0; 2])?;
    let checksum = match !fold(pseudo + sum(segment)) {
        // In UDP, 0 says that there is no checksum.
        0 if packet.protocol == UDP => 0xffff,
        checksum => checksum,
    };
    put(segment, at, checksum.to_be_bytes())
}

/// The sum of the pseudo header: the addresses of `packet`, a protocol and the octets of the
/// transport's header and payload.
pub(super) fn pseudo_header(frame: &[u8], packet: &Packet, protocol: u8, len: usize) -> u64 {
    let addresses = frame.get(packet.addresses()).unwrap_or_default();
    sum(addresses) + word(protocol.into()) + word(len as u16)
}

/// A 16-bit number as [`sum`] counts it.
fn word(number: u16) -> u64 {
    number.to_be().into()
}

/// The sum of all 16-bit words, the last filled up with a zero, not folded. Sums of pieces may be
/// added if all but the last have an even number of octets.
///
/// The words are summed as they lie in memory, in halves of 64-bit words: addition with the carry
/// brought back does not care for their order or their width (RFC 1071, section 2). One step adds less than
/// 2^33, so octets that exist can not make it overflow.
pub(super) fn sum(octets: &[u8]) -> u64 {
    let (chunks, tail) = octets.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    chunks.iter().chain([&last]).fold(0, |sum, chunk| {
        let words = u64::from_ne_bytes(*chunk);
        sum + (words & 0xffff_ffff) + (words >> 32)
    })
}

/// The sum in 16 bits, as a number: not complemented.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::from_be(sum as u16)
}

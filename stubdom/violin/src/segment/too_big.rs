//! The answer to a packet that does not fit into the network's MTU.
//!
//! A guest is told the network's MTU, but may not listen. There is no router in a VIOLIN that could
//! tell it again, so the switch answers in the name of the packet's destination: the only
//! address that the guest is sure to accept an answer from.

use super::checksum::{fold, pseudo_header, sum};
use super::packet::{Fragment, ICMP, ICMPV6, IPV4_LEN, IPV6_LEN, Packet, array};
use crate::frame::HEADER_LEN_MAX;

/// How many octets of a frame [`too_big`] looks at.
pub const TOO_BIG_HEAD: usize = 256;
/// The most octets that an answer of [`too_big`] has.
pub const TOO_BIG_LEN: usize = TOO_BIG_HEAD + IPV6_LEN + ICMP_LEN;

const ICMP_LEN: usize = 8;
/// Octets behind the IP header without which an answer says nothing: the ports and TCP's sequence
/// number (RFC 792).
const QUOTED: usize = 8;
/// What every IPv4 link must carry (RFC 791), and every IPv6 link (RFC 8200).
const IPV4_MTU: u16 = 68;
const IPV6_MTU: u16 = 1280;
const HOP_LIMIT: u8 = 64;

/// Writes the answer to a frame whose packet is longer than `mtu` octets (as for
/// [`Header::header_len`](crate::frame::Header::header_len): what comes behind one VLAN tag) into
/// `out`, and returns its length, at most [`TOO_BIG_LEN`]. `head` is the beginning of the frame:
/// [`TOO_BIG_HEAD`] octets, or all of it.
///
/// The answer is a frame with the VLAN tags of the first, from and to the same addresses in reverse: for
/// IPv4, ICMP "fragmentation needed" (type 3, code 4; RFC 1191), for IPv6 "packet too big" (type 2;
/// RFC 4443). Put it into the sending port's own queue and nowhere else; above all, learn nothing
/// from it. One frame gets one short answer; a limit on their rate (RFC 4443, section 2.4 (f)) is the
/// caller's.
///
/// `None`, so that the frame is dropped in silence:
/// - no IP packet, not longer than `mtu`, or cut before the first 8 octets of its transport;
/// - IPv4 that may be fragmented (no DF): there is no router that would do it;
/// - a fragment, but not the first one;
/// - an ICMP error or redirect, or ICMPv4 of a type that is no query (RFC 1122, section 3.2.2);
/// - to or from an address of Ethernet or IP that is not of one station (multicast, broadcast, unspecified,
///   loopback). RFC 4443 allows an answer to multicast; but it can not come from there. The
///   broadcast address of an IPv4 subnet is not known here, only that of Ethernet;
/// - an `mtu` below what the IP version demands (68 or 1,280): no guest would believe it;
/// - `out` is too short.
pub fn too_big(head: &[u8], mtu: u16, out: &mut [u8]) -> Option<usize> {
    let head = head.get(..TOO_BIG_HEAD).unwrap_or(head);
    let packet = Packet::parse(head).ok()?;
    // A second tag counts against the MTU: what is left for IP is less.
    let mtu = mtu.checked_sub(packet.ip.saturating_sub(HEADER_LEN_MAX) as u16)?;
    let quote = head.get(packet.ip..packet.end.min(head.len()))?;
    let transport: [u8; QUOTED] = array(quote, packet.transport - packet.ip).ok()?;
    let fits = packet.end - packet.ip <= usize::from(mtu);
    if fits || packet.fragment == Fragment::Later || !stations(head) {
        return None;
    }
    let (ethernet, _) = head.split_at_checked(packet.ip)?;
    let ip_and_icmp = if packet.v6 {
        v6(head, &packet, transport[0], mtu, quote)?
    } else {
        v4(quote, packet.protocol, transport[0], mtu)?
    };
    let (to, from) = ethernet.split_at_checked(6)?;
    let (from, tags_and_type) = from.split_at_checked(6)?;
    let (ip_and_icmp, len) = &ip_and_icmp;
    write(out, [from, to, tags_and_type, ip_and_icmp.get(..*len)?, quote])
}

/// The headers of an answer, in as many octets as the number says.
type Headers = ([u8; IPV6_LEN + ICMP_LEN], usize);

fn v4(quote: &[u8], protocol: u8, icmp_type: u8, mtu: u16) -> Option<Headers> {
    const DONT_FRAGMENT: u8 = 0x40;
    let theirs: [u8; IPV4_LEN] = array(quote, 0).ok()?;
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = theirs;
    let query = matches!(icmp_type, 0 | 8..=10 | 13..=18);
    let one_host = |first: u8| !matches!(first, 0 | 127 | 224..);
    if theirs[6] & DONT_FRAGMENT == 0
        || protocol == ICMP && !query
        || !one_host(s0)
        || !one_host(d0)
        || mtu < IPV4_MTU
    {
        return None;
    }
    let [m0, m1] = mtu.to_be_bytes();
    let mut icmp = [3, 4, 0, 0, 0, 0, m0, m1];
    [icmp[2], icmp[3]] = (!fold(sum(&icmp) + sum(quote))).to_be_bytes();
    let [l0, l1] = ((IPV4_LEN + ICMP_LEN + quote.len()) as u16).to_be_bytes();
    let mut ip =
        [0x45, 0, l0, l1, 0, 0, DONT_FRAGMENT, 0, HOP_LIMIT, ICMP, 0, 0, d0, d1, d2, d3, s0, s1, s2, s3];
    [ip[10], ip[11]] = (!fold(sum(&ip))).to_be_bytes();
    let mut headers = [0; IPV6_LEN + ICMP_LEN];
    let len = write(&mut headers, [&ip, &icmp])?;
    Some((headers, len))
}

fn v6(head: &[u8], packet: &Packet, icmp_type: u8, mtu: u16, quote: &[u8]) -> Option<Headers> {
    const REDIRECT: u8 = 137;
    let source: [u8; 16] = array(quote, 8).ok()?;
    let destination: [u8; 16] = array(quote, 24).ok()?;
    let error = icmp_type < 128 || icmp_type == REDIRECT;
    let one_host = |address: [u8; 16]| {
        let unspecified_or_loopback = u128::from_be_bytes(address) <= 1;
        address[0] != 0xff && !unspecified_or_loopback
    };
    if packet.protocol == ICMPV6 && error || !one_host(source) || !one_host(destination) || mtu < IPV6_MTU {
        return None;
    }
    let [m0, m1] = mtu.to_be_bytes();
    let mut icmp = [2, 0, 0, 0, 0, 0, m0, m1];
    let len = ICMP_LEN + quote.len();
    // The same addresses in another order have the same sum.
    let pseudo = pseudo_header(head, packet, ICMPV6, len);
    [icmp[2], icmp[3]] = (!fold(pseudo + sum(&icmp) + sum(quote))).to_be_bytes();
    let [l0, l1] = (len as u16).to_be_bytes();
    let start = [0x60, 0, 0, 0, l0, l1, ICMPV6, HOP_LIMIT];
    let mut headers = [0; IPV6_LEN + ICMP_LEN];
    let len = write(&mut headers, [&start, &destination, &source, &icmp])?;
    Some((headers, len))
}

/// Both Ethernet addresses are of one station each: their group bits are clear.
fn stations(head: &[u8]) -> bool {
    let group = |at: usize| head.get(at).is_none_or(|first| first & 1 != 0);
    !group(0) && !group(6)
}

/// Writes the parts one after the other; their length, or `None` where they do not fit.
fn write<const N: usize>(out: &mut [u8], parts: [&[u8]; N]) -> Option<usize> {
    let mut len = 0usize;
    for part in parts {
        let end = len.checked_add(part.len())?;
        out.get_mut(len..end)?.copy_from_slice(part);
        len = end;
    }
    Some(len)
}

//! Frames, good and bad.

use alloc::vec::Vec;

pub(crate) type Mac = [u8; 6];
pub(crate) const BROADCAST: Mac = [0xff; 6];

const ARP: u16 = 0x0806;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
/// IEEE 802 local experimental: nobody listens.
pub(crate) const EXPERIMENT: u16 = 0x88b5;

/// An Ethernet frame, filled up with zeroes to 60 octets.
pub(crate) fn ethernet(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&dst[..], &src[..], &ethertype.to_be_bytes()[..], payload].concat();
    if frame.len() < 60 {
        frame.resize(60, 0);
    }
    frame
}

/// Who has `peer`?
pub(crate) fn arp_request(mac: Mac, me: [u8; 4], peer: [u8; 4]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    ethernet(BROADCAST, mac, ARP, &[&head[..], &mac, &me, &[0; 6], &peer].concat())
}

/// Whether the frame is an answer to our question about `peer`, and the MAC address that it tells.
pub(crate) fn arp_reply(frame: &[u8], peer: [u8; 4]) -> Option<Mac> {
    let answers = frame.get(12..14)? == ARP.to_be_bytes() && frame.get(20..22)? == [0, 2];
    let theirs = frame.get(28..32)? == peer;
    if answers && theirs { frame.get(22..28)?.try_into().ok() } else { None }
}

/// An ICMP echo request.
pub(crate) fn ping(from: (Mac, [u8; 4]), to: (Mac, [u8; 4]), number: u16) -> Vec<u8> {
    let mut icmp = [8, 0, 0, 0, 0x4c, 0x75, 0, 0].to_vec();
    icmp[6..8].copy_from_slice(&number.to_be_bytes());
    icmp.resize(64, 0x5a);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ethernet(to.0, from.0, IPV4, &[ipv4(1, from.1, to.1, icmp.len()), icmp].concat())
}

/// Whether the frame is an ICMP echo reply.
pub(crate) fn is_pong(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&IPV4.to_be_bytes()) && frame.get(23) == Some(&1) && frame.get(34) == Some(&0)
}

/// An IPv4 header for so many octets.
pub(crate) fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: usize) -> Vec<u8> {
    let mut header = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0].to_vec();
    header[2..4].copy_from_slice(&((payload + 20).min(0xffff) as u16).to_be_bytes());
    header.extend_from_slice(&from);
    header.extend_from_slice(&to);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// A TCP header without options; the checksum is left open.
pub(crate) fn tcp(words: u8) -> [u8; 20] {
    [0x13, 0x88, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 1, words << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]
}

/// The sum of the Internet (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 =
        octets.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A generator of random numbers (xorshift64*). Good enough to confuse somebody.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

//! The headers in front of a sealed datagram: Ethernet, IPv4 and UDP, made and checked.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::Range;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
};

/// Octets of the three headers.
pub(super) const HEADERS: usize = ETHERNET + IPV4 + UDP;
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Octets of an ARP frame.
pub(super) const ARP_FRAME: usize = ETHERNET + 28;

/// Who we are on the network of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) mac: EthernetAddress,
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A datagram for our port; its payload lies there in the frame.
    Datagram { from: SocketAddrV4, source: EthernetAddress, payload: Range<usize> },
    /// Somebody tells an address, or asks for `target`.
    Arp { address: Ipv4Addr, mac: EthernetAddress, target: Ipv4Addr },
    /// Anything else that is for us or for all.
    Other,
    /// For somebody else: bridges flood frames whose place they don't know.
    Stray,
    /// For us, but wrong.
    Malformed,
    /// A fragment. The other side's frames are too long for the network in between.
    Fragment,
    /// For our port, with a wrong checksum.
    Checksum,
}

/// Looks at a frame. `checked`: its UDP checksum needs no look.
pub(super) fn classify(frame: &[u8], checked: bool, own: &Own) -> Seen {
    let Ok(eth) = EthernetFrame::new_checked(frame) else { return Seen::Malformed };
    if eth.dst_addr() != own.mac && !eth.dst_addr().is_broadcast() {
        return Seen::Stray;
    }
    match eth.ethertype() {
        EthernetProtocol::Ipv4 => ipv4(eth.payload(), eth.src_addr(), checked, own),
        EthernetProtocol::Arp => arp(eth.payload()),
        _ => Seen::Stray,
    }
}

fn arp(packet: &[u8]) -> Seen {
    let repr = ArpPacket::new_checked(packet).and_then(|packet| ArpRepr::parse(&packet));
    match repr {
        Ok(ArpRepr::EthernetIpv4 {
            source_hardware_addr: mac,
            source_protocol_addr: address,
            target_protocol_addr: target,
            ..
        }) if mac.is_unicast() => Seen::Arp { address, mac, target },
        _ => Seen::Malformed,
    }
}

fn ipv4(packet: &[u8], source: EthernetAddress, checked: bool, own: &Own) -> Seen {
    let Ok(ip) = Ipv4Packet::new_checked(packet) else { return Seen::Malformed };
    if ip.version() != 4 || usize::from(ip.header_len()) < IPV4 || !ip.verify_checksum() {
        return Seen::Malformed;
    }
    if ip.dst_addr() != own.address || ip.next_header() != IpProtocol::Udp {
        return Seen::Other;
    }
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Seen::Fragment;
    }
    let Ok(udp) = UdpPacket::new_checked(ip.payload()) else { return Seen::Malformed };
    if udp.dst_port() != own.port {
        return Seen::Other;
    }
    if !checked && !udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()) {
        return Seen::Checksum;
    }
    let start = ETHERNET + usize::from(ip.header_len()) + UDP;
    let payload = start..start + udp.payload().len();
    Seen::Datagram { from: SocketAddrV4::new(ip.src_addr(), udp.src_port()), source, payload }
}

/// Writes the headers of a datagram with `len` octets of payload into the first [`HEADERS`]
/// octets of a frame, which must be there. Never to be fragmented.
///
/// The UDP checksum is left out (zero), as VXLAN does: the seal covers the payload better, and no
/// host on the way needs to compute it.
pub(super) fn emit(frame: &mut [u8], own: &Own, mac: EthernetAddress, to: SocketAddrV4, len: usize) {
    let Some((eth, rest)) = frame.split_at_mut_checked(ETHERNET) else { return };
    let Some((ip, rest)) = rest.split_at_mut_checked(IPV4) else { return };
    let Some((udp, _)) = rest.split_at_mut_checked(UDP) else { return };
    EthernetRepr { src_addr: own.mac, dst_addr: mac, ethertype: EthernetProtocol::Ipv4 }
        .emit(&mut EthernetFrame::new_unchecked(eth));
    let repr = Ipv4Repr {
        src_addr: own.address,
        dst_addr: *to.ip(),
        next_header: IpProtocol::Udp,
        payload_len: UDP + len,
        hop_limit: 64,
    };
    repr.emit(&mut Ipv4Packet::new_unchecked(ip), &ChecksumCapabilities::default());
    let mut udp = UdpPacket::new_unchecked(udp);
    udp.set_src_port(own.port);
    udp.set_dst_port(to.port());
    udp.set_len((UDP + len) as u16);
    udp.set_checksum(0);
}

/// Asks who has `address`: everybody, or the one who had it. `frame` has [`ARP_FRAME`] octets.
pub(super) fn ask(frame: &mut [u8], own: &Own, address: Ipv4Addr, last: Option<EthernetAddress>) {
    let Some((eth, arp)) = frame.split_at_mut_checked(ETHERNET) else { return };
    if arp.len() < ARP_FRAME - ETHERNET {
        return;
    }
    let dst_addr = last.unwrap_or(EthernetAddress::BROADCAST);
    EthernetRepr { src_addr: own.mac, dst_addr, ethertype: EthernetProtocol::Arp }
        .emit(&mut EthernetFrame::new_unchecked(eth));
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: own.mac,
        source_protocol_addr: own.address,
        target_hardware_addr: last.unwrap_or(EthernetAddress([0; 6])),
        target_protocol_addr: address,
    };
    repr.emit(&mut ArpPacket::new_unchecked(arp));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const OWN: Own = Own {
        mac: EthernetAddress([0, 0x16, 0x3e, 0, 0, 1]),
        address: Ipv4Addr::new(10, 0, 0, 11),
        port: 4789,
    };
    const PEER: Own = Own {
        mac: EthernetAddress([0, 0x16, 0x3e, 0, 0, 2]),
        address: Ipv4Addr::new(10, 0, 0, 12),
        port: 4000,
    };

    /// What the peer sends us.
    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = std::vec![0xaa; HEADERS];
        frame.extend_from_slice(payload);
        emit(&mut frame, &PEER, OWN.mac, SocketAddrV4::new(OWN.address, OWN.port), payload.len());
        frame
    }

    fn datagram(len: usize) -> Seen {
        let from = SocketAddrV4::new(PEER.address, PEER.port);
        Seen::Datagram { from, source: PEER.mac, payload: HEADERS..HEADERS + len }
    }

    #[test]
    fn a_datagram_arrives_as_it_was_made() {
        for len in [0, 1, 17, 1472] {
            let frame = frame(&std::vec![7; len]);
            assert_eq!(classify(&frame, false, &OWN), datagram(len));
        }
    }

    #[test]
    fn the_octets_are_those_that_the_standards_say() {
        let frame = frame(&[1, 2, 3]);
        let expected = [
            0, 0x16, 0x3e, 0, 0, 1, 0, 0x16, 0x3e, 0, 0, 2, 8, 0, // Ethernet
            0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0x26, 0xb8, 10, 0, 0, 12, 10, 0, 0, 11, // IPv4
            0x0f, 0xa0, 0x12, 0xb5, 0, 11, 0, 0, // UDP
            1, 2, 3,
        ];
        assert_eq!(frame, expected);
    }

    #[test]
    fn padding_behind_a_short_datagram_is_not_its_payload() {
        let mut frame = frame(&[5; 4]);
        frame.resize(60, 0);
        assert_eq!(classify(&frame, false, &OWN), datagram(4));
    }

    #[test]
    fn a_wrong_checksum_is_found_unless_the_back_end_answers_for_it() {
        let mut frame = frame(&[1, 2, 3, 4]);
        frame[40..42].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(classify(&frame, false, &OWN), Seen::Checksum);
        assert_eq!(classify(&frame, true, &OWN), datagram(4));
        let (from, to) = (PEER.address.into(), OWN.address.into());
        UdpPacket::new_unchecked(&mut frame[34..]).fill_checksum(&from, &to);
        assert_ne!(frame[40..42], [0, 0]);
        assert_eq!(classify(&frame, false, &OWN), datagram(4));
        frame[24] ^= 1;
        assert_eq!(classify(&frame, true, &OWN), Seen::Malformed);
    }

    #[test]
    fn fragments_strangers_and_other_ports_are_told_apart() {
        let with = |change: &dyn Fn(&mut Ipv4Packet<&mut [u8]>)| {
            let mut frame = frame(&[1; 20]);
            let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
            change(&mut ip);
            ip.fill_checksum();
            classify(&frame, false, &OWN)
        };
        assert_eq!(with(&|_| {}), datagram(20));
        assert_eq!(with(&|ip| ip.set_more_frags(true)), Seen::Fragment);
        assert_eq!(with(&|ip| ip.set_frag_offset(64)), Seen::Fragment);
        assert_eq!(with(&|ip| ip.set_dst_addr(Ipv4Addr::new(10, 0, 0, 255))), Seen::Other);
        assert_eq!(with(&|ip| ip.set_next_header(IpProtocol::Icmp)), Seen::Other);
        let mut stray = frame(&[1; 20]);
        stray[5] = 9;
        assert_eq!(classify(&stray, false, &OWN), Seen::Stray);
        let mut port = frame(&[1; 20]);
        port[37] ^= 1;
        assert_eq!(classify(&port, false, &OWN), Seen::Other);
    }

    #[test]
    fn a_question_is_understood_by_the_other_side() {
        let mut frame = [0xaa; ARP_FRAME];
        ask(&mut frame, &PEER, OWN.address, None);
        let seen = Seen::Arp { address: PEER.address, mac: PEER.mac, target: OWN.address };
        assert_eq!(classify(&frame, false, &OWN), seen);
        assert_eq!(frame[..6], [0xff; 6]);
        ask(&mut frame, &PEER, OWN.address, Some(OWN.mac));
        assert_eq!(frame[..6], OWN.mac.0);
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 1]);
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_panics_and_payloads_lie_in_the_frame(
            mut octets in prop::collection::vec(any::<u8>(), 0..200),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            classify(&octets, true, &OWN);
            let mut good = frame(&octets);
            for (at, to) in changes {
                let at = at.index(HEADERS);
                good[at] = to;
            }
            if let Seen::Datagram { payload, .. } = classify(&good, true, &OWN) {
                prop_assert!(good.get(payload).is_some());
            }
            octets.truncate(60);
            emit(&mut octets, &OWN, PEER.mac, SocketAddrV4::new(PEER.address, 1), 1472);
            ask(&mut octets, &OWN, PEER.address, None);
        }
    }
}

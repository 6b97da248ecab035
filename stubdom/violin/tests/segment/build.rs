//! Frames as guests send them, and how smoltcp reads them.

use proptest::prelude::*;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// Some flags of TCP.
pub(crate) const FIN: u8 = 1;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;
pub(crate) const CWR: u8 = 128;

/// What is in a frame in front of its transport header.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) tags: usize,
    pub(crate) v6: bool,
    /// IPv4: 32-bit words of options. IPv6: extension headers.
    pub(crate) options: usize,
    /// The identification of IPv4.
    pub(crate) id: u16,
}

pub(crate) const V4: Around = Around { tags: 0, v6: false, options: 0, id: 7 };
pub(crate) const V6: Around = Around { tags: 0, v6: true, options: 0, id: 0 };

impl Around {
    /// Where the IP header begins.
    pub(crate) fn ip(&self) -> usize {
        14 + 4 * self.tags
    }

    /// Where the transport header begins.
    pub(crate) fn transport(&self) -> usize {
        self.ip() + if self.v6 { 40 + 8 * self.options } else { 20 + 4 * self.options }
    }

    /// A frame with `transport` in it: right in all but the transport's checksum.
    pub(crate) fn frame(&self, protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for tag in 0..self.tags {
            frame.extend([[0x88, 0xa8, 0x20, 5], [0x81, 0, 0, 9]][(tag + 2 - self.tags) % 2]);
        }
        if self.v6 {
            let [l0, l1] = ((transport.len() + 8 * self.options) as u16).to_be_bytes();
            let mut chain: Vec<u8> = [0, 60].into_iter().cycle().take(self.options).collect();
            chain.push(protocol);
            frame.extend([0x86, 0xdd, 0x6a, 0xb1, 2, 3, l0, l1, chain[0], 64]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 2]);
            // Each with four octets of padding (option PadN).
            frame.extend(chain[1..].iter().flat_map(|next| [*next, 0, 1, 4, 0, 0, 0, 0]));
        } else {
            let [l0, l1] = ((20 + 4 * self.options + transport.len()) as u16).to_be_bytes();
            let [i0, i1] = self.id.to_be_bytes();
            let version = 0x45 + self.options as u8;
            frame.extend([8, 0, version, 2, l0, l1, i0, i1, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend([10, 1, 0, 1, 10, 1, 0, 2]);
            frame.extend(vec![1; 4 * self.options]);
            Ipv4Packet::new_unchecked(&mut frame[self.ip()..]).fill_checksum();
        }
        frame.extend(transport);
        frame
    }
}

/// A TCP header with `options` 32-bit words of options and a checksum that means nothing.
pub(crate) fn tcp(sequence: u32, flags: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0x12, 0x34, 0, 80];
    tcp.extend(sequence.to_be_bytes());
    tcp.extend([1, 2, 3, 4, (5 + options as u8) << 4, flags, 1, 0, 0xde, 0xad, 0, 0]);
    tcp.extend(vec![1; 4 * options]);
    tcp.extend(payload);
    tcp
}

pub(crate) fn udp(len: u16, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = len.to_be_bytes();
    [&[0x12, 0x34, 0, 53, l0, l1, 0xde, 0xad], payload].concat()
}

/// Any way to wrap a transport header.
pub(crate) fn around() -> impl Strategy<Value = Around> {
    (0..3usize, any::<bool>(), any::<u16>(), 0..11usize).prop_map(|(tags, v6, id, options)| Around {
        tags,
        v6,
        id,
        options: if v6 { options % 4 } else { options },
    })
}

/// Reads a frame's IP header as smoltcp does, checks it, and returns the addresses and all behind
/// the header and `extensions` octets of extensions.
pub(crate) fn open(frame: &[u8], ip: usize, extensions: usize) -> (IpAddress, IpAddress, &[u8]) {
    if frame[ip - 2..ip] == [0x86, 0xdd] {
        let packet = Ipv6Packet::new_checked(&frame[ip..]).unwrap();
        assert_eq!(packet.total_len(), frame.len() - ip, "the payload length");
        (packet.src_addr().into(), packet.dst_addr().into(), &packet.payload()[extensions..])
    } else {
        let packet = Ipv4Packet::new_checked(&frame[ip..]).unwrap();
        assert_eq!(usize::from(packet.total_len()), frame.len() - ip, "the total length");
        assert!(packet.verify_checksum(), "the header's checksum");
        (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
    }
}

/// Whether smoltcp finds the TCP checksum right.
pub(crate) fn tcp_is_complete(frame: &[u8], around: &Around) -> bool {
    let (src, dst, tcp) = open(frame, around.ip(), if around.v6 { 8 * around.options } else { 0 });
    TcpPacket::new_checked(tcp).unwrap().verify_checksum(&src, &dst)
}

/// The blank checksum that smoltcp expects in a TCP segment of this frame.
pub(crate) fn blank(frame: &[u8], around: &Around) -> u16 {
    let (src, dst, tcp) = open(frame, around.ip(), if around.v6 { 8 * around.options } else { 0 });
    smoltcp::wire::checksum::pseudo_header(&src, &dst, IpProtocol::Tcp, tcp.len() as u32)
}

//! How much of a guest's packet fits into one datagram.

use super::OVERHEAD;

/// Octets of an IPv4 header without options.
pub const IPV4_HEADER_LEN: u16 = 20;
/// Octets of an IPv6 header without extensions.
pub const IPV6_HEADER_LEN: u16 = 40;

const UDP_HEADER_LEN: u16 = 8;
const ETHERNET_HEADER_LEN: u16 = 14;
const VLAN_TAG_LEN: u16 = 4;
/// What every IPv4 link must carry (RFC 791): less is no network.
const SMALLEST_MTU: u16 = 68;

/// The largest MTU, in octets, that guests may be given when datagrams travel over IPv4 on links of
/// `underlay_mtu` octets without being fragmented; room for one VLAN tag is kept. `None` when not
/// even the smallest IPv4 packet (68 octets) would fit.
///
/// A configured MTU above it must be refused with this number.
pub fn largest_inner_mtu(underlay_mtu: u16) -> Option<u16> {
    largest_inner_mtu_over(IPV4_HEADER_LEN, underlay_mtu)
}

/// As [`largest_inner_mtu`], for an underlay whose IP header has `ip_header` octets:
/// [`IPV4_HEADER_LEN`] or [`IPV6_HEADER_LEN`].
pub fn largest_inner_mtu_over(ip_header: u16, underlay_mtu: u16) -> Option<u16> {
    let around =
        ip_header.checked_add(UDP_HEADER_LEN + OVERHEAD as u16 + ETHERNET_HEADER_LEN + VLAN_TAG_LEN)?;
    underlay_mtu.checked_sub(around).filter(|mtu| *mtu >= SMALLEST_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underlay_of_1500_octets_carries_guests_of_1398_and_over_ipv6_of_1378() {
        assert_eq!(largest_inner_mtu(1500), Some(1398));
        assert_eq!(largest_inner_mtu_over(IPV6_HEADER_LEN, 1500), Some(1378));
        assert_eq!(largest_inner_mtu(9000), Some(8898));
    }

    #[test]
    fn an_underlay_that_can_not_carry_the_smallest_packet_has_no_answer() {
        assert_eq!(largest_inner_mtu(170), Some(68));
        assert_eq!(largest_inner_mtu(169), None);
        assert_eq!(largest_inner_mtu(0), None);
        assert_eq!(largest_inner_mtu_over(u16::MAX, u16::MAX), None);
    }

    #[test]
    fn the_largest_frame_with_a_vlan_tag_fills_the_underlay_exactly() {
        let inner = usize::from(largest_inner_mtu(1500).unwrap());
        assert_eq!(inner + 18 + crate::wire::HEADER_LEN + crate::wire::TAG_LEN + 8 + 20, 1500);
    }
}

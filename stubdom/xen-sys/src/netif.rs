//! Network interfaces over shared rings (`io/netif.h`): what travels in the slots. The rings
//! themselves are [`crate::ring`]'s business.
//!
//! Slots are plain octets here, because a slot that another domain wrote is copied out once as
//! octets and only then read as one thing or another.

/// Octets of a slot of the transmit ring: the largest of its request, response and extra info.
pub const TX_SLOT: usize = 12;
/// Octets of a slot of the receive ring.
pub const RX_SLOT: usize = 8;
/// `XEN_NETIF_NR_SLOTS_MIN`: the slots that every back end takes for one packet.
pub const NR_SLOTS_MIN: usize = 18;
/// `XEN_NETIF_MAX_TX_SIZE`: the most octets of one packet.
pub const MAX_TX_SIZE: usize = 0xffff;

/// `NETTXF_csum_blank`: the transport checksum is not computed, only that of the pseudo header.
pub const NETTXF_CSUM_BLANK: u16 = 1 << 0;
/// `NETTXF_data_validated`: the packet's data was checked against its transport checksum.
pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1;
/// `NETTXF_more_data`: the packet goes on in the next request.
pub const NETTXF_MORE_DATA: u16 = 1 << 2;
/// `NETTXF_extra_info`: an extra info slot follows.
pub const NETTXF_EXTRA_INFO: u16 = 1 << 3;

/// `NETRXF_data_validated`.
pub const NETRXF_DATA_VALIDATED: u16 = 1 << 0;
/// `NETRXF_csum_blank`.
pub const NETRXF_CSUM_BLANK: u16 = 1 << 1;
/// `NETRXF_more_data`.
pub const NETRXF_MORE_DATA: u16 = 1 << 2;
/// `NETRXF_extra_info`.
pub const NETRXF_EXTRA_INFO: u16 = 1 << 3;

/// `NETIF_RSP_DROPPED`.
pub const NETIF_RSP_DROPPED: i16 = -2;
/// `NETIF_RSP_ERROR`.
pub const NETIF_RSP_ERROR: i16 = -1;
/// `NETIF_RSP_OKAY`.
pub const NETIF_RSP_OKAY: i16 = 0;
/// `NETIF_RSP_NULL`: no response, where the request was an extra info.
pub const NETIF_RSP_NULL: i16 = 1;

/// `XEN_NETIF_EXTRA_TYPE_GSO`.
pub const EXTRA_TYPE_GSO: u8 = 1;
/// `XEN_NETIF_EXTRA_FLAG_MORE`: one more extra info follows.
pub const EXTRA_FLAG_MORE: u8 = 1;
/// `XEN_NETIF_GSO_TYPE_TCPV4`.
pub const GSO_TYPE_TCPV4: u8 = 1;
/// `XEN_NETIF_GSO_TYPE_TCPV6`.
pub const GSO_TYPE_TCPV6: u8 = 2;

/// `struct netif_tx_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxRequest {
    /// Grant of the page that holds the data.
    pub gref: u32,
    /// First octet within the page.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Echoed in the response.
    pub id: u16,
    /// Octets: of the whole packet in its first request, of the fragment in others.
    pub size: u16,
}

impl TxRequest {
    /// Reads a slot.
    pub const fn from_slot(s: [u8; TX_SLOT]) -> Self {
        let [g0, g1, g2, g3, o0, o1, f0, f1, i0, i1, z0, z1] = s;
        Self {
            gref: u32::from_le_bytes([g0, g1, g2, g3]),
            offset: u16::from_le_bytes([o0, o1]),
            flags: u16::from_le_bytes([f0, f1]),
            id: u16::from_le_bytes([i0, i1]),
            size: u16::from_le_bytes([z0, z1]),
        }
    }

    /// Makes a slot.
    pub const fn to_slot(self) -> [u8; TX_SLOT] {
        let [g0, g1, g2, g3] = self.gref.to_le_bytes();
        let ([o0, o1], [f0, f1]) = (self.offset.to_le_bytes(), self.flags.to_le_bytes());
        let ([i0, i1], [z0, z1]) = (self.id.to_le_bytes(), self.size.to_le_bytes());
        [g0, g1, g2, g3, o0, o1, f0, f1, i0, i1, z0, z1]
    }
}

/// `struct netif_tx_response`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxResponse {
    /// Of the request.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}

impl TxResponse {
    /// Reads a slot.
    pub const fn from_slot(s: [u8; TX_SLOT]) -> Self {
        let [i0, i1, s0, s1, ..] = s;
        Self { id: u16::from_le_bytes([i0, i1]), status: i16::from_le_bytes([s0, s1]) }
    }

    /// Makes a slot; what the response does not use is zero.
    pub const fn to_slot(self) -> [u8; TX_SLOT] {
        let ([i0, i1], [s0, s1]) = (self.id.to_le_bytes(), self.status.to_le_bytes());
        [i0, i1, s0, s1, 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

/// `struct netif_rx_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxRequest {
    /// Echoed in the response.
    pub id: u16,
    /// Grant of a page to write to.
    pub gref: u32,
}

impl RxRequest {
    /// Reads a slot.
    pub const fn from_slot(s: [u8; RX_SLOT]) -> Self {
        let [i0, i1, _, _, g0, g1, g2, g3] = s;
        Self { id: u16::from_le_bytes([i0, i1]), gref: u32::from_le_bytes([g0, g1, g2, g3]) }
    }

    /// Makes a slot.
    pub const fn to_slot(self) -> [u8; RX_SLOT] {
        let ([i0, i1], [g0, g1, g2, g3]) = (self.id.to_le_bytes(), self.gref.to_le_bytes());
        [i0, i1, 0, 0, g0, g1, g2, g3]
    }
}

/// `struct netif_rx_response`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxResponse {
    /// Of the request.
    pub id: u16,
    /// First octet within the page.
    pub offset: u16,
    /// `NETRXF_*`.
    pub flags: u16,
    /// Octets written, or `NETIF_RSP_*` when negative.
    pub status: i16,
}

impl RxResponse {
    /// Reads a slot.
    pub const fn from_slot(s: [u8; RX_SLOT]) -> Self {
        let [i0, i1, o0, o1, f0, f1, s0, s1] = s;
        Self {
            id: u16::from_le_bytes([i0, i1]),
            offset: u16::from_le_bytes([o0, o1]),
            flags: u16::from_le_bytes([f0, f1]),
            status: i16::from_le_bytes([s0, s1]),
        }
    }

    /// Makes a slot.
    pub const fn to_slot(self) -> [u8; RX_SLOT] {
        let ([i0, i1], [o0, o1]) = (self.id.to_le_bytes(), self.offset.to_le_bytes());
        let ([f0, f1], [s0, s1]) = (self.flags.to_le_bytes(), self.status.to_le_bytes());
        [i0, i1, o0, o1, f0, f1, s0, s1]
    }
}

/// `struct netif_extra_info`, as far as it is about segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_*`.
    pub typ: u8,
    /// `XEN_NETIF_EXTRA_FLAG_*`.
    pub flags: u8,
    /// The most octets of payload of a segment.
    pub gso_size: u16,
    /// `XEN_NETIF_GSO_TYPE_*`.
    pub gso_type: u8,
}

impl ExtraInfo {
    /// Reads the first octets of a slot of either ring.
    pub const fn from_slot(s: [u8; RX_SLOT]) -> Self {
        let [typ, flags, z0, z1, gso_type, ..] = s;
        Self { typ, flags, gso_size: u16::from_le_bytes([z0, z1]), gso_type }
    }

    /// Makes a slot; what segmentation does not use is zero.
    pub const fn to_slot(self) -> [u8; RX_SLOT] {
        let [z0, z1] = self.gso_size.to_le_bytes();
        [self.typ, self.flags, z0, z1, self.gso_type, 0, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_laid_out_as_the_header_draws_them() {
        let request =
            TxRequest { gref: 0x0403_0201, offset: 0x0605, flags: 0x0807, id: 0x0a09, size: 0x0c0b };
        assert_eq!(request.to_slot(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(TxRequest::from_slot(request.to_slot()), request);
        let response = TxResponse { id: 0x0201, status: -1 };
        assert_eq!(response.to_slot(), [1, 2, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(TxResponse::from_slot(response.to_slot()), response);
        let request = RxRequest { id: 0x0201, gref: 0x0807_0605 };
        assert_eq!(request.to_slot(), [1, 2, 0, 0, 5, 6, 7, 8]);
        assert_eq!(RxRequest::from_slot(request.to_slot()), request);
        let response = RxResponse { id: 0x0201, offset: 0x0403, flags: 0x0605, status: 0x0807 };
        assert_eq!(response.to_slot(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(RxResponse::from_slot(response.to_slot()), response);
        let extra = ExtraInfo { typ: 1, flags: 2, gso_size: 0x0403, gso_type: 5 };
        assert_eq!(extra.to_slot(), [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(ExtraInfo::from_slot(extra.to_slot()), extra);
    }
}

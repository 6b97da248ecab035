//! The xenstore ring and its messages (`io/xs_wire.h`).

/// Bytes of each of the two rings.
pub const XENSTORE_RING_SIZE: usize = 1024;
/// The most bytes that may follow a header.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// The longest absolute path.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
/// The longest relative path.
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

/// `XS_DIRECTORY`: names below a node.
pub const XS_DIRECTORY: u32 = 1;
/// `XS_READ`: a node's value.
pub const XS_READ: u32 = 2;
/// `XS_WATCH`: events when a node or one below it changes.
pub const XS_WATCH: u32 = 4;
/// `XS_UNWATCH`.
pub const XS_UNWATCH: u32 = 5;
/// `XS_TRANSACTION_START`.
pub const XS_TRANSACTION_START: u32 = 6;
/// `XS_TRANSACTION_END`.
pub const XS_TRANSACTION_END: u32 = 7;
/// `XS_WRITE`: sets a node's value.
pub const XS_WRITE: u32 = 11;
/// `XS_RM`: removes a node and all below it.
pub const XS_RM: u32 = 13;
/// `XS_SET_PERMS`: says who may read and write a node.
pub const XS_SET_PERMS: u32 = 14;
/// `XS_WATCH_EVENT`: what a watch sends.
pub const XS_WATCH_EVENT: u32 = 15;
/// `XS_ERROR`: the answer is an error's name.
pub const XS_ERROR: u32 = 16;

/// `struct xsd_sockmsg`: what stands before each message.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XsdSockmsg {
    /// `XS_*`.
    pub typ: u32,
    /// Comes back in the answer.
    pub req_id: u32,
    /// Transaction, or 0.
    pub tx_id: u32,
    /// Bytes that follow.
    pub len: u32,
}

impl XsdSockmsg {
    /// Bytes of a header.
    pub const SIZE: usize = size_of::<Self>();

    /// The header as it goes over the ring.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words = [self.typ, self.req_id, self.tx_id, self.len];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header as it came over the ring.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        XsdSockmsg { typ: word(0), req_id: word(4), tx_id: word(8), len: word(12) }
    }
}

/// `struct xenstore_domain_interface`. Both ends write to it: access it through raw pointers.
#[repr(C)]
pub struct XenstoreDomainInterface {
    /// Requests to the daemon.
    pub req: [u8; XENSTORE_RING_SIZE],
    /// Answers and watch events.
    pub rsp: [u8; XENSTORE_RING_SIZE],
    /// Written by the daemon.
    pub req_cons: u32,
    /// Written by us.
    pub req_prod: u32,
    /// Written by us.
    pub rsp_cons: u32,
    /// Written by the daemon.
    pub rsp_prod: u32,
    /// What the daemon can do.
    pub server_features: u32,
    /// 0 in the steady state.
    pub connection: u32,
    /// What the daemon has to complain of.
    pub error: u32,
}

const _: () = assert!(XsdSockmsg::SIZE == 16);
const _: () = assert!(core::mem::offset_of!(XenstoreDomainInterface, req_cons) == 2048);
const _: () = assert!(core::mem::offset_of!(XenstoreDomainInterface, rsp_prod) == 2060);
const _: () = assert!(core::mem::offset_of!(XenstoreDomainInterface, error) == 2072);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = XsdSockmsg { typ: XS_READ, req_id: 7, tx_id: 0, len: 0x0102_0304 };
        let bytes = header.to_bytes();
        assert_eq!(bytes[0], 2);
        assert_eq!(bytes[12..], [4, 3, 2, 1]);
        assert_eq!(XsdSockmsg::from_bytes(&bytes), header);
    }
}

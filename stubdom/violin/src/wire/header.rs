//! The header of 40 octets.

use core::fmt;

use crate::id::{Epoch, NetworkId, SwitchId};

/// The version of this wire format. A switch of another version is told apart by
/// [`Error::Version`].
pub const VERSION: u8 = 1;
/// Octets of the header.
pub const HEADER_LEN: usize = field::END;
/// Octets of the tag after what is sealed, and of the MAC after a handshake message.
pub const TAG_LEN: usize = 16;
/// What sealing adds to a frame, in octets.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

mod field {
    use core::ops::Range;

    pub(super) const VERSION: usize = 0;
    pub(super) const KIND: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const RESERVED: usize = 3;
    pub(super) const NETWORK: Range<usize> = 4..8;
    pub(super) const SOURCE: Range<usize> = 8..16;
    pub(super) const DESTINATION: Range<usize> = 16..24;
    pub(super) const EPOCH: Range<usize> = 24..28;
    pub(super) const KEY: Range<usize> = 28..32;
    pub(super) const COUNTER: Range<usize> = 32..40;
    pub(super) const END: usize = 40;
}

/// Why octets are not a datagram of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than the header and what must follow it.
    Truncated,
    /// Of this version of the format, which is not ours: update the older host.
    Version(u8),
    /// A kind or a flag that does not exist, or a field that must be zero and is not.
    Malformed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a datagram shorter than its header says"),
            Self::Version(theirs) => write!(
                f,
                "a datagram of version {theirs}, where this switch speaks version {VERSION}: update the older host"
            ),
            Self::Malformed => f.write_str("a datagram with a kind, flag or field that does not exist"),
        }
    }
}

impl core::error::Error for Error {}

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First message of a handshake.
    Initiation,
    /// Second and last message of a handshake.
    Response,
    /// A guest's Ethernet frame, sealed.
    Frame,
    /// A message between switches, sealed.
    Control,
    /// A message of a group snapshot, sealed.
    Group,
    /// Nothing that this version knows.
    Unknown(u8),
}

impl From<u8> for Kind {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::Initiation,
            2 => Self::Response,
            3 => Self::Frame,
            4 => Self::Control,
            5 => Self::Group,
            other => Self::Unknown(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> u8 {
        match kind {
            Kind::Initiation => 1,
            Kind::Response => 2,
            Kind::Frame => 3,
            Kind::Control => 4,
            Kind::Group => 5,
            Kind::Unknown(other) => other,
        }
    }
}

/// What is said about a guest's frame. The same bits as the netif flags that they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Nothing to be said: checksums are in the frame and were not looked at.
    pub const NONE: Flags = Flags(0);
    /// The TCP or UDP checksum in the frame was not computed; the seal has protected the frame.
    pub const CHECKSUM_BLANK: Flags = Flags(1);
    /// The frame is known to be intact: its receiver need not verify the checksum.
    pub const DATA_VALIDATED: Flags = Flags(2);
    const ALL: u8 = 3;

    /// Both.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are said.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A datagram's octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Datagram<T> {
    /// Octets that are known to hold a header.
    ///
    /// # Errors
    /// [`Error::Version`] when the first octet is not [`VERSION`], whatever follows;
    /// [`Error::Truncated`] when shorter than a header and a tag. With `Ok`, no getter panics.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let octets = buffer.as_ref();
        match octets.get(field::VERSION) {
            None => Err(Error::Truncated),
            Some(&version) if version != VERSION => Err(Error::Version(version)),
            Some(_) if octets.len() < OVERHEAD => Err(Error::Truncated),
            Some(_) => Ok(Self { buffer }),
        }
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.octets()[field::KIND].into()
    }

    /// The flags, unknown ones included.
    pub fn flags(&self) -> Flags {
        Flags(self.octets()[field::FLAGS])
    }

    /// The octet that must be zero.
    fn reserved(&self) -> u8 {
        self.octets()[field::RESERVED]
    }

    /// The network that the frame belongs to.
    pub fn network(&self) -> NetworkId {
        NetworkId(u32::from_be_bytes(self.array(field::NETWORK)))
    }

    /// The switch that claims to have sent it.
    pub fn source(&self) -> SwitchId {
        SwitchId(u64::from_be_bytes(self.array(field::SOURCE)))
    }

    /// The switch that it is meant for.
    pub fn destination(&self) -> SwitchId {
        SwitchId(u64::from_be_bytes(self.array(field::DESTINATION)))
    }

    /// The sending guest's epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch(u32::from_be_bytes(self.array(field::EPOCH)))
    }

    /// The index that its receiver gave the key.
    pub fn key(&self) -> u32 {
        u32::from_be_bytes(self.array(field::KEY))
    }

    /// Its number under this key, which is the nonce.
    pub fn counter(&self) -> u64 {
        u64::from_be_bytes(self.array(field::COUNTER))
    }

    fn octets(&self) -> &[u8] {
        self.buffer.as_ref()
    }

    fn array<const N: usize>(&self, range: core::ops::Range<usize>) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.octets()[range]);
        array
    }
}

/// A header, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The sender.
    pub source: SwitchId,
    /// The receiver.
    pub destination: SwitchId,
    /// What the datagram is.
    pub body: Body,
}

/// What a datagram is, with the header's fields that only it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// First message of a handshake.
    Initiation,
    /// Second and last message of a handshake.
    Response {
        /// The index that the initiator gave its key to be.
        key: u32,
    },
    /// A guest's frame, sealed.
    Frame {
        /// The index that the receiver gave the key.
        key: u32,
        /// The datagram's number under this key.
        counter: u64,
        /// The frame's network.
        network: NetworkId,
        /// The sending guest's epoch.
        epoch: Epoch,
        /// What is said about the frame.
        flags: Flags,
    },
    /// A message between switches, sealed.
    Control {
        /// The index that the receiver gave the key.
        key: u32,
        /// The datagram's number under this key.
        counter: u64,
    },
    /// A message of a group snapshot, sealed.
    Group {
        /// The index that the receiver gave the key.
        key: u32,
        /// The datagram's number under this key.
        counter: u64,
    },
}

impl Repr {
    /// Understands a header.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not exactly what [`emit`](Self::emit) would have written.
    pub fn parse<T: AsRef<[u8]>>(datagram: &Datagram<T>) -> Result<Self, Error> {
        let (key, counter) = (datagram.key(), datagram.counter());
        let (network, epoch, flags) = (datagram.network(), datagram.epoch(), datagram.flags());
        let plain = network == NetworkId(0) && epoch == Epoch(0) && flags == Flags::NONE;
        let body = match datagram.kind() {
            Kind::Initiation if plain && key == 0 && counter == 0 => Body::Initiation,
            Kind::Response if plain && counter == 0 => Body::Response { key },
            Kind::Frame if flags.0 & !Flags::ALL == 0 => Body::Frame { key, counter, network, epoch, flags },
            Kind::Control if plain => Body::Control { key, counter },
            Kind::Group if plain => Body::Group { key, counter },
            _ => return Err(Error::Malformed),
        };
        if datagram.reserved() != 0 {
            return Err(Error::Malformed);
        }
        Ok(Self { source: datagram.source(), destination: datagram.destination(), body })
    }

    /// Octets that [`emit`](Self::emit) writes: the header, without what follows.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    pub fn emit(&self, header: &mut [u8; HEADER_LEN]) {
        let (kind, network, epoch, flags, key, counter) = match self.body {
            Body::Initiation => (Kind::Initiation, NetworkId(0), Epoch(0), Flags::NONE, 0, 0),
            Body::Response { key } => (Kind::Response, NetworkId(0), Epoch(0), Flags::NONE, key, 0),
            Body::Frame { key, counter, network, epoch, flags } => {
                (Kind::Frame, network, epoch, flags, key, counter)
            }
            Body::Control { key, counter } => {
                (Kind::Control, NetworkId(0), Epoch(0), Flags::NONE, key, counter)
            }
            Body::Group { key, counter } => (Kind::Group, NetworkId(0), Epoch(0), Flags::NONE, key, counter),
        };
        header[field::VERSION] = VERSION;
        header[field::KIND] = kind.into();
        header[field::FLAGS] = flags.0;
        header[field::RESERVED] = 0;
        header[field::NETWORK].copy_from_slice(&network.0.to_be_bytes());
        header[field::SOURCE].copy_from_slice(&self.source.0.to_be_bytes());
        header[field::DESTINATION].copy_from_slice(&self.destination.0.to_be_bytes());
        header[field::EPOCH].copy_from_slice(&epoch.0.to_be_bytes());
        header[field::KEY].copy_from_slice(&key.to_be_bytes());
        header[field::COUNTER].copy_from_slice(&counter.to_be_bytes());
    }
}

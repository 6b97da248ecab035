//! What callers say, and why they are refused.

use core::fmt;

use crate::id::{Epoch, NetworkId};
use crate::wire::Flags;

/// What is to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A guest's Ethernet frame.
    Frame {
        /// The network that it belongs to.
        network: NetworkId,
        /// The sending guest's epoch.
        epoch: Epoch,
        /// What is said about it.
        flags: Flags,
    },
    /// A message between switches; not an empty one.
    Control,
    /// A message of a group snapshot; not an empty one.
    Group,
}

/// Why something was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSealed {
    /// There is no session (any longer). A handshake has begun: call
    /// [`Sessions::poll_transmit`](super::Sessions::poll_transmit), and try again when
    /// [`Opened::Established`](super::Opened::Established)
    /// was returned.
    NoSession,
    /// Header, payload and tag are longer than the buffer.
    TooLong,
    /// There is no such peer.
    UnknownPeer,
}

impl fmt::Display for NotSealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSession => "no session with the peer yet; a handshake was begun",
            Self::TooLong => "too long for its buffer",
            Self::UnknownPeer => "no such peer",
        })
    }
}

impl core::error::Error for NotSealed {}

/// Why a peer was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// As many peers as were given to [`Sessions::new`](super::Sessions::new) are there: remove one, or allow more.
    Full,
    /// It is this switch's own key.
    OwnKey,
    /// Another key has the same id: make a new key for this peer.
    IdTaken,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there are as many peers as this switch allows: remove one or allow more",
            Self::OwnKey => "this is the switch's own key: give its peer's",
            Self::IdTaken => "another peer's key has the same id: make a new key for this peer",
        })
    }
}

impl core::error::Error for AddError {}

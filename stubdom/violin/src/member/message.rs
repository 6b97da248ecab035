//! The control messages between switches: postcard, one a datagram.
//!
//! A message is a [`Header`], then what its [`Kind`] asks for. It travels sealed, so the sender's
//! name is known to be true; everything else is what the sender claims. [`parse`] lets nothing pass
//! that is cut, too long, or names what can't be sent to.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::record::{Member, Networks, Stamp, sendable};
use crate::id::SwitchId;

/// The longest message, in octets: fits the underlay with seal and headers.
pub const MESSAGE_MAX: usize = 1200;

/// Hints in one message: 18 of at most 52 octets fit beside a header of at most 45 and a record of at
/// most 213.
pub(super) const HINTS_MAX: usize = 18;

/// What all messages say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// How new the sender's record is.
    pub(super) stamp: Stamp,
    /// The newest record of the receiver that the sender holds: zero for none. An acknowledgement,
    /// and how a switch learns that it has forgotten a later life of its own.
    pub(super) you: Stamp,
    /// Milliseconds between the sender's heartbeats, and more if its machine is slow: they may be late.
    pub(super) every_ms: u16,
    /// A hash of the names of all that the sender sees as being there, itself included.
    pub(super) view: u64,
    pub(super) kind: Kind,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// "This is me": a record follows. Answered by `Ack`, and with `list` by hints.
    Announce { list: bool },
    /// The answer: the answerer's record follows, then hints whom it sees. A long list is several of
    /// these, and any of them may come first.
    Ack,
    /// "I'm still here."
    Heartbeat,
    /// "I'm going." Answered by `LeaveAck`.
    Leave,
    /// "So I heard."
    LeaveAck,
}

/// What a switch says of itself; with the stamp of the header it makes a [`Member`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) key: [u8; 32],
    pub(super) at: SocketAddr,
    pub(super) networks: Networks,
}

/// Whom one may call: not more than that, as only a member's own word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hint {
    pub(super) key: [u8; 32],
    pub(super) at: SocketAddr,
}

/// A message that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Announce { record: Record, list: bool },
    Ack { record: Record, hints: Hints<'a> },
    Heartbeat,
    Leave,
    LeaveAck,
}

/// The hints of a message, all checked to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hints<'a>(&'a [u8]);

impl Iterator for Hints<'_> {
    type Item = Hint;

    fn next(&mut self) -> Option<Hint> {
        let (hint, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(hint)
    }
}

impl Record {
    pub(super) fn of(member: &Member) -> Self {
        Self { key: member.key, at: member.at, networks: member.networks.clone() }
    }

    pub(super) fn into_member(self, id: SwitchId, stamp: Stamp) -> Member {
        let Stamp { incarnation, version } = stamp;
        Member { id, key: self.key, at: self.at, incarnation, version, networks: self.networks }
    }

    fn check(&self) -> Option<()> {
        let sorted = self.networks.windows(2).all(|pair| pair.first() < pair.last());
        (sorted && sendable(&self.at)).then_some(())
    }
}

/// A message that is well-formed and means something; none otherwise.
pub(super) fn parse(message: &[u8]) -> Option<(Header, Body<'_>)> {
    if message.len() > MESSAGE_MAX {
        return None;
    }
    let (header, rest) = postcard::take_from_bytes::<Header>(message).ok()?;
    let record = || {
        let (record, rest) = postcard::take_from_bytes::<Record>(rest).ok()?;
        record.check()?;
        Some((record, hints(rest)?))
    };
    let alone = |body| rest.is_empty().then_some(body);
    let body = match header.kind {
        Kind::Announce { list } => match record()? {
            (record, Hints([])) => Body::Announce { record, list },
            _ => return None,
        },
        Kind::Ack => {
            let (record, hints) = record()?;
            Body::Ack { record, hints }
        }
        Kind::Heartbeat => alone(Body::Heartbeat)?,
        Kind::Leave => alone(Body::Leave)?,
        Kind::LeaveAck => alone(Body::LeaveAck)?,
    };
    Some((header, body))
}

fn hints(octets: &[u8]) -> Option<Hints<'_>> {
    let mut hints = Hints(octets);
    let mut count = 0;
    while !hints.0.is_empty() {
        let hint = hints.next()?;
        count += 1;
        if count > HINTS_MAX || !sendable(&hint.at) {
            return None;
        }
    }
    Some(Hints(octets))
}

/// Writes messages into a buffer, part by part.
pub(super) struct Emit<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Emit<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Appends a part; none when the buffer is too short for it.
    pub(super) fn put<T: Serialize>(&mut self, part: &T) -> Option<()> {
        let free = self.out.get_mut(self.len..)?;
        let used = postcard::to_slice(part, free).ok()?.len();
        self.len = self.len.saturating_add(used);
        Some(())
    }

    /// Octets written.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

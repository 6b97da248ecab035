//! The handshake's datagrams: what is in them around Noise.
//!
//! The payload of both messages is the index that the sender gives the new key, its incarnation and
//! the number of the message. Header and Noise message are followed by a MAC that whoever knows the
//! receiver's public key can make (as WireGuard's `mac1`): what has none is dropped before any
//! x25519.

use core::net::SocketAddr;

use x25519_dalek::StaticSecret;

use super::key::{Agreed, Session};
use super::noise::{self, INITIATION_OVERHEAD, Initiator, KEY_LEN, RESPONSE_OVERHEAD, Refused, Responder};
use super::{RETRY_MOST_MS, RETRY_MS};
use crate::wire::{HEADER_LEN, Repr, TAG_LEN};

/// Octets of a payload: index, incarnation, number.
const PAYLOAD_LEN: usize = 4 + 8 + 8;
/// Octets of the first message.
pub(super) const INITIATION_LEN: usize = HEADER_LEN + INITIATION_OVERHEAD + PAYLOAD_LEN + TAG_LEN;
/// Octets of the second message.
pub(super) const RESPONSE_LEN: usize = HEADER_LEN + RESPONSE_OVERHEAD + PAYLOAD_LEN + TAG_LEN;

const PROLOGUE: &[u8] = b"luthier violin 1";
const MAC_LABEL: &[u8] = b"luthier violin 1 mac";

/// When a handshake message was made: compared by incarnation first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) incarnation: u64,
    pub(super) number: u64,
}

/// A payload.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub(super) index: u32,
    pub(super) stamp: Stamp,
}

impl Said {
    fn emit(self, payload: &mut [u8; PAYLOAD_LEN]) {
        let (index, stamp) = payload.split_at_mut(4);
        let (incarnation, number) = stamp.split_at_mut(8);
        index.copy_from_slice(&self.index.to_be_bytes());
        incarnation.copy_from_slice(&self.stamp.incarnation.to_be_bytes());
        number.copy_from_slice(&self.stamp.number.to_be_bytes());
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let (index, stamp) = payload.split_first_chunk()?;
        let (incarnation, number) = stamp.split_first_chunk()?;
        let stamp = Stamp {
            incarnation: u64::from_be_bytes(*incarnation),
            number: u64::from_be_bytes(number.try_into().ok()?),
        };
        Some(Self { index: u32::from_be_bytes(*index), stamp })
    }
}

/// Our wish for a session.
pub(super) struct Attempt {
    pub(super) started: u64,
    /// When the (next) first message is to be sent.
    pub(super) next_at: u64,
    /// First messages sent.
    pub(super) tries: u32,
    /// What the last first message waits with, and the index in it.
    pub(super) waiting: Option<(Initiator, u32)>,
}

impl Attempt {
    pub(super) fn new(now: u64) -> Self {
        Self { started: now, next_at: now, tries: 0, waiting: None }
    }

    /// A first message was sent. The time to the next doubles, up to a bound, and is blurred by up to
    /// a quarter so that switches that start together don't stay together.
    pub(super) fn sent(&mut self, now: u64, initiator: Initiator, index: u32, random: u32) {
        let wait = (RETRY_MS << self.tries.min(10)).min(RETRY_MOST_MS);
        let blur = u64::from(random) % (wait / 2);
        self.next_at = now.saturating_add(wait - wait / 4 + blur);
        self.tries = self.tries.saturating_add(1);
        self.waiting = Some((initiator, index));
    }
}

/// A second message that waits to be sent.
pub(super) struct Answer {
    pub(super) to: SocketAddr,
    pub(super) datagram: [u8; RESPONSE_LEN],
}

/// The key of the MAC on handshakes with the owner of a public key.
pub(super) fn mac_key(public: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
    noise::hash(&[MAC_LABEL, public])
}

pub(super) fn mac(key: &[u8; KEY_LEN], octets: &[u8]) -> [u8; TAG_LEN] {
    let mut mac = [0; TAG_LEN];
    for (octet, hash) in mac.iter_mut().zip(noise::hmac(key, &[octets])) {
        *octet = hash;
    }
    mac
}

/// The MAC of a handshake datagram, if it is right.
pub(super) fn checked_mac(key: &[u8; KEY_LEN], datagram: &[u8]) -> Option<[u8; TAG_LEN]> {
    let (octets, claimed) = datagram.split_last_chunk::<TAG_LEN>()?;
    let right = mac(key, octets);
    let difference = right.iter().zip(claimed).fold(0, |all, (one, other)| all | (one ^ other));
    (difference == 0).then_some(right)
}

/// Writes the header and the MAC around what `write` writes into the Noise message.
fn emit<T>(
    header: Repr,
    receiver: &[u8; KEY_LEN],
    datagram: &mut [u8],
    write: impl FnOnce(&mut [u8]) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let (octets, tag) = datagram.split_last_chunk_mut::<TAG_LEN>().ok_or(Refused::Forged)?;
    let (head, message) = octets.split_first_chunk_mut::<HEADER_LEN>().ok_or(Refused::Forged)?;
    header.emit(head);
    let written = write(message)?;
    *tag = mac(&mac_key(receiver), octets);
    Ok(written)
}

/// The Noise message of a datagram.
fn message(datagram: &mut [u8]) -> Result<&mut [u8], Refused> {
    let end = datagram.len().checked_sub(TAG_LEN).ok_or(Refused::Forged)?;
    datagram.get_mut(HEADER_LEN..end).ok_or(Refused::Forged)
}

/// The place of the payload that follows `before` octets of a Noise message.
fn payload(message: &mut [u8], before: usize) -> Result<&mut [u8; PAYLOAD_LEN], Refused> {
    message.get_mut(before..).and_then(<[u8]>::first_chunk_mut).ok_or(Refused::Forged)
}

/// Writes the first message.
pub(super) fn initiate(
    own: &StaticSecret,
    ephemeral: [u8; KEY_LEN],
    responder: &[u8; KEY_LEN],
    header: Repr,
    said: Said,
    datagram: &mut [u8; INITIATION_LEN],
) -> Result<Initiator, Refused> {
    emit(header, responder, datagram, |message| {
        said.emit(payload(message, INITIATION_OVERHEAD - TAG_LEN)?);
        Initiator::new(own, StaticSecret::from(ephemeral), responder, PROLOGUE, message)
    })
}

/// Reads the first message, which must come from the holder of `expected`.
pub(super) fn read_initiation(
    own: &StaticSecret,
    expected: &[u8; KEY_LEN],
    datagram: &mut [u8],
) -> Result<(Said, Responder), Refused> {
    let (payload, responder) = Responder::new(own, expected, PROLOGUE, message(datagram)?)?;
    Ok((Said::parse(payload).ok_or(Refused::Forged)?, responder))
}

/// Writes the second message and makes the session of the responder.
pub(super) fn respond(
    now: u64,
    responder: Responder,
    ephemeral: [u8; KEY_LEN],
    initiator: &[u8; KEY_LEN],
    header: Repr,
    (theirs, ours): (Said, Said),
    datagram: &mut [u8; RESPONSE_LEN],
) -> Result<Session, Refused> {
    let keys = emit(header, initiator, datagram, |message| {
        ours.emit(payload(message, KEY_LEN)?);
        responder.respond(&StaticSecret::from(ephemeral), message)
    })?;
    let incarnation = theirs.stamp.incarnation;
    let agreed = Agreed { local: ours.index, remote: theirs.index, incarnation, initiator: false };
    Ok(Session::new(now, agreed, &keys))
}

/// Reads the second message and makes the session of the initiator.
pub(super) fn read_response(
    now: u64,
    own: &StaticSecret,
    (initiator, index): &(Initiator, u32),
    datagram: &mut [u8],
) -> Result<(Stamp, Session), Refused> {
    let (payload, keys) = initiator.finish(own, message(datagram)?)?;
    let theirs = Said::parse(payload).ok_or(Refused::Forged)?;
    let incarnation = theirs.stamp.incarnation;
    let agreed = Agreed { local: *index, remote: theirs.index, incarnation, initiator: true };
    Ok((theirs.stamp, Session::new(now, agreed, &keys)))
}

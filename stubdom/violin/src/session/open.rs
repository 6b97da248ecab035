//! What came from the network: the checks in the order that the module's documentation gives.

use core::net::SocketAddr;

use super::PRECEDENCE_TRIES;
use super::counters::Reason;
use super::handshake::{self, Answer, INITIATION_LEN, RESPONSE_LEN};
use super::noise::Refused;
use super::peer::Slot;
use super::replay::Seen;
use super::sessions::Sessions;
use crate::id::{Epoch, NetworkId, PeerId};
use crate::wire::{Body, Datagram, Error, Flags, HEADER_LEN, Repr, TAG_LEN};

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// A guest's frame.
    Frame {
        /// Who sent it.
        peer: PeerId,
        /// The network that it belongs to.
        network: NetworkId,
        /// The sending guest's epoch.
        epoch: Epoch,
        /// What is said about it.
        flags: Flags,
        /// The Ethernet frame.
        payload: &'a mut [u8],
    },
    /// A message between switches.
    Control {
        /// Who sent it.
        peer: PeerId,
        /// The message.
        payload: &'a mut [u8],
    },
    /// A message of a group snapshot.
    Group {
        /// Who sent it.
        peer: PeerId,
        /// The message.
        payload: &'a mut [u8],
    },
    /// A session was made or confirmed: what was not sealed for want of one can be now. (When a
    /// frame or a message confirms a session, that is what is returned.)
    Established {
        /// With whom.
        peer: PeerId,
    },
    /// The peer is there and says nothing.
    Alive {
        /// Who.
        peer: PeerId,
    },
    /// A handshake was answered: [`Sessions::poll_transmit`] has the answer.
    Answer {
        /// Whose.
        peer: PeerId,
    },
    /// Nothing that may be believed. It has been counted.
    Dropped(Reason),
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::Version(_) => Self::Version,
            Error::Malformed => Self::Malformed,
        }
    }
}

impl From<Refused> for Reason {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Forged => Self::Forged,
            Refused::WrongKey => Self::WrongKey,
        }
    }
}

/// The peer that a datagram is counted for, and why it was dropped.
type Drop = (Option<PeerId>, Reason);

impl Sessions {
    /// Looks at a datagram that came from `from`, and opens it in place. When it is dropped, what is
    /// left in `datagram` is of no use.
    pub fn open<'a>(&mut self, now_ms: u64, from: SocketAddr, datagram: &'a mut [u8]) -> Opened<'a> {
        let now = self.at(now_ms);
        match self.opened(now, from, datagram) {
            Ok(opened) => opened,
            Err((peer, reason)) => Opened::Dropped(self.count(peer, reason)),
        }
    }

    fn opened<'a>(&mut self, now: u64, from: SocketAddr, datagram: &'a mut [u8]) -> Result<Opened<'a>, Drop> {
        let nobody = |error: Error| (None, error.into());
        let header = Repr::parse(&Datagram::new_checked(&*datagram).map_err(nobody)?).map_err(nobody)?;
        if header.destination != self.id {
            return Err((None, Reason::NotForUs));
        }
        match header.body {
            Body::Initiation => self.initiation(now, from, header, datagram),
            Body::Response { key } => self.response(now, from, header, key, datagram),
            Body::Frame { key, counter, network, epoch, flags } => {
                let (peer, _, payload) = self.sealed(now, from, header, (key, counter), datagram)?;
                Ok(Opened::Frame { peer, network, epoch, flags, payload })
            }
            Body::Control { key, counter } | Body::Group { key, counter } => {
                let (peer, confirmed, payload) = self.sealed(now, from, header, (key, counter), datagram)?;
                Ok(match (payload.is_empty(), header.body, confirmed) {
                    (false, Body::Group { .. }, _) => Opened::Group { peer, payload },
                    (false, ..) => Opened::Control { peer, payload },
                    (true, _, true) => Opened::Established { peer },
                    (true, _, false) => Opened::Alive { peer },
                })
            }
        }
    }

    /// Opens what is sealed; says whether it has confirmed a session.
    fn sealed<'a>(
        &mut self,
        now: u64,
        from: SocketAddr,
        header: Repr,
        (key, counter): (u32, u64),
        datagram: &'a mut [u8],
    ) -> Result<(PeerId, bool, &'a mut [u8]), Drop> {
        let truncated = (None, Reason::Truncated);
        let (head, rest) = datagram.split_first_chunk_mut::<HEADER_LEN>().ok_or(truncated)?;
        let (payload, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(truncated)?;
        let unknown = (None, Reason::UnknownPeer);
        let id = self.peer(header.source).ok_or(unknown)?;
        let peer = self.slot_mut(id).ok_or(unknown)?;
        let drop = |reason| (Some(id), reason);
        if !peer.has_session() {
            return Err(drop(Reason::NoSession));
        }
        let (slot, session) = peer.session(key).ok_or(drop(Reason::StaleKey))?;
        if now >= session.ends_at() {
            return Err(drop(Reason::StaleKey));
        }
        if !session.open(counter, head, payload, tag) {
            return Err(drop(Reason::Forged));
        }
        let seen = session.accept(counter);
        if seen == Seen::Replay {
            return Err(drop(Reason::Replay));
        }
        // From here on it is genuine and new.
        peer.counters.opened += 1;
        peer.counters.opened_octets += payload.len() as u64;
        peer.heard();
        let confirmed = slot == Slot::Next;
        match slot {
            Slot::Next => {
                peer.counters.established += 1;
                self.with(id, |peer| peer.confirmed());
            }
            Slot::Current => peer.heard_current(),
            Slot::Previous => {}
        }
        if seen == Seen::Newest && slot != Slot::Previous {
            self.moved(id, from);
        }
        Ok((id, confirmed, payload))
    }

    /// A first message.
    fn initiation<'a>(
        &mut self,
        now: u64,
        from: SocketAddr,
        header: Repr,
        datagram: &mut [u8],
    ) -> Result<Opened<'a>, Drop> {
        let (id, mac) = self.cheaply(header, INITIATION_LEN, datagram)?;
        let drop = |reason| (Some(id), reason);
        let unknown = (None, Reason::UnknownPeer);
        if self.slot(id).is_some_and(|peer| peer.last_initiation == mac) {
            return Err(drop(Reason::HandshakeReplay));
        }
        let key = self.limited(now, id)?;
        let (theirs, responder) = handshake::read_initiation(&self.secret, &key, datagram)
            .map_err(|refused| drop(refused.into()))?;
        let peer = self.slot(id).ok_or(unknown)?;
        if theirs.stamp <= peer.newest {
            if theirs.stamp.incarnation < peer.newest.incarnation {
                // Its clock may have been set back: a handshake of ours will tell.
                self.with(id, |peer| peer.want_handshake(now));
            }
            return Err(drop(Reason::HandshakeReplay));
        }
        let tries = peer.attempt.as_ref().map_or(0, |attempt| attempt.tries);
        if (1..=PRECEDENCE_TRIES).contains(&tries) && self.id < header.source {
            return Err(drop(Reason::HandshakeCrossed));
        }
        let (ours, ephemeral) = self.say();
        let body = Body::Response { key: theirs.index };
        let header = Repr { source: self.id, destination: header.source, body };
        let mut answer = Answer { to: from, datagram: [0; RESPONSE_LEN] };
        let session =
            handshake::respond(now, responder, ephemeral, &key, header, (theirs, ours), &mut answer.datagram)
                .map_err(|refused| drop(refused.into()))?;
        self.with(id, |peer| {
            peer.newest = theirs.stamp;
            peer.last_initiation = mac;
            // One handshake will do; after many tries in vain, rather two than none.
            peer.attempt.take_if(|attempt| attempt.tries <= PRECEDENCE_TRIES);
            peer.answered(session, answer);
        });
        Ok(Opened::Answer { peer: id })
    }

    /// A second message.
    fn response<'a>(
        &mut self,
        now: u64,
        from: SocketAddr,
        header: Repr,
        key: u32,
        datagram: &mut [u8],
    ) -> Result<Opened<'a>, Drop> {
        let (id, _) = self.cheaply(header, RESPONSE_LEN, datagram)?;
        let drop = |reason| (Some(id), reason);
        let unasked = drop(Reason::HandshakeUnasked);
        let waits = |sessions: &Self| {
            let waiting = sessions.slot(id)?.attempt.as_ref()?.waiting.as_ref()?;
            (waiting.1 == key).then_some(())
        };
        waits(self).ok_or(unasked)?;
        self.limited(now, id)?;
        let waiting =
            self.slot(id).and_then(|peer| peer.attempt.as_ref()?.waiting.as_ref()).ok_or(unasked)?;
        let (stamp, session) = handshake::read_response(now, &self.secret, waiting, datagram)
            .map_err(|refused| drop(refused.into()))?;
        self.with(id, |peer| {
            // Fresh, as it answers our ephemeral key: it may even go back.
            peer.newest = stamp;
            peer.counters.established += 1;
            peer.made(now, session);
        });
        self.moved(id, from);
        Ok(Opened::Established { peer: id })
    }

    /// Checks that cost little: length, MAC, peer.
    fn cheaply(
        &mut self,
        header: Repr,
        len: usize,
        datagram: &[u8],
    ) -> Result<(PeerId, [u8; TAG_LEN]), Drop> {
        if datagram.len() != len {
            let short = datagram.len() < len;
            return Err((None, if short { Reason::Truncated } else { Reason::Malformed }));
        }
        let mac = handshake::checked_mac(&self.mac_key, datagram).ok_or((None, Reason::Forged))?;
        let peer = self.peer(header.source).ok_or((None, Reason::UnknownPeer))?;
        Ok((peer, mac))
    }

    /// Whether there is time for another handshake with this peer; its key.
    fn limited(&mut self, now: u64, id: PeerId) -> Result<[u8; 32], Drop> {
        let limit = (Some(id), Reason::HandshakeLimit);
        let peer = self.slot_mut(id).ok_or((None, Reason::UnknownPeer))?;
        let key = peer.key;
        if !peer.handshakes.take(now) || !self.answers.take(now) {
            return Err(limit);
        }
        Ok(key)
    }

    /// A genuine datagram came from there.
    fn moved(&mut self, id: PeerId, from: SocketAddr) {
        if let Some(peer) = self.slot_mut(id)
            && peer.address != from
        {
            peer.address = from;
            peer.counters.roamed += 1;
        }
    }
}

//! What is known of one peer: its keys, the handshake under way, its timers.

use core::net::SocketAddr;

use super::counters::Counters;
use super::handshake::{Answer, Attempt, Stamp};
use super::key::Session;
use super::limit::Bucket;
use super::noise::KEY_LEN;
use super::{
    CONFIRM_AGAIN_MS, CONFIRMS, GIVE_UP_AFTER_MS, PEER_HANDSHAKES_PER_SECOND, SILENCE_MS, WAIT_FOR_CONFIRM_MS,
};
use crate::id::SwitchId;
use crate::wire::TAG_LEN;

/// Which of a peer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Current,
    Previous,
    Next,
}

/// A peer.
pub(super) struct Peer {
    pub(super) id: SwitchId,
    pub(super) key: [u8; KEY_LEN],
    pub(super) address: SocketAddr,
    /// What we seal with.
    pub(super) current: Option<Session>,
    /// What we sealed with before: datagrams under it may still be on the way.
    previous: Option<Session>,
    /// What we have answered a handshake with, until the initiator proves that it has the answer.
    next: Option<Session>,
    /// The newest handshake message of the peer.
    pub(super) newest: Stamp,
    /// The MAC of the last first message that was taken: a repeated one costs no x25519.
    pub(super) last_initiation: [u8; TAG_LEN],
    pub(super) attempt: Option<Attempt>,
    pub(super) answer: Option<Answer>,
    /// How many more empty datagrams will tell the peer that we have its answer, and when.
    confirms: u8,
    confirm_at: u64,
    /// When we sealed the first datagram since we heard from the peer.
    unheard_since: Option<u64>,
    pub(super) handshakes: Bucket,
    pub(super) counters: Counters,
}

impl Peer {
    pub(super) fn new(id: SwitchId, key: [u8; KEY_LEN], address: SocketAddr) -> Self {
        Self {
            id,
            key,
            address,
            current: None,
            previous: None,
            next: None,
            newest: Stamp::default(),
            last_initiation: [0; TAG_LEN],
            attempt: None,
            answer: None,
            confirms: 0,
            confirm_at: 0,
            unheard_since: None,
            handshakes: Bucket::new(PEER_HANDSHAKES_PER_SECOND),
            counters: Counters::default(),
        }
    }

    /// The session to which we gave this index.
    pub(super) fn session(&mut self, local: u32) -> Option<(Slot, &mut Session)> {
        [
            (Slot::Current, &mut self.current),
            (Slot::Previous, &mut self.previous),
            (Slot::Next, &mut self.next),
        ]
        .into_iter()
        .filter_map(|(slot, session)| Some((slot, session.as_mut()?)))
        .find(|(_, session)| session.local == local)
    }

    /// The session to which we gave this index, to look at.
    pub(super) fn look(&self, local: u32) -> Option<&Session> {
        [&self.current, &self.previous, &self.next].into_iter().flatten().find(|key| key.local == local)
    }

    /// Whether there is any key for what the peer seals.
    pub(super) fn has_session(&self) -> bool {
        self.current.is_some() || self.previous.is_some() || self.next.is_some()
    }

    /// We made a handshake and have the answer: it is what we seal with from now on.
    pub(super) fn made(&mut self, now: u64, session: Session) {
        self.replace_current(session);
        self.attempt = None;
        (self.confirms, self.confirm_at) = (CONFIRMS, now);
        self.heard();
    }

    /// We have answered a handshake: nothing changes until the initiator proves that it has the
    /// answer, so that a handshake that somebody repeats does no harm.
    pub(super) fn answered(&mut self, session: Session, answer: Answer) {
        self.next = Some(session);
        self.answer = Some(answer);
    }

    /// The initiator has proved it.
    pub(super) fn confirmed(&mut self) {
        if let Some(session) = self.next.take() {
            self.replace_current(session);
            self.confirms = 0;
        }
    }

    /// Keys of a former incarnation are of no use to anybody.
    fn replace_current(&mut self, session: Session) {
        self.previous = self.current.take().filter(|old| old.incarnation == session.incarnation);
        self.current = Some(session);
    }

    /// A genuine datagram came.
    pub(super) fn heard(&mut self) {
        self.unheard_since = None;
    }

    /// A genuine datagram came under the current key: the peer has it, needs no more telling.
    pub(super) fn heard_current(&mut self) {
        self.confirms = 0;
    }

    /// We sealed a datagram. True when a timer has begun.
    pub(super) fn said(&mut self, now: u64) -> bool {
        let begins = self.unheard_since.is_none();
        self.unheard_since.get_or_insert(now);
        begins
    }

    /// A new session is wanted. True when a timer has begun.
    pub(super) fn want_handshake(&mut self, now: u64) -> bool {
        // An answer of ours may be on its way.
        let answered =
            self.next.as_ref().is_some_and(|next| now.saturating_sub(next.created()) < WAIT_FOR_CONFIRM_MS);
        if self.attempt.is_some() || answered {
            return false;
        }
        self.attempt = Some(Attempt::new(now));
        true
    }

    /// Ends what is over.
    pub(super) fn tick(&mut self, now: u64) {
        for session in [&mut self.current, &mut self.previous, &mut self.next] {
            session.take_if(|session| now >= session.ends_at());
        }
        if self.attempt.take_if(|attempt| now.saturating_sub(attempt.started) >= GIVE_UP_AFTER_MS).is_some() {
            self.counters.handshake_timeouts += 1;
            self.unheard_since = None;
        }
        if self.unheard_since.is_some_and(|since| now.saturating_sub(since) >= SILENCE_MS) {
            self.unheard_since = None;
            self.want_handshake(now);
        }
        if self.current.is_none() {
            self.confirms = 0;
        }
    }

    /// Whether the peer is to be told now that we have its answer.
    pub(super) fn confirm_due(&mut self, now: u64) -> bool {
        if self.confirms == 0 || now < self.confirm_at {
            return false;
        }
        self.confirms -= 1;
        self.confirm_at = now.saturating_add(CONFIRM_AGAIN_MS);
        true
    }

    /// When something is next to be done; `u64::MAX` for never.
    pub(super) fn due(&self) -> u64 {
        let sessions = [&self.current, &self.previous, &self.next];
        let ends = sessions.into_iter().flatten().map(Session::ends_at);
        let answer = self.answer.as_ref().map(|_| 0);
        let confirm = (self.confirms > 0).then_some(self.confirm_at);
        let attempt = self.attempt.as_ref().map(|attempt| attempt.next_at);
        let silence = self.unheard_since.map(|since| since.saturating_add(SILENCE_MS));
        ends.chain(answer).chain(confirm).chain(attempt).chain(silence).min().unwrap_or(u64::MAX)
    }
}

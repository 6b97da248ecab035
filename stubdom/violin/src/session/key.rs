//! One pair of keys, from a handshake to its end.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

use super::noise::{self, KEY_LEN};
use super::replay::{Seen, Window};
use super::{
    REJECT_AFTER_DATAGRAMS, REJECT_AFTER_MS, REKEY_AFTER_DATAGRAMS, REKEY_AFTER_MS, REKEY_PATIENCE_MS,
};
use crate::wire::{HEADER_LEN, TAG_LEN};

/// Keys for both directions, numbers for the next datagram and for those that came. The keys are
/// wiped when it is dropped.
pub(super) struct Session {
    /// The index that we gave it: in the header of what comes.
    pub(super) local: u32,
    /// The index that the peer gave it: in the header of what goes.
    pub(super) remote: u32,
    /// The peer's incarnation when it was made.
    pub(super) incarnation: u64,
    /// Whether we sent the handshake's first message.
    initiator: bool,
    created: u64,
    seal: ChaCha20Poly1305,
    open: ChaCha20Poly1305,
    next: u64,
    window: Window,
}

/// What two switches have told each other in a handshake.
pub(super) struct Agreed {
    pub(super) local: u32,
    pub(super) remote: u32,
    pub(super) incarnation: u64,
    pub(super) initiator: bool,
}

impl Session {
    pub(super) fn new(now: u64, agreed: Agreed, keys: &noise::Keys) -> Self {
        let cipher = |key: &[u8; KEY_LEN]| ChaCha20Poly1305::new(key.into());
        let (to_responder, to_initiator) = (cipher(&keys.to_responder), cipher(&keys.to_initiator));
        let (seal, open) =
            if agreed.initiator { (to_responder, to_initiator) } else { (to_initiator, to_responder) };
        let Agreed { local, remote, incarnation, initiator } = agreed;
        Self {
            local,
            remote,
            incarnation,
            initiator,
            created: now,
            seal,
            open,
            next: 0,
            window: Window::new(),
        }
    }

    /// When it ends, whatever happens.
    pub(super) fn ends_at(&self) -> u64 {
        self.created.saturating_add(REJECT_AFTER_MS)
    }

    /// Whether it may still seal.
    pub(super) fn is_usable(&self, now: u64) -> bool {
        now < self.ends_at() && self.next < REJECT_AFTER_DATAGRAMS
    }

    /// Whether another should be made while this one still seals. The side that made it is the
    /// first to ask, so that both don't ask at once.
    pub(super) fn is_worn(&self, now: u64) -> bool {
        let patience = if self.initiator { 0 } else { REKEY_PATIENCE_MS };
        let age = now.saturating_sub(self.created);
        age >= REKEY_AFTER_MS + patience || self.next >= REKEY_AFTER_DATAGRAMS
    }

    pub(super) fn created(&self) -> u64 {
        self.created
    }

    /// The number of the next datagram.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// As if so many datagrams had been sealed.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, next: u64) {
        self.next = next;
    }

    /// Seals `payload` in place under the header, which must say [`next`](Self::next) as its number.
    /// The number is spent. `None` when the payload is longer than the cipher allows (256 GiB).
    pub(super) fn seal(&mut self, header: &[u8; HEADER_LEN], payload: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let nonce = noise::nonce(self.next).into();
        self.next = self.next.checked_add(1)?;
        let tag = self.seal.encrypt_inout_detached(&nonce, header, payload.into()).ok()?;
        Some(tag.into())
    }

    /// Opens `payload` in place, if it is genuine. It may still be a replay.
    pub(super) fn open(
        &self,
        counter: u64,
        header: &[u8; HEADER_LEN],
        payload: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let nonce = noise::nonce(counter).into();
        self.open.decrypt_inout_detached(&nonce, header, payload.into(), tag.into()).is_ok()
    }

    /// Which numbers came.
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Notes the number of a genuine datagram.
    pub(super) fn accept(&mut self, counter: u64) -> Seen {
        self.window.accept(counter)
    }
}

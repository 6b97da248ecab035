//! The handshake: Noise IK with x25519, ChaCha20-Poly1305 and BLAKE2s, revision 34 of the Noise
//! specification (`Noise_IK_25519_ChaChaPoly_BLAKE2s`).
//!
//! ```text
//!   <- s            the initiator knows the responder's key beforehand
//!   -> e, es, s, ss
//!   <- e, ee, se
//! ```
//!
//! In IK every key that is derived seals exactly one text, so nonces are always zero here. Nothing
//! is allocated, and everything secret is wiped when dropped. It must never know peers, time or
//! datagrams.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use crate::wire::TAG_LEN;

const PROTOCOL: &[u8] = b"Noise_IK_25519_ChaChaPoly_BLAKE2s";
const BLAKE2S_BLOCK: usize = 64;

/// Octets of a key, public or secret, and of a hash.
pub(super) const KEY_LEN: usize = 32;
/// Octets that the first message adds to its payload.
pub(super) const INITIATION_OVERHEAD: usize = KEY_LEN + KEY_LEN + TAG_LEN + TAG_LEN;
/// Octets that the second message adds to its payload.
pub(super) const RESPONSE_OVERHEAD: usize = KEY_LEN + TAG_LEN;

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not made by somebody who holds the keys that it claims, or altered since.
    Forged,
    /// Made by somebody who holds another key than was expected.
    WrongKey,
}

/// What a handshake yields: a key for each direction.
pub(super) struct Keys {
    pub(super) to_responder: [u8; KEY_LEN],
    pub(super) to_initiator: [u8; KEY_LEN],
    /// The hash of all that was said: equal on both sides.
    #[cfg(test)]
    pub(super) transcript: [u8; KEY_LEN],
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.to_responder.zeroize();
        self.to_initiator.zeroize();
    }
}

/// BLAKE2s with 32 octets of output, over the parts one after the other.
pub(super) fn hash(parts: &[&[u8]]) -> [u8; KEY_LEN] {
    let mut hasher = Blake2s256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// HMAC-BLAKE2s, as Noise uses it.
pub(super) fn hmac(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; KEY_LEN] {
    let mut inner_pad = [0x36; BLAKE2S_BLOCK];
    let mut outer_pad = [0x5c; BLAKE2S_BLOCK];
    for ((inner, outer), octet) in inner_pad.iter_mut().zip(&mut outer_pad).zip(key) {
        *inner ^= octet;
        *outer ^= octet;
    }
    let mut inner = Blake2s256::new().chain_update(inner_pad);
    for part in parts {
        inner.update(part);
    }
    let result = Blake2s256::new().chain_update(outer_pad).chain_update(inner.finalize()).finalize().into();
    inner_pad.zeroize();
    outer_pad.zeroize();
    result
}

/// HKDF with two outputs.
fn hkdf(chaining: &[u8; KEY_LEN], input: &[u8]) -> ([u8; KEY_LEN], [u8; KEY_LEN]) {
    let mut temporary = hmac(chaining, &[input]);
    let first = hmac(&temporary, &[&[1]]);
    let second = hmac(&temporary, &[&first, &[2]]);
    temporary.zeroize();
    (first, second)
}

/// The nonce of a key's `counter`-th text: four zero octets, then little endian.
pub(super) fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (_, value) = nonce.split_at_mut(4);
    value.copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Noise's SymmetricState and CipherState in one.
#[derive(Clone)]
struct Symmetric {
    chaining: [u8; KEY_LEN],
    transcript: [u8; KEY_LEN],
    key: [u8; KEY_LEN],
}

impl Drop for Symmetric {
    fn drop(&mut self) {
        self.chaining.zeroize();
        self.transcript.zeroize();
        self.key.zeroize();
    }
}

impl Symmetric {
    fn new(prologue: &[u8], responder: &PublicKey) -> Self {
        // The name is longer than a hash, so it is hashed.
        let name = hash(&[PROTOCOL]);
        let mut symmetric = Self { chaining: name, transcript: name, key: [0; KEY_LEN] };
        symmetric.mix_hash(prologue);
        symmetric.mix_hash(responder.as_bytes());
        symmetric
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.transcript = hash(&[&self.transcript, data]);
    }

    /// Mixes in what the two keys agree on. A public key of small order agrees with everybody, and is
    /// refused.
    fn mix_agreement(&mut self, secret: &StaticSecret, public: &PublicKey) -> Result<(), Refused> {
        let shared = secret.diffie_hellman(public);
        if !shared.was_contributory() {
            return Err(Refused::Forged);
        }
        (self.chaining, self.key) = hkdf(&self.chaining, shared.as_bytes());
        Ok(())
    }

    /// Seals `text` in place; returns its tag.
    fn seal(&mut self, text: &mut [u8]) -> Result<[u8; TAG_LEN], Refused> {
        let cipher = ChaCha20Poly1305::new(&self.key.into());
        let tag = cipher
            .encrypt_inout_detached(&nonce(0).into(), &self.transcript, (&mut *text).into())
            .map_err(|_| Refused::Forged)?;
        self.transcript = hash(&[&self.transcript, text, &tag]);
        Ok(tag.into())
    }

    /// Opens `text` in place.
    fn open(&mut self, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Refused> {
        let transcript = hash(&[&self.transcript, text, tag]);
        let cipher = ChaCha20Poly1305::new(&self.key.into());
        cipher
            .decrypt_inout_detached(&nonce(0).into(), &self.transcript, text.into(), &(*tag).into())
            .map_err(|_| Refused::Forged)?;
        self.transcript = transcript;
        Ok(())
    }

    fn split(self) -> Keys {
        let (to_responder, to_initiator) = hkdf(&self.chaining, &[]);
        Keys {
            to_responder,
            to_initiator,
            #[cfg(test)]
            transcript: self.transcript,
        }
    }
}

/// Takes a key from the front of a message.
fn take_key<'a>(message: &mut &'a mut [u8]) -> Result<&'a mut [u8; KEY_LEN], Refused> {
    let (key, rest) = core::mem::take(message).split_first_chunk_mut::<KEY_LEN>().ok_or(Refused::Forged)?;
    *message = rest;
    Ok(key)
}

/// Takes a tag from the end of a message.
fn take_tag<'a>(message: &mut &'a mut [u8]) -> Result<&'a mut [u8; TAG_LEN], Refused> {
    let (rest, tag) = core::mem::take(message).split_last_chunk_mut::<TAG_LEN>().ok_or(Refused::Forged)?;
    *message = rest;
    Ok(tag)
}

/// An initiator that waits for the second message.
pub(super) struct Initiator {
    symmetric: Symmetric,
    ephemeral: StaticSecret,
}

impl Initiator {
    /// Writes the first message into `message`, whose payload the caller has put between the first
    /// `INITIATION_OVERHEAD - TAG_LEN` and the last `TAG_LEN` octets.
    ///
    /// # Errors
    /// [`Refused`] when `message` is too short or `responder` is no key that anybody can hold.
    pub(super) fn new(
        own: &StaticSecret,
        ephemeral: StaticSecret,
        responder: &[u8; KEY_LEN],
        prologue: &[u8],
        mut message: &mut [u8],
    ) -> Result<Self, Refused> {
        let responder = PublicKey::from(*responder);
        let mut symmetric = Symmetric::new(prologue, &responder);
        let e = take_key(&mut message)?;
        *e = PublicKey::from(&ephemeral).to_bytes();
        symmetric.mix_hash(e);
        symmetric.mix_agreement(&ephemeral, &responder)?;
        let s = take_key(&mut message)?;
        *s = PublicKey::from(own).to_bytes();
        let (tag, mut message) = message.split_first_chunk_mut::<TAG_LEN>().ok_or(Refused::Forged)?;
        *tag = symmetric.seal(s)?;
        symmetric.mix_agreement(own, &responder)?;
        let tag = take_tag(&mut message)?;
        *tag = symmetric.seal(message)?;
        Ok(Self { symmetric, ephemeral })
    }

    /// Reads the second message: its payload is opened in place. A forged one leaves the initiator
    /// waiting, so that nobody can end a handshake by guessing.
    ///
    /// # Errors
    /// [`Refused::Forged`].
    pub(super) fn finish<'a>(
        &self,
        own: &StaticSecret,
        mut message: &'a mut [u8],
    ) -> Result<(&'a [u8], Keys), Refused> {
        let mut symmetric = self.symmetric.clone();
        let e = take_key(&mut message)?;
        symmetric.mix_hash(e);
        let e = PublicKey::from(*e);
        symmetric.mix_agreement(&self.ephemeral, &e)?;
        symmetric.mix_agreement(own, &e)?;
        let tag = take_tag(&mut message)?;
        symmetric.open(message, tag)?;
        Ok((message, symmetric.split()))
    }
}

/// A responder that has read the first message.
pub(super) struct Responder {
    symmetric: Symmetric,
    their_ephemeral: PublicKey,
    their_static: PublicKey,
}

impl Responder {
    /// Reads the first message: its payload is opened in place.
    ///
    /// # Errors
    /// [`Refused::WrongKey`] when it proves to hold a key, but not `expected`.
    pub(super) fn new<'a>(
        own: &StaticSecret,
        expected: &[u8; KEY_LEN],
        prologue: &[u8],
        mut message: &'a mut [u8],
    ) -> Result<(&'a [u8], Self), Refused> {
        let mut symmetric = Symmetric::new(prologue, &PublicKey::from(own));
        let e = take_key(&mut message)?;
        symmetric.mix_hash(e);
        let their_ephemeral = PublicKey::from(*e);
        symmetric.mix_agreement(own, &their_ephemeral)?;
        let s = take_key(&mut message)?;
        let (tag, mut message) = message.split_first_chunk_mut::<TAG_LEN>().ok_or(Refused::Forged)?;
        symmetric.open(s, tag)?;
        let their_static = PublicKey::from(*s);
        symmetric.mix_agreement(own, &their_static)?;
        let tag = take_tag(&mut message)?;
        symmetric.open(message, tag)?;
        if s != expected {
            return Err(Refused::WrongKey);
        }
        Ok((message, Self { symmetric, their_ephemeral, their_static }))
    }

    /// Writes the second message into `message`, whose payload the caller has put between the first
    /// [`KEY_LEN`] and the last [`TAG_LEN`] octets.
    ///
    /// # Errors
    /// [`Refused`] when `message` is too short or the initiator's keys are none.
    pub(super) fn respond(
        mut self,
        ephemeral: &StaticSecret,
        mut message: &mut [u8],
    ) -> Result<Keys, Refused> {
        let e = take_key(&mut message)?;
        *e = PublicKey::from(ephemeral).to_bytes();
        self.symmetric.mix_hash(e);
        self.symmetric.mix_agreement(ephemeral, &self.their_ephemeral)?;
        self.symmetric.mix_agreement(ephemeral, &self.their_static)?;
        let tag = take_tag(&mut message)?;
        *tag = self.symmetric.seal(message)?;
        Ok(self.symmetric.split())
    }
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;

//! Who a peer is, and sealing of what is said to it.
//!
//! Every switch has a static x25519 key; its [`SwitchId`] is the first eight octets of the key's hash. Two
//! switches that know each other's public keys agree on a pair of session keys by a Noise IK
//! handshake, and seal datagrams with ChaCha20-Poly1305 in place, numbered one by one. The forms of
//! WireGuard were followed where they fit: two or three key pairs that overlap, a MAC that lets a
//! handshake be refused cheaply, a clock of its own in each first message.
//!
//! It must never seal two datagrams with one number of one key, believe a header before its tag was
//! checked, allocate after [`Sessions::new`], or answer anything to somebody it was not introduced
//! to. It must run from one state only: a copy of a running switch would use its numbers again.
//!
//! # In which order a datagram is looked at
//!
//! | step | counted as |
//! | --- | --- |
//! | version | `version` |
//! | length, kind, fields that must be zero | `truncated`, `malformed` |
//! | destination is this switch | `not-for-us` |
//! | *handshakes:* MAC with our public key | `forged` |
//! | source is a peer | `unknown-peer` |
//! | *second message:* index is the one we wait with | `handshake-unasked` |
//! | *first message:* not the same as the last one taken | `handshake-replay` |
//! | not more handshakes than allowed, for this peer and for all | `handshake-limit` |
//! | *handshakes:* x25519 and tags; the peer's key and no other | `forged`, `wrong-key` |
//! | *first message:* newer than all that were taken | `handshake-replay` |
//! | *first message:* ours does not take precedence | `handshake-crossed` |
//! | *sealed:* there is a session; its index is a living one | `no-session`, `stale-key` |
//! | *sealed:* tag over header and payload | `forged` |
//! | *sealed:* number is new | `replay` |
//!
//! # What an attacker gets
//!
//! Nothing is ever answered to a datagram that does not hold a peer's proof, so nobody learns by
//! asking whether there is a switch. Who reads the wire sees headers: which switches talk, how much, in
//! which network and epoch. Static keys are not on the wire in clear, so who only reads the wire can't
//! make the MAC that is needed to cost us x25519. Who repeats a first message finds it too old; after
//! a restart, which forgets what was taken, it gains him an answer that he can't use, and no session
//! ends by it. Who holds back a peer's datagrams can only delay them, or lose them. Who can change
//! the source address of a genuine datagram on its way, before it arrives any other way, gets
//! sealed datagrams sent to that address, until the peer's next: he was on the way, and can't
//! read them. A flood of recorded first messages can keep handshakes with the peers they were recorded
//! from waiting, never established sessions.
//!
//! # Keys over time
//!
//! A session is replaced after 2^20 datagrams or 120 s, by the side that made it; it ends for good after
//! 180 s. Until the new one is confirmed the old one seals, and datagrams sealed with the old one are
//! opened until its end. When both sides begin a handshake at once the one of the lower id counts.
//! A peer that restarted says a higher incarnation: its old session ends once the new is confirmed.
//! A peer that said nothing for 15 s although we did is asked for a new session. If an incarnation goes
//! back (a clock that was set wrong) the peer's first messages are refused, but the refusal makes us
//! begin a handshake, which tells us its incarnation afresh.

mod counters;
mod handshake;
mod key;
mod limit;
mod noise;
mod open;
mod peer;
mod point;
mod replay;
mod sessions;
#[cfg(test)]
mod tests;
mod what;

use crate::id::SwitchId;

pub use counters::{Counters, Reason};
pub use open::Opened;
pub use point::{Missing, SeqPoint};
pub use sessions::{Sessions, TRANSMIT_LEN};
pub use what::{AddError, NotSealed, What};

/// Datagrams sealed with one key until another is asked for.
pub const REKEY_AFTER_DATAGRAMS: u64 = 1 << 20;
/// Age of a key at which another is asked for, in milliseconds.
pub const REKEY_AFTER_MS: u64 = 120_000;
/// How much longer the side that did not make the session waits, in milliseconds.
const REKEY_PATIENCE_MS: u64 = 15_000;
/// Datagrams after which a key seals no more.
const REJECT_AFTER_DATAGRAMS: u64 = 1 << 60;
/// Age at which a key ends, in milliseconds.
pub const REJECT_AFTER_MS: u64 = 180_000;
/// Time until a handshake's first message is repeated, in milliseconds; it doubles each time.
const RETRY_MS: u64 = 500;
/// The longest time between first messages, in milliseconds.
const RETRY_MOST_MS: u64 = 8_000;
/// How long a handshake is tried, in milliseconds.
const GIVE_UP_AFTER_MS: u64 = 90_000;
/// How long a peer may be silent when spoken to, in milliseconds.
const SILENCE_MS: u64 = 15_000;
/// How often an initiator says that it has the answer, when nothing comes under the new key.
const CONFIRMS: u8 = 3;
/// Time between those, in milliseconds.
const CONFIRM_AGAIN_MS: u64 = 1_000;
/// How long a responder waits for that before it begins a handshake itself, in milliseconds.
const WAIT_FOR_CONFIRM_MS: u64 = 3_000;
/// How many first messages of the side with the lower id take precedence over the other's. Later
/// ones don't, as something seems to keep the other side from answering.
const PRECEDENCE_TRIES: u32 = 3;
/// Handshakes that are answered in a second, all peers together; as many are begun.
pub const HANDSHAKES_PER_SECOND: u32 = 64;
/// Handshakes that are answered in a second for one peer.
pub const PEER_HANDSHAKES_PER_SECOND: u32 = 8;

/// Octets of memory that a peer takes, at most.
pub const PEER_MEMORY: usize = 1792;
const _: () = assert!(size_of::<Option<peer::Peer>>() <= PEER_MEMORY);

/// The id of the switch that holds the secret of this public key.
pub fn switch_id(public_key: &[u8; 32]) -> SwitchId {
    let [a, b, c, d, e, f, g, h, ..] = noise::hash(&[public_key]);
    SwitchId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// The public key that belongs to a secret one.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*secret)).to_bytes()
}

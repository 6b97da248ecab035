//! What a datagram between switches looks like.
//!
//! Every datagram begins with the same 40 octets, big endian:
//!
//! | octets | field | handshake | frame | control, group |
//! | --- | --- | --- | --- | --- |
//! | 0 | version | 1 | 1 | 1 |
//! | 1 | kind | 1 initiation, 2 response | 3 | 4 control, 5 group snapshot |
//! | 2 | flags | 0 | [`Flags`] | 0 |
//! | 3 | reserved | 0 | 0 | 0 |
//! | 4..8 | network | 0 | the network's number | 0 |
//! | 8..16 | source switch | | | |
//! | 16..24 | destination switch | | | |
//! | 24..28 | epoch | 0 | of the sending guest | 0 |
//! | 28..32 | key | 0, or in a response the initiator's index | index that the receiver gave the key | same |
//! | 32..40 | counter | 0 | the datagram's number under this key | same |
//!
//! After it come a Noise message and a MAC of 16 octets (handshake), or what is sealed and its tag of
//! 16 octets (all others), for which the header is the associated data. What a handshake
//! says is private to [`session`](crate::session). Fields that a kind does not use are zero, and [`Repr::parse`] refuses
//! anything else: there is one way to write each datagram.
//!
//! It must never panic on what the network sent, and knows no secrets: that a header is well formed
//! says nothing about who wrote it.

mod header;
#[cfg(test)]
mod header_tests;
mod mtu;

pub use header::{Body, Datagram, Error, Flags, HEADER_LEN, Kind, OVERHEAD, Repr, TAG_LEN, VERSION};
pub use mtu::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, largest_inner_mtu, largest_inner_mtu_over};

//! Large and blank frames made fit for whoever can not take them as they are.
//!
//! Guests hand over TCP frames of up to 64 KiB with a segment size (GSO) and leave transport checksums
//! blank. Local guests take them like that, untouched; the wire between hosts and simpler guests
//! do not:
//!
//! - [`Segments`] cuts a large TCP frame into segments.
//! - [`complete_checksum`] fills in a blank checksum of TCP or UDP.
//! - [`too_big`] answers a guest whose frame does not fit into the network's MTU, so that it learns of
//!   it instead of waiting for ever.
//!
//! A *blank* checksum field holds the folded sum of the pseudo header, not complemented: what
//! `XEN_NETTXF_csum_blank` and Linux' `CHECKSUM_PARTIAL` mean.
//!
//! It must never panic or allocate, whatever the octets say: all of them are from guests that may be
//! hostile. Nor may the work for a frame grow faster than the frame's length.

mod checksum;
mod packet;
mod split;
mod too_big;

pub use checksum::complete_checksum;
pub use packet::BadPacket;
pub use split::{MAX_SEGMENTS, MIN_PAYLOAD, NotSegmentable, Segments};
pub use too_big::{TOO_BIG_HEAD, TOO_BIG_LEN, too_big};

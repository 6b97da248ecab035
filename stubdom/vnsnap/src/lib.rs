#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]
//! VNsnap: one consistent snapshot of a whole virtual network, across hosts, while it runs. This crate is
//! how the switches agree on it: a protocol, as a state machine without I/O.
//!
//! Any switch that has ports in a network can coordinate a group snapshot of it; all switches that have
//! ports in it take part (Mattern's algorithm as VNsnap adapted it to VIOLIN frames; algorithms.md 3a).
//! [`Node`] is both, coordinator and participant. The driver tells it what peers say and what happens on
//! its host, and does what it says:
//!
//! ```text
//! coordinator                                      every member (the coordinator, too)
//!   Prepare            ─────────────────────────>    Output::Prepare: the guests pre-copy
//!                      <─────────────────────────    Local::Prepared … Ready: all at the barrier
//!   all ready: Flip    ─────────────────────────>    Output::Go: all guests cut, epoch k
//!                      <─────────────────────────    Local::Flipped: the last sent before the cut, to each
//!   all cut: Expect    ─────────────────────────>    Output::Expect: what each sent; Close when it has come
//!                      <─────────────────────────    Local::Stored: all durable, and the part
//!   pulls all parts; Output::Manifest, Local::Committed: the commit point
//!   Commit             ─────────────────────────>    pulls the manifest; Output::Commit
//!                      <─────────────────────────    Local::Committed
//!   Output::Ended
//! ```
//!
//! Members report how far they are until they are acknowledged, which is a sign of life and a question
//! at once; the coordinator repeats each order until a report shows it done. At any time before the
//! manifest is given out, anyone can give up: `Output::Abort` everywhere, and the epoch goes on all the
//! same if any port may have been cut (abort-forward). Epochs never go back.
//!
//! | module | what for |
//! | --- | --- |
//! | `node`, `upkeep` | the whole, and its clock |
//! | `take`, `here`, `ends` | what peers say, what happens on this host, how a group ends |
//! | `coordinator` | the stages of a group, and what members have said |
//! | `participant` | from prepare to durable, on this host |
//! | `pending` | durable and undecided: waits, asks, and never guesses |
//! | `decided` | how groups ended, told until all have heard |
//! | `switches`, `net` | who is up, and in a network; epochs |
//! | `message`, `blob`, `points` | what travels |
//!
//! It must never commit anywhere what is not durable everywhere, leave a host undecided while the
//! coordinator or all others can be reached, take an epoch back, or believe of a peer what is not that
//! peer's to say. It does no I/O, reads no clock, and is bounded in all that comes from outside.

extern crate alloc;

mod blob;
mod clock;
mod config;
mod coordinator;
mod decided;
mod ends;
mod error;
mod here;
mod id;
mod io;
mod message;
mod net;
mod node;
mod participant;
mod pending;
mod points;
mod switches;
mod take;
#[cfg(test)]
mod tests;
mod upkeep;

pub use blob::Digest;
pub use config::Config;
pub use error::{Cause, Dropped, Ids, Refusal, TEXT_MAX, Text, Why};
pub use id::{
    GroupId, JOBS_MAX, MANIFEST_MAX, Mode, NAME_MAX, Name, OPTIONS_MAX, Options, PART_MAX, PEERS_MAX, Point,
    SeqPoint,
};
pub use io::{Local, Output};
pub use message::{MESSAGE_MAX, VERSION};
pub use net::EPOCH_MAX;
pub use node::{Begin, Node};

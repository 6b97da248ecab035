//! Many switches in one process, virtual time, one seed.
//!
//! A [`World`] holds hosts, each with a [`Node`], and a [`Network`] between them that loses,
//! doubles, delays and reorders datagrams and can be split. Time is virtual: nothing waits, and
//! everything that is random comes from one seed, so the same seed gives the same run, event by
//! event ([`World::trace`] is a hash of all of it). A run that fails is run again by its seed.
//!
//! | module | what for |
//! | --- | --- |
//! | [`world`] | the queue of events, hosts that start, crash and start again, the clock |
//! | [`network`] | what becomes of a datagram |
//! | [`node`] | what runs on a host: anything that takes datagrams and time |
//! | [`mesh`] | a node with a membership, which watches that what it is told makes sense |
//! | [`switched`] | a node with a membership, the switch and guests |
//! | [`sealed`] | a node with a membership and real sessions |
//! | [`group`] | group snapshots: hosts with guests, stubs and shims that crash, and an oracle |
//! | [`schedule`] | random schedules of joins, crashes and partitions, and whether all converge |
//! | [`rng`] | random numbers from a seed |
//!
//! It must never read a real clock, a hash map's order, or anything else that differs between two
//! runs.

pub mod group;
pub mod mesh;
pub mod network;
pub mod node;
pub mod rng;
pub mod schedule;
pub mod sealed;
pub mod switched;
pub mod world;

pub use mesh::MeshNode;
pub use network::{Delay, Links, Network};
pub use node::{Host, Kind, Node, Outbox};
pub use rng::Rng;
pub use sealed::SealedNode;
pub use switched::SwitchedNode;
pub use world::World;

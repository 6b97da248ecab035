#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]
//! VIOLIN: one instance of a distributed layer-2 switch, as state machines without I/O.
//!
//! Guests of one VIOLIN (a network with a 32-bit number) on any number of hosts share one Ethernet.
//! Each host has one switch for all its VIOLINs; every pair of switches talks directly, so a frame
//! passes one switch on one host and two between hosts (the VIOLIN paper, section 2.1).
//!
//! | module | what for |
//! | --- | --- |
//! | [`id`] | the names of things: MAC addresses, networks, switches, ports, peers |
//! | [`frame`] | the Ethernet header, checked |
//! | [`table`] | MAC address to place, learned from source addresses |
//! | [`switch`] | where a frame goes; counts what does not go anywhere |
//! | [`cut`] | what a consistent cut makes of a frame, for group snapshots |
//! | [`segment`] | large and blank frames, for receivers that can not take them |
//! | [`wire`] | what a datagram between switches looks like |
//! | [`session`] | who a peer is, and sealing of what is said to it |
//! | [`member`] | which switches there are |
//!
//! It must never do I/O, read a clock, allocate for a frame, or panic on anything that a guest or
//! the network sent. The stub drives it with rings and UDP, the simulator with thousands of
//! switches from one seed.

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod cut;
pub mod frame;
pub mod id;
pub mod member;
pub mod segment;
pub mod session;
pub mod switch;
pub mod table;
pub mod wire;

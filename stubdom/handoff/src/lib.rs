#![no_std]
//! The messages between the stub domain and the shim in Dom0.
//!
//! A connection is one byte stream each way (libvchan). A message on it is a [`Header`], a body
//! in postcard ([`ToStub`] or [`ToShim`]) and, for some messages, raw *bulk* bytes whose shape
//! the message names: pages, slot numbers, bitmaps. Bulk is not serialised, so that a page goes
//! from the pool to the ring and from the ring to the file with nothing in between.
//!
//! Pages are named by **slot**: the rank of a frame among the guest's populated frames, from 0.
//! Only the shim knows which frame number a slot stands for.
//!
//! This crate must never interpret what it carries: it bounds lengths and decodes, nothing more.
//! Both ends treat what they decode as an allegation.

mod capture;
mod group;
mod message;
mod net;
mod pages;
mod plan;
mod report;
mod wire;

pub use capture::*;
pub use group::*;
pub use message::*;
pub use net::*;
pub use pages::*;
pub use plan::*;
pub use report::*;
pub use wire::*;

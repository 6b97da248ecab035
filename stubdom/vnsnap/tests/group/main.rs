//! Group snapshots in a small world of several nodes, their shims, and a network that does what it likes.
#![allow(clippy::unwrap_used)]

mod aborts;
mod chaos;
mod crashes;
mod good;
mod races;
mod world;

//! Netback: serves the vif of a guest.
//!
//! | module | what for |
//! | --- | --- |
//! | [`frame`] | frames on their way |
//! | [`gather`] | from the requests of a transmit ring to one frame |
//! | [`given`] | what a guest was given, and may not have taken yet |
//! | [`hub`] | all ports, and the frames between them; `deliver`, `read` and `events` are parts of it |
//! | [`pause`] | what is not done at a port for a while |
//! | [`xenbus`] | when to connect and disconnect: the states of both ends |
//! | [`node`] | what the front end says in xenstore, read with suspicion |
//! | [`port`] | a connected vif: its two rings and its events |

mod deliver;
mod events;
pub mod frame;
pub mod gather;
pub mod given;
pub mod hub;
pub mod node;
pub mod pause;
pub mod port;
mod read;
pub mod xenbus;

//! Netback: serves the vif of a guest.
//!
//! | module | what for |
//! | --- | --- |
//! | [`gather`] | from the requests of a transmit ring to one frame |
//! | [`xenbus`] | when to connect and disconnect: the states of both ends |
//! | [`node`] | what the front end says in xenstore, read with suspicion |
//! | [`port`] | a connected vif: its two rings and its events |

pub mod gather;
pub mod node;
pub mod port;
pub mod xenbus;

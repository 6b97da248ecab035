#![no_std]
//! Network interfaces over Xen's shared rings (`io/netif.h`).
//!
//! | module | what for |
//! | --- | --- |
//! | [`back`] | netback: serves the vif of a guest, whose every word is an allegation |
//! | [`front`] | netfront: the stub's own uplink to Dom0's bridge |

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod back;
pub mod front;

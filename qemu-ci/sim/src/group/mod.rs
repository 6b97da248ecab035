//! Group snapshots of a network over several hosts, simulated: the protocol (`vnsnap`) and the colours
//! (`violin::cut`) are the real ones; guests, shims and the network between them are not.
//!
//! | module | what for |
//! | --- | --- |
//! | [`oracle`] | who knows each frame and each cut, and judges a committed snapshot |
//! | [`guest`] | a guest that sends and receives numbered frames, and can be suspended |
//! | [`session`] | numbers in sequence between two stubs, without the seal |
//! | [`host`] | a host: guests, stub, shim, each of which may go away and come back |
//! | [`disk`] | what survives |
//! | [`fault`] | what goes wrong at which step; the mutants |
//! | [`shared`] | what all hosts of a schedule share |
//! | [`schedule`] | plays a plan, and says whether all properties held |
//! | [`random`] | random plans |
//! | [`schedule`] | plays a plan, and says whether all properties held |
//! | [`random`] | random plans |
//!
//! It must never let the protocol see what the oracle knows.

mod jobs;
mod outputs;
mod plane;
mod shim;

pub mod disk;
pub mod fault;
pub mod guest;
pub mod host;
pub mod oracle;
pub mod random;
pub mod schedule;
pub mod session;
pub mod shared;

pub use fault::{Fault, Mutant, Role, Step, Victim};
pub use host::GroupHost;
pub use oracle::Oracle;
pub use shared::{Answer, Request, Shared};

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
//! | [`plan`] | what is played, and what comes of it |
//! | [`schedule`] | plays a plan, and says whether all properties held |
//! | [`random`] | random plans |
//! | [`plan`] | what is played, and what comes of it |
//! | [`schedule`] | plays a plan, and says whether all properties held |
//! | [`random`] | random plans |
//!
//! What must hold in each schedule, whatever goes wrong:
//!
//! 1. No orphan: no member received before its cut what another sent after its own.
//! 2. Frames that are held are let go within the time that the cut allows; at the end none is held.
//! 3. In a committed snapshot each frame that was in transit at the cut is recorded once, or was in a datagram
//!    that its receiver counted as lost, or was lost (or overtaken for longer than anybody waits) before the
//!    receiver heard the word to flip, as on any wire. Nothing is recorded that was delivered before the cut or
//!    sent after it, and nothing is delivered twice.
//! 4. After all is healed, every participant has the group whole, with the same manifest, or none has
//!    anything of it: no double failure excuses a difference. One thing is allowed: a coordinator that was
//!    cut off from its rename on, until all others had given up, takes back what it had told its client
//!    to be committed (counted as `revoked`).
//! 5. All guests run at the end; none stood still for longer than a bound, unless stub or shim of its own host
//!    crashed meanwhile.
//! 6. No vif's epoch goes back in its stub's life, and no vif is in two committed snapshots of one epoch. (Two
//!    sides of a split network may each use an epoch, for guests that are all different.)
//! 7. Every request is answered in bounded time, and truly.
//!
//! It must never let the protocol see what the oracle knows.

mod crash;
mod jobs;
mod judge;
mod outputs;
mod plane;
mod shim;

pub mod disk;
pub mod fault;
pub mod guest;
pub mod host;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod schedule;
pub mod session;
pub mod shared;

pub use fault::{Fault, Mutant, Role, Step, Victim};
pub use host::GroupHost;
pub use oracle::Oracle;
pub use shared::{Answer, Request, Shared};

#![no_std]
#![forbid(unsafe_code)]
//! One guest's pre-copy as a state machine that does no I/O.
//!
//! [`Precopy`] decides what is read when, and when the guest is suspended and resumed. A
//! driver does what it asks ([`Action`]) and reports back ([`Event`]): in the stub domain with
//! grant copies and the shim's verbs, in tests with a model of a guest. When to stop copying
//! live is a replaceable value, a [`Policy`].
//!
//! Pages are named by *slot*: the rank of a frame among the guest's populated frames,
//! `0..pages`. Whoever talks to Xen maps slots to frames.
//!
//! What this crate must never do: read a clock, make a hypercall, allocate after
//! [`Precopy::new`], panic on any event, or finish with the guest suspended without having
//! asked for it to be resumed.
//!
//! # What the driver does
//! ```
//! # use livesave::{Action, AnyPolicy, Config, Event, How, Outcome, Precopy, ReadDone};
//! # let now_us = || 0;
//! # let config = Config::new(100, 10, 64);
//! let mut precopy = Precopy::new(config, "live-save".parse::<AnyPolicy>().unwrap()).unwrap();
//! let outcome = loop {
//!     let event = match precopy.next(now_us()) {
//!         Action::LogDirty(_on) => Event::Done,             // or Refused, Failed
//!         Action::Clean { last: _ } => {
//!             precopy.dirty_chunk(0, &[0; 13]);             // the whole bitmap, in order
//!             Event::Done
//!         }
//!         Action::Read { batch, how } => {
//!             let sent = batch.len() as u32;                // copy, send or keep
//!             let kept = if how == How::Keep { sent } else { 0 };
//!             Event::Read(ReadDone { sent, pool_left: 10 - kept, ..ReadDone::default() })
//!         }
//!         // Never asked for without `Config::throttle`, `prepare` and `barrier`.
//!         Action::Throttle(_) | Action::Prepare { .. } | Action::Barrier => Event::Failed(0),
//!         Action::Suspend | Action::State | Action::Resume => Event::Done,
//!         Action::WriteOut => Event::Written { zero: 0 },
//!         Action::Finish(outcome) => break outcome,
//!     };
//!     precopy.on(event, now_us());
//! };
//! assert_eq!(outcome, Outcome::Commit);
//! assert_eq!(precopy.report().sent, 100);
//! ```

extern crate alloc;

mod action;
mod bitmap;
pub mod codec;
mod config;
mod page;
mod policy;
mod precopy;
mod report;

pub use action::{Action, Event, How, Outcome, ReadDone, Step, Why};
pub use config::{Base, Config, MAX_BATCH, NewError, Skip};
pub use page::{PAGE_SIZE, checksum, is_zero};
pub use policy::{
    AnyPolicy, Cost, Downtime, ImprovedLiveSave, LiveSave, Pace, Policy, PoolFit, SmartStop, Stop,
    UnknownPolicy, Verdict, View, XenMigrate, XenMigrate451, XenSave,
};
pub use precopy::{MAX_ROUNDS, MIN_KEEP, Precopy};
pub use report::{CleanUp, Progress, Report, Round};

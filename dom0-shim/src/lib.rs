//! What of Luthier runs in Dom0: `luthierd`, the shim, and `luthier`, the command line.
//!
//! The shim launches the stub domain, does for it the few things that only the control domain
//! may do (the *verbs*), and takes pages to storage. It must never map or read guest memory.

pub mod api;
pub mod cli;
pub mod daemon;
pub mod disks;
pub mod error;
pub mod paths;
mod remote;
pub mod xl;

//! The engine against a model of a guest, in virtual time. `model` also serves benches:
//! `#[path = "../tests/precopy/model/mod.rs"] mod model;`.

#![allow(unreachable_pub)]

mod answers;
mod barrier;
mod downtime;
mod faults;
mod image;
mod incremental;
mod model;
mod paper;
mod shape;
mod smart_stop;
mod stalls;
mod table;

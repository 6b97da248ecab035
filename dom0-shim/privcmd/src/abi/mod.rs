//! The ABI structures that this crate exchanges with Xen and with Linux's Xen drivers.
//!
//! Each mirrors a public header (MIT-style licence); names and order of fields are the header's.
//! Checked against the headers of Xen 4.17.5, 4.18.0, 4.19.0 and 4.20.0: every structure used
//! here is the same in all four. What changed between them (`createdomain`, new operations) is not
//! used here.

pub mod domctl;
pub mod linux;
pub mod xen;

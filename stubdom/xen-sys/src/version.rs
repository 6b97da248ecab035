//! Xen's version (`version.h`).

use crate::errno::Errno;
use crate::hypercall::{XEN_VERSION, hypercall3};

const XENVER_VERSION: u64 = 0;
const XENVER_EXTRAVERSION: u64 = 1;

/// Xen's version as (major, minor).
pub fn version() -> Result<(u16, u16), Errno> {
    // SAFETY: takes no argument.
    let raw = unsafe { hypercall3(XEN_VERSION, XENVER_VERSION, 0, 0) }?;
    Ok(((raw >> 16) as u16, raw as u16))
}

/// What the builder of Xen appended to the version: at most 16 bytes, ended by a zero.
pub fn extraversion() -> Result<[u8; 16], Errno> {
    let mut text = [0u8; 16];
    // SAFETY: `text` is a xen_extraversion_t and outlives the call.
    unsafe { hypercall3(XEN_VERSION, XENVER_EXTRAVERSION, (&raw mut text) as u64, 0) }?;
    Ok(text)
}

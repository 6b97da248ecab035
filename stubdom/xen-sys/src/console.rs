//! The console ring (`io/console.h`).

/// Bytes of the ring towards us.
pub const XENCONS_IN_SIZE: usize = 1024;
/// Bytes of the ring towards the console daemon.
pub const XENCONS_OUT_SIZE: usize = 2048;

/// `struct xencons_interface`. Both ends write to it: access it through raw pointers.
#[repr(C)]
pub struct XenconsInterface {
    /// What was typed.
    pub input: [u8; XENCONS_IN_SIZE],
    /// What we print.
    pub out: [u8; XENCONS_OUT_SIZE],
    /// Written by us.
    pub in_cons: u32,
    /// Written by the daemon.
    pub in_prod: u32,
    /// Written by the daemon.
    pub out_cons: u32,
    /// Written by us.
    pub out_prod: u32,
}

const _: () = assert!(core::mem::offset_of!(XenconsInterface, out) == 1024);
const _: () = assert!(core::mem::offset_of!(XenconsInterface, in_cons) == 3072);
const _: () = assert!(core::mem::offset_of!(XenconsInterface, out_prod) == 3084);

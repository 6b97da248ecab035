//! Parameters that the toolstack gave us (`hvm/hvm_op.h`, `hvm/params.h`).

use crate::DomId;
use crate::errno::Errno;
use crate::hypercall::{HVM_OP, hypercall3};

const HVMOP_SET_PARAM: u64 = 0;
const HVMOP_GET_PARAM: u64 = 1;

/// `HVM_PARAM_*`: those that the stub uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HvmParam {
    /// How events interrupt; 0: they do not.
    CallbackIrq = 0,
    /// Frame of the xenstore ring.
    StorePfn = 1,
    /// Event channel of the xenstore ring.
    StoreEvtchn = 2,
    /// Frame of the console ring.
    ConsolePfn = 17,
    /// Event channel of the console ring.
    ConsoleEvtchn = 18,
}

/// `struct xen_hvm_param`.
#[repr(C)]
pub struct XenHvmParam {
    /// In: whose; `DOMID_SELF`.
    pub domid: DomId,
    /// Not used.
    pub pad: u16,
    /// In: `HVM_PARAM_*`.
    pub index: u32,
    /// Out: the value.
    pub value: u64,
}

const _: () = assert!(size_of::<XenHvmParam>() == 16);
const _: () = assert!(core::mem::offset_of!(XenHvmParam, value) == 8);

/// Reads a parameter of ours.
pub fn get_param(param: HvmParam) -> Result<u64, Errno> {
    let mut arg = XenHvmParam { domid: crate::DOMID_SELF, pad: 0, index: param as u32, value: 0 };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(HVM_OP, HVMOP_GET_PARAM, (&raw mut arg) as u64, 0) }?;
    Ok(arg.value)
}

/// Tells Xen that events do not interrupt us. What matters is a side effect: Xen takes this call
/// as the moment to note that we run in 64-bit mode, which decides the layout of `shared_info`,
/// and to write the wall clock there.
pub fn set_no_callback() -> Result<(), Errno> {
    let arg = XenHvmParam { domid: crate::DOMID_SELF, pad: 0, index: HvmParam::CallbackIrq as u32, value: 0 };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(HVM_OP, HVMOP_SET_PARAM, (&raw const arg) as u64, 0) }.map(drop)
}

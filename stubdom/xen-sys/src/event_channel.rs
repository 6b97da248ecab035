//! Event channels (`event_channel.h`), two-level ABI.

use crate::DomId;
use crate::errno::Errno;
use crate::hypercall::{EVENT_CHANNEL_OP, hypercall3};

const EVTCHNOP_BIND_INTERDOMAIN: u64 = 0;
const EVTCHNOP_CLOSE: u64 = 3;
const EVTCHNOP_SEND: u64 = 4;
const EVTCHNOP_STATUS: u64 = 5;
const EVTCHNOP_ALLOC_UNBOUND: u64 = 6;

/// `struct evtchn_alloc_unbound`.
#[repr(C)]
pub struct AllocUnbound {
    /// In: whose port; `DOMID_SELF`.
    pub dom: DomId,
    /// In: who may bind to it.
    pub remote_dom: DomId,
    /// Out: the port.
    pub port: u32,
}

/// `struct evtchn_bind_interdomain`.
#[repr(C)]
pub struct BindInterdomain {
    /// In: the other domain.
    pub remote_dom: DomId,
    /// In: its port.
    pub remote_port: u32,
    /// Out: our port.
    pub local_port: u32,
}

/// `struct evtchn_close` and `struct evtchn_send`.
#[repr(C)]
struct PortArg {
    port: u32,
}

/// `struct evtchn_status`.
#[repr(C)]
pub struct Status {
    /// In: whose port; `DOMID_SELF`.
    pub dom: DomId,
    /// In: the port.
    pub port: u32,
    /// Out: `EVTCHNSTAT_*`.
    pub status: u32,
    /// Out: the virtual CPU that it notifies.
    pub vcpu: u32,
    /// Out: for an unbound or interdomain port, the other domain; otherwise of no interest here.
    pub remote_dom: DomId,
    /// Out: for an interdomain port, the other's port.
    pub remote_port: u32,
}

/// `EVTCHNSTAT_closed`: not in use.
pub const STATUS_CLOSED: u32 = 0;
/// `EVTCHNSTAT_unbound`: waits for the other domain to bind.
pub const STATUS_UNBOUND: u32 = 1;
/// `EVTCHNSTAT_interdomain`: bound to the other domain's port.
pub const STATUS_INTERDOMAIN: u32 = 2;

const _: () = assert!(size_of::<AllocUnbound>() == 8);
const _: () = assert!(size_of::<BindInterdomain>() == 12);
const _: () = assert!(size_of::<Status>() == 24);
const _: () = assert!(core::mem::offset_of!(Status, status) == 8);
const _: () = assert!(core::mem::offset_of!(Status, remote_dom) == 16);
const _: () = assert!(core::mem::offset_of!(Status, remote_port) == 20);

/// Makes a port of ours that `remote_dom` may bind to.
pub fn alloc_unbound(remote_dom: DomId) -> Result<u32, Errno> {
    let mut arg = AllocUnbound { dom: crate::DOMID_SELF, remote_dom, port: 0 };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, (&raw mut arg) as u64, 0) }?;
    Ok(arg.port)
}

/// Binds a new port of ours to `remote_port` of `remote_dom`.
pub fn bind_interdomain(remote_dom: DomId, remote_port: u32) -> Result<u32, Errno> {
    let mut arg = BindInterdomain { remote_dom, remote_port, local_port: 0 };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, (&raw mut arg) as u64, 0) }?;
    Ok(arg.local_port)
}

/// Closes a port of ours. The other end, if bound, becomes unbound and can be bound again.
pub fn close(port: u32) -> Result<(), Errno> {
    let arg = PortArg { port };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, (&raw const arg) as u64, 0) }.map(drop)
}

/// Sends an event. On a port that nobody is bound to it does nothing.
pub fn send(port: u32) -> Result<(), Errno> {
    let arg = PortArg { port };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(EVENT_CHANNEL_OP, EVTCHNOP_SEND, (&raw const arg) as u64, 0) }.map(drop)
}

/// Asks for the state of a port of ours.
pub fn status(port: u32) -> Result<Status, Errno> {
    let mut arg = Status {
        dom: crate::DOMID_SELF,
        port,
        status: STATUS_CLOSED,
        vcpu: 0,
        remote_dom: 0,
        remote_port: 0,
    };
    // SAFETY: `arg` is what the call takes and outlives it.
    unsafe { hypercall3(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, (&raw mut arg) as u64, 0) }?;
    Ok(arg)
}

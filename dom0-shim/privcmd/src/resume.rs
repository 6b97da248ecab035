//! Letting a suspended guest go on where it is, as `xl save -c` does.

use crate::abi::domctl::{
    DomctlOp, GETVCPUCONTEXT, RESUMEDOMAIN, SETVCPUCONTEXT, VCPU_GUEST_CONTEXT_RAX, VCPU_GUEST_CONTEXT_SIZE,
    VcpuContext,
};
use crate::hypercall::Buffer;
use crate::{DomId, Error, Hypervisor};

/// `HVM_PARAM_CALLBACK_IRQ` (`hvm/params.h`): set by a guest that has PV drivers.
const HVM_PARAM_CALLBACK_IRQ: u32 = 0;

impl Hypervisor {
    /// Resumes a suspended HVM or PVH guest in place: its call of `SCHEDOP_shutdown(suspend)`
    /// returns 1, "cancelled", so its front ends stay connected. The caller then tells xenstored
    /// ([`crate::xenstore::Client::resume`]), or the domain's end will not be noticed later.
    ///
    /// # Errors
    /// [`Error::NotSuspended`] when the guest runs, or shut down for another reason;
    /// [`Error::Pv`], [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn resume_fast(&self, domid: DomId) -> Result<(), Error> {
        let info = self.domain(domid)?;
        if info.dying {
            return Err(Error::NoSuchDomain(domid));
        }
        if !info.hvm {
            return Err(Error::Pv(domid));
        }
        if !info.suspended() {
            return Err(Error::NotSuspended(domid));
        }
        // A guest without PV drivers made no hypercall whose result could be set.
        if self.hvm_param(domid, HVM_PARAM_CALLBACK_IRQ)? != 0 {
            self.set_vcpu0_rax(domid, 1)?;
        }
        self.simple_domctl("XEN_DOMCTL_resumedomain", RESUMEDOMAIN, domid).map(drop)
    }

    /// Only safe while the vCPU does not run.
    fn set_vcpu0_rax(&self, domid: DomId, value: u64) -> Result<(), Error> {
        let mut buffer = self.buffer(VCPU_GUEST_CONTEXT_SIZE)?;
        self.vcpu_context("XEN_DOMCTL_getvcpucontext", GETVCPUCONTEXT, domid, &buffer)?;
        let rax = VCPU_GUEST_CONTEXT_RAX..VCPU_GUEST_CONTEXT_RAX + 8;
        if let Some(rax) = buffer.bytes_mut().get_mut(rax) {
            rax.copy_from_slice(&value.to_le_bytes());
        }
        self.vcpu_context("XEN_DOMCTL_setvcpucontext", SETVCPUCONTEXT, domid, &buffer)
    }

    fn vcpu_context(&self, name: &'static str, cmd: u32, domid: DomId, buffer: &Buffer) -> Result<(), Error> {
        let mut op = DomctlOp { pad: [0; 16] };
        op.vcpucontext = VcpuContext { vcpu: 0, pad: 0, ctxt: buffer.addr() };
        self.domctl(name, cmd, domid, op).map(drop).map_err(|error| error.or_gone(domid))
    }
}

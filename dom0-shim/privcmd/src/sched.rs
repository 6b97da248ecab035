//! The cap and the weight of a domain's CPU time, in the schedulers that have caps.

use crate::abi::domctl::{
    CREDIT_WEIGHT_UNCHANGED, DomctlOp, SCHEDOP_GETINFO, SCHEDOP_PUTINFO, SCHEDULER_CREDIT, SCHEDULER_CREDIT2,
    SCHEDULER_OP, SchedCredit, SchedulerOp,
};
use crate::{DomId, Error, Hypervisor};

/// A scheduler with caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// credit2, the default since Xen 4.12.
    Credit2,
    /// credit, the default before.
    Credit,
}

impl Scheduler {
    fn id(self) -> u32 {
        match self {
            Scheduler::Credit2 => SCHEDULER_CREDIT2,
            Scheduler::Credit => SCHEDULER_CREDIT,
        }
    }
}

/// The cap of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuCap {
    /// The scheduler of the domain's pool.
    pub scheduler: Scheduler,
    /// Percent of one CPU that all vCPUs together may have; 0: as much as there is.
    pub percent: u16,
}

/// What a domain's scheduler is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare {
    /// The cap.
    pub cap: CpuCap,
    /// Its weight against other domains; 256 unless it was set.
    pub weight: u16,
}

impl Hypervisor {
    /// The cap of a domain's CPU time. `None`: its scheduler knows no caps.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn cpu_cap(&self, domid: DomId) -> Result<Option<CpuCap>, Error> {
        Ok(self.cpu_share(domid)?.map(|share| share.cap))
    }

    /// The cap and the weight of a domain. `None`: its scheduler knows no caps.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn cpu_share(&self, domid: DomId) -> Result<Option<CpuShare>, Error> {
        for scheduler in [Scheduler::Credit2, Scheduler::Credit] {
            let nothing = SchedCredit { weight: 0, cap: 0 };
            match self.scheduler_op(domid, scheduler, SCHEDOP_GETINFO, nothing) {
                Ok(info) => {
                    let cap = CpuCap { scheduler, percent: info.cap };
                    return Ok(Some(CpuShare { cap, weight: info.weight }));
                }
                // Another scheduler than the one named.
                Err(error) if error.errno() == Some(libc::EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Sets the cap, and nothing else, of a domain's CPU time.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`]; [`Error::Hypercall`] with `EINVAL` when the scheduler is another
    /// or the cap is above 100 for each vCPU.
    pub fn set_cpu_cap(&self, domid: DomId, cap: CpuCap) -> Result<(), Error> {
        let new = SchedCredit { weight: CREDIT_WEIGHT_UNCHANGED, cap: cap.percent };
        self.scheduler_op(domid, cap.scheduler, SCHEDOP_PUTINFO, new).map(drop)
    }

    fn scheduler_op(
        &self,
        domid: DomId,
        scheduler: Scheduler,
        cmd: u32,
        credit: SchedCredit,
    ) -> Result<SchedCredit, Error> {
        let mut op = DomctlOp { pad: [0; 16] };
        op.scheduler_op = SchedulerOp { sched_id: scheduler.id(), cmd, credit, pad: [0; 3] };
        let reply = self
            .domctl("XEN_DOMCTL_scheduler_op", SCHEDULER_OP, domid, op)
            .map_err(|error| error.or_gone(domid))?;
        // SAFETY: plain data, valid for any bits.
        Ok(unsafe { reply.u.scheduler_op }.credit)
    }
}

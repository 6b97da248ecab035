//! Domains: what they are, pausing them, and their HVM parameters.

use crate::abi::domctl::{
    DOMINF_DYING, DOMINF_HAP, DOMINF_HVM_GUEST, DOMINF_PAUSED, DOMINF_SHUTDOWN, DOMINF_SHUTDOWNMASK,
    DOMINF_SHUTDOWNSHIFT, Domctl, DomctlOp, GETDOMAININFO, GetDomainInfo, PAUSEDOMAIN, UNPAUSEDOMAIN,
};
use crate::abi::xen::{
    DOMID_FIRST_RESERVED, HVMOP_GET_PARAM, HYPERVISOR_HVM_OP, HYPERVISOR_SYSCTL, HvmParam,
    SYSCTL_GETDOMAININFOLIST, SYSCTL_INTERFACE_VERSION, SysctlGetDomainInfoList,
};
use crate::{DomId, Error, Hypervisor, PAGE_SIZE};

const GETDOMAININFOLIST: &str = "XEN_SYSCTL_getdomaininfolist";

/// Why a domain has shut down (`SHUTDOWN_*` of `sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// Clean power-off.
    Poweroff,
    /// Reboot asked for.
    Reboot,
    /// Suspended: its state can be saved, and it can be resumed.
    Suspend,
    /// Crashed.
    Crash,
    /// Watchdog.
    Watchdog,
    /// Soft reset.
    SoftReset,
    /// A reason that this crate does not know.
    Other(u8),
}

impl ShutdownReason {
    fn from_code(code: u8) -> ShutdownReason {
        match code {
            0 => ShutdownReason::Poweroff,
            1 => ShutdownReason::Reboot,
            crate::abi::xen::SHUTDOWN_SUSPEND => ShutdownReason::Suspend,
            3 => ShutdownReason::Crash,
            4 => ShutdownReason::Watchdog,
            5 => ShutdownReason::SoftReset,
            other => ShutdownReason::Other(other),
        }
    }
}

/// A domain as Xen sees it (`XEN_DOMCTL_getdomaininfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// The domain's number.
    pub domid: DomId,
    /// The uuid that the toolstack gave it.
    pub uuid: [u8; 16],
    /// HVM or PVH, not PV.
    pub hvm: bool,
    /// Hardware-assisted paging.
    pub hap: bool,
    /// Being destroyed; still there because someone holds some of its pages.
    pub dying: bool,
    /// Has shut down, and why.
    pub shutdown: Option<ShutdownReason>,
    /// Paused by the toolstack.
    pub paused: bool,
    /// Pages of RAM that it has now.
    pub tot_pages: u64,
    /// Pages of RAM that it may have.
    pub max_pages: u64,
    /// Pages that are shared or swapped out by Xen; 0 on ordinary hosts.
    pub shr_or_paged_pages: u64,
    /// vCPUs that are online.
    pub online_vcpus: u32,
    /// Highest vCPU number, `None` before the first vCPU is made.
    pub max_vcpu_id: Option<u32>,
    /// CPU time used by all its vCPUs, nanoseconds.
    pub cpu_time_ns: u64,
}

impl DomainInfo {
    fn from_abi(info: &GetDomainInfo) -> DomainInfo {
        let flag = |bit| info.flags & bit != 0;
        let code = (info.flags >> DOMINF_SHUTDOWNSHIFT) & DOMINF_SHUTDOWNMASK;
        DomainInfo {
            domid: info.domain,
            uuid: info.handle,
            hvm: flag(DOMINF_HVM_GUEST),
            hap: flag(DOMINF_HAP),
            dying: flag(DOMINF_DYING),
            shutdown: flag(DOMINF_SHUTDOWN).then(|| ShutdownReason::from_code(code as u8)),
            paused: flag(DOMINF_PAUSED),
            tot_pages: info.tot_pages,
            max_pages: info.max_pages,
            shr_or_paged_pages: info.shr_pages.saturating_add(info.paged_pages),
            online_vcpus: info.nr_online_vcpus,
            max_vcpu_id: Some(info.max_vcpu_id).filter(|&id| id != u32::MAX),
            cpu_time_ns: info.cpu_time,
        }
    }

    /// Suspended in the way that `SCHEDOP_shutdown(suspend)` leaves it.
    pub fn suspended(&self) -> bool {
        self.shutdown == Some(ShutdownReason::Suspend)
    }

    /// Neither dying nor shut down: it runs, or will when it is unpaused.
    pub fn alive(&self) -> bool {
        !self.dying && self.shutdown.is_none()
    }
}

impl Hypervisor {
    /// The domain with this number, `None` if there is none. A dying domain is still returned.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        Ok(self.domain_or_next(domid)?.filter(|info| info.domid == domid))
    }

    /// As [`Hypervisor::domain_info`], with "none" as an error.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn domain(&self, domid: DomId) -> Result<DomainInfo, Error> {
        self.domain_info(domid)?.ok_or(Error::NoSuchDomain(domid))
    }

    /// All domains, Dom0 and dying ones included, by number.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn domains(&self) -> Result<Vec<DomainInfo>, Error> {
        let mut domains = Vec::new();
        let mut next = 0;
        while next < DOMID_FIRST_RESERVED {
            let some = self.domains_from(next)?;
            let Some(last) = some.last() else { break };
            if some.iter().any(|info| info.domid < next) {
                return Err(Error::Nonsense { op: GETDOMAININFOLIST });
            }
            next = last.domid.saturating_add(1);
            domains.extend(some);
        }
        Ok(domains)
    }

    /// The first domains from `first` on, as many as a page holds; none after the last.
    fn domains_from(&self, first: DomId) -> Result<Vec<DomainInfo>, Error> {
        let list = self.buffer(PAGE_SIZE)?;
        let most = PAGE_SIZE / size_of::<GetDomainInfo>();
        self.with_page(|buffer| {
            buffer.put(SysctlGetDomainInfoList {
                cmd: SYSCTL_GETDOMAININFOLIST,
                interface_version: SYSCTL_INTERFACE_VERSION,
                first_domain: first,
                max_domains: most as u32,
                buffer: list.addr(),
                ..SysctlGetDomainInfoList::default()
            });
            self.call(GETDOMAININFOLIST, HYPERVISOR_SYSCTL, [buffer.addr(), 0, 0, 0, 0])?;
            let found = buffer.get::<SysctlGetDomainInfoList>().num_domains as usize;
            let (entries, _) = list.bytes().as_chunks::<{ size_of::<GetDomainInfo>() }>();
            let info = |bytes: &[u8; size_of::<GetDomainInfo>()]| {
                // SAFETY: as many bytes as the structure has, which is integers only.
                DomainInfo::from_abi(&unsafe { bytes.as_ptr().cast::<GetDomainInfo>().read_unaligned() })
            };
            Ok(entries.iter().take(found).map(info).collect())
        })
    }

    /// Up to 4.17, Xen answers with the next domain when `domid` does not exist; then always
    /// with `ESRCH`.
    fn domain_or_next(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        let op = DomctlOp { pad: [0; 16] };
        match self.domctl("XEN_DOMCTL_getdomaininfo", GETDOMAININFO, domid, op) {
            Ok(reply) => {
                // SAFETY: plain data, valid for any bits; Xen filled it in.
                let info = unsafe { reply.u.getdomaininfo };
                Ok(Some(DomainInfo::from_abi(&info)))
            }
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pauses a domain. Xen counts: as many unpauses set it running again.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn pause(&self, domid: DomId) -> Result<(), Error> {
        self.simple_domctl("XEN_DOMCTL_pausedomain", PAUSEDOMAIN, domid).map(drop)
    }

    /// Takes one pause back.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`]; [`Error::Hypercall`] with `EINVAL` when it was not paused.
    pub fn unpause(&self, domid: DomId) -> Result<(), Error> {
        self.simple_domctl("XEN_DOMCTL_unpausedomain", UNPAUSEDOMAIN, domid).map(drop)
    }

    pub(crate) fn simple_domctl(&self, name: &'static str, cmd: u32, domid: DomId) -> Result<Domctl, Error> {
        self.domctl(name, cmd, domid, DomctlOp { pad: [0; 16] }).map_err(|error| error.or_gone(domid))
    }

    /// Reads an HVM parameter (`HVM_PARAM_*` of `hvm/params.h`).
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`]; [`Error::Hypercall`] with `EINVAL` for a PV guest or an unknown
    /// parameter.
    pub fn hvm_param(&self, domid: DomId, index: u32) -> Result<u64, Error> {
        self.with_page(|buffer| {
            buffer.put(HvmParam { domid, pad: 0, index, value: 0 });
            self.call("HVMOP_get_param", HYPERVISOR_HVM_OP, [HVMOP_GET_PARAM, buffer.addr(), 0, 0, 0])
                .map_err(|error| error.or_gone(domid))?;
            Ok(buffer.get::<HvmParam>().value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(flags: u32) -> GetDomainInfo {
        // SAFETY: integers only.
        let mut info: GetDomainInfo = unsafe { std::mem::zeroed() };
        info.flags = flags;
        info.max_vcpu_id = u32::MAX;
        info
    }

    #[test]
    fn a_suspended_domain_is_told_from_a_crashed_one() {
        let suspended = DomainInfo::from_abi(&raw(DOMINF_SHUTDOWN | 2 << 16));
        assert!(suspended.suspended() && !suspended.alive());
        let crashed = DomainInfo::from_abi(&raw(DOMINF_SHUTDOWN | 3 << 16));
        assert_eq!(crashed.shutdown, Some(ShutdownReason::Crash));
    }

    #[test]
    fn the_invalid_shutdown_code_of_a_running_domain_is_no_reason() {
        let running = DomainInfo::from_abi(&raw(0xff << 16 | DOMINF_HVM_GUEST | DOMINF_HAP));
        assert_eq!(running.shutdown, None);
        assert!(running.alive() && running.hvm && running.hap);
        assert_eq!(running.max_vcpu_id, None);
    }
}

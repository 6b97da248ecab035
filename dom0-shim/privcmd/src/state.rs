//! What a saved image of a guest holds besides memory, in the bodies of libxc's stream records
//! (`tools/libs/guest/xg_sr_stream_format.h`), so that a stock `xl restore` takes it.

use crate::abi::domctl::{
    CPUID_LEAF_SIZE, CpuPolicy as AbiCpuPolicy, DomctlOp, GET_CPU_POLICY, GETHVMCONTEXT, GETTSCINFO,
    HvmContext, MSR_ENTRY_SIZE,
};
use crate::{DomId, Error, Hypervisor};

/// Largest HVM context that is believed: Xen's is a few KiB a vCPU.
const MAX_HVM_CONTEXT: usize = 16 << 20;
/// Largest CPU policy that is believed (entries); Xen's has some hundreds.
const MAX_POLICY_ENTRIES: u32 = 1 << 16;

/// The parameters that `xl save` records, in its order (`write_hvm_params` in
/// `xg_sr_save_x86_hvm.c`, the same from 4.17 to 4.20): `HVM_PARAM_` STORE_PFN, IOREQ_PFN,
/// BUFIOREQ_PFN, PAGING_RING_PFN, MONITOR_RING_PFN, SHARING_RING_PFN, VM86_TSS_SIZED, CONSOLE_PFN,
/// ACPI_IOPORTS_LOCATION, VIRIDIAN, IDENT_PT, VM_GENERATION_ID_ADDR, IOREQ_SERVER_PFN,
/// NR_IOREQ_SERVER_PAGES, X87_FIP_WIDTH, MCA_CAP.
const SAVED_HVM_PARAMS: [u32; 16] = [1, 5, 6, 27, 28, 29, 37, 17, 19, 9, 12, 34, 32, 33, 36, 38];

/// The bodies of the records `X86_CPUID_POLICY` and `X86_MSR_POLICY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuPolicy {
    /// `xen_cpuid_leaf_t` entries, 24 bytes each.
    pub cpuid: Vec<u8>,
    /// `xen_msr_entry_t` entries, 16 bytes each.
    pub msrs: Vec<u8>,
}

impl Hypervisor {
    /// The state of vCPUs and virtual devices: the body of the record `HVM_CONTEXT`. Complete and
    /// consistent only while the guest does not run.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Pv`], [`Error::Hypercall`].
    pub fn hvm_context(&self, domid: DomId) -> Result<Vec<u8>, Error> {
        if !self.domain(domid)?.hvm {
            return Err(Error::Pv(domid));
        }
        let size = self.get_hvm_context(domid, HvmContext { size: 0, pad: 0, buffer: 0 })?;
        let buffer = self.buffer(size)?;
        let request = HvmContext { size: size as u32, pad: 0, buffer: buffer.addr() };
        let used = self.get_hvm_context(domid, request)?;
        buffer
            .bytes()
            .get(..used)
            .map(<[u8]>::to_vec)
            .ok_or(Error::Nonsense { op: "XEN_DOMCTL_gethvmcontext" })
    }

    fn get_hvm_context(&self, domid: DomId, request: HvmContext) -> Result<usize, Error> {
        let name = "XEN_DOMCTL_gethvmcontext";
        let mut op = DomctlOp { pad: [0; 16] };
        op.hvmcontext = request;
        let reply = self.domctl(name, GETHVMCONTEXT, domid, op).map_err(|error| error.or_gone(domid))?;
        // SAFETY: plain data, valid for any bits.
        let size = unsafe { reply.u.hvmcontext.size } as usize;
        if size == 0 || size > MAX_HVM_CONTEXT { Err(Error::Nonsense { op: name }) } else { Ok(size) }
    }

    /// The HVM parameters that `xl save` records, as (index, value), those that are 0 left out:
    /// the entries of the record `HVM_PARAMS`.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn hvm_params(&self, domid: DomId) -> Result<Vec<(u64, u64)>, Error> {
        let mut params = Vec::with_capacity(SAVED_HVM_PARAMS.len());
        for index in SAVED_HVM_PARAMS {
            let value = self.hvm_param(domid, index)?;
            if value != 0 {
                params.push((u64::from(index), value));
            }
        }
        Ok(params)
    }

    /// The body of the record `X86_TSC_INFO`: mode, kHz, nanoseconds, incarnation.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn tsc_info(&self, domid: DomId) -> Result<[u8; 24], Error> {
        let reply = self.simple_domctl("XEN_DOMCTL_gettscinfo", GETTSCINFO, domid)?;
        // SAFETY: plain data, valid for any bits.
        let info = unsafe { reply.u.tsc_info };
        Ok(tsc_record(info.tsc_mode, info.gtsc_khz, info.elapsed_nsec, info.incarnation))
    }

    /// What the guest's CPU looks like: CPUID leaves and MSRs.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], [`Error::Hypercall`].
    pub fn cpu_policy(&self, domid: DomId) -> Result<CpuPolicy, Error> {
        let empty = AbiCpuPolicy {
            nr_leaves: 0,
            nr_msrs: 0,
            leaves: 0,
            msrs: 0,
            err_leaf: 0,
            err_subleaf: 0,
            err_msr: 0,
            pad: 0,
        };
        // With null buffers, Xen says how large they have to be.
        let (leaves_len, msrs_len) = self.get_cpu_policy(domid, empty)?;
        let leaves = self.buffer(leaves_len as usize * CPUID_LEAF_SIZE)?;
        let msrs = self.buffer(msrs_len as usize * MSR_ENTRY_SIZE)?;
        let request = AbiCpuPolicy {
            nr_leaves: leaves_len,
            nr_msrs: msrs_len,
            leaves: leaves.addr(),
            msrs: msrs.addr(),
            ..empty
        };
        let (leaves_len, msrs_len) = self.get_cpu_policy(domid, request)?;
        let cpuid = leaves.bytes().get(..leaves_len as usize * CPUID_LEAF_SIZE);
        let msrs = msrs.bytes().get(..msrs_len as usize * MSR_ENTRY_SIZE);
        match (cpuid, msrs) {
            (Some(cpuid), Some(msrs)) => Ok(CpuPolicy { cpuid: cpuid.to_vec(), msrs: msrs.to_vec() }),
            _ => Err(Error::Nonsense { op: "XEN_DOMCTL_get_cpu_policy" }),
        }
    }

    fn get_cpu_policy(&self, domid: DomId, request: AbiCpuPolicy) -> Result<(u32, u32), Error> {
        let name = "XEN_DOMCTL_get_cpu_policy";
        let mut op = DomctlOp { pad: [0; 16] };
        op.cpu_policy = request;
        let reply = self.domctl(name, GET_CPU_POLICY, domid, op).map_err(|error| error.or_gone(domid))?;
        // SAFETY: plain data, valid for any bits.
        let policy = unsafe { reply.u.cpu_policy };
        if policy.nr_leaves > MAX_POLICY_ENTRIES || policy.nr_msrs > MAX_POLICY_ENTRIES {
            return Err(Error::Nonsense { op: name });
        }
        Ok((policy.nr_leaves, policy.nr_msrs))
    }
}

/// `struct xc_sr_rec_x86_tsc_info`: u32 mode, u32 khz, u64 nsec, u32 incarnation, u32 reserved.
fn tsc_record(mode: u32, khz: u32, nsec: u64, incarnation: u32) -> [u8; 24] {
    let mut record = [0; 24];
    let fields: [&[u8]; 4] =
        [&mode.to_le_bytes(), &khz.to_le_bytes(), &nsec.to_le_bytes(), &incarnation.to_le_bytes()];
    for (to, from) in record.iter_mut().zip(fields.concat()) {
        *to = from;
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tsc_record_has_libxc_order_not_domctl_order() {
        let record = tsc_record(1, 2, 3, 4);
        assert_eq!(record, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    }
}

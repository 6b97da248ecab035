//! Facts about the host, for `luthier check`.

use std::fmt;

use crate::abi::xen::{
    DOMID_SELF, FLASK_GETENFORCE, FLASK_INTERFACE_VERSION, FlaskOp, HYPERVISOR_HYPFS_OP, HYPERVISOR_SYSCTL,
    HYPERVISOR_XEN_VERSION, HYPERVISOR_XSM_OP, HYPFS_OP_READ, HypfsDirentry, PHYSCAP_HAP, PHYSCAP_HVM,
    SYSCTL_INTERFACE_VERSION, SYSCTL_PHYSINFO, SysctlPhysinfo, XENVER_CAPABILITIES, XENVER_COMMANDLINE,
    XENVER_EXTRAVERSION,
};
use crate::{Error, Hypervisor};

/// The version that Xen reports, such as 4.17.5-pre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// The rest, with its dot.
    pub extra: String,
}

impl fmt::Display for XenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{}", self.major, self.minor, self.extra)
    }
}

/// Which security module Xen runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XsmMode {
    /// FLASK answers; whether it enforces its policy.
    Flask {
        /// Policy violations are denied, not only logged.
        enforcing: bool,
    },
    /// `xsm=silo` on Xen's command line: grants and event channels between guests are forbidden,
    /// so a stub domain cannot serve guests. (A Xen built without silo ignores the option.)
    Silo,
    /// No module: `xsm=dummy` on the command line.
    Dummy,
    /// FLASK does not answer and the command line says nothing: what Xen was built with, which is
    /// "no module" in distributions' packages.
    BuildDefault,
}

/// What this host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Xen's version.
    pub version: XenVersion,
    /// This crate knows this version's control interface.
    pub supported: bool,
    /// Kinds of guests, such as `xen-3.0-x86_64 hvm-3.0-x86_64`.
    pub capabilities: String,
    /// Xen's command line.
    pub command_line: String,
    /// HVM and PVH guests are possible. `None`: Xen did not tell.
    pub hvm: Option<bool>,
    /// Hardware-assisted paging is there. `None`: Xen did not tell.
    pub hap: Option<bool>,
    /// Security module.
    pub xsm: XsmMode,
    /// Most grant frames that a guest can be given (`gnttab_max_frames`); a frame holds 512
    /// entries. `None`: Xen did not tell.
    pub gnttab_max_frames: Option<u32>,
    /// Memory that no domain has, in pages. `None`: Xen did not tell.
    pub free_pages: Option<u64>,
}

impl Hypervisor {
    /// Collects the facts; works on unsupported versions too ([`Hypervisor::open_any_version`]).
    ///
    /// # Errors
    /// [`Error::Hypercall`] when not even the version can be read.
    pub fn facts(&self) -> Result<HostFacts, Error> {
        let (major, minor) = self.version();
        let extra = self.version_string("XENVER_extraversion", XENVER_EXTRAVERSION, 16)?;
        let capabilities = self.version_string("XENVER_capabilities", XENVER_CAPABILITIES, 1024)?;
        let command_line = self.version_string("XENVER_commandline", XENVER_COMMANDLINE, 1024)?;
        let physinfo = self.physinfo().ok();
        let capability = |bit| physinfo.map(|info| info.capabilities & bit != 0);
        let xsm = match self.flask_enforcing() {
            Some(enforcing) => XsmMode::Flask { enforcing },
            None => xsm_of_command_line(&command_line),
        };
        Ok(HostFacts {
            version: XenVersion { major, minor, extra },
            supported: self.supported(),
            capabilities: capabilities.trim().to_string(),
            hvm: capability(PHYSCAP_HVM),
            hap: capability(PHYSCAP_HAP),
            xsm,
            gnttab_max_frames: self.gnttab_max_frames(),
            free_pages: physinfo.map(|info| info.free_pages),
            command_line,
        })
    }

    fn version_string(&self, name: &'static str, what: u64, len: usize) -> Result<String, Error> {
        self.with_page(|buffer| {
            self.call(name, HYPERVISOR_XEN_VERSION, [what, buffer.addr(), 0, 0, 0])?;
            let text = buffer.bytes().get(..len).unwrap_or_default();
            let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(text).into_owned())
        })
    }

    fn physinfo(&self) -> Result<SysctlPhysinfo, Error> {
        self.with_page(|buffer| {
            buffer.put(SysctlPhysinfo {
                cmd: SYSCTL_PHYSINFO,
                interface_version: SYSCTL_INTERFACE_VERSION,
                ..SysctlPhysinfo::default()
            });
            self.call("XEN_SYSCTL_physinfo", HYPERVISOR_SYSCTL, [buffer.addr(), 0, 0, 0, 0])?;
            Ok(buffer.get::<SysctlPhysinfo>())
        })
    }

    /// Without FLASK the hypercall does not exist.
    fn flask_enforcing(&self) -> Option<bool> {
        let enforcing = self.with_page(|buffer| {
            buffer.put(FlaskOp {
                cmd: FLASK_GETENFORCE,
                interface_version: FLASK_INTERFACE_VERSION,
                ..FlaskOp::default()
            });
            self.call("FLASK_GETENFORCE", HYPERVISOR_XSM_OP, [buffer.addr(), 0, 0, 0, 0])
        });
        enforcing.ok().map(|enforcing| enforcing != 0)
    }

    /// From the hypervisor's file system, else from Dom0's own table, which has the default.
    fn gnttab_max_frames(&self) -> Option<u32> {
        let text = self.hypfs_read("/params/gnttab_max_frames").ok();
        let parsed = text.and_then(|text| text.trim_end_matches('\0').trim().parse().ok());
        parsed.or_else(|| self.grant_limits(DOMID_SELF).ok().map(|limits| limits.max_frames))
    }

    /// A small text entry of the hypervisor's file system.
    fn hypfs_read(&self, path: &str) -> Result<String, Error> {
        self.with_page(|buffer| {
            // The path at the start of the page, the answer in its second half.
            const ANSWER: usize = 2048;
            let mut path = path.as_bytes().to_vec();
            path.push(0);
            let bytes = buffer.bytes_mut();
            for (to, from) in bytes.iter_mut().take(ANSWER).zip(&path) {
                *to = *from;
            }
            let (name, answer) = (buffer.addr(), buffer.addr() + ANSWER as u64);
            self.call(
                "XEN_HYPFS_OP_read",
                HYPERVISOR_HYPFS_OP,
                [HYPFS_OP_READ, name, path.len() as u64, answer, ANSWER as u64],
            )?;
            // The entry's header, then its contents, 0 where Xen wrote nothing.
            let contents = ANSWER + size_of::<HypfsDirentry>();
            let text = buffer.bytes().get(contents..).unwrap_or_default();
            let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(text).into_owned())
        })
    }
}

/// The last `xsm=` counts, as for Xen.
fn xsm_of_command_line(command_line: &str) -> XsmMode {
    let mut option = command_line.split_whitespace().filter_map(|word| word.strip_prefix("xsm="));
    match option.next_back() {
        Some("silo") => XsmMode::Silo,
        Some("dummy") => XsmMode::Dummy,
        _ => XsmMode::BuildDefault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silo_is_seen_on_the_command_line() {
        assert_eq!(xsm_of_command_line("dom0_mem=1G xsm=silo loglvl=all"), XsmMode::Silo);
        assert_eq!(xsm_of_command_line("xsm=silo xsm=dummy"), XsmMode::Dummy);
        assert_eq!(xsm_of_command_line("console=com1 noxsm=silo"), XsmMode::BuildDefault);
    }
}

//! What can go wrong between Dom0 and Xen, in words that an operator can act on.

use std::io;

use crate::DomId;

/// An error of the hypervisor interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Xen device of the kernel cannot be used.
    #[error(
        "cannot use {path}: {source}; is this Xen's Dom0, are you root, and is the kernel module loaded?"
    )]
    Device {
        /// The device that was tried.
        path: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The control interface (domctl) of this Xen is not known to this program.
    #[error(
        "Xen {major}.{minor} is not supported: this program knows the control interface of Xen 4.17, 4.18, 4.19 and 4.20"
    )]
    UnsupportedXen {
        /// Major version found.
        major: u32,
        /// Minor version found.
        minor: u32,
    },
    /// Xen answered with an error that has no more precise variant.
    #[error("{op}: {source}")]
    Hypercall {
        /// The operation's name in Xen's public headers.
        op: &'static str,
        /// Xen's errno, which has the same numbers as Linux's.
        source: io::Error,
    },
    /// The domain does not exist (any more).
    #[error("domain {0} does not exist")]
    NoSuchDomain(DomId),
    /// The operation needs an HVM or PVH guest.
    #[error("domain {0} is a PV guest: only HVM and PVH guests can be tracked and saved")]
    Pv(DomId),
    /// Log-dirty mode is on already, for someone else.
    #[error(
        "dirty-page logging of domain {0} is already in use by someone else (xl migrate, xl save, Remus, or a display's video memory): wait until it has ended"
    )]
    LogDirtyOwned(DomId),
    /// Log-dirty mode is impossible with a device passed through.
    #[error(
        "domain {0} has a PCI device passed through, so its writes cannot be tracked: detach it first (xl pci-detach)"
    )]
    LogDirtyPassthrough(DomId),
    /// The domain runs without hardware-assisted paging.
    #[error(
        "domain {0} does not use hardware-assisted paging (HAP), so its writes cannot be tracked: remove hap=0 from its configuration"
    )]
    LogDirtyNoHap(DomId),
    /// Xen had no memory left to record dirty pages; the record is incomplete.
    #[error(
        "Xen ran out of the paging memory of domain {0} while it logged dirty pages: raise shadow_memory in its configuration"
    )]
    LogDirtyNoMemory(DomId),
    /// Fast resume is only for a domain that has suspended itself.
    #[error("domain {0} is not suspended")]
    NotSuspended(DomId),
    /// Xen reported a guest larger than this program handles.
    #[error("domain {0} claims {1} page frames, more than this program handles")]
    TooLarge(DomId, u64),
    /// Xen answered something that makes no sense.
    #[error("{op}: Xen's answer makes no sense")]
    Nonsense {
        /// The operation.
        op: &'static str,
    },
}

impl Error {
    /// Xen's errno for [`Error::Hypercall`], otherwise `None`.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Hypercall { source, .. } | Error::Device { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// `ESRCH` of an operation on a domain means that the domain is gone.
    pub(crate) fn or_gone(self, domid: DomId) -> Error {
        if self.errno() == Some(libc::ESRCH) { Error::NoSuchDomain(domid) } else { self }
    }
}

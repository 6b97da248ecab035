//! What the daemon asks of Xen about domains, in an operator's words.

use std::ops::Deref;
use std::sync::Arc;

use privcmd::{DomainInfo, Hypervisor, ShutdownReason, xenstore};
use store::{Extents, XenVersion};

use super::allow::Attached;
use super::window::MIN_FRAMES;
use crate::error::{Context, Error, Result};

/// The hypervisor, shared by all threads.
#[derive(Clone)]
pub(super) struct Xen(Arc<Hypervisor>);

impl Deref for Xen {
    type Target = Hypervisor;

    fn deref(&self) -> &Hypervisor {
        &self.0
    }
}

impl Xen {
    /// Opens Xen's devices.
    pub(super) fn open() -> Result<Self> {
        let hypervisor =
            Hypervisor::open().context("opening Xen").map_err(|e| e.hint("`luthier check` says more"))?;
        Ok(Self(Arc::new(hypervisor)))
    }

    /// The version, for people.
    pub(super) fn version_text(&self) -> String {
        let (major, minor) = self.version();
        format!("{major}.{minor}")
    }

    /// The version, for a manifest.
    pub(super) fn store_version(&self) -> XenVersion {
        let (major, minor) = self.version();
        XenVersion { major, minor }
    }

    /// A domain that exists and is not going away. It may be suspended.
    pub(super) fn guest(&self, domid: u16) -> Result<DomainInfo> {
        match self.domain_info(domid).context(format!("looking at domain {domid}"))? {
            Some(info) if info.dying => Err(Error::new(format!("domain {domid} is being destroyed"))),
            Some(info) if info.alive() || info.suspended() => Ok(info),
            Some(info) if info.shutdown == Some(ShutdownReason::Crash) => {
                Err(Error::new(format!("domain {domid} has crashed")))
            }
            Some(_) => Err(Error::new(format!("domain {domid} has shut down"))),
            None => Err(Error::new(format!("domain {domid} does not exist"))),
        }
    }

    /// The guest that was attached, if it still is that one.
    pub(super) fn check_attached(&self, guest: &Attached) -> Result<DomainInfo> {
        match self.domain_info(guest.domid).context(format!("looking at domain {}", guest.domid))? {
            Some(info) if info.uuid == guest.uuid => {
                self.guest(guest.domid).map_err(|e| Error::new(format!("`{}`: {}", guest.name, e.message)))
            }
            _ => Err(Error::new(format!("`{}` is no longer the guest that was attached", guest.name))
                .hint(format!("If it was started again: luthier attach {}", guest.name))),
        }
    }

    /// A domain by its name in xenstore. One that is being destroyed counts no more; one that has
    /// crashed does.
    pub(super) fn find_domain(&self, name: &str) -> Result<Option<DomainInfo>> {
        let mut store = xenstore::Client::open().context("opening xenstore")?;
        let domains = self.domains().context("listing the domains")?;
        Ok(domains.into_iter().filter(|d| !d.dying && d.domid != 0).find(|d| {
            store.read(&format!("/local/domain/{}/name", d.domid)).is_ok_and(|n| n.as_deref() == Some(name))
        }))
    }

    /// The guest's populated frames.
    pub(super) fn frames(&self, domid: u16) -> Result<Extents> {
        let extents = self.populated(domid).context("reading the guest's memory map")?;
        let extents = extents.iter().map(|e| store::Extent { pfn: e.pfn, count: e.count });
        Extents::new(extents).context("reading the guest's memory map")
    }

    /// Whether the guest's grant table has room for a window, and is of version 1.
    pub(super) fn check_window(&self, domid: u16) -> Result<()> {
        let limits = self.grant_limits(domid).context("reading the guest's grant limits")?;
        if limits.max_frames < MIN_FRAMES {
            return Err(Error::new(format!(
                "the guest's grant table may have {} frames; a snapshot needs {MIN_FRAMES}",
                limits.max_frames
            ))
            .hint("Raise max_grant_frames in its configuration (Xen's own limit: gnttab_max_frames)"));
        }
        if self.grant_version(domid).context("reading the guest's grant version")? != 1 {
            return Err(Error::new("the guest uses version 2 of the grant table")
                .hint("Set max_grant_version=1 in its configuration and start it again"));
        }
        Ok(())
    }
}

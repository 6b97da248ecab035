//! Mapping pages that another domain granted to Dom0, by `/dev/xen/gntdev`.
//!
//! Only for the ring pages of a vchan that a stub domain offers to us. It gives raw addresses, not
//! slices: the other domain writes to this memory at any time.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::abi::linux::{
    GNTDEV_MAP_GRANT_REF, GNTDEV_SET_UNMAP_NOTIFY, GNTDEV_UNMAP_GRANT_REF, GntdevMapGrantRef,
    GntdevUnmapGrantRef, GntdevUnmapNotify, UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT,
};
use crate::device::{self, Mapping};
use crate::{DomId, Error};

/// Most grants in one mapping: one vchan ring of 1 MiB.
const MAX_GRANTS: usize = 256;

/// The device; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct GrantDevice {
    file: Arc<File>,
}

/// Granted pages, one after the other in our address space.
#[derive(Debug)]
pub(crate) struct GrantMapping {
    // In this order, so that the memory is unmapped before its slots are freed.
    mapping: Option<Mapping>,
    /// `None` for the ordinary memory that tests use.
    slots: Option<Slots>,
}

/// The driver's bookkeeping of a mapping; freed on drop.
#[derive(Debug)]
struct Slots {
    device: GrantDevice,
    index: u64,
    count: u32,
}

impl Drop for Slots {
    fn drop(&mut self) {
        let mut unmap = GntdevUnmapGrantRef { index: self.index, count: self.count, pad: 0 };
        let fd = self.device.file.as_fd();
        // SAFETY: the structure is what the ioctl takes. Errors leave it to the close.
        let _ = unsafe { device::ioctl(fd, GNTDEV_UNMAP_GRANT_REF, &raw mut unmap) };
    }
}

impl GrantDevice {
    /// Opens the device.
    pub(crate) fn open() -> Result<GrantDevice, Error> {
        Ok(GrantDevice { file: Arc::new(device::open("/dev/xen/gntdev", 0)?) })
    }

    /// Maps grants of `domid`, in this order.
    pub(crate) fn map(&self, domid: DomId, grants: &[u32], writable: bool) -> io::Result<GrantMapping> {
        if grants.is_empty() || grants.len() > MAX_GRANTS {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // The structure and its array, in words: count and padding, index, (domid, ref) each.
        let mut request = vec![grants.len() as u64, 0];
        request.extend(grants.iter().map(|&gref| u64::from(domid) | u64::from(gref) << 32));
        // SAFETY: the words have the layout of `struct ioctl_gntdev_map_grant_ref` (a
        // `GntdevMapGrantRef`, then `count` times `GntdevGrantRef`), aligned as it needs.
        let request_ptr = request.as_mut_ptr().cast::<GntdevMapGrantRef>();
        // SAFETY: as above; the driver writes only `index`.
        unsafe { device::ioctl(self.file.as_fd(), GNTDEV_MAP_GRANT_REF, request_ptr) }?;
        let index = request.get(1).copied().unwrap_or_default();
        let slots = Slots { device: self.clone(), index, count: grants.len() as u32 };
        let mapping = Mapping::device(self.file.as_fd(), grants.len(), index, writable)?;
        Ok(GrantMapping { mapping: Some(mapping), slots: Some(slots) })
    }
}

impl GrantMapping {
    #[cfg(test)]
    pub(crate) fn of_memory(mapping: Mapping) -> GrantMapping {
        GrantMapping { mapping: Some(mapping), slots: None }
    }

    /// Start of the first page.
    pub(crate) fn addr(&self) -> NonNull<u8> {
        self.mapping.as_ref().map_or(NonNull::dangling(), Mapping::addr)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.mapping.as_ref().map_or(0, Mapping::len)
    }

    /// Has the kernel clear the byte at `offset` and send an event to `port` when this mapping
    /// ends, also by the death of this process.
    pub(crate) fn notify_on_unmap(&self, offset: usize, port: u32) -> io::Result<()> {
        let Some(slots) = self.slots.as_ref().filter(|_| offset < self.len()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let mut notify = GntdevUnmapNotify {
            index: slots.index + offset as u64,
            action: UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT,
            event_channel_port: port,
        };
        let fd = slots.device.file.as_fd();
        // SAFETY: the structure is what the ioctl takes.
        unsafe { device::ioctl(fd, GNTDEV_SET_UNMAP_NOTIFY, &raw mut notify) }.map(drop)
    }
}

impl Drop for GrantMapping {
    fn drop(&mut self) {
        self.mapping = None;
    }
}

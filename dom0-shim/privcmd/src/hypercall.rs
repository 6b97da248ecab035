//! The connection to Xen: `/dev/xen/privcmd`, pinned buffers, and the check of the version.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi::domctl::Domctl;
use crate::abi::linux::{PRIVCMD_HYPERCALL, PrivcmdHypercall};
use crate::abi::xen::{HYPERVISOR_DOMCTL, HYPERVISOR_XEN_VERSION, XENVER_VERSION};
use crate::device::{self, Mapping};
use crate::{DomId, Error, PAGE_SIZE};

/// Buffers kept for reuse: making one costs a PV Dom0 more than most hypercalls do, and some are
/// needed while a guest is suspended.
const SPARE_BUFFERS: usize = 16;
/// Buffers larger than this are not kept: 1 MiB is the dirty bitmap of a guest of 32 GiB.
const SPARE_BYTES: usize = 1 << 20;

/// The versions whose control interface is known: (minor version of Xen 4,
/// `XEN_DOMCTL_INTERFACE_VERSION` in `xen/include/public/domctl.h` of its release tags).
const DOMCTL_VERSIONS: [(u32, u32); 4] = [(17, 0x15), (18, 0x16), (19, 0x17), (20, 0x17)];

/// The domctl interface version of a Xen version, `None` if it is not supported.
fn domctl_version(major: u32, minor: u32) -> Option<u32> {
    DOMCTL_VERSIONS.iter().find(|&&(known, _)| major == 4 && known == minor).map(|&(_, version)| version)
}

/// Memory that stays where it is while Xen reads and writes it. Xen touches it only during a
/// hypercall that names it; otherwise it is ordinary memory of ours.
pub(crate) struct Buffer {
    mapping: Mapping,
}

/// Plain data: any bits are a valid value, and it has no padding that matters.
///
/// # Safety
/// Implement it only for `#[repr(C)]` structures of integers.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers, arrays of them, and a union of such structures.
unsafe impl Plain for Domctl {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::HvmParam {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::GnttabQuerySize {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::GnttabGetVersion {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::SysctlPhysinfo {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::SysctlGetDomainInfoList {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::FlaskOp {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::HypfsDirentry {}
// SAFETY: integers only.
unsafe impl Plain for crate::abi::xen::DmOpModifiedMemory {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: an integer.
unsafe impl Plain for u16 {}

impl Buffer {
    /// The address as a hypercall argument.
    pub(crate) fn addr(&self) -> u64 {
        self.mapping.addr().as_ptr() as u64
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, initialised (zeroed by the kernel), and Xen writes to
        // it only during hypercalls, which take `&mut Buffer` or are over.
        unsafe { std::slice::from_raw_parts(self.mapping.addr().as_ptr(), self.mapping.len()) }
    }

    /// All of it, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and we are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.addr().as_ptr(), self.mapping.len()) }
    }

    /// Writes a structure at the start. The buffer is never smaller than a page, and no structure
    /// is larger.
    pub(crate) fn put<T: Plain>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };
        // SAFETY: aligned to a page, large enough, ours.
        unsafe { self.mapping.addr().as_ptr().cast::<T>().write(value) };
    }

    /// Reads a structure from the start.
    pub(crate) fn get<T: Plain>(&self) -> T {
        const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };
        // SAFETY: aligned to a page, large enough, initialised, and `T` is plain data.
        unsafe { self.mapping.addr().as_ptr().cast::<T>().read() }
    }
}

/// A buffer that goes back to the spare ones.
pub(crate) struct Pooled<'a> {
    hypervisor: &'a Hypervisor,
    buffer: ManuallyDrop<Buffer>,
}

impl Deref for Pooled<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl DerefMut for Pooled<'_> {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and never used again.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        let mut spare = self.hypervisor.spare();
        if spare.len() < SPARE_BUFFERS && buffer.mapping.len() <= SPARE_BYTES {
            spare.push(buffer);
        }
    }
}

/// The way to Xen. Usable from several threads at once; opening it twice is harmless.
pub struct Hypervisor {
    privcmd: File,
    buffers: Option<File>,
    spare: Mutex<Vec<Buffer>>,
    version: (u32, u32),
    domctl_version: u32,
}

impl std::fmt::Debug for Hypervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hypervisor").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Hypervisor {
    /// Opens the way to Xen and checks that its version is one that this crate knows.
    ///
    /// # Errors
    /// [`Error::Device`] outside of a privileged domain or without rights,
    /// [`Error::UnsupportedXen`].
    pub fn open() -> Result<Hypervisor, Error> {
        let mut hypervisor = Hypervisor::open_any_version()?;
        let (major, minor) = hypervisor.version;
        hypervisor.domctl_version =
            domctl_version(major, minor).ok_or(Error::UnsupportedXen { major, minor })?;
        Ok(hypervisor)
    }

    /// As [`Hypervisor::open`], on any version: enough for [`Hypervisor::facts`]; control
    /// operations fail there with `EACCES`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn open_any_version() -> Result<Hypervisor, Error> {
        let privcmd = device::open("/dev/xen/privcmd", 0)?;
        // Older kernels lack it; locked memory does nearly as well.
        let buffers = match device::open("/dev/xen/hypercall", 0) {
            Ok(file) => Some(file),
            Err(error) if error.errno() == Some(libc::ENOENT) => None,
            Err(error) => return Err(error),
        };
        let mut hypervisor = Hypervisor {
            privcmd,
            buffers,
            spare: Mutex::new(Vec::new()),
            version: (0, 0),
            domctl_version: 0,
        };
        let version =
            hypervisor.call("XENVER_version", HYPERVISOR_XEN_VERSION, [XENVER_VERSION, 0, 0, 0, 0])?;
        hypervisor.version = (version >> 16, version & 0xffff);
        Ok(hypervisor)
    }

    /// Major and minor version of Xen.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// This crate knows the control interface of this version.
    pub(crate) fn supported(&self) -> bool {
        domctl_version(self.version.0, self.version.1).is_some()
    }

    /// A hypercall. `name` is for the error.
    pub(crate) fn call(&self, name: &'static str, op: u64, arg: [u64; 5]) -> Result<u32, Error> {
        let mut call = PrivcmdHypercall { op, arg };
        // SAFETY: the structure is what IOCTL_PRIVCMD_HYPERCALL takes. All callers are in this
        // crate; addresses in `arg` are those of `Buffer`s that live over the call.
        unsafe { device::ioctl(self.privcmd.as_fd(), PRIVCMD_HYPERCALL, &raw mut call) }
            .map_err(|source| Error::Hypercall { op: name, source })
    }

    /// A domctl on `domain`; returns the structure as Xen left it.
    pub(crate) fn domctl(
        &self,
        name: &'static str,
        cmd: u32,
        domain: DomId,
        op: crate::abi::domctl::DomctlOp,
    ) -> Result<Domctl, Error> {
        self.with_page(|buffer| {
            buffer.put(Domctl { cmd, interface_version: self.domctl_version, domain, pad: [0; 3], u: op });
            self.call(name, HYPERVISOR_DOMCTL, [buffer.addr(), 0, 0, 0, 0])?;
            Ok(buffer.get::<Domctl>())
        })
    }

    /// Runs `work` with a zeroed buffer of one page.
    pub(crate) fn with_page<T>(
        &self,
        work: impl FnOnce(&mut Buffer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        work(&mut *self.buffer(PAGE_SIZE)?)
    }

    /// A buffer of at least `bytes`, of which so many are zeroed: the smallest spare one that is
    /// large enough, or a new one.
    pub(crate) fn buffer(&self, bytes: usize) -> Result<Pooled<'_>, Error> {
        let mut spare = self.spare();
        let fits = spare.iter().enumerate().filter(|(_, buffer)| buffer.mapping.len() >= bytes);
        let smallest = fits.min_by_key(|(_, buffer)| buffer.mapping.len()).map(|(at, _)| at);
        let taken = smallest.map(|at| spare.swap_remove(at));
        drop(spare);
        let mut buffer = match taken {
            Some(buffer) => buffer,
            None => self.new_buffer(bytes)?,
        };
        buffer.bytes_mut().iter_mut().take(bytes).for_each(|byte| *byte = 0);
        Ok(Pooled { hypervisor: self, buffer: ManuallyDrop::new(buffer) })
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_buffer(&self, bytes: usize) -> Result<Buffer, Error> {
        let pages = bytes.div_ceil(PAGE_SIZE).max(1);
        let mapping = match &self.buffers {
            Some(file) => Mapping::device(file.as_fd(), pages, 0, true),
            None => Mapping::locked(pages),
        };
        mapping
            .map(|mapping| Buffer { mapping })
            .map_err(|source| Error::Device { path: "/dev/xen/hypercall", source })
    }

    /// Maps frames `first..first + count` of a resource of a domain (`XENMEM_acquire_resource`).
    pub(crate) fn map_resource(
        &self,
        domid: DomId,
        ty: u32,
        id: u32,
        first: u32,
        count: u32,
    ) -> Result<Mapping, Error> {
        let failed = |source: io::Error| Error::Hypercall { op: "XENMEM_acquire_resource", source };
        let mapping = Mapping::device(self.privcmd.as_fd(), count as usize, 0, true)
            .map_err(|source| Error::Device { path: "/dev/xen/privcmd", source })?;
        let mut request = crate::abi::linux::PrivcmdMmapResource {
            dom: domid,
            pad: 0,
            ty,
            id,
            idx: first,
            num: u64::from(count),
            addr: mapping.addr().as_ptr() as u64,
        };
        // SAFETY: the structure is what IOCTL_PRIVCMD_MMAP_RESOURCE takes, and the address range
        // is a privcmd mapping of ours of `count` pages that nothing uses yet.
        unsafe {
            device::ioctl(self.privcmd.as_fd(), crate::abi::linux::PRIVCMD_MMAP_RESOURCE, &raw mut request)
        }
        .map_err(|source| failed(source).or_gone(domid))?;
        Ok(mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_versions_have_their_domctl_interface() {
        assert_eq!(domctl_version(4, 17), Some(0x15));
        assert_eq!(domctl_version(4, 18), Some(0x16));
        assert_eq!(domctl_version(4, 19), Some(0x17));
        assert_eq!(domctl_version(4, 20), Some(0x17));
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        assert_eq!(domctl_version(4, 16), None);
        assert_eq!(domctl_version(4, 21), None);
        assert_eq!(domctl_version(5, 17), None);
        let text = Error::UnsupportedXen { major: 4, minor: 14 }.to_string();
        assert!(text.contains("4.14") && text.contains("4.17") && text.contains("4.20"));
    }
}

//! Device files, ioctls and memory mappings: the only place that calls them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::{self, NonNull};

use crate::{Error, PAGE_SIZE};

/// Opens a device for reading and writing, closed on exec.
pub(crate) fn open(path: &'static str, flags: i32) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | flags)
        .open(path)
        .map_err(|source| Error::Device { path, source })
}

/// An ioctl with an argument structure; the result is never negative.
///
/// # Safety
/// `arg` must point to what the driver expects for `request`, and everything that the structure
/// points to must be valid for what the driver does with it.
pub(crate) unsafe fn ioctl<T>(fd: BorrowedFd<'_>, request: u64, arg: *mut T) -> io::Result<u32> {
    // SAFETY: promised by our caller.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::Ioctl, arg) };
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Pages mapped into this process, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    addr: NonNull<u8>,
    pages: usize,
}

// SAFETY: a mapping is an address range that this value owns; it is not tied to a thread. What is
// done with the memory is the business of who reads and writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` only hands out the address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `pages` pages of a device, shared. `pages` of 0 is refused.
    pub(crate) fn device(
        fd: BorrowedFd<'_>,
        pages: usize,
        offset: u64,
        writable: bool,
    ) -> io::Result<Mapping> {
        Mapping::map(pages, libc::MAP_SHARED, fd.as_raw_fd(), offset, writable)
    }

    /// Anonymous zeroed memory, locked, not inherited by children: a hypercall buffer where the
    /// kernel has no `/dev/xen/hypercall`.
    pub(crate) fn locked(pages: usize) -> io::Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED | libc::MAP_POPULATE;
        let mapping = Mapping::map(pages, flags, -1, 0, true)?;
        // SAFETY: the range is a mapping of ours.
        let result =
            unsafe { libc::madvise(mapping.addr.as_ptr().cast(), mapping.len(), libc::MADV_DONTFORK) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    fn map(pages: usize, flags: i32, fd: i32, offset: u64, writable: bool) -> io::Result<Mapping> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let len = pages.checked_mul(PAGE_SIZE).filter(|&len| len > 0).ok_or_else(invalid)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| invalid())?;
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let addr = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, offset) };
        if addr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let addr = NonNull::new(addr.cast::<u8>()).ok_or_else(invalid)?;
        Ok(Mapping { addr, pages })
    }

    /// Start of the mapping, aligned to a page.
    pub(crate) fn addr(&self) -> NonNull<u8> {
        self.addr
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: we made this mapping, nobody else unmaps it, and no borrow of it outlives us.
        unsafe { libc::munmap(self.addr.as_ptr().cast(), self.len()) };
    }
}

//! A guest's frames, mapped into Dom0's process by privcmd as libxc does for `xl save`, for the
//! tools of benches and tests that look at a guest from outside. It must never be part of what is
//! installed on a host: luthier's code in Dom0 maps no guest memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Most frames of one [`Memory::read`].
pub const BATCH: usize = 1024;

/// `IOCTL_PRIVCMD_MMAPBATCH_V2` of Linux's `include/uapi/xen/privcmd.h`.
const MMAPBATCH_V2: u64 = ((size_of::<MmapBatch>() as u64) << 16) | ((b'P' as u64) << 8) | 4;

/// `struct privcmd_mmapbatch_v2`
#[repr(C)]
struct MmapBatch {
    num: u32,
    dom: u16,
    addr: u64,
    arr: *const u64,
    err: *mut i32,
}

const _: () = assert!(size_of::<MmapBatch>() == 32);

/// The memory of a guest.
pub struct Memory {
    device: File,
    domid: u16,
}

impl Memory {
    /// Opens privcmd.
    pub fn of(domid: u16) -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/xen/privcmd")?;
        Ok(Self { device, domid })
    }

    /// Reads `frames` (at most [`BATCH`]) into `buffer`, one page each, and tells for each whether
    /// there is a page. Pages that are not there come as zeros.
    pub fn read(&self, frames: &[u64], buffer: &mut [u8]) -> io::Result<Vec<bool>> {
        if frames.is_empty() || frames.len() > BATCH || buffer.len() < frames.len() * PAGE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mapped = self.map(frames)?;
        mapped.copy(buffer);
        Ok(mapped.there().collect())
    }

    /// Maps `frames`, at least one.
    pub fn map(&self, frames: &[u64]) -> io::Result<Mapped> {
        let len = frames.len() * PAGE;
        let mut errors = vec![0_i32; frames.len()];
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, self.device.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut batch = MmapBatch {
            num: frames.len() as u32,
            dom: self.domid,
            addr: start as u64,
            arr: frames.as_ptr(),
            err: errors.as_mut_ptr(),
        };
        // SAFETY: the structure is what the driver expects; both arrays have `num` elements and
        // outlive the call, as does the mapping, which has room for as many pages.
        let result = unsafe { libc::ioctl(self.device.as_raw_fd(), MMAPBATCH_V2 as libc::Ioctl, &mut batch) };
        let failed = (result != 0).then(io::Error::last_os_error);
        let mapped = Mapped { start, errors };
        // ENOENT only says that a frame is paged out; then its error says so, too.
        match failed.filter(|error| error.raw_os_error() != Some(libc::ENOENT)) {
            Some(error) => Err(error),
            None => Ok(mapped),
        }
    }
}

/// Mapped frames of a guest. Unmapped when dropped.
pub struct Mapped {
    start: *mut libc::c_void,
    errors: Vec<i32>,
}

impl Mapped {
    /// For each frame, whether there is a page.
    pub fn there(&self) -> impl Iterator<Item = bool> {
        self.errors.iter().map(|&error| error == 0)
    }

    /// Copies the pages, as many as `buffer` holds; those that are not there come as zeros.
    pub fn copy(&self, buffer: &mut [u8]) {
        for (at, (page, there)) in buffer.chunks_exact_mut(PAGE).zip(self.there()).enumerate() {
            if !there {
                page.fill(0);
                continue;
            }
            // SAFETY: frame `at` of the mapping is mapped, as its error says, and readable; the
            // buffer is ours and no part of the mapping. The guest may write meanwhile: that is
            // what a live copy is, and the bytes are only bytes.
            unsafe {
                ptr::copy_nonoverlapping(self.start.cast::<u8>().add(at * PAGE), page.as_mut_ptr(), PAGE);
            }
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of a page for each error, which nothing refers to any more.
        unsafe { libc::munmap(self.start, self.errors.len() * PAGE) };
    }
}

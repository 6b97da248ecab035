//! `foreign-read DOMID PAGES [BATCH]`: reads a guest's first PAGES pages as libxc does for `xl save`:
//! maps BATCH of them (1024) at a time into Dom0's process by privcmd, copies each into a buffer, and
//! unmaps them. Prints one JSON object: pages read, holes, and microseconds for mapping, copying and
//! unmapping.
//!
//! For the bench of what a page costs, as the peer of the stub's grant copies. It must never be part
//! of what is installed on a host: luthier's code in Dom0 maps no guest memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::ptr;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;

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

/// How long each part took, and what was found.
#[derive(Default)]
struct Cost {
    pages: usize,
    holes: usize,
    map: Duration,
    copy: Duration,
    unmap: Duration,
}

/// Maps, copies and unmaps frames from `first` on, `buffer.len() / PAGE` of them.
fn read(device: &File, domid: u16, first: u64, buffer: &mut [u8], cost: &mut Cost) -> io::Result<()> {
    let frames: Vec<u64> = (first..).take(buffer.len() / PAGE).collect();
    let mut errors = vec![0; frames.len()];
    let began = Instant::now();
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let mapped = unsafe {
        libc::mmap(ptr::null_mut(), buffer.len(), libc::PROT_READ, libc::MAP_SHARED, device.as_raw_fd(), 0)
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut batch = MmapBatch {
        num: frames.len() as u32,
        dom: domid,
        addr: mapped as u64,
        arr: frames.as_ptr(),
        err: errors.as_mut_ptr(),
    };
    // SAFETY: the structure is what the driver expects; both arrays have `num` elements and outlive
    // the call, as does the mapping, which has room for as many pages.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), MMAPBATCH_V2 as libc::Ioctl, &mut batch) };
    let failed = (result != 0).then(io::Error::last_os_error);
    cost.map += began.elapsed();
    // ENOENT only says that a frame is paged out; then its error says so, too.
    let outcome = match failed {
        Some(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => {
            let began = Instant::now();
            for (at, (page, error)) in buffer.chunks_exact_mut(PAGE).zip(&errors).enumerate() {
                if *error != 0 {
                    cost.holes += 1;
                    continue;
                }
                // SAFETY: frame `at` of the mapping is mapped, as its error says, and readable; the
                // buffer is ours and no part of the mapping. A torn page is no harm: nobody reads it.
                unsafe {
                    ptr::copy_nonoverlapping(mapped.cast::<u8>().add(at * PAGE), page.as_mut_ptr(), PAGE);
                }
                cost.pages += 1;
            }
            std::hint::black_box(&buffer);
            cost.copy += began.elapsed();
            Ok(())
        }
    };
    let began = Instant::now();
    // SAFETY: our own mapping, which nothing refers to any more.
    unsafe { libc::munmap(mapped, buffer.len()) };
    cost.unmap += began.elapsed();
    outcome
}

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = std::env::args().skip(1).map(|arg| arg.parse().ok()).collect();
    let (domid, pages, batch) = match numbers.as_deref() {
        Some(&[domid, pages]) => (domid, pages, 1024),
        Some(&[domid, pages, batch @ 1..=65536]) => (domid, pages, batch as usize),
        _ => {
            eprintln!("usage: foreign-read DOMID PAGES [BATCH]");
            return ExitCode::from(2);
        }
    };
    let mut cost = Cost::default();
    let mut buffer = vec![1; batch * PAGE];
    let outcome = OpenOptions::new().read(true).write(true).open("/dev/xen/privcmd").and_then(|device| {
        for first in (0..pages).step_by(batch) {
            let count = ((pages - first) as usize).min(batch);
            read(&device, domid as u16, first, &mut buffer[..count * PAGE], &mut cost)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        eprintln!("foreign-read: {error}");
        return ExitCode::FAILURE;
    }
    println!(
        "{{\"pages\":{},\"holes\":{},\"map_us\":{},\"copy_us\":{},\"unmap_us\":{}}}",
        cost.pages,
        cost.holes,
        cost.map.as_micros(),
        cost.copy.as_micros(),
        cost.unmap.as_micros()
    );
    ExitCode::SUCCESS
}

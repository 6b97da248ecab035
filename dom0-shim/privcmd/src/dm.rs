//! The device mapper of Dom0's kernel: three requests to `/dev/mapper/control`, for snapshots of thin
//! volumes while a guest stands still. `dmsetup` does the same, but starting it takes longer than the
//! guest should stand still.
//!
//! Structures and numbers are those of Linux's `include/uapi/linux/dm-ioctl.h`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::{Error, device};

/// `DM_VERSION_MAJOR`; a kernel takes any minor version that it knows.
const VERSION: [u32; 3] = [4, 0, 0];
/// `_IOWR(0xfd, DM_DEV_SUSPEND_CMD, struct dm_ioctl)`: suspends, or without the flag resumes.
const DEV_SUSPEND: u64 = 0xc138_fd06;
/// `_IOWR(0xfd, DM_TARGET_MSG_CMD, struct dm_ioctl)`.
const TARGET_MSG: u64 = 0xc138_fd0e;
/// `DM_SUSPEND_FLAG`.
const SUSPEND: u32 = 1 << 1;
/// `DM_SKIP_LOCKFS_FLAG`: a file system on it, which is the guest's, is not ours to freeze.
const SKIP_LOCKFS: u32 = 1 << 10;
/// Octets of a message, with the zero at its end.
const MAX_MESSAGE: usize = 72;

/// `struct dm_ioctl` (312 octets), then `struct dm_target_msg`.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
    sector: u64,
    message: [u8; MAX_MESSAGE],
}

const HEADER: usize = std::mem::offset_of!(Request, sector);
const _: () = assert!(HEADER == 312 && size_of::<Request>() == HEADER + 8 + MAX_MESSAGE);

/// The device mapper.
#[derive(Debug)]
pub struct DeviceMapper {
    control: File,
}

/// A mapped device's major and minor number.
pub type Device = (u32, u32);

impl DeviceMapper {
    /// Opens it.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { control: device::open("/dev/mapper/control", 0)? })
    }

    /// Waits for a device's requests under way, and holds new ones back until it is resumed.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` when it is suspended already.
    pub fn suspend(&self, device: Device) -> io::Result<()> {
        self.ask(DEV_SUSPEND, device, SUSPEND | SKIP_LOCKFS, "")
    }

    /// Lets a device go on. To one that is not suspended it does nothing.
    pub fn resume(&self, device: Device) -> io::Result<()> {
        self.ask(DEV_SUSPEND, device, 0, "")
    }

    /// Sends a message to a device's first target, such as `create_snap 5 1` to a thin pool.
    ///
    /// # Errors
    /// The kernel's words are in its log only; `EINVAL` also for a message of more than 71 octets.
    pub fn message(&self, device: Device, message: &str) -> io::Result<()> {
        self.ask(TARGET_MSG, device, 0, message)
    }

    fn ask(&self, request: u64, device: Device, flags: u32, message: &str) -> io::Result<()> {
        let mut all = prepared(device, flags, message)?;
        // SAFETY: the driver reads and writes `data_size` octets from the start of `all`, which has them.
        unsafe { device::ioctl(self.control.as_fd(), request, &raw mut all) }.map(drop)
    }
}

fn prepared((major, minor): Device, flags: u32, text: &str) -> io::Result<Request> {
    let mut message = [0; MAX_MESSAGE];
    let room = message.get_mut(..text.len()).filter(|room| room.len() < MAX_MESSAGE);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(text.as_bytes());
    Ok(Request {
        version: VERSION,
        data_size: size_of::<Request>() as u32,
        data_start: HEADER as u32,
        target_count: 0,
        open_count: 0,
        flags,
        event_nr: 0,
        padding: 0,
        // As `huge_encode_dev` of the kernel has it.
        dev: u64::from(minor & 0xff) | u64::from(major) << 8 | u64::from(minor & !0xff) << 12,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
        sector: 0,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_with_a_zero_and_fits() {
        let request = prepared((253, 4), 0, "create_snap 5 1").unwrap();
        assert_eq!(&request.message[..16], b"create_snap 5 1\0");
        assert!(prepared((253, 4), 0, &"x".repeat(MAX_MESSAGE - 1)).is_ok());
        assert!(prepared((253, 4), 0, &"x".repeat(MAX_MESSAGE)).is_err());
    }

    #[test]
    fn devices_are_encoded_as_the_kernel_does() {
        assert_eq!(prepared((253, 4), 0, "").unwrap().dev, 0xfd04);
        assert_eq!(prepared((253, 0x1234), 0, "").unwrap().dev, 0x120_fd34);
    }
}

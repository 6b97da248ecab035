//! The guest's disk: its driver's modules, its device, its ext4 file system (made in Dom0), and files
//! that are read past the page cache, so that what is compared is what the disk has.

use rustix::mount::{MountFlags, mount};
use rustix::system::init_module;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Where the file system is mounted.
const MOUNT: &str = "/journal";
/// The modules of `mkguest --disk`, in the order in which they load.
const MODULES: &str = "/disk/modules";
/// How long the device may take to come, in tenths of a second.
const PATIENCE: u32 = 300;
/// O_DIRECT of Linux on x86-64.
const O_DIRECT: i32 = 0x4000;

/// Octets that are read at once: a direct read wants whole blocks in aligned memory.
pub(crate) const BLOCK: usize = 4096;

/// One block's memory.
#[repr(C, align(4096))]
pub(crate) struct Block(pub(crate) [u8; BLOCK]);

/// Loads the modules and mounts the device's file system, once.
pub(crate) fn start(device: &str) -> io::Result<()> {
    for module in fs::read_to_string(MODULES).unwrap_or_default().lines() {
        match init_module(&fs::read(module)?, c"") {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => println!("guest: {module}: {e}"),
        }
    }
    let device = format!("/dev/{device}");
    if !Path::new("/dev/xen/xenbus").exists() {
        fs::create_dir_all("/dev")?;
        mount("dev", "/dev", "devtmpfs", MountFlags::empty(), None)?;
    }
    for _ in 0..PATIENCE {
        if Path::new(&device).exists() {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    fs::create_dir_all(MOUNT)?;
    Ok(mount(device, MOUNT, "ext4", MountFlags::empty(), None)?)
}

/// A file of a fixed size on the disk, all of it allocated and written.
pub(crate) struct Fixed {
    file: File,
    direct: File,
    blocks: u64,
}

impl Fixed {
    /// Makes it, of zeros.
    pub(crate) fn create(name: &str, blocks: u64) -> io::Result<Self> {
        let path = format!("{MOUNT}/{name}");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        for block in 0..blocks {
            file.write_all_at(&[0; BLOCK], block * BLOCK as u64)?;
        }
        file.sync_all()?;
        let direct = OpenOptions::new().read(true).custom_flags(O_DIRECT).open(&path)?;
        Ok(Self { file, direct, blocks })
    }

    /// How many blocks it has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Writes, by way of the page cache.
    pub(crate) fn write(&self, octets: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(octets, at)
    }

    /// Has the disk say that all is on it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Reads a block from the disk itself; what the page cache has not written yet goes there first.
    pub(crate) fn read(&self, block: u64, into: &mut Block) -> io::Result<()> {
        self.direct.read_exact_at(&mut into.0, block * BLOCK as u64)
    }
}

/// A file that grows.
pub(crate) fn log(name: &str) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(format!("{MOUNT}/{name}"))
}

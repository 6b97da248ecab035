//! Disks that are files behind a loop device, on a file system that can share blocks between files: XFS
//! and Btrfs can.
//!
//! A clone (`FICLONE`) is of one moment: the file system writes out what the page cache has of the
//! source, locks out writers and shares all blocks. It takes as long as there is to write out, which
//! [`Copy::sync`] makes little beforehand, and as the file has extents.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;

use super::sparse;
use crate::error::{Context, Error, Result};

/// The folder of snapshots beside a file that is a disk.
pub(super) const FOLDER: &str = "luthier-disks";

/// A copy that is to be made, everything ready.
#[derive(Debug)]
pub struct Copy {
    source: File,
    copy: File,
    path: PathBuf,
}

impl Copy {
    /// Makes the copy's folder and file, and tries whether the file system shares blocks.
    ///
    /// # Errors
    /// It doesn't, or has no room. No file is left then.
    pub fn prepare(source: &Path, path: &Path) -> Result<Self> {
        let this = Self::create(source, path)?;
        let tried = this.clone_now().and_then(|()| this.copy.set_len(0));
        match tried {
            Ok(()) => Ok(this),
            Err(e) => {
                let _ = remove(path);
                Err(refusal(source, e))
            }
        }
    }

    /// Makes the copy's folder and file, with nothing in it.
    fn create(source: &Path, path: &Path) -> Result<Self> {
        let named = |what: &str, path: &Path| format!("{what} {}", path.display());
        let opened = File::open(source).context(named("opening", source))?;
        if let Some(folder) = path.parent() {
            // What is in there are guests' disks: for root only.
            DirBuilder::new().recursive(true).mode(0o700).create(folder).context(named("making", folder))?;
        }
        let copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .context(named("making", path))?;
        Ok(Self { source: opened, copy, path: path.to_owned() })
    }

    /// Writes out what the page cache has of the source.
    pub fn sync(&self) -> io::Result<()> {
        self.source.sync_data()
    }

    /// Makes the copy.
    ///
    /// # Errors
    /// No room, or a fault of the disk below.
    pub fn take(&self) -> Result<()> {
        self.clone_now().context(format!("copying to {}", self.path.display()))
    }

    fn clone_now(&self) -> io::Result<()> {
        Ok(ioctl_ficlone(&self.copy, &self.source)?)
    }

    /// Has the copy and its name on the disk.
    pub fn make_durable(&self) -> Result<()> {
        let sync = || {
            self.copy.sync_all()?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        sync().context(format!("writing {}", self.path.display()))
    }
}

/// Makes a writable clone of a copy, for a guest. Where the file system can't share blocks, as it may be
/// where an image was brought to, it is a copy with blocks of its own. No file is left when it fails.
pub fn clone(copy: &Path, to: &Path) -> Result<()> {
    let ready = Copy::create(copy, to)?;
    let made = match ready.clone_now() {
        Err(e) if is_unable(&e) => ready
            .source
            .metadata()
            .context(format!("looking at {}", copy.display()))
            .and_then(|m| sparse::copy(&ready.source, m.len(), &ready.copy)),
        done => done.map_err(|e| refusal(copy, e)),
    };
    let made = made.and_then(|()| ready.make_durable());
    if made.is_err() {
        let _ = remove(to);
    }
    made
}

/// Removes a file of ours, if it is there, and its folder when it was the last.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(e).context(format!("removing {}", path.display()));
        }
        _ => {}
    }
    if let Some(folder) = path.parent().filter(|folder| folder.ends_with(FOLDER)) {
        // Not empty: others' snapshots are there.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Whether the file system has no reflinks.
fn is_unable(e: &io::Error) -> bool {
    let unable = [Errno::OPNOTSUPP, Errno::NOTTY, Errno::XDEV, Errno::INVAL, Errno::NOSYS];
    Errno::from_io_error(e).is_some_and(|errno| unable.contains(&errno))
}

/// Why a file can't be cloned.
fn refusal(source: &Path, e: io::Error) -> Error {
    let source = source.display();
    match is_unable(&e) {
        true => Error::new(format!("{source} is on a file system that can't share blocks between files"))
            .hint("Put it on XFS or Btrfs, or use a volume of LVM"),
        false => Error::new(format!("copying {source}: {e}")),
    }
}

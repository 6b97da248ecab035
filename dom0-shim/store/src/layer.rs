//! One image directory, without those that it builds on: its lock, its manifest, its files' lengths.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{At, Error, Result};
use crate::extents::Extents;
use crate::id::{PARTIAL, PENDING};
use crate::manifest::{self, Manifest};

/// How a directory is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// To read it: nobody may remove or merge it.
    Shared,
    /// To replace it: nobody else may use it.
    Exclusive,
}

/// How often, and how soon again, a lock that somebody has is tried: a process that is being started has a
/// copy of each lock of its parent, until it runs its own program.
const TRIES: u32 = 10;
const LOOK: Duration = Duration::from_millis(5);

/// A committed image's directory, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) extents: Extents,
    _lock: File,
}

impl Layer {
    /// Opens a directory and checks its structure: the manifest's checksum and fields, and the
    /// length of every file. Errors are those of [`crate::Image::open`].
    pub(crate) fn open(path: &Path, how: Lock) -> Result<Layer> {
        if path.as_os_str().as_encoded_bytes().ends_with(PARTIAL.as_bytes()) {
            return Err(Error::malformed(path, "it was never finished"));
        }
        if path.as_os_str().as_encoded_bytes().ends_with(PENDING.as_bytes()) {
            return Err(Error::Undecided { path: path.to_path_buf() });
        }
        Self::open_any(path, how)
    }

    /// The same for an image that is complete and undecided, too.
    pub(crate) fn open_any(path: &Path, how: Lock) -> Result<Layer> {
        let meta = match fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound { path: path.to_path_buf() });
            }
            other => other.at("opening", path)?,
        };
        if !meta.is_dir() {
            return Err(Error::malformed(
                path,
                "it is not a directory (a file that `xl save` wrote can be imported)",
            ));
        }
        let lock = lock(path, how)?;
        let text = read_bounded(path, "manifest.json", manifest::MAX_FILE)?;
        let manifest = Manifest::decode(path, &text)?;
        let extents = manifest.extents()?;
        for (name, entry) in [
            ("memory", &manifest.files.memory),
            ("pages", &manifest.files.pages),
            ("state", &manifest.files.state),
        ] {
            let length = file_length(path, name)?;
            if length != entry.length {
                return Err(Error::malformed(
                    path,
                    format!("file `{name}` has {length} octets, and the manifest says {}", entry.length),
                ));
            }
        }
        Ok(Layer { path: path.to_path_buf(), manifest, extents, _lock: lock })
    }

    /// The directory's name, which is the image's for everyone who looks for it.
    pub(crate) fn name(&self) -> String {
        name_of(&self.path)
    }
}

/// The last part of a path, for messages too.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Locks a directory. The lock ends when the file is dropped. Fails with [`Error::InUse`], and waits no
/// longer than a process takes to start.
pub(crate) fn lock(path: &Path, how: Lock) -> Result<File> {
    lock_opened(File::open(path).at("opening", path)?, path, how)
}

fn lock_opened(dir: File, path: &Path, how: Lock) -> Result<File> {
    let in_use = || Error::InUse { path: path.to_path_buf() };
    let try_once = || match how {
        Lock::Shared => dir.try_lock_shared(),
        Lock::Exclusive => dir.try_lock(),
    };
    let mut locked = try_once();
    for _ in 0..TRIES {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(LOOK);
        locked = try_once();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use()),
        Err(TryLockError::Error(e)) => return Err(Error::from_io("locking", path, e)),
    }
    // Between opening and locking, a removal or a merge may have put another directory in its place:
    // then this lock is one on what nobody will look at.
    let mine = dir.metadata().at("looking at", path)?;
    match fs::metadata(path) {
        Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => Ok(dir),
        _ => Err(in_use()),
    }
}

fn missing(dir: &Path, name: &str, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotFound => Error::malformed(dir, format!("file `{name}` is missing")),
        _ => Error::from_io("opening", &dir.join(name), e),
    }
}

fn file_length(dir: &Path, name: &str) -> Result<u64> {
    let meta = fs::symlink_metadata(dir.join(name)).map_err(|e| missing(dir, name, e))?;
    if !meta.is_file() {
        return Err(Error::malformed(dir, format!("`{name}` is not a file")));
    }
    Ok(meta.len())
}

/// Reads a whole file that has no more than `max` octets.
pub(crate) fn read_bounded(dir: &Path, name: &str, max: u64) -> Result<Vec<u8>> {
    let length = file_length(dir, name)?;
    if length > max {
        return Err(Error::malformed(dir, format!("file `{name}` has {length} octets, more than {max}")));
    }
    let path = dir.join(name);
    let mut out = Vec::new();
    File::open(&path)
        .map_err(|e| missing(dir, name, e))?
        .take(max)
        .read_to_end(&mut out)
        .at("reading", &path)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_directory_that_was_replaced_meanwhile_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("image"), dir.path().join("other"));
        for how in [Lock::Shared, Lock::Exclusive] {
            fs::create_dir(&path).unwrap();
            let opened = File::open(&path).unwrap();
            fs::rename(&path, &other).unwrap();
            assert!(matches!(lock_opened(opened, &path, how), Err(Error::InUse { .. })), "removed");
            fs::create_dir(&path).unwrap();
            let opened = File::open(&other).unwrap();
            assert!(matches!(lock_opened(opened, &path, how), Err(Error::InUse { .. })), "replaced");
            lock(&path, how).unwrap();
            fs::remove_dir(&path).unwrap();
            fs::remove_dir(&other).unwrap();
        }
    }
}

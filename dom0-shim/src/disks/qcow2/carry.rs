//! A snapshot inside a qcow2 file on its way to another host: taken out into a file of its own, and looked at
//! where it comes.
//!
//! The file that is made here to be sent has no name from the first moment on (`O_TMPFILE`): it is gone when
//! whoever sends it is, however that ended, and nothing has to be noted. What comes is an allegation: its
//! header is read ([`header`]) before `qemu-img` is asked, which is told the format and must agree.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::Value;

use super::{flag, header, shown};
use crate::disks::tool::{INTO, run, run_into};
use crate::error::{Context, Error, Result};

/// Whether `qemu-img` is here.
///
/// # Errors
/// It isn't; says where it comes from.
pub(in crate::disks) fn is_able() -> Result<()> {
    run("qemu-img", &["--version"]).map(drop)
}

/// How many octets a file with what a snapshot has needs.
///
/// # Errors
/// `qemu-img`'s words.
pub(in crate::disks) fn measure(file: &Path, name: &str) -> Result<u64> {
    let (snapshot, path) = (format!("snapshot.name={name}"), shown(file)?);
    let args = ["measure", "--output=json", "-U", "-f", "qcow2", "-l", &snapshot, "-O", "qcow2", &path];
    let said: Value = serde_json::from_str(&run("qemu-img", &args)?).context("reading what qemu-img says")?;
    let required = said.get("required").and_then(Value::as_u64);
    required.ok_or_else(|| Error::new(format!("qemu-img does not tell how much a copy of {path} needs")))
}

/// Makes a file without a name, in the same folder, with what a snapshot has; returns it with the size that
/// a guest sees.
///
/// # Errors
/// No room, a file system without such files, or `qemu-img`'s words.
pub(in crate::disks) fn take_out(file: &Path, name: &str) -> Result<(File, u64)> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let flags = i32::try_from(OFlags::TMPFILE.bits()).unwrap_or_default();
    let made = OpenOptions::new().read(true).write(true).custom_flags(flags).mode(0o600).open(folder);
    let made = made.context(format!("making a file without a name in {}", folder.display())).map_err(|e| {
        e.hint("Local file systems have such files; move the disk to one, or restore its guest on its own host")
    })?;
    let (snapshot, path) = (format!("snapshot.name={name}"), shown(file)?);
    let args = ["convert", "-q", "-U", "-f", "qcow2", "-l", &snapshot, "-O", "qcow2", &path, INTO];
    run_into("qemu-img", &args, &made)?;
    let size =
        of_its_own(&made).map_err(|e| Error { message: format!("the copy of {path} {}", e.message), ..e })?;
    Ok((made, size))
}

/// Looks at a file that came: it is the whole of a disk of `size`.
///
/// # Errors
/// It isn't.
pub(in crate::disks) fn check_came(path: &Path, file: &File, size: u64) -> Result<()> {
    let found = of_its_own(file).map_err(|e| refused(&e.message))?;
    if found != size {
        return Err(refused(&format!("is a disk of {found} octets, not of {size}")));
    }
    let said = run("qemu-img", &["info", "-f", "qcow2", "--output=json", &shown(path)?])?;
    let said: Value = serde_json::from_str(&said).context("reading what qemu-img says")?;
    let names_another = said.get("backing-filename").is_some()
        || said.pointer("/format-specific/data/data-file").is_some()
        || flag(&said, "/encrypted");
    if said.get("virtual-size").and_then(Value::as_u64) != Some(size) || names_another {
        return Err(refused("is something else to qemu-img than its header says"));
    }
    Ok(())
}

/// Looks at one that is an image's here, before a guest gets a copy of it.
///
/// # Errors
/// It is not the whole of a disk.
pub(in crate::disks) fn check_own(path: &Path) -> Result<u64> {
    let file = File::open(path).context(format!("opening {}", path.display()))?;
    of_its_own(&file).map_err(|e| Error::new(format!("{} {}", path.display(), e.message)))
}

fn of_its_own(file: &File) -> Result<u64> {
    let mut octets = [0; header::LENGTH];
    file.read_exact_at(&mut octets, 0).map_err(|e| Error::new(format!("can't be read: {e}")))?;
    header::size(&octets).map_err(|fault| Error::new(fault.to_string()))
}

fn refused(why: &str) -> Error {
    Error::new(format!("the file that came {why}: it is not used"))
        .hint("Is the other host one of yours, with the same release of Luthier?")
}

#[cfg(test)]
mod tests;

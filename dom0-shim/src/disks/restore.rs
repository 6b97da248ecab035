//! Writable clones of an image's disks, for the guest that is restored from it: they share what they can
//! with the snapshots, or are copies of them ([`lvm::thick`], [`qcow2`]). The image stays as it
//! is, and the guest's former disks, which have gone on since, are not touched.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};
use store::Image;

use super::{Kept, Record, lvm, of_report, qcow2, reflink};
use crate::error::{Error, Result};

/// What the name of every clone begins with.
const PREFIX: &str = "restored_";

/// Longest part of a guest's name in a clone's, in octets.
const MAX_NAME: usize = 48;

/// Clones that were made; those of a restore that fails go when this is dropped.
#[derive(Debug, Default)]
pub struct Clones {
    made: Vec<Made>,
    kept: bool,
}

#[derive(Debug)]
struct Made {
    vdev: String,
    /// What the new guest opens.
    path: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Volume { group: String, name: String },
    File(PathBuf),
}

impl Clones {
    /// Makes them all, for a guest `target`. The path of each is told before it is made.
    ///
    /// # Errors
    /// A snapshot is not there (any more), or there is no room. Then there are none.
    pub fn of(image: &Image, target: &str, tell: &mut dyn FnMut(&str) -> Result<()>) -> Result<Self> {
        let records = of_report(&image.manifest().report);
        let mut clones = Self::default();
        let stamp: String =
            store::utc_text(SystemTime::now()).chars().filter(|c| !matches!(c, '-' | ':')).collect();
        for record in records.iter().filter(|r| r.has_snapshot()) {
            let made = clone(record, target, &stamp, tell).map_err(|e| {
                let id = &image.manifest().id;
                let what = format!("disk {} of {id} can't be brought back: {}", record.vdev, e.message);
                Error { message: what, ..e }
            })?;
            clones.made.push(made);
        }
        Ok(clones)
    }

    /// Each disk's name and what it is to be now.
    pub fn paths(&self) -> Vec<(String, String)> {
        self.made.iter().map(|m| (m.vdev.clone(), m.path.clone())).collect()
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        self.made.iter().map(|m| json!({"vdev": m.vdev, "path": m.path})).collect()
    }

    /// They are the guest's now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Clones {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for made in &self.made {
            let removed = match &made.what {
                What::Volume { group, name } => lvm::remove_clone(group, name),
                What::File(path) => reflink::remove(path),
            };
            if let Err(e) = removed {
                eprintln!("luthier: {} is left: {}", made.path, e.message);
            }
        }
    }
}

/// Takes back clones that were kept, of what [`Clones::json`] said: for a guest whose restore came to
/// nothing later, and which is gone by now. All are tried.
///
/// # Errors
/// The first that is still there; the message names it.
pub fn remove(clones: &Value) -> Result<()> {
    let paths = clones.as_array().into_iter().flatten().filter_map(|c| c.get("path")?.as_str());
    paths.map(remove_one).fold(Ok(()), Result::and)
}

fn remove_one(path: &str) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if !name.starts_with(PREFIX) {
        return Err(Error::new(format!("{path} is no clone of Luthier's: it is left as it is")));
    }
    match path.strip_prefix("/dev/").and_then(|volume| volume.split_once('/')) {
        Some((group, name)) if lvm::exists(&format!("{group}/{name}"))? => lvm::remove_clone(group, name),
        Some(_) => Ok(()),
        None => reflink::remove(Path::new(path)),
    }
}

/// What the operator should know of the disks of a stream: a line each.
pub fn export_remarks(image: &Image) -> Vec<String> {
    let records = of_report(&image.manifest().report);
    let remark = |r: &Record| {
        format!("the stream names the guest's own disk, as it is by now; the image has disk {r}")
    };
    records.iter().filter(|r| r.has_snapshot()).map(remark).collect()
}

/// What the operator should know of disks that the image has not: a line each.
pub fn remarks(image: &Image) -> Vec<String> {
    let records = of_report(&image.manifest().report);
    let left_out = records.iter().filter_map(|record| match &record.kept {
        Kept::LeftOut { source } => Some(format!(
            "disk {} was left out of the image: the guest finds {source} as it is now, which its memory may not fit",
            record.vdev
        )),
        _ => None,
    });
    left_out.collect()
}

fn clone(
    record: &Record,
    target: &str,
    stamp: &str,
    tell: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Made> {
    let vdev = &record.vdev;
    let gone = |what: &dyn std::fmt::Display| {
        Error::new(format!("its snapshot {what} is not here"))
            .hint("Was it removed, or is the image from another host? Bring it back, or restore another image: luthier list")
    };
    let name = |n: u32| match n {
        0 => format!("{}_{vdev}_{stamp}", plain(target)),
        n => format!("{}_{vdev}_{stamp}-{n}", plain(target)),
    };
    match &record.kept {
        Kept::Thin { snapshot, .. } | Kept::Thick { snapshot, .. } => {
            if !lvm::exists(snapshot).map_err(|e| gone(&format!("{snapshot} ({})", e.message)))? {
                return Err(gone(snapshot));
            }
            let group = snapshot.split_once('/').map_or("", |(group, _)| group);
            let mut n = 0;
            while lvm::exists(&format!("{group}/{}", name(n)))? {
                n += 1;
            }
            tell(&format!("/dev/{group}/{}", name(n)))?;
            let path = match &record.kept {
                Kept::Thick { .. } => lvm::thick::clone(snapshot, &name(n))?,
                _ => lvm::clone(snapshot, &name(n))?,
            };
            Ok(Made {
                vdev: vdev.clone(),
                path,
                what: What::Volume { group: group.to_owned(), name: name(n) },
            })
        }
        Kept::Reflink { snapshot, qcow2, .. } => {
            if !snapshot.is_file() {
                return Err(gone(&snapshot.display()));
            }
            // Beside the disk that it was, as long as that folder is there.
            let folder = snapshot.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
            let ending = if *qcow2 {
                qcow2::check_own(snapshot)?;
                "qcow2"
            } else {
                "raw"
            };
            let to = free_name(folder, &name, ending);
            let path = to.to_string_lossy().into_owned();
            tell(&path)?;
            reflink::clone(snapshot, &to)?;
            Ok(Made { vdev: vdev.clone(), path, what: What::File(to) })
        }
        Kept::Qcow2 { source, snapshot } => {
            if !qcow2::exists(source, snapshot)? {
                return Err(gone(&format!("{snapshot} in {}", source.display())));
            }
            let folder = source.parent().unwrap_or(Path::new("/"));
            let to = free_name(folder, &name, "qcow2");
            let path = to.to_string_lossy().into_owned();
            tell(&path)?;
            qcow2::clone(source, snapshot, &to)?;
            Ok(Made { vdev: vdev.clone(), path, what: What::File(to) })
        }
        Kept::ReadOnly { .. } | Kept::LeftOut { .. } => Err(Error::new("there is no snapshot of it")),
        Kept::Unknown => Err(Record::unknown()),
    }
}

/// The first of these names that no file in a folder has.
fn free_name(folder: &Path, name: &dyn Fn(u32) -> String, ending: &str) -> PathBuf {
    let file = |n| folder.join(format!("{}.{ending}", name(n)));
    (0..).map(file).find(|path| !path.exists()).unwrap_or_else(|| file(0))
}

/// What a name of LVM's can have.
fn plain(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+');
    let plain: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).take(MAX_NAME).collect();
    format!("{PREFIX}{plain}")
}

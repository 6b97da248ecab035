//! Which disks a guest has, and how each can be snapshotted.
//!
//! What the toolstack wrote to xenstore is asked, and the kernel for what is behind a block device. All
//! of it is Dom0's: a guest's own nodes are not looked at.

use std::fs;
use std::path::{Path, PathBuf};

use privcmd::xenstore;
use serde_json::Value;
use store::ImageId;

use super::record::{Kept, Record, file_name_in, volume_name};
use super::{lvm, qcow2};
use crate::error::{Context, Error, Result};

/// The name with which `--no-disk` leaves every disk out.
pub const ALL: &str = "all";

/// Major number of loop devices.
const LOOP: u32 = 7;

/// The most disks of a guest that are looked at: xvda to xvdp are 16.
const MAX_DISKS: usize = 64;

/// A disk of a running guest, as its back end has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Whose it is.
    pub domid: u16,
    /// Its name in the guest's configuration: `xvda`.
    pub vdev: String,
    /// Whether the guest may write to it.
    pub writable: bool,
    /// What the configuration calls it: a path; for QEMU, after its format and a colon.
    pub params: String,
    /// Its back end: `vbd` for Linux' own, `qdisk` for QEMU.
    pub back_end: String,
    /// Whether that is in Dom0.
    pub in_dom0: bool,
    /// Major and minor number of the block device.
    pub device: Option<(u32, u32)>,
}

/// How a disk is snapshotted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A thin snapshot of this volume.
    Thin(lvm::Volume),
    /// A copy-on-write snapshot of this volume.
    Thick(lvm::Volume),
    /// A reflink copy of this file.
    Reflink(PathBuf),
    /// A snapshot inside this file, by QEMU.
    Qcow2(qcow2::Disk),
    /// Not: the guest can't write to it.
    ReadOnly,
    /// Not: the operator said so.
    LeftOut,
}

/// The disks of a guest. `config` is libxl's configuration of it, which must have no others.
pub fn disks(store: &mut xenstore::Client, domid: u16, config: &Value) -> Result<Vec<Disk>> {
    let found = of_store(store, domid).context("reading the guest's disks from xenstore")?;
    for disk in config.get("disks").and_then(Value::as_array).into_iter().flatten() {
        let vdev = disk.get("vdev").and_then(Value::as_str).unwrap_or("?");
        if !found.iter().any(|d| d.vdev == vdev) {
            return Err(Error::new(format!("disk {vdev} has no back end that Luthier knows"))
                .hint("Luthier knows disks with Linux' own back end in Dom0 (backendtype=phy), and QEMU there for qcow2"));
        }
    }
    Ok(found)
}

fn of_store(store: &mut xenstore::Client, domid: u16) -> std::result::Result<Vec<Disk>, xenstore::Error> {
    let mut disks = Vec::new();
    let base = format!("/libxl/{domid}/device/vbd");
    let devids = match store.directory(&base) {
        // A guest without disks.
        Err(xenstore::Error::NotFound(_)) => Vec::new(),
        devids => devids?,
    };
    for devid in devids.into_iter().take(MAX_DISKS) {
        let Some(back) = store.read(&format!("{base}/{devid}/backend"))? else { continue };
        // /local/domain/0/backend/vbd/DOMID/DEVID
        let mut words = back.trim_start_matches('/').split('/').skip(2);
        let (domain, kind) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        let (in_dom0, kind) = (domain == "0", kind.to_owned());
        let mut get = |node: &str| store.read(&format!("{back}/{node}"));
        disks.push(Disk {
            domid,
            vdev: get("dev")?.unwrap_or(devid),
            writable: get("mode")?.is_none_or(|mode| mode != "r"),
            params: get("params")?.unwrap_or_default(),
            device: get("physical-device")?.and_then(|text| device(&text)),
            back_end: kind,
            in_dom0,
        });
    }
    Ok(disks)
}

/// `MAJOR:MINOR` in hexadecimal, as hotplug scripts write it.
fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?))
}

/// How each disk of guest `name` is snapshotted. `left_out` are names of disks, or [`ALL`].
///
/// # Errors
/// One can't be, and was not left out; or one was that there is not.
pub fn ways(name: &str, disks: Vec<Disk>, left_out: &[String]) -> Result<Vec<(Disk, Way)>> {
    let unknown = left_out.iter().find(|out| *out != ALL && !disks.iter().any(|d| d.vdev == **out));
    if let Some(out) = unknown {
        return Err(Error::new(format!("`{name}` has no disk {out} that could be left out"))
            .hint("`xl block-list` shows its disks, by number; its configuration, by name"));
    }
    disks
        .into_iter()
        .map(|disk| {
            let way = match left_out.iter().any(|out| *out == ALL || *out == disk.vdev) {
                _ if !disk.writable => Way::ReadOnly,
                true => Way::LeftOut,
                false => way(&disk, Path::new("/sys")).map_err(|e| refusal(name, &disk, e))?,
            };
            Ok((disk, way))
        })
        .collect()
}

/// How one that the guest may write to is snapshotted.
fn way(disk: &Disk, sys: &Path) -> Result<Way> {
    if !disk.in_dom0 {
        return Err(Error::new("its back end is another domain"));
    }
    if disk.back_end == "qdisk" {
        return qcow2::look(disk.domid, &disk.params).map(Way::Qcow2);
    }
    if disk.back_end != "vbd" {
        return Err(Error::new(format!("its back end is {}, which Luthier does not know", disk.back_end)));
    }
    let Some((major, minor)) = disk.device else {
        return Err(Error::new("its block device is not known"));
    };
    let block = sys.join(format!("dev/block/{major}:{minor}"));
    let read = |name: &str| fs::read_to_string(block.join(name)).map(|t| t.trim_end_matches('\n').to_owned());
    if major == LOOP {
        let file = read("loop/backing_file").context("looking for the loop device's file")?;
        let path = PathBuf::from(&file);
        return match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Way::Reflink(path)),
            Ok(_) => Err(Error::new(format!("{file} is no file"))),
            Err(e) => Err(Error::new(format!("its file {file} can't be opened: {e}"))),
        };
    }
    let Ok(uuid) = read("dm/uuid") else {
        return Err(Error::new(format!("{} is a disk or a partition as it is", disk.params)));
    };
    if !uuid.starts_with("LVM-") {
        return Err(Error::new(format!("{} is a device-mapper device that is not LVM's", disk.params)));
    }
    let name = read("dm/name").context("looking for the volume's name")?;
    let volume = lvm::find(&format!("/dev/mapper/{name}"))?;
    of_volume(volume)
}

/// How a volume of LVM is.
fn of_volume(volume: lvm::Volume) -> Result<Way> {
    let full = volume.full();
    if volume.is_thick_snapshot() {
        return Err(Error::new(format!(
            "{full} is a snapshot of {} itself, of which LVM makes no other",
            volume.origin
        ))
        .hint("Copy it to a volume of its own, or make that thin"));
    }
    match volume.kind.as_str() {
        "thin" => Ok(Way::Thin(volume)),
        "linear" | "striped" => Ok(Way::Thick(volume)),
        kind => {
            Err(Error::new(format!("{full} is a volume of type {kind}, not a thin, linear or striped one"))
                .hint(format!("Make it thin: lvconvert --type thin --thinpool POOL {full}")))
        }
    }
}

/// The error that names the disk and all that can be done.
pub fn refusal(name: &str, disk: &Disk, e: Error) -> Error {
    let vdev = &disk.vdev;
    let way = e.hint.unwrap_or_else(|| {
        "Disks that can: volumes of LVM, and files on XFS or Btrfs, with Dom0's own back end; qcow2 files"
            .into()
    });
    Error::new(format!("disk {vdev} of `{name}` can't be snapshotted: {}", e.message))
        .hint(format!("{way}. Or leave it out: --no-disk {vdev}"))
}

/// What an image will say of a disk.
pub fn record(id: &ImageId, disk: &Disk, way: &Way) -> Record {
    let source = disk.params.clone();
    let snapshot = |volume: &lvm::Volume| format!("{}/{}", volume.group, volume_name(id, &disk.vdev));
    let kept = match way {
        Way::Thin(volume) => Kept::Thin { source: volume.full(), snapshot: snapshot(volume) },
        Way::Thick(volume) => Kept::Thick { source: volume.full(), snapshot: snapshot(volume) },
        Way::Reflink(file) => {
            let folder = file.parent().unwrap_or(Path::new("/"));
            Kept::Reflink {
                source: file.clone(),
                snapshot: file_name_in(folder, id, &disk.vdev),
                qcow2: false,
            }
        }
        Way::Qcow2(found) => {
            Kept::Qcow2 { source: found.file.clone(), snapshot: volume_name(id, &disk.vdev) }
        }
        Way::ReadOnly => Kept::ReadOnly { source },
        Way::LeftOut => Kept::LeftOut { source },
    };
    Record { vdev: disk.vdev.clone(), kept }
}

#[cfg(test)]
mod tests;

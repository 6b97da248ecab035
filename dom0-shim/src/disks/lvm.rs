//! Disks that are volumes of LVM: thin ones here, ordinary ones in [`thick`].
//!
//! A thin snapshot costs LVM some hundred milliseconds, most of it for its own metadata, and a lock that
//! guests of one volume group would wait for. So LVM makes the snapshot's volume beforehand; what the
//! pool has behind it is thrown away at once, and made anew when the guest stands still, by three
//! requests to the device mapper ([`Snapshot::take`]). For LVM nothing has
//! changed: the volume has the same device number in the pool.

mod group;
mod pool;
pub mod thick;

use std::io::{Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use privcmd::dm::{Device, DeviceMapper};
use serde_json::Value;

use super::tool::run;
use crate::error::{Context, Error, Result};
pub use group::check_group;
pub use pool::{check_pool, check_room};

/// The tag of snapshots that images have: nothing else is ever removed.
const TAG: &str = "luthier";

/// The tag of clones that restored guests got.
const TAG_CLONE: &str = "luthier-restored";

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// `thin`, `linear`, ...
    pub kind: String,
    /// The pool that a thin one is in.
    pub pool: String,
    /// The volume that it is a snapshot of, if it is one.
    pub origin: String,
    /// Its size.
    pub octets: u64,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Volume {
    /// `GROUP/NAME`.
    pub fn full(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Whether it is a copy-on-write snapshot of an ordinary volume. Such a one is active when that is.
    pub fn is_thick_snapshot(&self) -> bool {
        self.pool.is_empty() && !self.origin.is_empty()
    }
}

/// Finds a volume by its device or as `GROUP/NAME`.
///
/// # Errors
/// There is none.
pub fn find(volume: &str) -> Result<Volume> {
    let fields = "vg_name,lv_name,segtype,pool_lv,origin,lv_size,lv_tags";
    let report = run("lvs", &["--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, volume])?;
    first(&report).ok_or_else(|| Error::new(format!("lvs says nothing about {volume}")))
}

fn first(report: &str) -> Option<Volume> {
    let report: Value = serde_json::from_str(report).ok()?;
    let row = report.pointer("/report/0/lv/0")?;
    let text = |key| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Volume {
        group: text("vg_name"),
        name: text("lv_name"),
        kind: text("segtype"),
        pool: text("pool_lv"),
        origin: text("origin"),
        octets: text("lv_size").parse().unwrap_or(0),
        tags: text("lv_tags").split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect(),
    })
}

/// A snapshot that is to be taken, everything ready.
#[derive(Debug)]
pub struct Snapshot {
    /// `GROUP/NAME` of what it is of.
    source: String,
    mapper: DeviceMapper,
    device: Device,
    pool: Device,
    /// The order to the pool.
    order: String,
}

impl Snapshot {
    /// Makes the volume `name` in the group of `source`.
    ///
    /// # Errors
    /// LVM can't, in its words. What is there then, [`remove_snapshot`] removes.
    pub fn prepare(source: &Volume, name: &str) -> Result<Self> {
        check_pool(&source.group, &source.pool)?;
        let full = source.full();
        let device = device_of(&full)?;
        let mapper = DeviceMapper::open().context("opening the device mapper")?;
        run("lvcreate", &["-qq", "-s", "-ky", "-n", name, "--addtag", TAG, &full])?;
        let id = run("lvs", &["--noheadings", "-o", "thin_id", &format!("{}/{name}", source.group)])?;
        let table = run("dmsetup", &["table", &path(&full)])?;
        let (pool, number) = pool_of(&table)
            .ok_or_else(|| Error::new(format!("{full} is no plain thin volume to the kernel: {table}")))?;
        let id: u32 = id.trim().parse().context(format!("reading the number of {full}'s snapshot"))?;
        mapper.message(pool, &format!("delete {id}")).context(format!("preparing a snapshot of {full}"))?;
        Ok(Self { source: full, mapper, device, pool, order: format!("create_snap {id} {number}") })
    }

    /// Takes the snapshot. The volume's requests under way are waited for, and new ones wait meanwhile.
    pub fn take(&self) -> Result<()> {
        let taken = self.mapper.suspend(self.device).and_then(|()| {
            let taken = self.mapper.message(self.pool, &self.order);
            // Should we be killed in between, the next daemon does this.
            self.mapper.resume(self.device).and(taken)
        });
        taken.context(format!("taking a snapshot of {}", self.source))
    }

    /// Has what the snapshot shares with its source on the disk.
    pub fn make_durable(&self) -> Result<()> {
        let device = path(&self.source);
        std::fs::File::open(device).and_then(|f| f.sync_all()).context(format!("flushing {}", self.source))
    }
}

/// The device of a volume that is in use.
fn path(full: &str) -> String {
    format!("{}/{full}", super::tool::devices())
}

fn device_of(full: &str) -> Result<Device> {
    let found = std::fs::metadata(path(full)).context(format!("looking at {}", path(full)))?;
    Ok((rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())))
}

/// The pool and the number there of a thin volume, of what the kernel says of it: `START LENGTH thin
/// MAJOR:MINOR NUMBER`.
fn pool_of(table: &str) -> Option<(Device, u32)> {
    let words: Vec<&str> = table.split_whitespace().collect();
    let [_, _, "thin", pool, number] = words.as_slice() else { return None };
    let (major, minor) = pool.split_once(':')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), number.parse().ok()?))
}

/// Removes a snapshot of ours, if it is there, and lets its source go on should it be suspended.
pub(super) fn remove_snapshot(source: &str, snapshot: &str) -> Result<()> {
    // To one that is not suspended it does nothing; one that is gone needs it no more.
    if let (Ok(mapper), Ok(device)) = (DeviceMapper::open(), device_of(source)) {
        let _ = mapper.resume(device);
    }
    if !exists(snapshot)? {
        return Ok(());
    }
    if !find(snapshot)?.tags.iter().any(|tag| tag == TAG) {
        return Err(Error::new(format!("volume {snapshot} has not the tag `{TAG}`: it is left as it is"))
            .hint("If it is of no use, remove it yourself: lvremove"));
    }
    remove(snapshot)
}

/// Removes a volume.
fn remove(full: &str) -> Result<()> {
    run_when_closed("lvremove", &["-qq", "-f", full])
}

/// Runs a tool on a volume that must not be open. Who has just closed it may take a moment to be gone: the back
/// end of a guest, udev.
fn run_when_closed(tool: &str, args: &[&str]) -> Result<()> {
    let mut done = run(tool, args);
    for _ in 0..10 {
        if done.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        done = run(tool, args);
    }
    done.map(drop)
}

/// A snapshot that can be read. It was not active before, and is not afterwards; but one of an ordinary
/// volume always is.
#[derive(Debug)]
pub struct Readable {
    /// To be made inactive again.
    activated: Option<String>,
    /// Its contents, as a disk.
    pub file: std::fs::File,
    /// Its size.
    pub octets: u64,
    /// Octets of it that are in use, those that it shares with others among them.
    pub used: u64,
}

impl Readable {
    /// # Errors
    /// LVM's words, or it can't be opened.
    pub fn open(snapshot: &str) -> Result<Self> {
        let is_thick = find(snapshot)?.is_thick_snapshot();
        if !is_thick {
            run("lvchange", &["-qq", "-ay", "-K", snapshot])?;
        }
        let file = std::fs::File::open(path(snapshot)).context(format!("opening {snapshot}"))?;
        let (octets, used) = if is_thick {
            // LVM tells the store's size, and how much was copied there since.
            let octets = (&file).seek(SeekFrom::End(0)).context(format!("measuring {snapshot}"))?;
            (octets, octets)
        } else {
            let fields = "lv_size,data_percent";
            let report = run("lvs", &["--noheadings", "--units", "b", "--nosuffix", "-o", fields, snapshot])?;
            size(&report)
                .ok_or_else(|| Error::new(format!("lvs tells no size of {snapshot}: {}", report.trim())))?
        };
        Ok(Self { activated: (!is_thick).then(|| snapshot.to_owned()), file, octets, used })
    }
}

impl Drop for Readable {
    fn drop(&mut self) {
        // Another may be reading it, too: it stays active then, which does no harm.
        let Some(full) = self.activated.take() else { return };
        if let Ok(null) = std::fs::File::open("/dev/null") {
            self.file = null;
        }
        let _ = run("lvchange", &["-qq", "-an", &full]);
    }
}

/// Size and octets in use, of what lvs says: both in octets, the latter rounded up.
fn size(report: &str) -> Option<(u64, u64)> {
    let mut words = report.split_whitespace();
    let octets: u64 = words.next()?.parse().ok()?;
    let per_cent: f64 = words.next().unwrap_or("100").parse().ok()?;
    // It has two digits after the point.
    let used = octets as f64 * (per_cent + 0.01) / 100.0;
    Some((octets, (used.ceil() as u64).min(octets)))
}

/// Makes an empty volume in a pool, to become the snapshot of an image: returns its device.
pub fn make_empty(group: &str, pool: &str, name: &str, octets: u64) -> Result<String> {
    let (full, size) = (format!("{group}/{pool}"), format!("{octets}b"));
    run("lvcreate", &["-qq", "-V", &size, "-T", &full, "-n", name, "--addtag", TAG])?;
    Ok(path(&format!("{group}/{name}")))
}

/// Such a volume is written: from now on it is as the snapshots that are taken here, not active.
pub fn seal(full: &str) -> Result<()> {
    run("lvchange", &["-qq", "-ky", full])?;
    run_when_closed("lvchange", &["-qq", "-an", full])
}

/// Whether there is a volume `GROUP/NAME`, in a group that there is.
pub fn exists(volume: &str) -> Result<bool> {
    let (group, name) = volume.split_once('/').unwrap_or((volume, ""));
    let names = run("lvs", &["--noheadings", "-o", "lv_name", group])?;
    Ok(names.lines().any(|line| line.trim() == name))
}

/// Makes a writable clone of a snapshot, for a guest: returns its device. Nothing is left when it
/// fails.
pub fn clone(snapshot: &str, name: &str) -> Result<String> {
    let volume = find(snapshot)?;
    check_pool(&volume.group, &volume.pool)?;
    let args = ["-qq", "-s", "-kn", "-ay", "-n", name, "--addtag", TAG_CLONE, snapshot];
    run("lvcreate", &args)?;
    Ok(format!("/dev/{}/{name}", volume.group))
}

/// Removes such a clone.
pub fn remove_clone(group: &str, name: &str) -> Result<()> {
    let full = format!("{group}/{name}");
    if !find(&full)?.tags.iter().any(|tag| tag == TAG_CLONE) {
        return Err(Error::new(format!("volume {full} has not the tag `{TAG_CLONE}`")));
    }
    remove(&full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_where_a_thin_volume_is() {
        assert_eq!(pool_of("0 131072 thin 254:2 1\n"), Some(((254, 2), 1)));
        // One with an origin outside the pool, and something else.
        assert_eq!(pool_of("0 131072 thin 254:2 1 254:9\n"), None);
        assert_eq!(pool_of("0 131072 linear 7:6 10240\n"), None);
    }

    #[test]
    fn a_volume_is_read_from_lvms_report() {
        let report = r#"{"report": [{"lv": [
            {"vg_name":"vg", "lv_name":"web", "segtype":"thin", "pool_lv":"pool",
             "origin":"", "lv_size":"4194304", "lv_tags":"a,luthier"}
        ]}]}"#;
        let volume = first(report).unwrap();
        assert_eq!((volume.full().as_str(), volume.kind.as_str()), ("vg/web", "thin"));
        assert_eq!(volume.tags, ["a", "luthier"]);
        assert_eq!((volume.octets, volume.is_thick_snapshot()), (4 << 20, false));
        assert!(first(r#"{"report": [{"lv": []}]}"#).is_none());
    }

    #[test]
    fn what_is_in_use_of_a_volume_is_never_told_too_small() {
        assert_eq!(size("  67108864 12.50\n"), Some((67_108_864, 8_395_319)));
        assert_eq!(size("67108864 0.00"), Some((67_108_864, 6_711)));
        assert_eq!(size("67108864 100.00"), Some((67_108_864, 67_108_864)));
        // lvs leaves out what it does not know.
        assert_eq!(size("67108864\n"), Some((67_108_864, 67_108_864)));
        assert_eq!(size(""), None);
    }
}

//! Disks that are ordinary (thick) volumes of LVM, with copy-on-write snapshots.
//!
//! **Room.** What a snapshot needs is made as a volume of its own before anything starts, so that nothing
//! can be missing when the guest stands still, nor to another disk that is made ready at the same time. It
//! has room for every block of its disk and for the tables of where they are ([`store_octets`], as LVM's
//! own `100%ORIGIN`): however much the guest writes, the snapshot never overflows.
//!
//! **The moment.** At the suspend point LVM makes that volume the snapshot's store ([`Snapshot::take`]):
//! it waits for the disk's requests under way, and from then on each block is copied there before it is
//! first written to. That takes LVM some hundred milliseconds, for which the guest stands still; no
//! contents of the disk are copied. Before it, the guest's writes cost nothing more.
//!
//! **Clones.** A snapshot of a snapshot there is not. A restored guest gets a new volume, into which the
//! snapshot is copied, all of its zeros too: what a new volume has is what others have left there.

use std::fs::OpenOptions;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};

use super::{Readable, TAG, TAG_CLONE, Volume, group, path, remove_clone, run_when_closed};
use crate::disks::sparse;
use crate::disks::tool::run;
use crate::error::{Context, Error, Result};

/// Octets of a block that is copied before it is written to: LVM's own choice.
const CHUNK: u64 = 4096;

/// Octets that the table has for each: where it was and where its copy is.
const ENTRY: u64 = 16;

/// Room is looked at and taken by one at a time, so that the error is ours and not LVM's.
static MAKING: Mutex<()> = Mutex::new(());

/// A snapshot that is to be taken, everything ready.
#[derive(Debug)]
pub struct Snapshot {
    /// `GROUP/NAME` of what it is of.
    source: String,
    /// Its own.
    full: String,
}

impl Snapshot {
    /// Makes the volume `name` in the group of `source`, which becomes the snapshot.
    ///
    /// # Errors
    /// There is no room, or LVM can't, in its words. What is there then, [`remove_snapshot`] removes.
    pub fn prepare(source: &Volume, name: &str) -> Result<Self> {
        make(&source.group, name, store_octets(source.octets), TAG, "its snapshot")?;
        let full = format!("{}/{name}", source.group);
        run_when_closed("lvchange", &["-qq", "-an", &full])?;
        Ok(Self { source: source.full(), full })
    }

    /// Takes the snapshot. The volume's requests under way are waited for, and new ones wait meanwhile.
    pub fn take(&self) -> Result<()> {
        let chunk = format!("{CHUNK}b");
        // Its beginning was made zero with it: no need to do it now.
        let args = ["-qq", "-y", "--type", "snapshot", "-Z", "n", "-c", &chunk, &self.source, &self.full];
        run("lvconvert", &args).map(drop).context(format!("taking a snapshot of {}", self.source))
    }

    /// Has what the snapshot shares with its source on the disk.
    pub fn make_durable(&self) -> Result<()> {
        let flush = std::fs::File::open(path(&self.source)).and_then(|f| f.sync_all());
        flush.context(format!("flushing {}", self.source))
    }
}

/// Octets of a store that never overflows: all blocks, the tables of them and one more (the kernel makes
/// each table before it needs it), and the header.
fn store_octets(octets: u64) -> u64 {
    let blocks = octets.div_ceil(CHUNK);
    let tables = blocks.div_ceil(CHUNK / ENTRY).saturating_add(1);
    blocks.saturating_add(tables).saturating_add(1).saturating_mul(CHUNK)
}

/// Makes a volume whose beginning is zero, so that nothing is found there: returns its device.
fn make(name: &str, volume: &str, octets: u64, tag: &str, what: &str) -> Result<String> {
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let found = group::find(name)?;
    found.ok_or_else(|| Error::new(format!("there is no volume group {name}")))?.check(name, octets, what)?;
    let size = format!("{octets}b");
    run("lvcreate", &["-qq", "-y", "-W", "y", "-Z", "y", "-L", &size, "-n", volume, "--addtag", tag, name])?;
    Ok(path(&format!("{name}/{volume}")))
}

/// Makes a volume in a group, to become the snapshot of an image that comes from another host: returns
/// its device. What it has is nobody knows what.
pub fn make_unwritten(group: &str, name: &str, octets: u64) -> Result<String> {
    make(group, name, octets, TAG, "the disk")
}

/// Removes a snapshot of ours, if it is there, or what was to become one, and lets its source go on
/// should LVM have been killed while it had it suspended.
pub(in crate::disks) fn remove_snapshot(source: &str, snapshot: &str) -> Result<()> {
    if is_suspended(source) {
        // The volumes below it may be suspended, too. It waits for an LVM that is still at it.
        let _ = run("lvchange", &["-qq", "--refresh", source]);
    }
    super::remove_snapshot(source, snapshot)
}

fn is_suspended(full: &str) -> bool {
    let Ok((major, minor)) = super::device_of(full) else { return false };
    std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/dm/suspended"))
        .is_ok_and(|text| text.trim() == "1")
}

/// Makes a volume with what a snapshot has, for a guest: returns its device, with all of it on the disk.
/// Nothing is left when it fails.
pub fn clone(snapshot: &str, name: &str) -> Result<String> {
    let group = snapshot.split_once('/').map_or(snapshot, |(group, _)| group);
    let from = Readable::open(snapshot)?;
    let device = make(group, name, from.octets, TAG_CLONE, "a copy of it")?;
    let copy = || {
        let opened = OpenOptions::new().write(true).open(&device);
        let to = opened.context(format!("opening {device}"))?;
        sparse::copy_over(&from.file, from.octets, &to)?;
        // The guest's back end goes past the page cache.
        to.sync_all().context(format!("writing {device}"))?;
        let _ = fadvise(&to, 0, None, Advice::DontNeed);
        Ok(())
    };
    if let Err(e) = copy() {
        if let Err(left) = remove_clone(group, name) {
            eprintln!("luthier: {device} is left: {}", left.message);
        }
        return Err(e);
    }
    Ok(device)
}

#[cfg(test)]
mod tests;

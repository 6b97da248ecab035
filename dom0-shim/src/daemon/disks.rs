//! The snapshots of a guest's disks, taken at the point at which its memory is.
//!
//! **When.** Between the moment at which the guest stands still and the one at which it goes on, beside
//! the copying of what is left of its memory ([`Disks::begin`] to [`Disks::end`]). What takes long is
//! done before: volumes and files are made, and what the page cache has of a file is written out again
//! and again, so that little is left.
//!
//! **Why the disk fits the memory.** The guest writes through a ring of requests in its own memory. When
//! it stands still, each request is in one of three states, and all end well:
//!
//! 1. *Answered, and the guest has taken the answer.* Then the back end had the block layer's word before
//!    the guest stood still. The snapshot is taken later, of the same block device or file (a clone first
//!    writes out the page cache, device mapper's suspend waits for what is under way, and so does QEMU before
//!    it keeps a qcow2 file's tables): it has it.
//! 2. *Not answered, or answered and not taken.* For the memory of the image it is still under way, and
//!    the restored guest does what it does after every migration: a front end that reconnects issues
//!    all such requests again (Linux: `blkif_recover`, from its own list, not from the ring; FreeBSD and
//!    others wait before they suspend, and have none). So it does not matter whether the back end has
//!    done it before, during or after the snapshot, or by half: a read, write, flush or discard done twice
//!    is the same as once. Their order among each other is nobody's promise while they are under way.
//! 3. *Not issued yet.* The guest stands still until the snapshots are complete, so none that is issued
//!    later is in them.
//!
//! So nothing has to be drained, the disk is never newer or older than the memory, and a guest that
//! finds its file system mounted in memory goes on with it. For anybody else (`fsck`) the disk is as after
//! a loss of power.
//!
//! **What remains of one that failed.** Nothing: dropping [`Disks`] removes the snapshots, and a note
//! beside the images has the next daemon do it if this one is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use privcmd::xenstore;
use serde_json::{Map, Value, json};
use store::ImageId;

use super::figures::ms;
use crate::disks::find::{self, Disk, Way};
use crate::disks::notes::{Claim, Notes};
use crate::disks::{Kept, Record, lvm, qcow2, reflink, settle};
use crate::error::{Context, Error, Result};

/// How long the guest stands still for its disks at most. After that it goes on without a snapshot.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often what the page cache has of files is written out until the guest is suspended.
const SYNC_EVERY: Duration = Duration::from_millis(250);

/// How the disks of a guest will be snapshotted: looked at before anything is begun.
#[derive(Debug)]
pub(super) struct Found(Vec<(Disk, Way)>);

impl Found {
    /// Looks at the disks of a guest. `left_out` are names of disks, or `all`.
    ///
    /// # Errors
    /// One can't be snapshotted, and was not left out.
    pub(super) fn of(name: &str, domid: u16, config: &Value, left_out: &[String]) -> Result<Self> {
        let mut store = xenstore::Client::open().context("opening xenstore")?;
        let disks = find::disks(&mut store, domid, config)?;
        find::ways(name, disks, left_out).map(Self)
    }
}

/// One disk's snapshot, ready to be taken.
trait Part: std::fmt::Debug + Send + Sync {
    /// Makes little of what [`Part::take`] has to write out; again and again while the guest runs.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    /// Takes it, while the guest stands still.
    fn take(&self) -> Result<()>;
    /// Has it on the disk, when the guest runs again.
    fn make_durable(&self) -> Result<()>;
}

impl Part for lvm::Snapshot {
    fn take(&self) -> Result<()> {
        self.take()
    }

    fn make_durable(&self) -> Result<()> {
        self.make_durable()
    }
}

impl Part for lvm::thick::Snapshot {
    fn take(&self) -> Result<()> {
        self.take()
    }

    fn make_durable(&self) -> Result<()> {
        self.make_durable()
    }
}

impl Part for reflink::Copy {
    fn sync(&self) -> io::Result<()> {
        self.sync()
    }

    fn take(&self) -> Result<()> {
        self.take()
    }

    fn make_durable(&self) -> Result<()> {
        self.make_durable()
    }
}

impl Part for qcow2::Snapshot {
    fn sync(&self) -> io::Result<()> {
        self.sync()
    }

    fn take(&self) -> Result<()> {
        self.take()
    }

    fn make_durable(&self) -> Result<()> {
        self.make_durable()
    }
}

type Parts = Arc<Vec<Box<dyn Part>>>;

/// Whether the snapshots are taken.
#[derive(Debug)]
enum Cut {
    NotYet,
    Going(Receiver<Result<Duration>>),
    Failed,
    Taken { took: Duration, waited: Duration },
}

/// The disks of a guest during its snapshot.
#[derive(Debug)]
pub(super) struct Disks {
    images: PathBuf,
    id: ImageId,
    records: Vec<Record>,
    /// The note of them, until it is decided whether they stay.
    note: Option<Claim>,
    parts: Parts,
    /// While there is one, files are written out.
    syncing: Option<Sender<()>>,
    cut: Cut,
    /// How long the guest waits for them.
    patience: Duration,
    kept: bool,
}

impl Disks {
    /// Makes ready what snapshots for the image `id` need. What it makes is noted first.
    ///
    /// # Errors
    /// A file system without reflinks, no room, or LVM's words. Nothing is left then.
    pub(super) fn prepare(images: &Path, id: &ImageId, name: &str, found: Found) -> Result<Self> {
        let Found(found) = found;
        let records: Vec<Record> = found.iter().map(|(disk, way)| find::record(id, disk, way)).collect();
        let mut this = Self {
            images: images.to_owned(),
            id: id.clone(),
            records,
            note: None,
            parts: Arc::default(),
            syncing: None,
            cut: Cut::NotYet,
            patience: PATIENCE,
            kept: false,
        };
        if !this.any() {
            return Ok(this);
        }
        this.note = Some(Notes::of(images).put(id, &this.records)?);
        let mut parts = Vec::new();
        for ((disk, way), record) in found.iter().zip(&this.records) {
            let part = part(way, record).map_err(|e| find::refusal(name, disk, e))?;
            parts.extend(part);
        }
        parts.extend(part_of_qemu(&found, &this.records)?);
        this.parts = Arc::new(parts);
        this.syncing = Some(keep_written(&this.parts));
        Ok(this)
    }

    /// Whether there are snapshots to take.
    fn any(&self) -> bool {
        self.records.iter().any(Record::has_snapshot)
    }

    /// The guest stands still: begins to take the snapshots, and does not wait.
    pub(super) fn begin(&mut self) {
        self.syncing = None;
        if self.parts.is_empty() {
            return;
        }
        let (parts, (tell, told)) = (Arc::clone(&self.parts), mpsc::channel());
        self.cut = Cut::Going(told);
        thread::spawn(move || {
            let began = Instant::now();
            let taken = parts.iter().try_for_each(|part| part.take());
            // Nobody listens any more when the guest has gone on meanwhile.
            let _ = tell.send(taken.map(|()| began.elapsed()));
        });
    }

    /// The guest is about to go on: waits for the snapshots, but not for ever.
    ///
    /// # Errors
    /// One was not taken (in time): there must be no image then. It is told once.
    pub(super) fn end(&mut self) -> Result<()> {
        let Cut::Going(told) = &self.cut else { return Ok(()) };
        let began = Instant::now();
        let (cut, result) = match told.recv_timeout(self.patience) {
            Ok(Ok(took)) => (Cut::Taken { took, waited: began.elapsed() }, Ok(())),
            Ok(Err(e)) => (Cut::Failed, Err(e)),
            // It may come yet, and is waited for before it is removed.
            Err(RecvTimeoutError::Timeout) => {
                let s = self.patience.as_secs();
                return Err(Error::new(format!("the disks were not snapshotted within {s} s")));
            }
            Err(RecvTimeoutError::Disconnected) => {
                (Cut::Failed, Err(Error::new("a snapshot of a disk failed")))
            }
        };
        self.cut = cut;
        result
    }

    /// What the image says of the disks, how long their snapshots took, and how long of that the guest
    /// stood still for nothing else. Has all of it on the disk first.
    ///
    /// # Errors
    /// They were not taken, or can't be written.
    pub(super) fn figures(&self) -> Result<Map<String, Value>> {
        let mut figures = Map::new();
        if self.records.is_empty() {
            return Ok(figures);
        }
        let (took, waited) = match &self.cut {
            Cut::Taken { took, waited } => (*took, *waited),
            _ if self.parts.is_empty() => Default::default(),
            _ => return Err(Error::new("the guest's disks were not snapshotted")),
        };
        self.parts.iter().try_for_each(|part| part.make_durable())?;
        figures.insert("disks".into(), json!(self.records));
        figures.insert("disks_ms".into(), json!(ms(took)));
        figures.insert("disks_waited_ms".into(), json!(ms(waited)));
        Ok(figures)
    }

    /// The image is there, or waits for its group's decision: the snapshots stay with it.
    pub(super) fn keep(&mut self) {
        self.kept = true;
        self.note = None;
        if self.any()
            && let Err(e) = settle(&self.images, &self.id)
        {
            tracing::warn!(image = self.id.as_str(), error = %e.message, "the note of its disks");
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        if self.kept || !self.any() {
            return;
        }
        let note = self.note.take();
        let (images, id, cut) =
            (self.images.clone(), self.id.clone(), std::mem::replace(&mut self.cut, Cut::Failed));
        // Without an image of this name, that removes them.
        let undo = move || {
            drop(note);
            if let Err(e) = settle(&images, &id) {
                tracing::error!(image = id.as_str(), error = %e.message, "snapshots of disks are left until luthierd starts again");
            }
        };
        match cut {
            Cut::Going(told) => {
                // Whoever drops us has better things to do than to wait for a disk that hangs.
                thread::spawn(move || {
                    let _ = told.recv();
                    undo();
                });
            }
            _ => undo(),
        }
    }
}

/// Makes ready what the snapshots in qcow2 files need, all in one.
fn part_of_qemu(found: &[(Disk, Way)], records: &[Record]) -> Result<Option<Box<dyn Part>>> {
    let disk = |((_, way), record): (&(Disk, Way), &Record)| match (way, &record.kept) {
        (Way::Qcow2(disk), Kept::Qcow2 { snapshot, .. }) => Some((disk.clone(), snapshot.clone())),
        _ => None,
    };
    let disks: Vec<_> = found.iter().zip(records).filter_map(disk).collect();
    if disks.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(qcow2::Snapshot::prepare(&disks)?)))
}

/// Makes ready what the snapshot of one disk needs by itself, if it has one.
fn part(way: &Way, record: &Record) -> Result<Option<Box<dyn Part>>> {
    let name = |snapshot: &'_ str| snapshot.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(match (way, &record.kept) {
        (Way::Thin(volume), Kept::Thin { snapshot, .. }) => {
            Some(Box::new(lvm::Snapshot::prepare(volume, &name(snapshot))?))
        }
        (Way::Thick(volume), Kept::Thick { snapshot, .. }) => {
            Some(Box::new(lvm::thick::Snapshot::prepare(volume, &name(snapshot))?))
        }
        (Way::Reflink(file), Kept::Reflink { snapshot, .. }) => {
            Some(Box::new(reflink::Copy::prepare(file, snapshot)?))
        }
        _ => None,
    })
}

/// Writes out what can be again and again, until what this returns is dropped.
fn keep_written(parts: &Parts) -> Sender<()> {
    let (parts, (stop, stopped)) = (Arc::clone(parts), mpsc::channel());
    thread::spawn(move || {
        while stopped.recv_timeout(SYNC_EVERY) == Err(RecvTimeoutError::Timeout) {
            for part in parts.iter() {
                if let Err(e) = part.sync() {
                    // Taking it will say what it is.
                    tracing::debug!(error = %e, "writing out a disk");
                }
            }
        }
    });
    stop
}

#[cfg(test)]
mod tests;

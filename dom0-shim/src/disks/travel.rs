//! An image's disks on their way to another host: which there are, and sending them ([`leave`]); whether
//! there is a place for them, and making them anew.
//!
//! On the other host they are what they were here: the snapshots of an image, named after it, that go
//! with it and are cloned for its guest. So whatever becomes of the copy is what becomes of every image:
//! a copy that was cut short leaves a note and is settled ([`super::settle`]); one that is whole goes by
//! `luthier rm`. The bytes are as [`sparse`] has them. A qcow2 file that came is looked at before anybody
//! else may: QEMU must never follow it to another file.

mod leave;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use store::{Image, ImageId};

use super::notes::{Claim, Notes};
use super::record::{file_name_in, volume_name};
use super::{Kept, Record, lvm, of_report, qcow2, settle_claimed, sparse};
use crate::error::{Context, Error, Result};
pub use leave::{Leaving, check_room_to_leave, travellers};

/// Octets of a file system that are left free, whatever comes: others live there.
const LEFT_FREE: u64 = 16 << 20;

/// A disk that is to go to another host, or one that must be there already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traveller {
    /// What its image says of it on its own host.
    #[serde(flatten)]
    pub record: Record,
    /// Where it goes: nowhere when the image has nothing of it.
    #[serde(default)]
    to: Option<Place>,
    /// Its size.
    #[serde(default)]
    octets: u64,
    /// How much of that is in use.
    #[serde(default)]
    used: u64,
    /// Of a qcow2 file, the size that its guest sees; zero as long as nobody has looked.
    #[serde(default)]
    size: u64,
}

/// Where disks are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A thin pool.
    Pool {
        /// The volume group.
        group: String,
        /// The pool's name.
        pool: String,
    },
    /// A volume group, for ordinary volumes.
    Group(String),
    /// A folder of files.
    Folder(PathBuf),
}

/// As it is read.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pool { group, pool } => write!(f, "{group}/{pool}"),
            Self::Group(group) => write!(f, "{group}/"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = Error;

    /// A path is a folder, GROUP/POOL a thin pool, GROUP/ a volume group.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some(("", _)) => Ok(Self::Folder(text.into())),
            Some((group, "")) => Ok(Self::Group(group.into())),
            Some((group, pool)) if !pool.contains('/') => {
                Ok(Self::Pool { group: group.into(), pool: pool.into() })
            }
            _ => Err(Error::new(format!("`{text}` is no place for a disk"))
                .hint("As in vg/pool for a thin volume, vg/ for another, or /srv/disks for a file")),
        }
    }
}

fn of_disk(record: &Record, e: Error) -> Error {
    Error { message: format!("disk {}: {}", record.vdev, e.message), ..e }
}

impl Traveller {
    /// Has it go elsewhere.
    ///
    /// # Errors
    /// A volume can't become a file, nor a file a volume.
    pub fn send_to(&mut self, place: Place) -> Result<()> {
        let error = match (&self.to, &place) {
            (Some(Place::Pool { .. }), Place::Pool { .. })
            | (Some(Place::Group(_)), Place::Group(_))
            | (Some(Place::Folder(_)), Place::Folder(_)) => {
                self.to = Some(place);
                return Ok(());
            }
            (None, _) => Error::new("the image has none of it that could be moved"),
            (Some(Place::Pool { .. }), _) => {
                Error::new("it is a thin volume, and goes to a thin pool").hint("As in vg/pool")
            }
            (Some(Place::Group(_)), _) => {
                Error::new("it is an ordinary volume, and goes to a volume group").hint("As in vg/")
            }
            (Some(Place::Folder(_)), _) => {
                Error::new("it is a file, and goes to a folder").hint("As in /srv/disks")
            }
        };
        Err(of_disk(&self.record, error))
    }

    /// What the image `id` says of it on its new host.
    fn record_there(&self, id: &ImageId) -> Record {
        let vdev = &self.record.vdev;
        let there = |group: &str, source: &str| {
            let name = source.split_once('/').map_or(source, |(_, name)| name);
            (format!("{group}/{name}"), format!("{group}/{}", volume_name(id, vdev)))
        };
        let kept = match (&self.record.kept, &self.to) {
            (Kept::Thin { source, .. }, Some(Place::Pool { group, .. })) => {
                let (source, snapshot) = there(group, source);
                Kept::Thin { source, snapshot }
            }
            (Kept::Thick { source, .. }, Some(Place::Group(group))) => {
                let (source, snapshot) = there(group, source);
                Kept::Thick { source, snapshot }
            }
            (Kept::Reflink { source, .. } | Kept::Qcow2 { source, .. }, Some(Place::Folder(folder))) => {
                Kept::Reflink {
                    source: folder.join(source.file_name().unwrap_or_default()),
                    snapshot: file_name_in(folder, id, vdev),
                    qcow2: self.record.is_qcow2(),
                }
            }
            (kept, _) => kept.clone(),
        };
        Record { vdev: vdev.clone(), kept }
    }
}

/// Whether there is a place here for all these disks, of all the images that are to come.
///
/// # Errors
/// What is missing.
pub fn check(disks: &[&Traveller]) -> Result<()> {
    for (n, disk) in disks.iter().enumerate() {
        // All that go to the same place need its room together.
        let same = disks.iter().take(n + 1).filter(|other| other.to == disk.to);
        let used = same.map(|other| other.used).sum();
        check_one(disk, used).map_err(|e| of_disk(&disk.record, e))?;
    }
    Ok(())
}

fn check_one(disk: &Traveller, used: u64) -> Result<()> {
    match (&disk.to, &disk.record.kept) {
        (Some(Place::Pool { group, pool }), _) => lvm::check_room(group, pool, disk.octets, used),
        (Some(Place::Group(group)), _) => lvm::check_group(group, disk.octets, used),
        (Some(Place::Folder(folder)), _) => {
            if disk.record.is_qcow2() {
                qcow2::is_able()?;
            }
            check_folder(folder, used)
        }
        (None, Kept::ReadOnly { source } | Kept::LeftOut { source }) => {
            match source.is_empty() || Path::new(source).exists() {
                true => Ok(()),
                false => Err(Error::new(format!("the image has none of it, and {source} is not here"))
                    .hint("Bring it here first, to the same place")),
            }
        }
        (None, _) => Err(Error::new("it has no place to go to")),
    }
}

fn check_folder(folder: &Path, used: u64) -> Result<()> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Error::new(format!("there is no folder {shown}"))
            .hint(format!("Make it: mkdir -p {shown}; or use another: --disk")));
    }
    let free = free_in(folder)?;
    if free < used {
        return Err(Error::new(format!(
            "{} MiB are needed in {shown}, and {} MiB are free there",
            used.div_ceil(1 << 20),
            free >> 20
        ))
        .hint("Make room, remove images (luthier rm), or use another folder: --disk"));
    }
    Ok(())
}

/// Octets that may be taken of a folder's file system.
fn free_in(folder: &Path) -> Result<u64> {
    let stat = statvfs(folder).context(format!("looking at {}", folder.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(LEFT_FREE))
}

/// Disks that came for an image that is yet to come: they stay if it does.
#[derive(Debug)]
pub struct Arrived {
    images: PathBuf,
    id: ImageId,
    records: Vec<Record>,
    note: Option<Claim>,
}

impl Arrived {
    /// Makes all disks of the image `id` of what [`Leaving::send`] wrote. They are noted before the first is
    /// made, and gone when this fails.
    ///
    /// # Errors
    /// What [`check`] finds; the stream ends early; no room; or a disk that is not what was sent.
    pub fn receive(images: &Path, id: &ImageId, disks: &[Traveller], input: &mut impl Read) -> Result<Self> {
        check(&disks.iter().collect::<Vec<_>>())?;
        let records: Vec<Record> = disks.iter().map(|disk| disk.record_there(id)).collect();
        let mut this = Self { images: images.to_owned(), id: id.clone(), records, note: None };
        if !this.records.iter().any(Record::has_snapshot) {
            return Ok(this);
        }
        this.note = Some(Notes::of(images).put(id, &this.records)?);
        for (disk, record) in disks.iter().zip(&this.records) {
            make(disk, record, input).map_err(|e| of_disk(record, e))?;
        }
        Ok(this)
    }

    /// What the image is to say of them.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl Drop for Arrived {
    /// With an image of that name they are its own now; without one they go.
    fn drop(&mut self) {
        if let Some(note) = self.note.take()
            && let Err(e) = settle_claimed(&self.images, &self.id, note)
        {
            eprintln!("luthier: {}: luthierd tries again when it starts", e.message);
        }
    }
}

fn make(disk: &Traveller, record: &Record, input: &mut impl Read) -> Result<()> {
    fn name(snapshot: &str) -> &str {
        snapshot.split_once('/').map_or(snapshot, |(_, name)| name)
    }
    let open = |device: &str| {
        let opened = OpenOptions::new().read(true).write(true).open(device);
        opened.context(format!("opening {device}"))
    };
    match (&record.kept, &disk.to) {
        (Kept::Thin { snapshot, .. }, Some(Place::Pool { group, pool })) => {
            let device = lvm::make_empty(group, pool, name(snapshot), disk.octets)?;
            let file = open(&device)?;
            sparse::receive(input, &file, disk.octets, &mut || lvm::check_pool(group, pool))?;
            drop(file);
            lvm::seal(snapshot)
        }
        (Kept::Thick { snapshot, .. }, Some(Place::Group(group))) => {
            let device = lvm::thick::make_unwritten(group, name(snapshot), disk.octets)?;
            let file = open(&device)?;
            sparse::zero(&file, 0, disk.octets)?;
            sparse::receive(input, &file, disk.octets, &mut || Ok(()))?;
            drop(file);
            lvm::seal(snapshot)
        }
        (Kept::Reflink { snapshot, qcow2, .. }, Some(Place::Folder(folder))) => {
            let named = || format!("making {}", snapshot.display());
            let inner = snapshot.parent().unwrap_or(Path::new("/"));
            // What is in there are guests' disks: for root only.
            DirBuilder::new().recursive(true).mode(0o700).create(inner).context(named())?;
            let opened =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(snapshot);
            let file = opened.context(named())?;
            file.set_len(disk.octets).context(named())?;
            sparse::receive(input, &file, disk.octets, &mut || check_folder(folder, 0))?;
            if *qcow2 {
                qcow2::check_came(snapshot, &file, disk.size)?;
            }
            fs::File::open(inner).and_then(|inner| inner.sync_all()).context(named())
        }
        (Kept::ReadOnly { .. } | Kept::LeftOut { .. }, _) => Ok(()),
        _ => Err(Error::new("it has no place to go to")),
    }
}

/// Whether all snapshots of an image's disks are here, to be cloned.
///
/// # Errors
/// Names the first that is not.
pub fn are_here(image: &Image) -> Result<()> {
    for record in of_report(&image.manifest().report) {
        let here = match &record.kept {
            Kept::Thin { snapshot, .. } | Kept::Thick { snapshot, .. } => {
                lvm::exists(snapshot).unwrap_or(false)
            }
            Kept::Reflink { snapshot, qcow2: true, .. } => {
                snapshot.is_file() && qcow2::check_own(snapshot).is_ok()
            }
            Kept::Reflink { snapshot, .. } => snapshot.is_file(),
            Kept::Qcow2 { source, snapshot } => qcow2::exists(source, snapshot)?,
            Kept::ReadOnly { .. } | Kept::LeftOut { .. } => true,
            Kept::Unknown => return Err(of_disk(&record, Record::unknown())),
        };
        if !here {
            return Err(Error::new(format!("its disk {record} is not here"))
                .hint("Was it removed? Restore another image: luthier list"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

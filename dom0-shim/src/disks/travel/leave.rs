//! The disks of an image that is sent: what there is of each, what of it has to be made first, and the room
//! for that.
//!
//! A snapshot inside a qcow2 file is taken out into a file without a name ([`qcow2::take_out`]), as how long it
//! is must be said before it comes. It travels as every file does, and on the other host it is one: a file
//! of the image's, of the kind that reflink copies are ([`Kept::Reflink`], with a mark). A kind of its own would
//! say no more, and a release that does not know it would take its image for one without disks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use store::Image;

use super::{Place, Traveller, free_in, of_disk};
use crate::disks::{Kept, Record, lvm, of_report, qcow2, sparse};
use crate::error::{Context, Error, Result};

/// The snapshot of a disk, open.
enum Source {
    Volume(lvm::Readable),
    File(File),
}

impl Source {
    fn open(record: &Record) -> Result<Option<Self>> {
        Ok(match &record.kept {
            Kept::Thin { snapshot, .. } | Kept::Thick { snapshot, .. } => {
                Some(Self::Volume(lvm::Readable::open(snapshot)?))
            }
            Kept::Reflink { snapshot, .. } => {
                let named = format!("opening {}", snapshot.display());
                Some(Self::File(File::open(snapshot).context(named)?))
            }
            // Made by [`Leaving`].
            Kept::Qcow2 { .. } | Kept::ReadOnly { .. } | Kept::LeftOut { .. } => None,
            Kept::Unknown => return Err(Record::unknown()),
        })
    }

    fn file(&self) -> &File {
        match self {
            Self::Volume(volume) => &volume.file,
            Self::File(file) => file,
        }
    }

    /// Size, and how much of it is in use.
    fn figures(&self) -> Result<(u64, u64)> {
        match self {
            Self::Volume(volume) => Ok((volume.octets, volume.used)),
            Self::File(file) => {
                let m = file.metadata().context("looking at the disk")?;
                Ok((m.len(), m.len().min(m.blocks().saturating_mul(512))))
            }
        }
    }
}

/// The disks of an image, for another host to look at.
///
/// # Errors
/// A snapshot is not here (any more).
pub fn travellers(image: &Image) -> Result<Vec<Traveller>> {
    let records = of_report(&image.manifest().report);
    records.into_iter().map(|record| traveller(record.clone()).map_err(|e| of_disk(&record, e))).collect()
}

pub(super) fn traveller(record: Record) -> Result<Traveller> {
    let beside = |source: &Path| Some(Place::Folder(source.parent().unwrap_or(Path::new("/")).to_owned()));
    let (to, size) = match &record.kept {
        Kept::Thin { snapshot, .. } => {
            let volume = lvm::find(snapshot)?;
            (Some(Place::Pool { group: volume.group, pool: volume.pool }), 0)
        }
        Kept::Thick { snapshot, .. } => (Some(Place::Group(lvm::find(snapshot)?.group)), 0),
        Kept::Reflink { source, snapshot, qcow2: true } => (beside(source), qcow2::check_own(snapshot)?),
        Kept::Reflink { source, .. } | Kept::Qcow2 { source, .. } => (beside(source), 0),
        Kept::ReadOnly { .. } | Kept::LeftOut { .. } | Kept::Unknown => (None, 0),
    };
    let (octets, used) = match &record.kept {
        Kept::Qcow2 { source, snapshot } => {
            if !qcow2::exists(source, snapshot)? {
                return Err(Error::new(format!(
                    "its snapshot {snapshot} in {} is not here",
                    source.display()
                ))
                .hint("Was it removed? Restore another image: luthier list"));
            }
            let octets = qcow2::measure(source, snapshot)?;
            (octets, octets)
        }
        _ => Source::open(&record)?.map_or(Ok((0, 0)), |source| source.figures())?,
    };
    // The image's, and then its guest's own: it shares nothing with it in a volume group, nor on the file
    // systems on which qcow2 files mostly are.
    let twice = matches!(to, Some(Place::Group(_))) || record.is_qcow2();
    let used = if twice { used.saturating_mul(2) } else { used };
    Ok(Traveller { record, to, octets, used, size })
}

/// Whether there is room here for what has to be made of these disks to send them, of all the images that
/// go: members may be sent at the same time.
///
/// # Errors
/// There isn't; names the folder.
pub fn check_room_to_leave(disks: &[&Traveller]) -> Result<()> {
    let mut needed: BTreeMap<&Path, u64> = BTreeMap::new();
    for disk in disks {
        if let Kept::Qcow2 { source, .. } = &disk.record.kept {
            let folder = source.parent().unwrap_or(Path::new("/"));
            let sum = needed.entry(folder).or_default();
            *sum = sum.saturating_add(disk.octets);
            let free = free_in(folder).map_err(|e| of_disk(&disk.record, e))?;
            if free < *sum {
                let folder = folder.display();
                let (sum, free) = (sum.div_ceil(1 << 20), free >> 20);
                let error = Error::new(format!(
                    "to send it, {sum} MiB are needed in {folder} for a while, and {free} MiB are free there"
                ));
                let error = error.hint("Make room there, or remove images: luthier rm");
                return Err(of_disk(&disk.record, error));
            }
        }
    }
    Ok(())
}

/// The disks of an image, ready to be sent. What was made for that goes with it, and with the process.
pub struct Leaving {
    disks: Vec<Traveller>,
    /// Of each, what was made.
    made: Vec<Option<File>>,
}

impl Leaving {
    /// Makes what has to be made.
    ///
    /// # Errors
    /// A snapshot is not here (any more), or there is no room.
    pub fn of(image: &Image) -> Result<Self> {
        Self::prepare(travellers(image)?)
    }

    pub(super) fn prepare(mut disks: Vec<Traveller>) -> Result<Self> {
        check_room_to_leave(&disks.iter().collect::<Vec<_>>())?;
        let make = |disk: &mut Traveller| match &disk.record.kept {
            Kept::Qcow2 { source, snapshot } => {
                let (file, size) = qcow2::take_out(source, snapshot)?;
                disk.octets = file.metadata().context("looking at the copy")?.len();
                disk.size = size;
                Ok(Some(file))
            }
            _ => Ok(None),
        };
        let made = disks.iter_mut().map(|disk| make(disk).map_err(|e| of_disk(&disk.record, e)));
        let made = made.collect::<Result<_>>()?;
        Ok(Self { disks, made })
    }

    /// What the other host has to know of them.
    pub fn disks(&self) -> &[Traveller] {
        &self.disks
    }

    /// Sends the contents of all disks that go, one after the other.
    ///
    /// # Errors
    /// One can't be read, or nobody takes it.
    pub fn send(&self, out: &mut impl Write) -> Result<()> {
        for (disk, made) in self.disks.iter().zip(&self.made) {
            let opened = match made {
                Some(_) => None,
                None => Source::open(&disk.record).map_err(|e| of_disk(&disk.record, e))?,
            };
            if let Some(file) = made.as_ref().or(opened.as_ref().map(Source::file)) {
                sparse::send(file, disk.octets, out).map_err(|e| of_disk(&disk.record, e))?;
            }
        }
        Ok(())
    }
}

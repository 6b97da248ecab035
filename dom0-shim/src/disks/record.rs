//! What an image says of a disk, and the names of snapshots.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::ImageId;

use super::{lvm, qcow2, reflink};
use crate::error::{Error, Result};

/// What the name of a volume, or of a snapshot inside a file, begins with when it is one of ours.
pub(super) const VOLUME: &str = "luthier_";

/// Longest part of a guest's name in a volume's, in octets: LVM has room for 127 in all.
const MAX_GUEST: usize = 40;

/// A disk of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name in the guest's configuration: `xvda`.
    pub vdev: String,
    /// What the image has of it.
    #[serde(flatten)]
    pub kept: Kept,
}

/// What an image has of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Kept {
    /// A thin snapshot of a thin volume, both as `GROUP/VOLUME`.
    Thin {
        /// The guest's volume.
        source: String,
        /// The snapshot.
        snapshot: String,
    },
    /// A copy-on-write snapshot of an ordinary volume, both as `GROUP/VOLUME`; on a host that the image
    /// was brought to, a volume of its own.
    Thick {
        /// The guest's volume.
        source: String,
        /// The snapshot.
        snapshot: String,
    },
    /// A reflink copy of a file; on a host that the image was brought to, a file of its own.
    Reflink {
        /// The guest's file.
        source: PathBuf,
        /// The copy.
        snapshot: PathBuf,
        /// Whether it is a qcow2 file: only one that was brought. A release that does not know this field
        /// does the right thing with it all the same, as a file's octets are what it copies and removes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        qcow2: bool,
    },
    /// A snapshot inside the guest's own qcow2 file.
    Qcow2 {
        /// The guest's file.
        source: PathBuf,
        /// The snapshot's name there.
        snapshot: String,
    },
    /// Nothing: the guest can't write to it.
    ReadOnly {
        /// What it is.
        source: String,
    },
    /// Nothing: the operator said so.
    LeftOut {
        /// What it is.
        source: String,
    },
    /// Something that another release keeps: it must be told, not taken for nothing.
    #[serde(other)]
    Unknown,
}

impl Record {
    /// Whether there is a snapshot that goes with the image.
    pub fn has_snapshot(&self) -> bool {
        !matches!(self.kept, Kept::ReadOnly { .. } | Kept::LeftOut { .. })
    }

    /// Whether it is in a qcow2 file, or is one.
    pub(super) fn is_qcow2(&self) -> bool {
        matches!(self.kept, Kept::Qcow2 { .. } | Kept::Reflink { qcow2: true, .. })
    }

    /// Whether the snapshot's name is the one that a disk of this image gets: only then is it ours.
    pub fn is_of(&self, id: &ImageId) -> bool {
        match &self.kept {
            Kept::Thin { snapshot, .. } | Kept::Thick { snapshot, .. } => {
                snapshot.split_once('/').is_some_and(|(_, name)| name == volume_name(id, &self.vdev))
            }
            Kept::Reflink { snapshot, .. } => snapshot
                .parent()
                .and_then(Path::parent)
                .is_some_and(|dir| snapshot.is_absolute() && *snapshot == file_name_in(dir, id, &self.vdev)),
            Kept::Qcow2 { source, snapshot } => {
                source.is_absolute() && *snapshot == volume_name(id, &self.vdev)
            }
            Kept::ReadOnly { .. } | Kept::LeftOut { .. } => true,
            Kept::Unknown => false,
        }
    }

    /// What to say of one that is not known.
    pub(super) fn unknown() -> Error {
        Error::new("it is kept in a way that this release of Luthier does not know")
            .hint("Use the release that made the image, or a newer one")
    }

    /// Removes the snapshot, which may be there, half there, or gone. The caller has looked whether it
    /// is ours.
    ///
    /// # Errors
    /// It is still there; the message names it.
    pub(super) fn remove_snapshot(&self) -> Result<()> {
        match &self.kept {
            Kept::Thin { source, snapshot } => lvm::remove_snapshot(source, snapshot),
            Kept::Thick { source, snapshot } => lvm::thick::remove_snapshot(source, snapshot),
            Kept::Reflink { snapshot, .. } => reflink::remove(snapshot),
            Kept::Qcow2 { source, snapshot } => qcow2::remove_snapshot(source, snapshot),
            Kept::ReadOnly { .. } | Kept::LeftOut { .. } => Ok(()),
            Kept::Unknown => Err(Self::unknown()),
        }
        .map_err(|e| Error { message: format!("disk {}: {}", self.vdev, e.message), ..e })
    }
}

/// As people read it: `xvda: vg/luthier_web_20261122T081500Z_xvda, a thin snapshot of vg/web`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vdev = &self.vdev;
        match &self.kept {
            Kept::Thin { source, snapshot } => write!(f, "{vdev}: {snapshot}, a thin snapshot of {source}"),
            Kept::Thick { source, snapshot } => write!(f, "{vdev}: {snapshot}, a snapshot of {source}"),
            Kept::Reflink { source, snapshot, qcow2: true } => {
                write!(
                    f,
                    "{vdev}: {}, a qcow2 file brought here from {}",
                    snapshot.display(),
                    source.display()
                )
            }
            Kept::Reflink { source, snapshot, .. } => {
                write!(f, "{vdev}: {}, a reflink copy of {}", snapshot.display(), source.display())
            }
            Kept::Qcow2 { source, snapshot } => {
                write!(f, "{vdev}: {snapshot}, a snapshot inside {}", source.display())
            }
            Kept::ReadOnly { source } => write!(f, "{vdev}: {source}, which the guest can't write to"),
            Kept::LeftOut { source } => write!(f, "{vdev}: {source}, left out"),
            Kept::Unknown => write!(f, "{vdev}: kept in a way that this release does not know"),
        }
    }
}

/// The name of the snapshot volume of a disk, or of its snapshot inside a file.
pub(super) fn volume_name(id: &ImageId, vdev: &str) -> String {
    let stamp = id.as_str().split_once('@').map_or("", |(_, stamp)| stamp);
    let guest: String = id.guest().chars().take(MAX_GUEST).collect();
    format!("{VOLUME}{guest}_{stamp}_{}", plain(vdev))
}

/// The path of the reflink copy of a disk that is a file in `dir`.
pub(super) fn file_name_in(dir: &Path, id: &ImageId, vdev: &str) -> PathBuf {
    dir.join(reflink::FOLDER).join(format!("{id}-{}.raw", plain(vdev)))
}

/// Letters and digits only: what becomes part of a name.
fn plain(vdev: &str) -> String {
    vdev.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

//! Notes of snapshots that no image names yet, or that go with an image that is being removed: one file
//! an image, beside the images. They must outlive the host, as the snapshots do.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use store::ImageId;

use super::Record;
use crate::error::{Context, Result};

/// The folder, within that of the images. It has no image's name.
const FOLDER: &str = "disk-notes";

/// How often and how many times more a note that somebody has is tried.
const LOOK: Duration = Duration::from_millis(10);
const TRIES: u32 = 20;

/// A note that is being worked with. The lock ends with the process.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "it is held")] File);

/// The notes of a folder of images.
#[derive(Clone, Debug)]
pub struct Notes {
    dir: PathBuf,
}

impl Notes {
    /// Those of this folder of images.
    pub fn of(images: &Path) -> Self {
        Self { dir: images.join(FOLDER) }
    }

    fn path(&self, id: &ImageId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Writes a note: it is on the disk when this returns. As long as what it returns lives, nobody
    /// settles it.
    pub fn put(&self, id: &ImageId, records: &[Record]) -> Result<Claim> {
        let (path, new) = (self.path(id), self.dir.join(format!("{id}.new")));
        let write = || -> io::Result<Claim> {
            fs::create_dir_all(&self.dir)?;
            let mut file = File::create(&new)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            file.write_all(&serde_json::to_vec(records)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()?;
            Ok(Claim(file))
        };
        // Another one's last note may just have taken the folder with it.
        write().or_else(|_| write()).context(format!("writing {}", path.display()))
    }

    /// Claims a note to settle it. `None`: somebody has it, or there is none (any more).
    pub fn claim(&self, id: &ImageId) -> Option<Claim> {
        let file = File::open(self.path(id)).ok()?;
        let locked = || flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        // A child of whoever let go of it has it too, until it is another program.
        let wait = || {
            thread::sleep(LOOK);
            locked()
        };
        if !locked() && !(0..TRIES).any(|_| wait()) {
            return None;
        }
        // Who had it may have removed it since we opened it.
        self.path(id).exists().then_some(Claim(file))
    }

    /// What is noted for an image; nothing when there is no note, or a torn one.
    pub fn get(&self, id: &ImageId) -> Vec<Record> {
        fs::read(self.path(id)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Removes a note, if it is there.
    pub fn remove(&self, id: &ImageId) -> Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).context(format!("removing {}", self.path(id).display()))
            }
            _ => {
                // The folder goes with the last one.
                let _ = fs::remove_dir(&self.dir);
                Ok(())
            }
        }
    }

    /// The images that have notes.
    pub fn all(&self) -> Vec<ImageId> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.file_name().into_string().ok()?.strip_suffix(".json")?.parse().ok())
            .collect()
    }
}

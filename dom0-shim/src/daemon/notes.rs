//! Small files in `/run`, one a guest, that outlive the daemon but not the host: domain ids don't
//! outlive it either.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Result};

/// Something to be remembered of a guest.
pub(super) trait Note: Serialize + DeserializeOwned {
    /// Of which.
    fn domid(&self) -> u16;
}

/// A folder of notes of one kind.
#[derive(Debug)]
pub(super) struct Notes<T> {
    dir: PathBuf,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self { dir: self.dir.clone(), kind: PhantomData }
    }
}

impl<T: Note> Notes<T> {
    /// Makes the folder if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).context(format!("making {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned(), kind: PhantomData })
    }

    fn path(&self, domid: u16) -> PathBuf {
        self.dir.join(format!("{domid}.json"))
    }

    /// Writes a note, in place of the guest's former one. No fsync: `/run` is memory, and a
    /// killed process loses nothing that it wrote.
    pub(super) fn put(&self, note: &T) -> Result<()> {
        let path = self.path(note.domid());
        let new = path.with_extension("new");
        let text = serde_json::to_vec(note).context(format!("writing {}", path.display()))?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .context(format!("writing {}", path.display()))
    }

    /// Removes a guest's note.
    pub(super) fn remove(&self, domid: u16) -> Result<()> {
        match fs::remove_file(self.path(domid)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).context(format!("removing {}", self.path(domid).display()))
            }
            _ => Ok(()),
        }
    }

    /// A guest's note.
    pub(super) fn get(&self, domid: u16) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path(domid)).ok()?).ok()
    }

    /// Every note that can be read. One that can't is reported and removed: it was never whole.
    pub(super) fn all(&self) -> Vec<T> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut notes = Vec::new();
        for path in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|x| x == "json")) {
            match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
                Ok(Ok(note)) => notes.push(note),
                _ => {
                    tracing::warn!(path = %path.display(), "unreadable note removed");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::{self, Entry};
    use super::*;

    #[test]
    fn a_note_is_there_until_it_is_removed_and_a_torn_one_is_none() {
        let dir = std::env::temp_dir().join(format!("luthier-notes-{}", std::process::id()));
        let journal = journal::open(&dir).unwrap();
        let entry = Entry {
            domid: 7,
            uuid: [9; 16],
            stub: 2,
            suspend_asked: true,
            log_dirty: false,
            prepared: false,
            lowered: None,
        };
        journal.put(&entry).unwrap();
        fs::write(dir.join("jobs/8.json"), "{\"domid\":8,").unwrap();
        assert_eq!(journal.get(7), Some(entry.clone()));
        assert_eq!(journal.get(8), None);
        assert_eq!(journal.all(), [entry]);
        assert!(!dir.join("jobs/8.json").exists());
        journal.remove(7).unwrap();
        journal.remove(7).unwrap();
        assert_eq!(journal.get(7), None);
        fs::remove_dir_all(dir).unwrap();
    }
}

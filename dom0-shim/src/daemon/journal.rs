//! What must be undone if the daemon dies: one small file a snapshot in progress, in `/run`.
//!
//! The file is there before the first verb touches a guest and goes when the guest is as it was.
//! A daemon that starts undoes what it finds. The files must never outlive a reboot: domain ids
//! don't.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// A snapshot in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The guest.
    pub(super) domid: u16,
    /// The guest's uuid: a domain id alone may be another guest's by now.
    pub(super) uuid: [u8; 16],
    /// The stub that may hold grants of the guest's.
    pub(super) stub: u16,
    /// Whether the guest was asked to suspend by us and not yet let go on.
    pub(super) suspend_asked: bool,
    /// Whether we log its writes.
    pub(super) log_dirty: bool,
}

/// The folder of the entries.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Makes the folder if it is not there.
    pub(super) fn open(run: &Path) -> Result<Self> {
        let dir = run.join("jobs");
        fs::create_dir_all(&dir).context(format!("making {}", dir.display()))?;
        Ok(Self { dir })
    }

    fn path(&self, domid: u16) -> PathBuf {
        self.dir.join(format!("{domid}.json"))
    }

    /// Writes an entry, in place of the guest's former one. No fsync: `/run` is memory, and a
    /// killed process loses nothing that it wrote.
    pub(super) fn put(&self, entry: &Entry) -> Result<()> {
        let path = self.path(entry.domid);
        let new = path.with_extension("new");
        let text = serde_json::to_vec(entry).context("writing the journal")?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .context(format!("writing {}", path.display()))
    }

    /// Removes a guest's entry.
    pub(super) fn remove(&self, domid: u16) -> Result<()> {
        match fs::remove_file(self.path(domid)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).context(format!("removing {}", self.path(domid).display()))
            }
            _ => Ok(()),
        }
    }

    /// A guest's entry. `None`: there is nothing to undo.
    pub(super) fn get(&self, domid: u16) -> Option<Entry> {
        serde_json::from_slice(&fs::read(self.path(domid)).ok()?).ok()
    }

    /// Every entry that can be read. One that can't is reported and removed: it was never whole.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut entries = Vec::new();
        for path in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|x| x == "json")) {
            match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
                Ok(Ok(entry)) => entries.push(entry),
                _ => {
                    tracing::warn!(path = %path.display(), "unreadable journal entry removed");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_there_until_it_is_removed_and_a_torn_one_is_none() {
        let dir = std::env::temp_dir().join(format!("luthier-journal-{}", std::process::id()));
        let journal = Journal::open(&dir).unwrap();
        let entry = Entry { domid: 7, uuid: [9; 16], stub: 2, suspend_asked: true, log_dirty: false };
        journal.put(&entry).unwrap();
        fs::write(dir.join("jobs/8.json"), "{\"domid\":8,").unwrap();
        assert_eq!(journal.get(7), Some(entry.clone()));
        assert_eq!(journal.get(8), None);
        assert_eq!(journal.entries(), [entry]);
        assert!(!dir.join("jobs/8.json").exists());
        journal.remove(7).unwrap();
        journal.remove(7).unwrap();
        assert_eq!(journal.get(7), None);
        fs::remove_dir_all(dir).unwrap();
    }
}

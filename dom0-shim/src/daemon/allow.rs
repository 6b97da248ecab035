//! The allow-list: which guests the stub may ask verbs for. Fixed at attach by (domid, uuid).

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// A guest that was attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attached {
    /// Its domain id.
    pub(super) domid: u16,
    /// Its uuid.
    pub(super) uuid: [u8; 16],
    /// Its name when it was attached.
    pub(super) name: String,
}

/// The list, kept in `/run` so that a restarted daemon has it.
#[derive(Debug)]
pub(super) struct AllowList {
    path: PathBuf,
    entries: Vec<Attached>,
}

impl AllowList {
    /// Reads what an earlier daemon left. An unreadable list is an empty one: guests must then be
    /// attached again.
    pub(super) fn open(run: &Path) -> Self {
        let path = run.join("attached.json");
        let entries = fs::read(&path).ok().and_then(|t| serde_json::from_slice(&t).ok()).unwrap_or_default();
        Self { path, entries }
    }

    /// All entries.
    pub(super) fn entries(&self) -> &[Attached] {
        &self.entries
    }

    /// Finds a guest by name or id.
    pub(super) fn find(&self, guest: &str) -> Result<&Attached> {
        self.entries.iter().find(|a| a.name == guest || guest.parse() == Ok(a.domid)).ok_or_else(|| {
            Error::new(format!("`{guest}` is not attached"))
                .hint(format!("Attach it first: luthier attach {guest}"))
        })
    }

    /// Adds a guest, in place of an older one of the same id or name.
    pub(super) fn insert(&mut self, new: Attached) -> Result<()> {
        self.entries.retain(|a| a.domid != new.domid && a.name != new.name);
        self.entries.push(new);
        self.save()
    }

    /// Removes guests.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Attached) -> bool) -> Result<()> {
        let before = self.entries.len();
        self.entries.retain(keep);
        if self.entries.len() == before { Ok(()) } else { self.save() }
    }

    fn save(&self) -> Result<()> {
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.entries).context("writing the allow-list")?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.path))
            .context(format!("writing {}", self.path.display()))
    }
}

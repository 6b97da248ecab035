//! The highest epoch of each network that this host has heard of: `epochs.json`.
//!
//! Stubs forget epochs when they end; a group's id must never be used again all the same. So this is
//! durable before a stub hears that its group was prepared here, and told to every stub that connects.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// The most networks that are remembered: those of ids that nobody uses any more cost nothing.
const MAX: usize = 65_536;

/// The file.
#[derive(Debug)]
pub(in crate::daemon) struct Epochs {
    path: PathBuf,
    known: BTreeMap<u32, u32>,
}

impl Epochs {
    /// Reads the file of a folder. One that can't be read counts as empty, which is told of: groups go
    /// on, and their hosts compare what they are asked to commit with what they have.
    pub(in crate::daemon) fn open(folder: &Path) -> Self {
        let path = folder.join("epochs.json");
        let known = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|e| {
                tracing::error!(path = %path.display(), error = %e, "epochs of before are not known");
                BTreeMap::new()
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => {
                tracing::error!(path = %path.display(), error = %e, "epochs of before are not known");
                BTreeMap::new()
            }
        };
        Self { path, known }
    }

    /// Each network with its highest epoch.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.known.iter().map(|(network, epoch)| (*network, *epoch))
    }

    /// An epoch is in use; returns when that is durable.
    pub(super) fn raise(&mut self, network: u32, epoch: u32) -> Result<()> {
        if self.known.get(&network).is_some_and(|known| *known >= epoch) {
            return Ok(());
        }
        if self.known.len() >= MAX && !self.known.contains_key(&network) {
            return Err(Error::new(format!("{} has more networks than there can be", self.path.display())));
        }
        let former = self.known.insert(network, epoch);
        let saved = self.save();
        if saved.is_err() {
            // The next one tries again.
            match former {
                Some(former) => self.known.insert(network, former),
                None => self.known.remove(&network),
            };
        }
        saved
    }

    fn save(&self) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).context(writing())?;
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.known).context(writing())?;
        let mut file = File::create(&new).context(writing())?;
        file.write_all(&text).and_then(|()| file.sync_all()).context(writing())?;
        fs::rename(&new, &self.path).context(writing())?;
        File::open(folder).and_then(|f| f.sync_all()).context(writing())
    }
}

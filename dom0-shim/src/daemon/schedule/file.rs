//! `/var/lib/luthier/schedules.json`. Written whole, aside, and renamed, so that a crash leaves the
//! old one or the new one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::rules::MAX_SCHEDULES;
use crate::error::{Context, Error, Result};

/// What the file says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    schedules: Vec<Record>,
}

/// Where schedules are kept.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
}

impl Keeper {
    /// Keeps them in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("schedules.json") }
    }

    /// Reads them; there are none before the first write.
    ///
    /// # Errors
    /// A file that can't be understood is left as it is: schedules must not vanish silently.
    pub(super) fn load(&self) -> Result<Vec<Record>> {
        let path = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).context(format!("reading {path}")),
        };
        let read: Result<Contents> = serde_json::from_slice(&text).context("its JSON");
        let checked = read.and_then(|read| check(&read.schedules).map(|()| read.schedules));
        checked.map_err(|e| {
            Error::new(format!("{path} is not a list of schedules: {}", e.message)).hint(
                "Repair it, or remove it, and restart luthierd; then make the schedules again: luthier schedule",
            )
        })
    }

    /// Writes them.
    pub(super) fn save(&self, schedules: Vec<Record>) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).context(writing())?;
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(&Contents { schedules }).context(writing())?;
        let mut file = File::create(&new).context(writing())?;
        file.write_all(&text).and_then(|()| file.sync_all()).context(writing())?;
        fs::rename(&new, &self.path).context(writing())?;
        File::open(folder).and_then(|f| f.sync_all()).context(writing())
    }
}

fn check(schedules: &[Record]) -> Result<()> {
    if schedules.len() > MAX_SCHEDULES {
        return Err(Error::new(format!("it has more than {MAX_SCHEDULES}")));
    }
    for (i, record) in schedules.iter().enumerate() {
        record.check()?;
        if schedules.iter().take(i).any(|other| other.wish.guest == record.wish.guest) {
            return Err(Error::new(format!("`{}` is in it twice", record.wish.guest)));
        }
    }
    Ok(())
}

//! Restores that have not come to their end: what each has made so far is noted beside the images, so
//! that what is left of one that was killed can be named and taken away (`luthier rm --unfinished`).
//!
//! A note is there before the first thing that it tells of is made. What this must never do: take a
//! domain away that has gone on, or one that a restore did not make.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::disks::restore;
use crate::error::{Context, Error, Result};
use crate::xl;

/// The folder, within that of the images. It has no image's name.
const FOLDER: &str = "restores";

/// What a restore has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The domain's name.
    guest: String,
    image: String,
    /// Its number, once there is one.
    domid: Option<u16>,
    /// Paths of copies of the image's disks.
    disks: Vec<String>,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.guest, self.image)?;
        self.domid.map_or(Ok(()), |domid| write!(f, ", domain {domid}"))?;
        self.disks.iter().try_for_each(|disk| write!(f, ", {disk}"))
    }
}

/// A restore that is being made. Dropping it leaves the note.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    note: Note,
    /// The lock on the note: it ends with the process.
    _lock: File,
}

impl Unfinished {
    /// Begins with nothing made.
    pub(super) fn begin(images: &Path, guest: &str, image: &str) -> Result<Self> {
        let dir = images.join(FOLDER);
        let path = dir.join(format!("{image}-{}.json", std::process::id()));
        let named = || format!("writing {}", path.display());
        fs::create_dir_all(&dir).context(named())?;
        // The note is replaced by newer ones; who holds this one has them all.
        let lock = File::create(path.with_extension("lock")).context(named())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context(named())?;
        let note = Note { guest: guest.into(), image: image.into(), domid: None, disks: Vec::new() };
        let this = Self { path, note, _lock: lock };
        this.write()?;
        Ok(this)
    }

    fn write(&self) -> Result<()> {
        let new = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(&self.note)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().context(format!("writing {}", self.path.display()))
    }

    /// A disk is about to be made.
    pub(super) fn disk(&mut self, path: &str) -> Result<()> {
        self.note.disks.push(path.to_owned());
        self.write()
    }

    /// The domain was made.
    pub(super) fn domain(&mut self, domid: u16) -> Result<()> {
        self.note.domid = Some(domid);
        self.write()
    }

    /// It is over, or nothing is left of it.
    pub(super) fn end(self) {
        forget(&self.path);
    }
}

/// Removes a note.
fn forget(path: &Path) {
    for path in [path, &path.with_extension("lock")] {
        let _ = fs::remove_file(path);
    }
    // The folder goes with the last one.
    let _ = path.parent().map(fs::remove_dir);
}

/// The restore that made this domain is over: it goes on, or is gone.
pub(super) fn ended(images: &Path, domid: u16) {
    for (path, note) in notes(images) {
        if note.domid == Some(domid) {
            forget(&path);
        }
    }
}

/// What restores have left, and the files that say so.
fn notes(images: &Path) -> Vec<(PathBuf, Note)> {
    let files = fs::read_dir(images.join(FOLDER)).into_iter().flatten().flatten();
    let notes = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    notes
        .filter_map(|path| Some((path.clone(), serde_json::from_slice(&fs::read(&path).ok()?).ok()?)))
        .collect()
}

/// Whether the process that made a note still works on it.
fn is_going_on(path: &Path) -> bool {
    let Ok(lock) = File::open(path.with_extension("lock")) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// What there is of restores that nobody works on.
pub(super) fn all(images: &Path) -> Vec<Note> {
    notes(images).into_iter().filter(|(path, _)| !is_going_on(path)).map(|(_, note)| note).collect()
}

/// Whether this domain's name is that of one that was left.
pub(super) fn is_left(images: &Path, guest: &str) -> bool {
    all(images).iter().any(|note| note.guest == guest)
}

/// What has become of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Domain {
    /// There is none that the note's restore made.
    Gone,
    /// It has not gone on.
    Paused(u16),
    /// It has.
    Runs,
}

/// Takes away what was left; returns it.
///
/// # Errors
/// The first thing that could not be taken away; the others are.
pub(super) fn clear(images: &Path) -> Result<Vec<Note>> {
    clear_by(images, &domain_of, &|domid| xl::destroy(domid))
}

fn clear_by(
    images: &Path,
    find: &dyn Fn(&Note) -> Result<Domain>,
    destroy: &dyn Fn(u16) -> Result<()>,
) -> Result<Vec<Note>> {
    let (mut cleared, mut failed) = (Vec::new(), Ok(()));
    for (path, note) in notes(images) {
        if is_going_on(&path) {
            continue;
        }
        let take = || -> Result<bool> {
            match find(&note)? {
                Domain::Runs => return Ok(false),
                Domain::Paused(domid) => destroy(domid)?,
                Domain::Gone => {}
            }
            let disks: Value = note.disks.iter().map(|path| json!({"path": path})).collect();
            restore::remove(&disks)?;
            Ok(true)
        };
        match take().map_err(|e| Error { message: format!("{}: {}", note.guest, e.message), ..e }) {
            Ok(taken) => {
                forget(&path);
                cleared.extend(taken.then_some(note));
            }
            Err(e) => failed = failed.and(Err(e)),
        }
    }
    failed.map(|()| cleared)
}

fn domain_of(note: &Note) -> Result<Domain> {
    let Some(found) = xl::list()?.into_iter().find(|found| found.name() == note.guest) else {
        return Ok(Domain::Gone);
    };
    let disks = found.config.get("disks").and_then(Value::as_array).into_iter().flatten();
    let mut paths = disks.filter_map(|disk| disk.get("pdev_path")?.as_str());
    // Its number, or a disk that was made for it: nobody else's has either.
    if note.domid != Some(found.domid) && !paths.any(|path| note.disks.iter().any(|d| d == path)) {
        return Ok(Domain::Gone);
    }
    let xen = privcmd::Hypervisor::open().context("opening Xen")?;
    let info = xen.domain_info(found.domid).context(format!("looking at {}", note.guest))?;
    Ok(match info {
        None => Domain::Gone,
        Some(info) if info.paused => Domain::Paused(found.domid),
        Some(_) => Domain::Runs,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("luthier-unfinished-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// A restore with a disk, whose process is gone.
        fn killed(&self, image: &str, domid: Option<u16>) -> PathBuf {
            let disk = self.0.join(format!("restored_{image}_xvda.raw"));
            let mut left = Unfinished::begin(&self.0, "web", image).unwrap();
            left.disk(&disk.to_string_lossy()).unwrap();
            fs::write(&disk, "its disk").unwrap();
            domid.into_iter().for_each(|domid| left.domain(domid).unwrap());
            disk
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const IMAGE: &str = "web@20261122T081500Z";

    #[test]
    fn what_a_killed_restore_has_left_is_named_and_taken_away() {
        let dir = Dir::new("left");
        let disk = dir.killed(IMAGE, Some(7));
        let named = all(&dir.0)[0].to_string();
        assert_eq!(named, format!("web of {IMAGE}, domain 7, {}", disk.display()));
        assert!(is_left(&dir.0, "web") && !is_left(&dir.0, "db"));
        let destroyed = RefCell::new(Vec::new());
        let destroy = |domid| {
            destroyed.borrow_mut().push(domid);
            Ok(())
        };
        let cleared = clear_by(&dir.0, &|_| Ok(Domain::Paused(7)), &destroy).unwrap();
        assert_eq!((cleared.len(), destroyed.into_inner()), (1, vec![7]));
        assert!(!disk.exists() && !dir.0.join(FOLDER).exists());
    }

    #[test]
    fn a_guest_that_has_gone_on_keeps_its_disks() {
        let dir = Dir::new("runs");
        let disk = dir.killed(IMAGE, Some(7));
        let cleared = clear_by(&dir.0, &|_| Ok(Domain::Runs), &|_| panic!("it runs")).unwrap();
        assert!(cleared.is_empty() && disk.exists() && all(&dir.0).is_empty());
    }

    #[test]
    fn a_restore_in_progress_is_left_alone() {
        let dir = Dir::new("progress");
        let going_on = Unfinished::begin(&dir.0, "web", IMAGE).unwrap();
        assert!(all(&dir.0).is_empty());
        clear_by(&dir.0, &|_| panic!("it goes on"), &|_| Ok(())).unwrap();
        assert_eq!(notes(&dir.0).len(), 1);
        going_on.end();
        assert!(!dir.0.join(FOLDER).exists());
    }

    #[test]
    fn what_cannot_be_taken_away_stays_noted_and_the_rest_goes() {
        let dir = Dir::new("stays");
        dir.killed(IMAGE, None);
        let stays = dir.killed("web@20261122T081500Z-2", Some(8));
        let find = |note: &Note| Ok(note.domid.map_or(Domain::Gone, Domain::Paused));
        let error = clear_by(&dir.0, &find, &|_| Err(Error::new("no"))).unwrap_err();
        assert_eq!(error.message, "web: no");
        assert_eq!((all(&dir.0).len(), stays.exists()), (1, true));
        ended(&dir.0, 9);
        assert_eq!(all(&dir.0).len(), 1);
        ended(&dir.0, 8);
        assert!(all(&dir.0).is_empty());
    }
}

//! Images that are there: opening, reading, listing, removing them.
//!
//! An open image holds a shared lock on its directory, so that nobody removes it meanwhile.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{At, Damage, Error, Result};
use crate::extents::Extents;
use crate::id::{ImageId, PARTIAL};
use crate::manifest::{self, Manifest};
use crate::state::{self, State, StateFault};
use crate::table::{ENTRY_SIZE, PageState};
use crate::writer::sync_dir;
use crate::{PAGE_SIZE, Page};

/// A committed image, locked against removal for as long as this value lives.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    manifest: Manifest,
    extents: Extents,
    _lock: File,
}

impl Image {
    /// Opens an image directory and checks its structure: the manifest's checksum and fields,
    /// and the length of every file. The contents are checked by [`Image::verify`], and page by
    /// page by everything that reads them.
    ///
    /// Fails with [`Error::NotFound`], [`Error::Malformed`], [`Error::Version`], or
    /// [`Error::InUse`] when the image is being removed.
    pub fn open(path: &Path) -> Result<Image> {
        let gone = || Error::NotFound { path: path.to_path_buf() };
        if path.as_os_str().as_encoded_bytes().ends_with(PARTIAL.as_bytes()) {
            return Err(Error::malformed(path, "it was never finished"));
        }
        let meta = match fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(gone()),
            other => other.at("opening", path)?,
        };
        if !meta.is_dir() {
            return Err(Error::malformed(
                path,
                "it is not a directory (a file that `xl save` wrote can be imported)",
            ));
        }
        let lock = File::open(path).at("opening", path)?;
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse { path: path.to_path_buf() });
            }
            Err(TryLockError::Error(e)) => return Err(Error::from_io("locking", path, e)),
        }
        let text = read_bounded(path, "manifest.json", manifest::MAX_FILE)?;
        let manifest = Manifest::decode(path, &text)?;
        let extents = manifest.extents()?;
        for (name, entry) in [
            ("memory", &manifest.files.memory),
            ("pages", &manifest.files.pages),
            ("state", &manifest.files.state),
        ] {
            let length = file_length(path, name)?;
            if length != entry.length {
                return Err(Error::malformed(
                    path,
                    format!("file `{name}` has {length} octets, and the manifest says {}", entry.length),
                ));
            }
        }
        Ok(Image { path: path.to_path_buf(), manifest, extents, _lock: lock })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its populated frames with their slots.
    pub fn extents(&self) -> &Extents {
        &self.extents
    }

    /// Reads the state records, each checked against its checksum.
    pub fn state(&self) -> Result<State> {
        let file = read_bounded(&self.path, "state", state::MAX_FILE)?;
        State::decode(&file).map_err(|fault| match fault {
            StateFault::Form(why) => Error::malformed(&self.path, format!("file `state`: {why}")),
            StateFault::Record(kind) => self.damaged(Damage::Record(kind)),
        })
    }

    /// Opens the memory for reading by slot.
    pub fn slots(&self) -> Result<SlotReader> {
        let open = |name: &str| {
            let path = self.path.join(name);
            File::open(&path).at("opening", &path)
        };
        Ok(SlotReader {
            path: self.path.clone(),
            extents: self.extents.clone(),
            memory: open("memory")?,
            table: open("pages")?,
        })
    }

    pub(crate) fn damaged(&self, damage: Damage) -> Error {
        Error::Damaged { path: self.path.clone(), first: vec![damage], total: 1 }
    }
}

/// Reads an image's pages. Nothing is checked but bounds and the form of table entries.
#[derive(Debug)]
pub struct SlotReader {
    path: PathBuf,
    extents: Extents,
    memory: File,
    table: File,
}

impl SlotReader {
    /// The table entry of a slot; the inner `None` is an invalid entry.
    fn entry(&self, slot: u64) -> Result<Option<PageState>> {
        let mut entry = [0; ENTRY_SIZE];
        let offset = slot.saturating_mul(ENTRY_SIZE as u64);
        self.table.read_exact_at(&mut entry, offset).at("reading", &self.path.join("pages"))?;
        Ok(PageState::decode(&entry))
    }

    /// Reads table entries from `first` on, as many as `entries` holds; `None` for invalid ones.
    /// Feeds the octets to `hash` when there is one.
    pub(crate) fn entries(
        &self,
        first: u64,
        entries: &mut [Option<PageState>],
        hash: Option<&mut Sha256>,
    ) -> Result<()> {
        let mut raw = vec![0; entries.len() * ENTRY_SIZE];
        let offset = first.saturating_mul(ENTRY_SIZE as u64);
        self.table.read_exact_at(&mut raw, offset).at("reading", &self.path.join("pages"))?;
        if let Some(hash) = hash {
            hash.update(&raw);
        }
        for (entry, raw) in entries.iter_mut().zip(raw.as_chunks().0) {
            *entry = PageState::decode(raw);
        }
        Ok(())
    }

    /// Reads what stands in `memory` from slot `first` on; `out` holds whole pages.
    pub(crate) fn memory(&self, first: u64, out: &mut [u8]) -> Result<()> {
        self.memory
            .read_exact_at(out, first.saturating_mul(PAGE_SIZE as u64))
            .at("reading", &self.path.join("memory"))
    }

    /// The offset of the first data in `memory` at or after `offset`; `offset` itself where the
    /// file system can't tell, and `u64::MAX` where only a hole follows.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        use rustix::fs::{SeekFrom, seek};
        match seek(&self.memory, SeekFrom::Data(offset)) {
            Ok(at) => at,
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            Err(_) => offset,
        }
    }

    /// Reads one page and checks it against its checksum. Fails with [`Error::Damaged`], which
    /// names the page, or [`Error::NoSuchSlot`].
    pub fn read(&self, slot: u64, page: &mut Page) -> Result<PageState> {
        let Some(pfn) = self.extents.pfn_of(slot) else {
            return Err(Error::NoSuchSlot { slot, pages: self.extents.pages() });
        };
        let damaged = |damage| Error::Damaged { path: self.path.clone(), first: vec![damage], total: 1 };
        match self.entry(slot)? {
            None | Some(PageState::Absent) => Err(damaged(Damage::Entry { pfn, slot })),
            Some(PageState::Zero) => {
                page.fill(0);
                Ok(PageState::Zero)
            }
            Some(PageState::Data { checksum }) => {
                self.memory(slot, page)?;
                if crate::page_checksum(page) != checksum {
                    return Err(damaged(Damage::Page { pfn, slot }));
                }
                Ok(PageState::Data { checksum })
            }
        }
    }
}

/// An entry of [`list`].
#[derive(Debug)]
pub struct Listed {
    /// The image's name.
    pub id: ImageId,
    /// Its directory.
    pub path: PathBuf,
    /// What it is, or why it can't be read.
    pub manifest: Result<Manifest>,
}

/// The committed images of a directory by name, readable or not. Whatever doesn't have an image's
/// name is passed over, unfinished images among it.
pub fn list(dir: &Path) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let Ok(id) = name.parse::<ImageId>() else {
            continue;
        };
        let path = dir.join(&name);
        let manifest = Image::open(&path).map(|image| image.manifest);
        found.push(Listed { id, path, manifest });
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Removes an image, or a directory with an image's name that can't be read as one.
///
/// It loses its name at once, so a crash leaves a whole image or none. Fails with
/// [`Error::InUse`] while someone has it open, [`Error::NotFound`], or [`Error::BadId`] when the
/// directory doesn't have an image's name.
pub fn remove(path: &Path) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    name.parse::<ImageId>()?;
    if path.symlink_metadata().is_err() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let _lock = lock_exclusive(path)?;
    let doomed = path.with_file_name(format!("{name}.removed{PARTIAL}"));
    if doomed.is_dir() {
        // Left by a removal that was cut short.
        fs::remove_dir_all(&doomed).at("removing", &doomed)?;
    }
    fs::rename(path, &doomed).at("renaming", path)?;
    if let Some(parent) = path.parent() {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        sync_dir(parent)?;
    }
    fs::remove_dir_all(&doomed).at("removing", &doomed)
}

/// Removes what killed processes left unfinished in a directory, and returns its paths. What a
/// living process is writing is locked, and stays.
pub fn sweep(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in names(dir)? {
        let Some(id) = name.strip_suffix(PARTIAL) else {
            continue;
        };
        let id = id.strip_suffix(".removed").unwrap_or(id);
        if id.parse::<ImageId>().is_err() {
            continue;
        }
        let path = dir.join(&name);
        match lock_exclusive(&path) {
            Ok(_lock) => fs::remove_dir_all(&path).at("removing", &path)?,
            Err(Error::InUse { .. }) => continue,
            Err(e) => return Err(e),
        }
        removed.push(path);
    }
    Ok(removed)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    if !dir.is_dir() {
        return Err(Error::NoDirectory { path: dir.to_path_buf() });
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("listing", dir)? {
        // A name that is not UTF-8 is no image's.
        if let Ok(name) = entry.at("listing", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Locks a directory for its only user. The lock ends when the file is dropped.
pub(crate) fn lock_exclusive(path: &Path) -> Result<File> {
    let dir = File::open(path).at("opening", path)?;
    match dir.try_lock() {
        Ok(()) => Ok(dir),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(e)) => Err(Error::from_io("locking", path, e)),
    }
}

fn missing(dir: &Path, name: &str, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotFound => Error::malformed(dir, format!("file `{name}` is missing")),
        _ => Error::from_io("opening", &dir.join(name), e),
    }
}

fn file_length(dir: &Path, name: &str) -> Result<u64> {
    let meta = fs::symlink_metadata(dir.join(name)).map_err(|e| missing(dir, name, e))?;
    if !meta.is_file() {
        return Err(Error::malformed(dir, format!("`{name}` is not a file")));
    }
    Ok(meta.len())
}

/// Reads a whole file that has no more than `max` octets.
pub(crate) fn read_bounded(dir: &Path, name: &str, max: u64) -> Result<Vec<u8>> {
    let length = file_length(dir, name)?;
    if length > max {
        return Err(Error::malformed(dir, format!("file `{name}` has {length} octets, more than {max}")));
    }
    let path = dir.join(name);
    let mut out = Vec::new();
    File::open(&path)
        .map_err(|e| missing(dir, name, e))?
        .take(max)
        .read_to_end(&mut out)
        .at("reading", &path)?;
    Ok(out)
}

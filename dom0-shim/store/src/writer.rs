//! Writing an image: pages in any order, the last write wins, then one commit.
//!
//! Until [`ImageWriter::commit`] returns, nothing under the image's own name exists. A writer
//! holds an exclusive lock on its directory, which the kernel drops when the process ends however
//! it ends; so [`crate::sweep`] can tell what a killed daemon left from what is being written.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use sha2::{Digest, Sha256};

use crate::error::{At, Error, Result};
use crate::extents::Extents;
use crate::id::{ImageId, PARTIAL};
use crate::image::{Image, lock_exclusive};
use crate::manifest::{self, FileEntry, Files, Manifest, Meta, check_uuid, hex};
use crate::state::{State, StateKind, parse_hvm_params};
use crate::table::PageState;
use crate::time::utc_text;
use crate::{PAGE_SIZE, Page};

/// From `public/hvm/params.h`.
const HVM_PARAM_STORE_PFN: u64 = 1;
const HVM_PARAM_CONSOLE_PFN: u64 = 17;

/// An image that is being written. Dropping it removes what was written.
#[derive(Debug)]
pub struct ImageWriter {
    id: ImageId,
    meta: Meta,
    /// Directory of images, the unfinished image in it, and its name once finished.
    parent: PathBuf,
    partial: PathBuf,
    target: PathBuf,
    /// Open for as long as the lock is to be held.
    _lock: File,
    memory: File,
    slots: Vec<PageState>,
    /// Slots whose place in `memory` the caller was told: it may hold data.
    touched: Vec<bool>,
    state: State,
    committed: bool,
}

/// The steps of a commit, in their order. Tests look at the disk after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    MemorySynced,
    TableSynced,
    StateSynced,
    ManifestWritten,
    ManifestNamed,
    DirSynced,
    Renamed,
    ParentSynced,
}

impl ImageWriter {
    /// Makes `<dir>/<id>.partial`, with all slots absent. `dir` must exist, on a local file system.
    ///
    /// Fails with [`Error::Exists`] when the name is taken by an image or by one being written,
    /// with [`Error::BadMeta`] for a description that can't be true, and with [`Error::Full`], [`Error::NoDirectory`] or
    /// [`Error::ReadOnly`] when the directory can't be written.
    pub fn create(dir: &Path, id: ImageId, meta: Meta) -> Result<ImageWriter> {
        check_uuid(&meta.uuid).map_err(Error::BadMeta)?;
        if meta.vcpus == 0 {
            return Err(Error::BadMeta("it has no vCPUs".into()));
        }
        if !dir.is_dir() {
            return Err(Error::NoDirectory { path: dir.to_path_buf() });
        }
        let target = dir.join(id.as_str());
        let partial = dir.join(format!("{id}{PARTIAL}"));
        if target.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: target });
        }
        fs::create_dir(&partial).at("creating", &partial)?;
        let made = Self::fill(dir, &partial, target, id, meta);
        if made.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        made
    }

    fn fill(dir: &Path, partial: &Path, target: PathBuf, id: ImageId, meta: Meta) -> Result<ImageWriter> {
        let lock = lock_exclusive(partial)?;
        let path = partial.join("memory");
        let memory =
            File::options().read(true).write(true).create_new(true).open(&path).at("creating", &path)?;
        let pages = meta.extents.pages();
        memory.set_len(pages * PAGE_SIZE as u64).at("growing", &path)?;
        let slots = usize::try_from(pages)
            .map_err(|_| Error::BadMeta("it has too many pages for this machine".into()))?;
        Ok(ImageWriter {
            id,
            meta,
            parent: dir.to_path_buf(),
            partial: partial.to_path_buf(),
            target,
            _lock: lock,
            memory,
            slots: vec![PageState::Absent; slots],
            touched: vec![false; slots],
            state: State::new(),
            committed: false,
        })
    }

    /// The image's name.
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// The directory that the image will have once it is committed.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// The populated frames.
    pub fn extents(&self) -> &Extents {
        &self.meta.extents
    }

    /// The file to which the caller writes pages itself, each at its [`Self::offset`].
    pub fn memory_fd(&self) -> &File {
        &self.memory
    }

    /// Where in [`Self::memory_fd`] a slot's 4096 octets go. The caller may write there from now
    /// on; the page counts only when [`Self::put_data_at`] says so.
    pub fn offset(&mut self, slot: u64) -> Result<u64> {
        let index = self.index(slot)?;
        if let Some(touched) = self.touched.get_mut(index) {
            *touched = true;
        }
        Ok(slot * PAGE_SIZE as u64)
    }

    /// The error for a failed write to [`Self::memory_fd`].
    pub fn write_error(&self, source: std::io::Error) -> Error {
        Error::from_io("writing", &self.partial.join("memory"), source)
    }

    /// Records that the slot's page is all zeros. Whatever was written there before is void.
    pub fn put_zero(&mut self, slot: u64) -> Result<()> {
        self.set(slot, PageState::Zero)
    }

    /// Records the checksum (xxh3-64, seed 0) of a page that the caller has written at
    /// [`Self::offset`].
    pub fn put_data_at(&mut self, slot: u64, checksum: u64) -> Result<()> {
        self.set(slot, PageState::Data { checksum })
    }

    /// Writes a page and records its checksum (xxh3-64, seed 0), which is taken as it is given.
    pub fn put_page(&mut self, slot: u64, page: &Page, checksum: u64) -> Result<()> {
        let offset = self.offset(slot)?;
        self.memory.write_all_at(page, offset).map_err(|e| self.write_error(e))?;
        self.put_data_at(slot, checksum)
    }

    /// Sets what the image holds besides memory. The last call wins.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Pages that were put so far: (zero, data).
    pub fn counts(&self) -> (u64, u64) {
        let count = |want: fn(&PageState) -> bool| self.slots.iter().filter(|s| want(s)).count();
        let zero = count(|s| matches!(s, PageState::Zero));
        let data = count(|s| matches!(s, PageState::Data { .. }));
        (zero as u64, data as u64)
    }

    /// Removes what was written; the same as dropping the writer.
    pub fn abort(self) {}

    /// Makes the image: every octet is on the disk before it gets its name. `report` is free
    /// JSON for the manifest. Fails with [`Error::Incomplete`] when a slot was never put, and
    /// with [`Error::MissingRecord`] when the state lacks something. After a failure nothing is
    /// left of the image.
    pub fn commit(self, report: serde_json::Value) -> Result<Image> {
        self.commit_observed(report, &mut |_| {})
    }

    pub(crate) fn commit_observed(
        mut self,
        report: serde_json::Value,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Image> {
        self.check_complete()?;
        self.drop_stale_data()?;
        self.memory.sync_all().at("syncing", &self.partial.join("memory"))?;
        observe(Step::MemorySynced);

        let mut encode = self.slots.iter().map(|s| s.encode());
        let pages = write_hashed(&self.partial.join("pages"), &mut encode)?;
        observe(Step::TableSynced);

        let mut encode = std::iter::once(self.state.encode());
        let state = write_hashed(&self.partial.join("state"), &mut encode)?;
        observe(Step::StateSynced);

        let manifest = self.manifest(report, pages, state);
        let path = self.partial.join("manifest.json");
        let temporary = self.partial.join("manifest.json.new");
        let text = manifest
            .encode()
            .map_err(|e| Error::BadMeta(format!("its manifest can't be written as JSON: {e}")))?;
        if text.len() as u64 > manifest::MAX_FILE {
            let why = format!("its manifest has {} octets, more than {}", text.len(), manifest::MAX_FILE);
            return Err(Error::BadMeta(why));
        }
        write_hashed(&temporary, &mut std::iter::once(text))?;
        observe(Step::ManifestWritten);
        fs::rename(&temporary, &path).at("renaming", &temporary)?;
        observe(Step::ManifestNamed);
        sync_dir(&self.partial)?;
        observe(Step::DirSynced);

        fs::rename(&self.partial, &self.target).at("renaming into place", &self.target)?;
        observe(Step::Renamed);
        if let Err(e) = sync_dir(&self.parent) {
            // Not known to survive a power cut, so it must not look like an image.
            let _ = fs::rename(&self.target, &self.partial);
            return Err(e);
        }
        self.committed = true;
        observe(Step::ParentSynced);
        let target = self.target.clone();
        drop(self);
        Image::open(&target)
    }

    fn index(&self, slot: u64) -> Result<usize> {
        usize::try_from(slot)
            .ok()
            .filter(|&i| i < self.slots.len())
            .ok_or(Error::NoSuchSlot { slot, pages: self.slots.len() as u64 })
    }

    /// Whether nothing was ever put to a slot.
    pub(crate) fn is_absent(&self, slot: u64) -> bool {
        self.index(slot).ok().and_then(|i| self.slots.get(i)) == Some(&PageState::Absent)
    }

    fn set(&mut self, slot: u64, state: PageState) -> Result<()> {
        let index = self.index(slot)?;
        if let Some(entry) = self.slots.get_mut(index) {
            *entry = state;
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<()> {
        let absent = |s: &PageState| matches!(s, PageState::Absent);
        if let Some(first) = self.slots.iter().position(absent) {
            let slot = first as u64;
            return Err(Error::Incomplete {
                absent: self.slots.iter().filter(|s| absent(s)).count() as u64,
                slot,
                pfn: self.meta.extents.pfn_of(slot).unwrap_or_default(),
            });
        }
        self.state.check_complete()?;
        self.check_rings()
    }

    /// `xl restore` clears the pages of the console and of xenstore and hands them to Dom0; they
    /// must be among the guest's pages.
    fn check_rings(&self) -> Result<()> {
        let kind = StateKind::HvmParams;
        let params = self.state.get(kind).and_then(parse_hvm_params);
        for (index, pfn) in params.unwrap_or_default() {
            let ring = matches!(index, HVM_PARAM_STORE_PFN | HVM_PARAM_CONSOLE_PFN);
            if ring && self.meta.extents.slot_of(pfn).is_none() {
                let why =
                    format!("parameter {index} names frame {pfn:#x}, which is not among the guest's pages");
                return Err(Error::BadRecord { kind, why });
            }
        }
        Ok(())
    }

    /// Makes holes of the slots that may hold data and are zero now, run by run; on a file
    /// system without holes, writes zeros. A zero slot of an image always reads as zeros.
    fn drop_stale_data(&self) -> Result<()> {
        let stale =
            |i: usize| self.touched.get(i) == Some(&true) && self.slots.get(i) == Some(&PageState::Zero);
        let mut i = 0;
        while i < self.slots.len() {
            if !stale(i) {
                i += 1;
                continue;
            }
            let start = i;
            while stale(i) {
                i += 1;
            }
            let offset = start as u64 * PAGE_SIZE as u64;
            let length = (i - start) as u64 * PAGE_SIZE as u64;
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if rustix::fs::fallocate(&self.memory, how, offset, length).is_ok() {
                continue;
            }
            for slot in start..i {
                self.memory
                    .write_all_at(&[0; PAGE_SIZE], slot as u64 * PAGE_SIZE as u64)
                    .map_err(|e| self.write_error(e))?;
            }
        }
        Ok(())
    }

    fn manifest(&self, report: serde_json::Value, pages: FileEntry, state: FileEntry) -> Manifest {
        let meta = &self.meta;
        Manifest {
            format: manifest::FORMAT,
            id: self.id.to_string(),
            guest: meta.guest.clone(),
            uuid: meta.uuid.clone(),
            created: utc_text(meta.created),
            xen: meta.xen,
            vcpus: meta.vcpus,
            memory: meta.memory,
            page_size: PAGE_SIZE as u64,
            pages: meta.extents.pages(),
            zero_pages: self.counts().0,
            extents: meta.extents.runs().to_vec(),
            parent: None,
            policy: meta.policy.clone(),
            report,
            files: Files {
                memory: FileEntry { length: meta.extents.pages() * PAGE_SIZE as u64, sha256: None },
                pages,
                state,
            },
        }
    }
}

impl Drop for ImageWriter {
    fn drop(&mut self) {
        if !self.committed {
            // Best effort: what remains is swept at the daemon's next start.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Writes a new file from pieces, and returns its length and SHA-256 when it is on the disk.
fn write_hashed<T: AsRef<[u8]>>(path: &Path, pieces: &mut dyn Iterator<Item = T>) -> Result<FileEntry> {
    let file = File::create_new(path).at("creating", path)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let mut hash = Sha256::new();
    let mut length = 0u64;
    for piece in pieces {
        let piece = piece.as_ref();
        hash.update(piece);
        length += piece.len() as u64;
        out.write_all(piece).at("writing", path)?;
    }
    let file = out.into_inner().map_err(|e| e.into_error()).at("writing", path)?;
    file.sync_all().at("syncing", path)?;
    Ok(FileEntry { length, sha256: Some(hex(&hash.finalize())) })
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).at("syncing", path)
}

#[cfg(test)]
mod tests;

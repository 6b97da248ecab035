//! From an unfinished image to a whole one, in steps of which each leaves either.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, FallocateFlags, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};

use super::ImageWriter;
use crate::PAGE_SIZE;
use crate::directory::directory_of;
use crate::error::{At, Error, Result};
use crate::id::PENDING;
use crate::image::Image;
use crate::manifest::{self, FileEntry, Files, Manifest};
use crate::pending::Pending;
use crate::sealed::hex;
use crate::state::{StateKind, parse_hvm_params};
use crate::table::{PageState, row};

/// From `public/hvm/params.h`.
const HVM_PARAM_STORE_PFN: u64 = 1;
const HVM_PARAM_CONSOLE_PFN: u64 = 17;

/// Entries of a table that are hashed at a time: one by one, it takes longer.
const PIECE: usize = 1024;

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
    /// Of [`ImageWriter::prepare`] only, instead of the two before.
    Set,
    SetSynced,
    /// Of a commit that replaces an image only.
    OldRemoved,
}

impl ImageWriter {
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
        self.finish(report, observe)?;
        self.publish(observe)?;
        let target = self.target.clone();
        // With the lock on its directory ends the one on its parent.
        drop(self);
        Image::open(&target)
    }

    /// The first of a commit's two steps: every octet of the image is on the disk, and nobody takes
    /// it for an image before [`Pending::commit`]. It survives the end of the process:
    /// [`Pending::open`] finds it again. Fails as [`Self::commit`] does.
    pub fn prepare(self, report: serde_json::Value) -> Result<Pending> {
        self.prepare_observed(report, &mut |_| {})
    }

    pub(crate) fn prepare_observed(
        mut self,
        report: serde_json::Value,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Pending> {
        self.finish(report, observe)?;
        let dir = directory_of(&self.target).to_path_buf();
        let (from, to) = (&self.partial, dir.join(format!("{}{PENDING}", self.id)));
        fs::rename(from, &to).at("renaming", &to)?;
        observe(Step::Set);
        if let Err(e) = sync_dir(&dir) {
            let _ = fs::rename(&to, from);
            return Err(e);
        }
        observe(Step::SetSynced);
        self.committed = true;
        let id = self.id.clone();
        drop(self);
        Pending::open(&dir, &id)
    }

    /// Puts everything on the disk, still under the unfinished image's name.
    fn finish(&mut self, report: serde_json::Value, observe: &mut dyn FnMut(Step)) -> Result<()> {
        self.check_complete()?;
        self.drop_stale_data()?;
        let end = self.end_of_records();
        self.punch_records(end);
        self.memory.set_len(end).and_then(|()| self.memory.sync_all()).map_err(|e| self.write_error(e))?;
        observe(Step::MemorySynced);

        let pages = self.write_table()?;
        observe(Step::TableSynced);

        let mut encode = std::iter::once(self.state.encode());
        let state = write_hashed(&self.partial.join("state"), &mut encode)?;
        observe(Step::StateSynced);

        let memory = FileEntry { length: end, sha256: None };
        let manifest = self.manifest(report, Files { memory, pages, state })?;
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
        Ok(())
    }

    /// Gives the image its name.
    fn publish(&mut self, observe: &mut dyn FnMut(Step)) -> Result<()> {
        let (from, to) = (&self.partial, &self.target);
        let name = || match self.replace {
            // Both have a name at any time. What was there before gets the unfinished image's.
            true => renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map_err(std::io::Error::from),
            false => fs::rename(from, to),
        };
        name().at("renaming into place", to)?;
        observe(Step::Renamed);
        if let Err(e) = sync_dir(directory_of(to)) {
            // Not known to survive a power cut, so it must not look like an image.
            let _ = match self.replace {
                true => name(),
                false => fs::rename(to, from),
            };
            return Err(e);
        }
        self.committed = true;
        observe(Step::ParentSynced);
        if self.replace {
            // Best effort: what remains is swept at the daemon's next start.
            let _ = fs::remove_dir_all(from);
            observe(Step::OldRemoved);
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<()> {
        let mut absent = (0..self.slots.len()).filter(|i| self.state_of(*i) == PageState::Absent);
        if let Some(first) = absent.next() {
            let slot = first as u64;
            return Err(Error::Incomplete {
                absent: 1 + absent.count() as u64,
                slot,
                pfn: self.extents.pfn_of(slot).unwrap_or_default(),
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
            if ring && self.extents.slot_of(pfn).is_none() {
                let why =
                    format!("parameter {index} names frame {pfn:#x}, which is not among the guest's pages");
                return Err(Error::BadRecord { kind, why });
            }
        }
        Ok(())
    }

    /// Makes holes of the slots that may hold data and are not raw now, run by run; on a file system
    /// without holes, writes zeros. The place of a zero slot always reads as zeros.
    fn drop_stale_data(&self) -> Result<()> {
        let stale = |i: usize| {
            self.touched.get(i) == Some(&true) && !matches!(self.state_of(i), PageState::Raw { .. })
        };
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

    /// Writes file `pages`: all entries, or with their slots those that are not as in the parent.
    fn write_table(&self) -> Result<FileEntry> {
        let path = self.partial.join("pages");
        let parent = PageState::Parent.encode();
        match &self.base {
            None => write_hashed(&path, &mut std::iter::once(self.slots.as_flattened())),
            Some(_) => {
                let own = (0u64..).zip(&self.slots).filter(|(_, entry)| **entry != parent);
                write_hashed(&path, &mut own.map(|(slot, entry)| row(slot, entry)))
            }
        }
    }

    fn manifest(&self, report: serde_json::Value, files: Files) -> Result<Manifest> {
        let mut contents = Sha256::new();
        let mut zero_pages = 0;
        let mut slots = 0..self.slots.len();
        let mut piece = Vec::with_capacity(PIECE);
        while !slots.is_empty() {
            piece.clear();
            for slot in slots.by_ref().take(PIECE) {
                let state = match (self.state_of(slot), &self.base) {
                    (PageState::Parent, Some(base)) => base.canonical(slot as u64),
                    (state, _) => state.canonical(),
                };
                zero_pages += u64::from(state == PageState::Zero);
                piece.push(state.encode());
            }
            contents.update(piece.as_flattened());
        }
        let contents = hex(&contents.finalize());
        let (stored, told) = (Some(self.stored()), self.head.contents.as_ref());
        if let Some(why) = self.differs(told, &contents, &files) {
            return Err(Error::malformed(&self.target, why));
        }
        Ok(Manifest { report, files, zero_pages, stored, contents: Some(contents), ..self.head.clone() })
    }

    /// What is not as in the image that this one is to replace.
    fn differs(&self, told: Option<&String>, contents: &str, files: &Files) -> Option<&'static str> {
        let state = self.head.files.state.sha256.as_ref();
        if self.replace && told.is_some_and(|told| told != contents) {
            return Some("its pages are not those that the manifest was made of");
        }
        (self.replace && state != files.state.sha256.as_ref())
            .then_some("file `state` does not match the manifest")
    }
}

/// Writes a new file from pieces, and returns its length and SHA-256 when it is on the disk.
pub(crate) fn write_hashed<T: AsRef<[u8]>>(
    path: &Path,
    pieces: &mut dyn Iterator<Item = T>,
) -> Result<FileEntry> {
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

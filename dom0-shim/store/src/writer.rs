//! Writing an image: pages in any order, the last write wins, then one commit.
//!
//! Until [`ImageWriter::commit`] returns, nothing under the image's own name exists. A writer
//! holds an exclusive lock on its directory, which the kernel drops when the process ends however
//! it ends; so [`crate::sweep`] can tell what a killed daemon left from what is being written.
//!
//! An incremental image is written with its parent open. A page that is the same there takes no room:
//! the same checksum, and then, as a guest may know how to make two pages of one, the same octets.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::directory::{MERGED, clear, directory_of};
use crate::error::{At, Damage, Error, Result};
use crate::extents::Extents;
use crate::id::{ImageId, PARTIAL, PENDING, is_there};
use crate::image::Image;
use crate::layer::{Lock, lock};
use crate::lz4::Coder;
use crate::manifest::{self, Manifest, Meta, Stored};
use crate::state::State;
use crate::table::{ENTRY_SIZE, PageState};
use crate::{PAGE_SIZE, Page, lz4, page_checksum};

mod base;
mod commit;
mod records;
#[cfg(test)]
pub(crate) mod tests;

use base::Base;
pub use base::Rest;
pub(crate) use commit::{Step, sync_dir, write_hashed};
use records::{Records, lz4_length};

/// An image that is being written. Dropping it removes what was written.
#[derive(Debug)]
pub struct ImageWriter {
    id: ImageId,
    /// The manifest, as far as it is known before the commit.
    head: Manifest,
    extents: Extents,
    /// The unfinished image, and its name once finished.
    partial: PathBuf,
    target: PathBuf,
    /// What is under that name: nothing, or the image that this one is to replace.
    replace: bool,
    /// Open for as long as the lock is to be held.
    _lock: File,
    memory: File,
    /// For each slot a [`PageState`], coded to save room.
    slots: Vec<[u8; ENTRY_SIZE]>,
    /// Slots whose place in `memory` the caller was told: it may hold data.
    touched: Vec<bool>,
    records: Records,
    coder: Option<Coder>,
    base: Option<Base>,
    state: State,
    committed: bool,
}

impl ImageWriter {
    /// Makes `<dir>/<id>.partial`, with all slots absent. `dir` must exist, on a local file system.
    ///
    /// Fails with [`Error::Exists`] when the name is taken by an image or by one being written,
    /// with [`Error::BadMeta`] for a description that can't be true, and with [`Error::Full`],
    /// [`Error::NoDirectory`] or [`Error::ReadOnly`] when the directory can't be written.
    pub fn create(dir: &Path, id: ImageId, meta: Meta) -> Result<ImageWriter> {
        let head = Manifest::head(&id, &meta)?;
        if !dir.is_dir() {
            return Err(Error::NoDirectory { path: dir.to_path_buf() });
        }
        let target = dir.join(id.as_str());
        let partial = dir.join(format!("{id}{PARTIAL}"));
        let pending = dir.join(format!("{id}{PENDING}"));
        if let Some(path) = [target.clone(), pending].into_iter().find(|path| is_there(path)) {
            return Err(Error::Exists { path });
        }
        Self::make(id, head, meta.extents, partial, target, false)
    }

    /// The same for an image that builds on `parent`, which must be in `dir`, and stays locked until
    /// the commit. `rest` says what becomes of pages that are never put. Takes 9 octets of memory a
    /// page, and 2 more if the parent has one itself.
    ///
    /// Fails besides with [`Error::UnfitParent`] when the guest's memory was resized since, with
    /// [`Error::ChainTooLong`], and with [`Error::Damaged`] when the parent's table is.
    pub fn create_on(dir: &Path, id: ImageId, meta: Meta, parent: Image, rest: Rest) -> Result<ImageWriter> {
        let base = Base::new(dir, &meta.extents, parent)?;
        let mut writer = Self::create(dir, id, meta)?;
        writer.head.parent = Some(base.as_parent());
        writer.base = Some(base);
        if rest == Rest::AsInParent {
            writer.slots.fill(PageState::Parent.encode());
        }
        Ok(writer)
    }

    /// A writer of an image that is to take another one's place: same name, same manifest, but without
    /// a parent. The caller has locked that image for itself.
    pub(crate) fn in_place_of(image: &Image) -> Result<ImageWriter> {
        let target = image.path().to_path_buf();
        let name = crate::layer::name_of(&target);
        let partial = directory_of(&target).join(format!("{name}{MERGED}{PARTIAL}"));
        clear(&partial)?;
        let head = Manifest { parent: None, format: manifest::FORMAT, ..image.manifest().clone() };
        Self::make(head.id.parse()?, head, image.extents().clone(), partial, target, true)
    }

    fn make(
        id: ImageId,
        head: Manifest,
        extents: Extents,
        partial: PathBuf,
        target: PathBuf,
        replace: bool,
    ) -> Result<ImageWriter> {
        fs::create_dir(&partial).at("creating", &partial)?;
        let filled = Self::fill(&partial, &extents);
        if filled.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        let (lock, memory, slots) = filled?;
        Ok(ImageWriter {
            id,
            head,
            records: Records::new(extents.pages() * PAGE_SIZE as u64),
            extents,
            partial,
            target,
            replace,
            _lock: lock,
            memory,
            slots: vec![PageState::Absent.encode(); slots],
            touched: vec![false; slots],
            coder: None,
            base: None,
            state: State::new(),
            committed: false,
        })
    }

    fn fill(partial: &Path, extents: &Extents) -> Result<(File, File, usize)> {
        let lock = lock(partial, Lock::Exclusive)?;
        let path = partial.join("memory");
        let memory =
            File::options().read(true).write(true).create_new(true).open(&path).at("creating", &path)?;
        let pages = extents.pages();
        memory.set_len(pages * PAGE_SIZE as u64).at("growing", &path)?;
        let slots = usize::try_from(pages)
            .map_err(|_| Error::BadMeta("it has too many pages for this machine".into()))?;
        Ok((lock, memory, slots))
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
        &self.extents
    }

    /// The image that this one builds on.
    pub fn parent(&self) -> Option<&Image> {
        self.base.as_ref().map(Base::image)
    }

    /// Whether [`Self::put_page`] codes pages with LZ4; at first it does not. What saves less than
    /// an eighth of a page is stored as it is.
    pub fn compress(&mut self, on: bool) {
        self.coder = if on { Coder::new() } else { None };
    }

    /// The file to which the caller writes pages itself, each at its [`Self::offset`], and records
    /// at the offset of [`Self::append`].
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
        let same = self.base.as_ref().is_some_and(|base| base.is_zero(slot));
        self.set(slot, if same { PageState::Parent } else { PageState::Zero })
    }

    /// Records the checksum (xxh3-64, seed 0) of a page that the caller has written at
    /// [`Self::offset`].
    pub fn put_data_at(&mut self, slot: u64, checksum: u64) -> Result<()> {
        self.set(slot, PageState::Raw { checksum })
    }

    /// Records that an LZ4 record of `length` octets (1 to 4095), which the caller has written at
    /// `offset` in the room of the last [`Self::append`], decodes to the slot's page of this
    /// checksum (xxh3-64, seed 0, of the page). Neither is checked here: [`Image::verify`] does.
    pub fn put_lz4_at(&mut self, slot: u64, offset: u64, length: usize, checksum: u64) -> Result<()> {
        self.index(slot)?;
        let narrow = lz4_length(offset, length)?;
        self.records.announce(offset, length)?;
        self.set(slot, PageState::Lz4 { checksum, offset, length: narrow })
    }

    /// The same for a raw page of 4096 octets in that room. It takes no more time to write many of
    /// them at once, whatever their slots, than runs of consecutive slots at their [`Self::offset`];
    /// reading them takes more.
    pub fn put_raw_at(&mut self, slot: u64, offset: u64, checksum: u64) -> Result<()> {
        self.index(slot)?;
        self.records.announce(offset, PAGE_SIZE)?;
        self.set(slot, PageState::RawAt { checksum, offset })
    }

    /// Makes room for records and raw pages of `length` octets in all, in any order, and says where
    /// in [`Self::memory_fd`] it is. The caller writes them there at once and then tells of each by
    /// [`Self::put_lz4_at`] or [`Self::put_raw_at`]. What it does not tell of before the next call
    /// is void.
    pub fn append(&mut self, length: usize) -> Result<u64> {
        if self.records.is_wasteful() {
            self.punch_records(self.records.settled());
        }
        self.records.append(length)
    }

    /// Whether a page of this checksum may be the same as in the parent. If so, the caller should
    /// use [`Self::put_page`] or [`Self::put_lz4`] for it, which find out and then store nothing;
    /// if not, it may as well write it itself. Always false without a parent. Reads nothing.
    pub fn may_be_as_in_parent(&self, slot: u64, checksum: u64) -> bool {
        self.base.as_ref().is_some_and(|base| base.checksum(slot) == Some(checksum))
    }

    /// Writes a page and records its checksum (xxh3-64, seed 0), which is taken as it is given.
    /// Stores nothing if it is the same as in the parent, and a record if that is shorter and
    /// [`Self::compress`] says so.
    pub fn put_page(&mut self, slot: u64, page: &Page, checksum: u64) -> Result<()> {
        if self.put_as_in_parent(slot, page, checksum)? {
            return Ok(());
        }
        if let Some(mut coder) = self.coder.take() {
            let put = coder.code(page).map(|record| self.put_record(slot, record, checksum));
            self.coder = Some(coder);
            if let Some(put) = put {
                return put;
            }
        }
        let offset = self.offset(slot)?;
        self.memory.write_all_at(page, offset).map_err(|e| self.write_error(e))?;
        self.put_data_at(slot, checksum)
    }

    /// Writes an LZ4 record of 1 to 4095 octets that decodes to a page of this checksum. Stores
    /// nothing if the page is the same as in the parent. What the record decodes to is looked at only
    /// to find that out.
    pub fn put_lz4(&mut self, slot: u64, record: &[u8], checksum: u64) -> Result<()> {
        let mut page = [0; PAGE_SIZE];
        if self.may_be_as_in_parent(slot, checksum)
            && lz4::decode(record, &mut page)
            && self.put_as_in_parent(slot, &page, checksum)?
        {
            return Ok(());
        }
        self.put_record(slot, record, checksum)
    }

    fn put_record(&mut self, slot: u64, record: &[u8], checksum: u64) -> Result<()> {
        self.index(slot)?;
        if self.records.is_wasteful() {
            self.punch_records(self.records.settled());
        }
        let length = lz4_length(0, record.len())?;
        let offset = self.records.take(record.len())?;
        self.memory.write_all_at(record, offset).map_err(|e| self.write_error(e))?;
        self.set(slot, PageState::Lz4 { checksum, offset, length })
    }

    /// Notes that the page is as in the parent, if it is: false if not, and then nothing has changed.
    fn put_as_in_parent(&mut self, slot: u64, page: &Page, checksum: u64) -> Result<bool> {
        let same = self.may_be_as_in_parent(slot, checksum)
            && self.base.as_ref().is_some_and(|base| base.has(slot, page));
        if same {
            self.set(slot, PageState::Parent)?;
        }
        Ok(same)
    }

    /// Reads the slot's page as it stands now, and says how it is stored. A page that was never put
    /// is [`PageState::Absent`] and comes as zeros. Between [`Self::offset`] and
    /// [`Self::put_data_at`] a page is undefined.
    ///
    /// Fails with [`Error::Damaged`] when it does not match its checksum.
    pub fn read(&self, slot: u64, page: &mut Page) -> Result<PageState> {
        let index = self.index(slot)?;
        let state = self.state_of(index);
        let read = |page: &mut [u8], offset| {
            self.memory.read_exact_at(page, offset).at("reading", &self.partial.join("memory"))
        };
        let (decoded, checksum) = match (state, &self.base) {
            (PageState::Parent, Some(base)) => {
                base.read(slot, page)?;
                return Ok(state);
            }
            (PageState::Raw { checksum }, _) => {
                read(page, slot * PAGE_SIZE as u64)?;
                (true, checksum)
            }
            (PageState::RawAt { checksum, offset }, _) => {
                read(page, offset)?;
                (true, checksum)
            }
            (PageState::Lz4 { checksum, offset, length }, _) => {
                let mut record = [0; PAGE_SIZE];
                let record = record.get_mut(..usize::from(length)).unwrap_or_default();
                read(record, offset)?;
                (lz4::decode(record, page), checksum)
            }
            _ => {
                page.fill(0);
                return Ok(state);
            }
        };
        if !decoded || page_checksum(page) != checksum {
            let pfn = self.extents.pfn_of(slot).unwrap_or_default();
            let first = vec![Damage::Page { pfn, slot }];
            return Err(Error::Damaged { path: self.partial.clone(), first, total: 1 });
        }
        Ok(state)
    }

    /// Sets what the image holds besides memory. The last call wins.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Pages and octets as they are stored so far.
    pub fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        (0..self.slots.len()).for_each(|i| stored.add(self.state_of(i)));
        stored
    }

    /// Removes what was written; the same as dropping the writer.
    pub fn abort(self) {}

    fn index(&self, slot: u64) -> Result<usize> {
        usize::try_from(slot)
            .ok()
            .filter(|&i| i < self.slots.len())
            .ok_or(Error::NoSuchSlot { slot, pages: self.slots.len() as u64 })
    }

    fn state_of(&self, index: usize) -> PageState {
        self.slots.get(index).and_then(PageState::decode).unwrap_or(PageState::Absent)
    }

    /// Whether nothing was ever put to a slot.
    pub(crate) fn is_absent(&self, slot: u64) -> bool {
        self.index(slot).is_ok_and(|i| self.state_of(i) == PageState::Absent)
    }

    fn set(&mut self, slot: u64, state: PageState) -> Result<()> {
        let index = self.index(slot)?;
        if let Some((_, length)) = self.state_of(index).record() {
            self.records.forget(length);
        }
        if let Some(entry) = self.slots.get_mut(index) {
            *entry = state.encode();
        }
        Ok(())
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

//! Reading an image's pages, each from the image of the chain that has it.
//!
//! Nothing in a table is believed before it is checked: a place beyond the end of `memory`, a record
//! that does not decode to exactly a page, or a page that does not match its checksum is damage of
//! that page, named with the image that it is in.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::error::{At, Damage, Error, Result};
use crate::extents::Extents;
use crate::layer::{Layer, read_bounded};
use crate::sealed::hex;
use crate::table::{ENTRY_SIZE, PageState, Sparse};
use crate::{PAGE_SIZE, Page, lz4, page_checksum};

/// Slots that are worth reading at once: 1 MiB of memory.
pub(crate) const CHUNK: usize = 256;

/// Reads an image's pages, each checked against its checksum.
#[derive(Debug)]
pub struct SlotReader {
    extents: Extents,
    /// The image's own, its parent's, and so on.
    sources: Vec<Source>,
    /// Which of the sources has each slot; empty when there is only one.
    owners: Vec<u16>,
}

/// The files of one image of the chain.
#[derive(Debug)]
struct Source {
    name: String,
    path: PathBuf,
    memory: File,
    length: u64,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Dense(File),
    Sparse(Sparse),
}

/// Where a page is: which of the sources has it, and what that says of it; `None` for an entry that
/// can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Located {
    source: u16,
    pub(crate) state: Option<PageState>,
}

impl Located {
    /// Whether the image itself has it, and not one on which it builds.
    pub(crate) fn is_own(self) -> bool {
        self.source == 0
    }

    fn is_in_place(self) -> bool {
        matches!(self.state, Some(PageState::Zero | PageState::Raw { .. }))
    }

    /// Its offset and length among the records.
    fn place(self) -> Option<(u64, usize)> {
        self.state.and_then(PageState::record)
    }

    /// Whether the page of the next slot can be read with this one: with no more than a page between
    /// them.
    fn is_followed_by(self, next: Located) -> bool {
        let close = match (self.place(), next.place()) {
            (Some((offset, length)), Some((next, _))) => {
                let end = offset + length as u64;
                (end..=end + PAGE_SIZE as u64).contains(&next)
            }
            _ => self.is_in_place() && next.is_in_place(),
        };
        close && self.source == next.source
    }
}

impl SlotReader {
    pub(crate) fn open<'a>(
        layers: impl ExactSizeIterator<Item = &'a Layer>,
        extents: &Extents,
    ) -> Result<SlotReader> {
        let sources: Vec<Source> = layers.map(Source::open).collect::<Result<_>>()?;
        let mut owners = Vec::new();
        if let Some(root) = sources.len().checked_sub(1).filter(|root| *root > 0) {
            // Slots were counted when the tables were checked, and the chain is short.
            owners = vec![root as u16; extents.pages() as usize];
            for (at, source) in sources.iter().enumerate().rev() {
                let Table::Sparse(table) = &source.table else { continue };
                for slot in table.slots() {
                    if let Some(owner) = owners.get_mut(*slot as usize) {
                        *owner = at as u16;
                    }
                }
            }
        }
        Ok(SlotReader { extents: extents.clone(), sources, owners })
    }

    /// Reads one page and checks it against its checksum. Says how it is stored, which is never
    /// [`PageState::Parent`]. Fails with [`Error::Damaged`], which names the page, or
    /// [`Error::NoSuchSlot`].
    pub fn read(&self, slot: u64, page: &mut Page) -> Result<PageState> {
        if slot >= self.extents.pages() {
            return Err(Error::NoSuchSlot { slot, pages: self.extents.pages() });
        }
        let mut located = [Located::default()];
        self.locate(slot, &mut located, None)?;
        let mut fault = None;
        self.load(slot, &located, std::slice::from_mut(page), &mut |damage| fault = Some(damage))?;
        match (fault, located[0].state) {
            (None, Some(state)) => Ok(state),
            (damage, _) => Err(self.damaged(damage.unwrap_or_else(|| self.entry_damage(slot, located[0])))),
        }
    }

    /// Where the pages from slot `first` on are, as many as `out` holds. Feeds the octets of a dense
    /// table of the image's own to `hash`.
    pub(crate) fn locate(&self, first: u64, out: &mut [Located], hash: Option<&mut Sha256>) -> Result<()> {
        let mut dense = Vec::new();
        let range = first as usize..first as usize + out.len();
        let owners = self.owners.get(range).unwrap_or_default();
        let root = self.sources.len().saturating_sub(1);
        if let Some(Source { table: Table::Dense(file), path, .. }) = self.sources.last()
            && (owners.is_empty() || owners.contains(&(root as u16)))
        {
            dense = vec![0; out.len() * ENTRY_SIZE];
            let offset = first.saturating_mul(ENTRY_SIZE as u64);
            file.read_exact_at(&mut dense, offset).at("reading", &path.join("pages"))?;
            if let Some(hash) = hash.filter(|_| root == 0) {
                hash.update(&dense);
            }
        }
        let dense = dense.as_chunks().0;
        for (i, located) in out.iter_mut().enumerate() {
            let source = owners.get(i).copied().unwrap_or_default();
            let entry = match self.sources.get(usize::from(source)).map(|s| &s.table) {
                Some(Table::Sparse(table)) => table.get(first + i as u64),
                Some(Table::Dense(_)) => dense.get(i),
                None => None,
            };
            *located = Located { source, state: entry.and_then(PageState::decode).filter(|s| is_stored(*s)) };
        }
        Ok(())
    }

    /// Reads the pages from slot `first` on that [`Self::locate`] has found, and checks each. Those
    /// that are damaged are reported and undefined.
    pub(crate) fn load(
        &self,
        first: u64,
        located: &[Located],
        pages: &mut [Page],
        damage: &mut dyn FnMut(Damage),
    ) -> Result<()> {
        // What lies side by side is read at once.
        let mut done = 0;
        for run in located.chunk_by(|a, b| a.is_followed_by(*b)) {
            let slot = first + done as u64;
            let (out, source) = (pages.get_mut(done..done + run.len()), self.source_of(run.first()));
            let Some((out, source)) = out.zip(source) else { break };
            let mut report = |at: &Located, i: usize, found| self.report(found, slot + i as u64, *at, damage);
            match run {
                [at, ..] if at.is_in_place() => source.load_in_place(slot, run, out, &mut report)?,
                _ => source.load_records(run, out, &mut report)?,
            }
            done += run.len();
        }
        Ok(())
    }

    fn report(&self, found: Found, slot: u64, at: Located, damage: &mut dyn FnMut(Damage)) {
        match found {
            Found::Sound => {}
            Found::Spoiled => damage(self.named(at, Damage::Page { pfn: self.pfn(slot), slot })),
            Found::Misplaced => damage(self.entry_damage(slot, at)),
        }
    }

    /// Reads the record of a page that is stored as one, as it is; a raw page is its own.
    pub(crate) fn record<'a>(&self, at: Located, buffer: &'a mut Page) -> Result<Option<&'a [u8]>> {
        match self.source_of(Some(&at)) {
            Some(source) => source.record(at.state, buffer),
            None => Ok(None),
        }
    }

    pub(crate) fn damaged(&self, damage: Damage) -> Error {
        let path = self.sources.first().map(|s| s.path.clone()).unwrap_or_default();
        Error::Damaged { path, first: vec![damage], total: 1 }
    }

    fn source_of(&self, at: Option<&Located>) -> Option<&Source> {
        self.sources.get(usize::from(at?.source))
    }

    pub(crate) fn entry_damage(&self, slot: u64, at: Located) -> Damage {
        self.named(at, Damage::Entry { pfn: self.pfn(slot), slot })
    }

    /// Adds the name of the image that it is in, if that is another one.
    fn named(&self, at: Located, damage: Damage) -> Damage {
        match self.source_of(Some(&at)) {
            Some(source) if at.source > 0 => {
                Damage::Parent { image: source.name.clone(), damage: Box::new(damage) }
            }
            _ => damage,
        }
    }

    fn pfn(&self, slot: u64) -> u64 {
        self.extents.pfn_of(slot).unwrap_or_default()
    }
}

impl Source {
    fn open(layer: &Layer) -> Result<Source> {
        let open = |name: &str| {
            let path = layer.path.join(name);
            File::open(&path).at("opening", &path)
        };
        let table = match layer.manifest.parent {
            None => Table::Dense(open("pages")?),
            Some(_) => Table::Sparse(sparse(layer)?),
        };
        Ok(Source {
            name: layer.name(),
            path: layer.path.clone(),
            memory: open("memory")?,
            length: layer.manifest.files.memory.length,
            table,
        })
    }

    /// Reads a run of pages that are in their places, or zero.
    fn load_in_place(&self, slot: u64, run: &[Located], out: &mut [Page], report: Report<'_>) -> Result<()> {
        let octets = out.as_flattened_mut();
        let offset = slot.saturating_mul(PAGE_SIZE as u64);
        let zero = run.iter().all(|at| at.state == Some(PageState::Zero));
        // A hole reads as zeros, so nothing need be read.
        if zero && self.next_data(offset) >= offset.saturating_add(octets.len() as u64) {
            octets.fill(0);
        } else {
            self.memory.read_exact_at(octets, offset).at("reading", &self.path.join("memory"))?;
        }
        for (i, (at, page)) in run.iter().zip(out).enumerate() {
            report(at, i, check(at.state, page));
        }
        Ok(())
    }

    /// Reads and decodes a run of records that follow each other in `memory`, or a single entry that
    /// is none.
    fn load_records(&self, run: &[Located], out: &mut [Page], report: Report<'_>) -> Result<()> {
        // Those beyond the end of `memory` are the last of the run.
        let end_of = |place: (u64, usize)| place.0 + place.1 as u64;
        let places = || run.iter().filter_map(|at| at.place()).filter(|place| end_of(*place) <= self.length);
        let start = places().next().map_or(0, |(offset, _)| offset);
        let mut octets = vec![0; places().next_back().map_or(0, |last| end_of(last) - start) as usize];
        self.memory.read_exact_at(&mut octets, start).at("reading", &self.path.join("memory"))?;
        for (i, (at, page)) in run.iter().zip(out).enumerate() {
            let record = at.place().and_then(|(offset, length)| {
                let from = offset.checked_sub(start)? as usize;
                octets.get(from..from.checked_add(length)?)
            });
            let found = match (record, at.state) {
                (None, _) => Found::Misplaced,
                (Some(record), Some(PageState::RawAt { .. })) => {
                    page.copy_from_slice(record);
                    check(at.state, page)
                }
                (Some(record), _) if lz4::decode(record, page) => check(at.state, page),
                _ => Found::Spoiled,
            };
            report(at, i, found);
        }
        Ok(())
    }

    /// Reads a record as it is. `None` for an entry that is none, or that is not within `memory`.
    fn record<'a>(&self, state: Option<PageState>, buffer: &'a mut Page) -> Result<Option<&'a [u8]>> {
        let Some((offset, length)) = state.and_then(PageState::record) else { return Ok(None) };
        let Some(record) = buffer.get_mut(..length) else { return Ok(None) };
        if offset + length as u64 > self.length {
            return Ok(None);
        }
        self.memory.read_exact_at(record, offset).at("reading", &self.path.join("memory"))?;
        Ok(Some(record))
    }

    /// The offset of the first data in `memory` at or after `offset`; `offset` itself where the
    /// file system can't tell, and `u64::MAX` where only a hole follows.
    fn next_data(&self, offset: u64) -> u64 {
        use rustix::fs::{SeekFrom, seek};
        match seek(&self.memory, SeekFrom::Data(offset)) {
            Ok(at) => at,
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            Err(_) => offset,
        }
    }
}

/// Reads the table of an incremental image. It is small and names slots, so it is checked as a whole
/// by everyone who reads it: a slot that is not the one that was written must not be taken for one.
fn sparse(layer: &Layer) -> Result<Sparse> {
    let file = read_bounded(&layer.path, "pages", layer.manifest.files.pages.length)?;
    let same = layer.manifest.files.pages.sha256.as_ref() == Some(&hex(&Sha256::digest(&file)));
    let table = Sparse::decode(&file, layer.manifest.pages).filter(|_| same);
    table.ok_or_else(|| Error::Damaged {
        path: layer.path.clone(),
        first: vec![Damage::File("pages")],
        total: 1,
    })
}

/// Whether an entry may stand in a table.
fn is_stored(state: PageState) -> bool {
    matches!(state.canonical(), PageState::Zero | PageState::Raw { .. })
}

/// Takes what reading a page has shown: the page, and its index in the run.
type Report<'a> = &'a mut dyn FnMut(&Located, usize, Found);

/// What reading a page has shown.
enum Found {
    Sound,
    /// Its contents are not those that were written.
    Spoiled,
    /// Its entry can't be.
    Misplaced,
}

/// Compares a page with what its entry says of it.
fn check(state: Option<PageState>, page: &Page) -> Found {
    let sound = match state.map(PageState::canonical) {
        Some(PageState::Zero) => *page == [0; PAGE_SIZE],
        Some(PageState::Raw { checksum }) => page_checksum(page) == checksum,
        _ => return Found::Misplaced,
    };
    if sound { Found::Sound } else { Found::Spoiled }
}

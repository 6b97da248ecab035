//! Where pages go: from the ring into the image, coded ones by way of the decoder.
//!
//! Pages as they are, and LZ4 records, go from the ring to the file by few writes, and are not looked
//! at here: a stub that sends a wrong page can send a fitting checksum, too, and
//! an honest one's are checked by whatever reads the image. Differences and blocks are decoded at
//! once, one after the other as they were sent, as each may build on the one before; their checksum
//! is compared here, because ends that went apart would spoil what follows.
//!
//! What this module must never do: leave the ring in the middle of a page, or take a page after
//! one that it could not take.

use std::fs::File;
use std::io;

use handoff::{BLOCK_CACHE, Codecs, Coding, Content, PageEntry};
use livesave::codec::{self, CodecConfig, CodecError, Decoder, HeapPage};
use store::{ImageWriter, PAGE_SIZE, Page};

use crate::error::{Error, Result};

/// The contents of a message's pages, one after the other.
pub(super) trait Contents {
    /// Why they can't be had any more.
    type Error;

    /// Moves the next `len` bytes to a place in a file. The inner error is the file's; the bytes
    /// are consumed all the same.
    fn move_to(
        &mut self,
        file: &File,
        offset: u64,
        len: usize,
    ) -> std::result::Result<io::Result<()>, Self::Error>;

    /// Takes the next bytes.
    fn take(&mut self, into: &mut [u8]) -> std::result::Result<(), Self::Error>;

    /// Passes over the next `len` bytes.
    fn skip(&mut self, len: usize) -> std::result::Result<(), Self::Error>;
}

/// The image of one snapshot while pages arrive.
pub(super) struct Sink {
    writer: Option<ImageWriter>,
    /// None if no pages were to be coded so.
    decoder: Option<Decoder<HeapPage>>,
    coded: bool,
    failed: Option<Error>,
}

/// What is done to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the ring to the file, or nothing at all for a zero page.
    Direct,
    /// Perhaps as in the parent: has to be looked at.
    InHand,
    Decode(codec::Coding),
}

/// Pages that a write of consecutive slots must have on average to be worth a system call of its
/// own; else a whole message is written at once, beside the slots' own places. (A system call
/// costs a PV Dom0 two switches of page tables, more than the copy of some pages.)
const LONG: usize = 16;

impl Sink {
    /// For an image whose pages are to be coded in some of these ways.
    pub(super) fn new(mut writer: ImageWriter, codecs: Codecs) -> Result<Self> {
        // What comes as a difference, or in blocks, lies as LZ4 if that was asked for.
        writer.compress(matches!(codecs, Codecs::Chosen { lz4: true, .. }));
        let (delta, blocks) = match codecs {
            Codecs::Raw | Codecs::Auto => (false, false),
            Codecs::Chosen { delta, blocks, .. } => (delta, blocks),
        };
        let pages = u32::try_from(writer.extents().pages()).unwrap_or(u32::MAX);
        let config = CodecConfig { delta, blocks, block_cache: BLOCK_CACHE, ..CodecConfig::raw(pages) };
        let decoder = (delta || blocks).then(|| Decoder::new(&config, HeapPage::take)).transpose();
        let decoder = decoder.map_err(|_| Error::new("there is no memory for the codecs"))?;
        Ok(Self { writer: Some(writer), decoder, coded: codecs != Codecs::Raw, failed: None })
    }

    /// Takes the writer out: no page is stored any more. Also returns why storing failed, if it
    /// did.
    pub(super) fn close(&mut self) -> (Option<ImageWriter>, Option<Error>) {
        (self.writer.take(), self.failed.take())
    }

    /// Stores a message of pages. `Ok(true)`: the snapshot has failed with this message.
    ///
    /// # Errors
    /// Those of the ring. Everything else is kept for [`Sink::close`], and what comes then is
    /// passed over.
    pub(super) fn store<C: Contents>(
        &mut self,
        entries: &[PageEntry],
        contents: &mut C,
    ) -> std::result::Result<bool, C::Error> {
        let mut left: usize = entries.iter().map(PageEntry::content_len).sum();
        let Self { writer: Some(writer), decoder, coded, failed: failed @ None } = self else {
            contents.skip(left)?;
            return Ok(false);
        };
        let ways: Vec<Way> = entries.iter().map(|e| way(writer, e)).collect();
        let mut rest = entries;
        for ways in ways.chunk_by(|a, b| a == b) {
            let Some((run, after)) = rest.split_at_checked(ways.len()) else { break };
            rest = after;
            let mut taken = Taken { contents: &mut *contents, len: 0 };
            let is_coded = |e: &PageEntry| matches!(e.content, Content::Coded { .. });
            let stored = match ways.first() {
                _ if !*coded && run.iter().any(is_coded) => Err(Trouble::Ours(Error::new(
                    "the stub domain sent coded pages, which were not asked for",
                ))),
                Some(Way::Direct) => store_direct(writer, run, &mut taken),
                Some(Way::InHand) => run.iter().try_for_each(|e| store_in_hand(writer, e, &mut taken)),
                Some(Way::Decode(coding)) => run
                    .iter()
                    .try_for_each(|e| store_decoded(writer, decoder.as_mut(), *coding, e, &mut taken)),
                None => Ok(()),
            };
            left = left.saturating_sub(taken.len);
            match stored {
                Ok(()) => {}
                Err(Trouble::Ring(e)) => return Err(e),
                Err(Trouble::Ours(e)) => {
                    *failed = Some(e);
                    contents.skip(left)?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// How an entry is stored.
fn way(writer: &ImageWriter, entry: &PageEntry) -> Way {
    match entry.content {
        Content::Zero => Way::Direct,
        Content::Coded { coding: Coding::Delta, .. } => Way::Decode(codec::Coding::Delta),
        Content::Coded { coding: Coding::Blocks, .. } => Way::Decode(codec::Coding::Blocks),
        Content::Raw | Content::Coded { coding: Coding::Lz4, .. } => {
            match writer.may_be_as_in_parent(entry.slot.into(), entry.checksum) {
                true => Way::InHand,
                false => Way::Direct,
            }
        }
    }
}

/// Whether two entries can be stored by one write, or by none: zero pages, pages of consecutive
/// slots, or records.
fn by_one_write(a: &PageEntry, b: &PageEntry) -> bool {
    match (a.content, b.content) {
        (Content::Raw, Content::Raw) => a.slot.checked_add(1) == Some(b.slot),
        (Content::Zero, Content::Zero) | (Content::Coded { .. }, Content::Coded { .. }) => true,
        _ => false,
    }
}

/// What stops a run.
enum Trouble<E> {
    Ring(E),
    Ours(Error),
}

impl<E> From<store::Error> for Trouble<E> {
    fn from(e: store::Error) -> Self {
        Self::Ours(e.into())
    }
}

/// Contents, and how many bytes of them were consumed.
struct Taken<'a, C> {
    contents: &'a mut C,
    len: usize,
}

impl<C: Contents> Taken<'_, C> {
    fn move_to(
        &mut self,
        writer: &ImageWriter,
        offset: u64,
        len: usize,
    ) -> std::result::Result<(), Trouble<C::Error>> {
        let moved = self.contents.move_to(writer.memory_fd(), offset, len).map_err(Trouble::Ring)?;
        self.len += len;
        moved.map_err(|e| Trouble::Ours(writer.write_error(e).into()))
    }

    fn take<'b>(
        &mut self,
        into: &'b mut Page,
        len: usize,
    ) -> std::result::Result<&'b [u8], Trouble<C::Error>> {
        let into = into.get_mut(..len).unwrap_or_default();
        self.contents.take(into).map_err(Trouble::Ring)?;
        self.len += into.len();
        Ok(into)
    }
}

type Stored<E> = std::result::Result<(), Trouble<E>>;

fn store_direct<C: Contents>(
    writer: &mut ImageWriter,
    run: &[PageEntry],
    taken: &mut Taken<'_, C>,
) -> Stored<C::Error> {
    let has_bytes = |e: &&PageEntry| e.content != Content::Zero;
    let pages = run.iter().filter(has_bytes).count();
    let writes = run.chunk_by(by_one_write).filter(|part| part.iter().any(|e| has_bytes(&e))).count();
    if writes > 1 && pages < LONG.saturating_mul(writes) {
        return append(writer, run, taken);
    }
    for part in run.chunk_by(by_one_write) {
        match part {
            [first, ..] if first.content == Content::Raw => {
                let offset = writer.offset(first.slot.into())?;
                // Also proves that every slot of the run exists.
                part.iter().try_for_each(|e| writer.offset(e.slot.into()).map(drop))?;
                taken.move_to(writer, offset, part.len().saturating_mul(PAGE_SIZE))?;
                part.iter().try_for_each(|e| writer.put_data_at(e.slot.into(), e.checksum))?;
            }
            _ => append(writer, part, taken)?,
        }
    }
    Ok(())
}

/// Stores pages and records by one write, beside their slots' own places.
fn append<C: Contents>(
    writer: &mut ImageWriter,
    run: &[PageEntry],
    taken: &mut Taken<'_, C>,
) -> Stored<C::Error> {
    let len: usize = run.iter().map(PageEntry::content_len).sum();
    let mut offset = 0;
    if len > 0 {
        offset = writer.append(len)?;
        taken.move_to(writer, offset, len)?;
    }
    for e in run {
        match e.content {
            Content::Zero => writer.put_zero(e.slot.into())?,
            Content::Raw => writer.put_raw_at(e.slot.into(), offset, e.checksum)?,
            Content::Coded { .. } => {
                writer.put_lz4_at(e.slot.into(), offset, e.content_len(), e.checksum)?;
            }
        }
        offset = offset.saturating_add(e.content_len() as u64);
    }
    Ok(())
}

fn store_in_hand<C: Contents>(
    writer: &mut ImageWriter,
    entry: &PageEntry,
    taken: &mut Taken<'_, C>,
) -> Stored<C::Error> {
    let mut buffer = [0; PAGE_SIZE];
    let bytes = taken.take(&mut buffer, entry.content_len())?;
    match <&Page>::try_from(bytes) {
        Ok(page) => writer.put_page(entry.slot.into(), page, entry.checksum)?,
        Err(_) => writer.put_lz4(entry.slot.into(), bytes, entry.checksum)?,
    }
    Ok(())
}

fn store_decoded<C: Contents>(
    writer: &mut ImageWriter,
    decoder: Option<&mut Decoder<HeapPage>>,
    coding: codec::Coding,
    entry: &PageEntry,
    taken: &mut Taken<'_, C>,
) -> Stored<C::Error> {
    let mut buffer = [0; PAGE_SIZE];
    let bytes = taken.take(&mut buffer, entry.content_len())?;
    let page = decode(writer, decoder, coding, entry, bytes).map_err(Trouble::Ours)?;
    writer.put_page(entry.slot.into(), &page, entry.checksum)?;
    Ok(())
}

/// Why a page could not be decoded.
enum Bad {
    Codec(CodecError),
    Base(store::Error),
}

impl From<CodecError> for Bad {
    fn from(e: CodecError) -> Self {
        Self::Codec(e)
    }
}

fn decode(
    writer: &ImageWriter,
    decoder: Option<&mut Decoder<HeapPage>>,
    coding: codec::Coding,
    entry: &PageEntry,
    bytes: &[u8],
) -> Result<Page> {
    let decoder = decoder.ok_or_else(|| Error::new("the stub domain used a codec that was not asked for"))?;
    let mut page = [0; PAGE_SIZE];
    let base = |base: &mut Page| writer.read(entry.slot.into(), base).map(drop).map_err(Bad::Base);
    decoder.decode(coding, bytes, base, &mut page).map_err(|bad| match bad {
        Bad::Codec(e) => Error::new(format!("the stub domain sent a page wrong: {e}")),
        Bad::Base(e) => e.into(),
    })?;
    if store::page_checksum(&page) != entry.checksum {
        return Err(Error::new("a page that the stub domain sent decodes to another page")
            .hint("Take the snapshot anew, with --codec none if it happens again"));
    }
    Ok(page)
}

#[cfg(test)]
mod tests;

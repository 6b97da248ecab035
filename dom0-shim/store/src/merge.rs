//! Making an incremental image stand alone.
//!
//! The merged image is written beside the old one, which it then replaces in one step: a crash leaves
//! the one or the other whole under the name. Images that build on it don't notice, for no page of
//! it has changed.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Result;
use crate::image::Image;
use crate::layer::Lock;
use crate::reader::{CHUNK, Located, SlotReader};
use crate::table::PageState;
use crate::writer::{ImageWriter, Step};
use crate::{PAGE_SIZE, Page};

/// What [`merge()`] did.
#[derive(Debug)]
pub struct Merged {
    /// The image, which stands alone now.
    pub image: Image,
    /// How many images it built on; 0 if it stood alone already, and nothing was done.
    pub parents: usize,
}

/// Makes an image stand alone: it gets all pages of the images that it builds on, which may then be
/// removed. Its name, its time, its state and its report stay, and so does whatever builds on it.
/// Each page is checked on the way. Needs room for the whole image beside the old one. `progress` is
/// called with pages done and pages in all, about once a MiB.
///
/// Fails with [`crate::Error::InUse`] while someone has the image open, or one that builds on it;
/// with [`crate::Error::Damaged`], [`crate::Error::Full`], and as [`Image::open`]. Then nothing has changed.
pub fn merge(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Merged> {
    merge_observed(path, progress, &mut |_| {})
}

pub(crate) fn merge_observed(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
    observe: &mut dyn FnMut(Step),
) -> Result<Merged> {
    let old = Image::open_as(path, Lock::Exclusive)?;
    let parents = old.depth() - 1;
    if parents == 0 {
        drop(old);
        return Ok(Merged { image: Image::open(path)?, parents });
    }
    let mut writer = ImageWriter::in_place_of(&old)?;
    writer.set_state(old.state()?);
    copy(&old, &mut writer, progress)?;
    let image = writer.commit_observed(old.manifest().report.clone(), observe)?;
    Ok(Merged { image, parents })
}

/// Copies all pages: records as they are, raw ones to their places.
fn copy(old: &Image, writer: &mut ImageWriter, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let reader = old.slots()?;
    let pages = old.extents().pages();
    let mut memory = vec![[0; PAGE_SIZE]; CHUNK];
    let mut located = [Located::default(); CHUNK];
    let mut first = 0;
    while first < pages {
        let count = (pages - first).min(CHUNK as u64) as usize;
        let (Some(located), Some(memory)) = (located.get_mut(..count), memory.get_mut(..count)) else {
            break;
        };
        reader.locate(first, located, None)?;
        let mut found = None;
        reader.load(first, located, memory, &mut |damage| {
            found.get_or_insert(damage);
        })?;
        if let Some(damage) = found {
            return Err(old.damaged(damage));
        }
        copy_raw(writer, first, located, memory)?;
        copy_records(&reader, writer, first, located)?;
        for (at, slot) in located.iter().zip(first..) {
            if at.state == Some(PageState::Zero) {
                writer.put_zero(slot)?;
            }
        }
        first += count as u64;
        progress(first, pages);
    }
    Ok(())
}

/// Copies the raw ones of some pages. Those side by side are written at once.
fn copy_raw(writer: &mut ImageWriter, first: u64, located: &[Located], memory: &[Page]) -> Result<()> {
    let mut slots = first..;
    let mut memory = memory;
    for run in located.chunk_by(|a, b| raw(*a).is_some() && raw(*b).is_some()) {
        let Some((pages, rest)) = memory.split_at_checked(run.len()) else { break };
        memory = rest;
        let mut offset = None;
        for (at, slot) in run.iter().zip(&mut slots) {
            if let Some(checksum) = raw(*at) {
                let at = writer.offset(slot)?;
                offset.get_or_insert(at);
                writer.put_data_at(slot, checksum)?;
            }
        }
        if let Some(offset) = offset {
            let written = writer.memory_fd().write_all_at(pages.as_flattened(), offset);
            written.map_err(|e| writer.write_error(e))?;
        }
    }
    Ok(())
}

/// Copies the records of some pages, as one write.
fn copy_records(
    reader: &SlotReader,
    writer: &mut ImageWriter,
    first: u64,
    located: &[Located],
) -> Result<()> {
    let mut records = Vec::new();
    let mut told = Vec::new();
    for (at, slot) in located.iter().zip(first..) {
        if let Some(PageState::Lz4 { checksum, .. }) = at.state {
            let mut record = [0; PAGE_SIZE];
            // It has been decoded already, so it is there.
            let record = reader.record(*at, &mut record)?.unwrap_or_default();
            records.extend_from_slice(record);
            told.push((slot, record.len(), checksum));
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let mut offset = writer.append(records.len())?;
    writer.memory_fd().write_all_at(&records, offset).map_err(|e| writer.write_error(e))?;
    for (slot, length, checksum) in told {
        writer.put_lz4_at(slot, offset, length, checksum)?;
        offset += length as u64;
    }
    Ok(())
}

/// The checksum of a raw page, wherever it is.
fn raw(at: Located) -> Option<u64> {
    match at.state {
        Some(PageState::Raw { checksum } | PageState::RawAt { checksum, .. }) => Some(checksum),
        _ => None,
    }
}

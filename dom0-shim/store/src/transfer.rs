//! An image as a stream of octets, from one host to another: its own files as they are, so that what
//! arrives is the same image, with its report and what it says of disks.
//!
//! | octets | what |
//! | --- | --- |
//! | 4, then so many | `manifest.json`, its length before it |
//! | as the manifest says | `pages`, then `state` |
//! | 8 and 4, then so many | a piece of `memory` that is not zero: where, how long (to 1 MiB), and its octets |
//! | 8 and 4 | the end: the length of `memory`, and 0 |
//!
//! Integers are little-endian, and pieces ascend. Only an image that stands alone travels so.
//!
//! What this must never do: write more than the manifest allows, or call an image received before
//! every page and record of it was compared with its checksum, and is on the disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{SeekFrom, seek, statvfs};

use crate::directory::{clear, directory_of};
use crate::error::{At, Error, Result};
use crate::id::{ImageId, PARTIAL};
use crate::image::Image;
use crate::layer::{Layer, Lock, lock, read_bounded};
use crate::manifest::{MAX_FILE, Manifest};
use crate::writer::sync_dir;
use crate::{PAGE_SIZE, state};

/// The longest piece of memory, in octets.
const MAX_PIECE: usize = 1 << 20;
/// What is left out when it is zero, in octets.
const BLOCK: usize = PAGE_SIZE;

/// Sends an image, or one that is complete and undecided. It stays locked against removal meanwhile.
///
/// # Errors
/// [`Error::NotAlone`] for one that builds on another, those of [`Image::open`], and
/// [`Error::StreamIo`] when the other side takes no more.
pub fn send(path: &Path, out: &mut dyn Write) -> Result<()> {
    let layer = Layer::open_any(path, Lock::Shared)?;
    if layer.manifest.parent.is_some() {
        return Err(Error::NotAlone { path: path.to_path_buf() });
    }
    let manifest = read_bounded(path, "manifest.json", MAX_FILE)?;
    put(out, &(manifest.len() as u32).to_le_bytes())?;
    put(out, &manifest)?;
    let files = &layer.manifest.files;
    for (name, length) in [("pages", files.pages.length), ("state", files.state.length)] {
        let path = path.join(name);
        let mut file = File::open(&path).at("opening", &path)?;
        let mut left = length;
        let mut piece = vec![0; MAX_PIECE];
        while left > 0 {
            let octets = next(&mut piece, left);
            file.read_exact(octets).at("reading", &path)?;
            left -= octets.len() as u64;
            put(out, octets)?;
        }
    }
    send_memory(&path.join("memory"), files.memory.length, out)
}

fn send_memory(path: &Path, length: u64, out: &mut dyn Write) -> Result<()> {
    let file = File::open(path).at("opening", path)?;
    let mut buffer = vec![0; MAX_PIECE];
    let mut at = 0;
    while at < length {
        match seek(&file, SeekFrom::Data(at)) {
            // Blocks stay aligned, whatever the file system's own are.
            Ok(data) => at = at.max(data - data % BLOCK as u64),
            // Only a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that does not know of holes.
            Err(_) => {}
        }
        if at >= length {
            break;
        }
        let chunk = next(&mut buffer, length - at);
        file.read_exact_at(chunk, at).at("reading", path)?;
        let mut begin = 0;
        for (zero, run) in runs(chunk) {
            if !zero {
                put(out, &(at + begin).to_le_bytes())?;
                put(out, &(run.len() as u32).to_le_bytes())?;
                put(out, run)?;
            }
            begin += run.len() as u64;
        }
        at += begin;
    }
    put(out, &length.to_le_bytes())?;
    put(out, &0u32.to_le_bytes())
}

/// A chunk in runs of blocks that are zero, or not.
fn runs(chunk: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let zero = |block: &[u8]| block.iter().all(|octet| *octet == 0);
    let mut rest = chunk;
    std::iter::from_fn(move || {
        let mut blocks = rest.chunks(BLOCK);
        let first = zero(blocks.next()?);
        let more: usize = blocks.take_while(|block| zero(block) == first).map(<[u8]>::len).sum();
        let (run, after) = rest.split_at_checked(BLOCK.min(rest.len()) + more)?;
        rest = after;
        Some((first, run))
    })
}

/// Receives an image into a directory of images, under a name of its own. It exists when this
/// returns, and every page and record of it is as it was.
///
/// # Errors
/// As [`receive_into`]; nothing is left then.
pub fn receive(images: &Path, input: &mut dyn Read) -> Result<Image> {
    let told = take_manifest(images, input)?;
    let id = ImageId::unused(images, &told.1.guest, SystemTime::now());
    let partial = Partial::create(images.join(format!("{id}{PARTIAL}")))?;
    fill(&partial.path, input, told)?;
    let to = images.join(id.as_str());
    partial.publish(&to)?;
    Image::open(&to)
}

/// Receives an image into a folder that is there and empty. It is whole and on the disk when this
/// returns; the folder's own name is the caller's. `check` looks at the manifest before anything is
/// written.
///
/// # Errors
/// [`Error::Transfer`] when it does not arrive whole, [`Error::Full`] also before anything is written,
/// [`Error::Damaged`] and [`Error::Malformed`] when it is not what its manifest says. What was written
/// is left.
pub(crate) fn receive_into(
    path: &Path,
    input: &mut dyn Read,
    check: impl FnOnce(&Manifest) -> Result<()>,
) -> Result<Manifest> {
    let manifest = take_manifest(path, input)?;
    check(&manifest.1)?;
    fill(path, input, manifest)
}

type Told = (Vec<u8>, Manifest);

fn take_manifest(path: &Path, input: &mut dyn Read) -> Result<Told> {
    let length = u32::from_le_bytes(array(input)?);
    if u64::from(length) > MAX_FILE {
        return Err(Error::Transfer { why: "its manifest is too long".into() });
    }
    let mut text = Vec::new();
    input.take(length.into()).read_to_end(&mut text).map_err(broken)?;
    if text.len() != length as usize {
        return Err(cut_off());
    }
    let manifest = Manifest::decode(path, &text)?;
    if manifest.parent.is_some() {
        return Err(Error::NotAlone { path: path.to_path_buf() });
    }
    if manifest.files.state.length > state::MAX_FILE {
        return Err(Error::malformed(path, "its file `state` is too long"));
    }
    Ok((text, manifest))
}

fn fill(path: &Path, input: &mut dyn Read, (text, manifest): Told) -> Result<Manifest> {
    let files = &manifest.files;
    let in_place = manifest.pages.saturating_mul(PAGE_SIZE as u64);
    let memory = manifest.stored.map_or(in_place, |stored| stored.octets);
    room(path, memory.saturating_add(files.pages.length).saturating_add(files.state.length))?;
    for (name, length) in [("pages", files.pages.length), ("state", files.state.length)] {
        let path = path.join(name);
        let mut file = File::create_new(&path).at("creating", &path)?;
        let mut piece = vec![0; MAX_PIECE];
        let mut left = length;
        while left > 0 {
            let octets = next(&mut piece, left);
            input.read_exact(octets).map_err(broken)?;
            file.write_all(octets).at("writing", &path)?;
            left -= octets.len() as u64;
        }
        file.sync_all().at("syncing", &path)?;
    }
    // Each page once, and what its record shares a block with.
    receive_memory(&path.join("memory"), files.memory.length, 3 * in_place.max(BLOCK as u64), input)?;
    let file = path.join("manifest.json");
    File::create_new(&file)
        .and_then(|mut f| f.write_all(&text).and_then(|()| f.sync_all()))
        .at("writing", &file)?;
    Image::with_parents(Layer::open_any(path, Lock::Shared)?)?.verify(&mut |_, _| {})?;
    sync_dir(path)?;
    Ok(manifest)
}

fn receive_memory(path: &Path, length: u64, most: u64, input: &mut dyn Read) -> Result<()> {
    let bad = |why: &str| Error::Transfer { why: why.into() };
    let file = File::create_new(path).at("creating", path)?;
    file.set_len(length).at("writing", path)?;
    let mut buffer = vec![0; MAX_PIECE];
    let (mut end, mut total) = (0, 0);
    loop {
        let at = u64::from_le_bytes(array(input)?);
        let size = u32::from_le_bytes(array(input)?);
        if size == 0 && at == length {
            return file.sync_all().at("syncing", path);
        }
        let octets = buffer.get_mut(..size as usize).filter(|octets| !octets.is_empty());
        let octets = octets.ok_or_else(|| bad("a piece of its memory is too long"))?;
        if at < end || at.checked_add(size.into()).is_none_or(|end| end > length) {
            return Err(bad("a piece of its memory is out of its place"));
        }
        (end, total) = (at + u64::from(size), total + u64::from(size));
        if total > most {
            return Err(bad("it has more octets than its pages can take"));
        }
        input.read_exact(octets).map_err(broken)?;
        // Whoever gives it up takes its folder away.
        if path.symlink_metadata().is_err() {
            return Err(bad("it was given up here meanwhile"));
        }
        file.write_all_at(octets, at).at("writing", path)?;
    }
}

/// Refuses at once what there is no room for.
fn room(path: &Path, octets: u64) -> Result<()> {
    let free = statvfs(path).map_err(std::io::Error::from).at("looking at", path)?;
    match free.f_bavail.saturating_mul(free.f_frsize) < octets {
        true => Err(Error::Full { path: path.to_path_buf() }),
        false => Ok(()),
    }
}

/// A directory that goes when this is dropped, unless it got its name. Locked for as long as this
/// lives: nobody sweeps it.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) path: std::path::PathBuf,
    _lock: File,
    published: bool,
}

impl Partial {
    /// Makes it anew. What a process that was killed left there goes first.
    ///
    /// Fails with [`Error::InUse`] when a living process has it.
    pub(crate) fn create(path: std::path::PathBuf) -> Result<Partial> {
        if path.is_dir() {
            let _lock = lock(&path, Lock::Exclusive)?;
            clear(&path)?;
        }
        fs::create_dir(&path).at("creating", &path)?;
        // Shared: the images in it are opened meanwhile.
        let lock = lock(&path, Lock::Shared)?;
        Ok(Partial { path, _lock: lock, published: false })
    }

    /// Gives it its name, for good when this returns.
    pub(crate) fn publish(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).at("renaming into place", to)?;
        if let Err(e) = sync_dir(directory_of(to)) {
            let _ = fs::rename(to, &self.path);
            return Err(e);
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: what remains goes with what it is of, or is swept.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// As much of a buffer as is left to do.
pub(crate) fn next(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    buffer.split_at_mut(length).0
}

/// The next octets of a stream.
pub(crate) fn array<const N: usize>(input: &mut dyn Read) -> Result<[u8; N]> {
    let mut octets = [0; N];
    input.read_exact(&mut octets).map_err(broken)?;
    Ok(octets)
}

/// Writes to a stream.
pub(crate) fn put(out: &mut dyn Write, octets: &[u8]) -> Result<()> {
    out.write_all(octets).map_err(|source| Error::StreamIo { doing: "sending the image", source })
}

/// What a failed read of the stream means.
pub(crate) fn broken(e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => cut_off(),
        _ => Error::StreamIo { doing: "receiving", source: e },
    }
}

pub(crate) fn cut_off() -> Error {
    Error::Transfer { why: "the stream ended before its end".into() }
}

#[cfg(test)]
mod tests;

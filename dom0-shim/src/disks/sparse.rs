//! The contents of a disk on their way to another host: blocks that are not zero, each with its place,
//! and a hash over all of them at the end.
//!
//! A stream is a row of records: offset (8 octets) and length (4), both little-endian, then so many
//! octets. Blocks begin at multiples of [`BLOCK`] and grow; what lies between is zero. The last record has
//! the offset [`END`], and the hash. Two disks of one size have the same hash exactly if they have the
//! same contents, however they are stored: which blocks are left out depends on nothing else.
//!
//! What this must never do: take a stream for whole whose end has not come, or write outside the disk.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};

/// Octets of a block.
pub const BLOCK: usize = 64 << 10;

/// Octets of zeros that are written at once.
const ZEROS: usize = 1 << 20;

/// The offset that no block has.
const END: u64 = u64::MAX;

/// Octets after which [`receive`] asks whether there is still room.
const ASK: u64 = 64 << 20;

/// The hash of a disk's contents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Calls `each` with the offset and the octets of each block of a disk that is not zero, in order. Holes
/// of files are not read; `octets` is the disk's size.
fn blocks(disk: &File, octets: u64, each: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut at = 0;
    while at < octets {
        match seek(disk, SeekFrom::Data(at)) {
            // From the block on in which the next data begins.
            Ok(data) => at = at.max(data - data % BLOCK as u64),
            // Nothing but a hole to the end.
            Err(rustix::io::Errno::NXIO) => break,
            // A block device does not tell.
            Err(_) => {}
        }
        if at >= octets {
            break;
        }
        let length = usize::try_from(octets - at).map_or(BLOCK, |left| left.min(BLOCK));
        let block = buffer.get_mut(..length).unwrap_or_default();
        disk.read_exact_at(block, at).context("reading the disk")?;
        if block.iter().any(|b| *b != 0) {
            each(at, block)?;
        }
        at += length as u64;
    }
    Ok(())
}

fn add(hash: &mut Sha256, at: u64, block: &[u8]) {
    hash.update(at.to_le_bytes());
    hash.update(block);
}

/// The hash of a disk's contents.
///
/// # Errors
/// It can't be read.
pub fn hash(disk: &File, octets: u64) -> Result<Hash> {
    let mut hash = Sha256::new();
    blocks(disk, octets, &mut |at, block| {
        add(&mut hash, at, block);
        Ok(())
    })?;
    Ok(Hash(hash.finalize().into()))
}

/// Copies a disk to a file that is empty; holes stay holes.
///
/// # Errors
/// It can't be read, or there is no room.
pub fn copy(disk: &File, octets: u64, to: &File) -> Result<()> {
    to.set_len(octets).context("copying the disk")?;
    blocks(disk, octets, &mut |at, block| to.write_all_at(block, at).context("copying the disk"))
}

/// Copies a disk over whatever `to`, which has its size, has: what is zero is written as well.
///
/// # Errors
/// It can't be read, or the other can't be written.
pub fn copy_over(disk: &File, octets: u64, to: &File) -> Result<()> {
    let mut next = 0;
    blocks(disk, octets, &mut |at, block| {
        zero(to, next, at)?;
        next = at + block.len() as u64;
        to.write_all_at(block, at).context("copying the disk")
    })?;
    zero(to, next, octets)
}

/// Writes zeros to a disk, from one offset to another.
///
/// # Errors
/// It can't be written.
pub fn zero(disk: &File, from: u64, to: u64) -> Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).map_or(ZEROS, |left| left.min(ZEROS));
        disk.write_all_at(zeros.get(..length).unwrap_or_default(), at)
            .context("writing zeros to the disk")?;
        at += length as u64;
    }
    Ok(())
}

/// Writes the stream of a disk.
///
/// # Errors
/// The disk can't be read, or nobody takes the stream.
pub fn send(disk: &File, octets: u64, out: &mut impl Write) -> Result<Hash> {
    const SENDING: &str = "sending the disk";
    let mut hash = Sha256::new();
    blocks(disk, octets, &mut |at, block| {
        add(&mut hash, at, block);
        let length = u32::try_from(block.len()).unwrap_or(0);
        out.write_all(&at.to_le_bytes())
            .and_then(|()| out.write_all(&length.to_le_bytes()))
            .and_then(|()| out.write_all(block))
            .context(SENDING)
    })?;
    let hash = Hash(hash.finalize().into());
    out.write_all(&END.to_le_bytes())
        .and_then(|()| out.write_all(&32u32.to_le_bytes()))
        .and_then(|()| out.write_all(&hash.0))
        .context(SENDING)?;
    Ok(hash)
}

/// Writes the disk of a stream to `disk`, which is zero and of `octets`, has it durable, and reads it
/// back: what is there has the hash that the sender's had. `room` is asked now and then whether to go on.
///
/// # Errors
/// The stream ends early or is none, the disk can't be written, or has other contents in the end.
pub fn receive(
    input: &mut impl Read,
    disk: &File,
    octets: u64,
    room: &mut dyn FnMut() -> Result<()>,
) -> Result<Hash> {
    let mut buffer = vec![0; BLOCK];
    let (mut next, mut since) = (0, 0);
    let sent = loop {
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        input.read_exact(&mut offset).and_then(|()| input.read_exact(&mut length)).map_err(cut)?;
        let (at, length) = (u64::from_le_bytes(offset), u32::from_le_bytes(length) as usize);
        if at == END {
            let mut hash = [0; 32];
            input.read_exact(&mut hash).map_err(cut)?;
            break Hash(hash);
        }
        let whole = octets.saturating_sub(at).min(BLOCK as u64);
        if length as u64 != whole || length == 0 || at < next || at % BLOCK as u64 != 0 {
            return Err(Error::new("what comes from the other host is no disk's stream")
                .hint("Are the same releases of Luthier installed on both hosts?"));
        }
        let block = buffer.get_mut(..length).unwrap_or_default();
        input.read_exact(block).map_err(cut)?;
        disk.write_all_at(block, at).context("writing the disk")?;
        (next, since) = (at + length as u64, since + length as u64);
        if since >= ASK {
            since = 0;
            room()?;
        }
    };
    disk.sync_all().context("writing the disk")?;
    // What is read must come from the disk, not from what was just written to memory.
    let _ = fadvise(disk, 0, None, Advice::DontNeed);
    if hash(disk, octets)? != sent {
        return Err(Error::new("the disk has other contents here than on its own host")
            .hint("Try again; if it comes again, look at the disk below: dmesg"));
    }
    Ok(sent)
}

fn cut(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::new("the connection to the other host was cut"),
        _ => Error::new(format!("reading from the other host: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    const SIZE: u64 = 1_000_000;

    /// A file of so many octets with these pieces, and holes between them.
    fn disk(pieces: &[(u64, &[u8])]) -> File {
        let file = empty(SIZE);
        for (at, piece) in pieces {
            file.write_all_at(piece, *at).unwrap();
        }
        file
    }

    fn empty(octets: u64) -> File {
        let path = std::env::temp_dir().join(format!(
            "luthier-sparse-{}-{:?}-{octets}-{:p}",
            std::process::id(),
            std::thread::current().id(),
            &octets
        ));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(octets).unwrap();
        file
    }

    fn contents(mut file: File) -> Vec<u8> {
        let mut all = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut all).unwrap();
        all
    }

    fn stream(disk: &File) -> Vec<u8> {
        let mut out = Vec::new();
        send(disk, SIZE, &mut out).unwrap();
        out
    }

    fn take(mut stream: &[u8], disk: &File) -> Result<Hash> {
        receive(&mut stream, disk, SIZE, &mut || Ok(()))
    }

    fn some() -> File {
        disk(&[(0, b"begin"), (BLOCK as u64 * 3 - 2, b"over the edge"), (SIZE - 3, b"end")])
    }

    #[test]
    fn a_disk_comes_as_it_was_with_its_holes_left_out() {
        let (from, to) = (some(), empty(SIZE));
        let stream = stream(&from);
        let last = (SIZE % BLOCK as u64) as usize;
        assert_eq!(stream.len(), 4 * 12 + 3 * BLOCK + last + 12 + 32);
        assert_eq!(take(&stream, &to).unwrap(), hash(&from, SIZE).unwrap());
        assert_eq!(contents(to), contents(from));
    }

    #[test]
    fn a_copy_is_as_its_original() {
        let (from, to) = (some(), empty(0));
        copy(&from, SIZE, &to).unwrap();
        assert_eq!(contents(to), contents(from));
    }

    #[test]
    fn a_copy_over_what_another_has_left_is_as_its_original() {
        let left = vec![7; SIZE as usize];
        for from in [some(), empty(SIZE), disk(&[(0, &left)])] {
            let to = disk(&[(0, &left)]);
            copy_over(&from, SIZE, &to).unwrap();
            assert_eq!(contents(to), contents(from));
        }
        // Longer than what is written at once, and nothing beyond it.
        let large = ZEROS as u64 * 2 + 5;
        let to = empty(large + 1);
        to.write_all_at(&vec![7; large as usize + 1], 0).unwrap();
        zero(&to, 1, large).unwrap();
        let written = contents(to);
        assert!(written[1..large as usize].iter().all(|b| *b == 0));
        assert_eq!((written[0], written[large as usize]), (7, 7));
    }

    #[test]
    fn the_hash_is_of_the_contents_however_they_are_stored() {
        let (holes, zeros) = (some(), some());
        zeros.write_all_at(&[0; BLOCK], BLOCK as u64 * 5).unwrap();
        assert_eq!(hash(&holes, SIZE).unwrap(), hash(&zeros, SIZE).unwrap());
        let moved = disk(&[(BLOCK as u64, b"begin")]);
        assert_ne!(hash(&moved, SIZE).unwrap(), hash(&disk(&[(0, b"begin")]), SIZE).unwrap());
    }

    #[test]
    fn a_stream_that_ends_early_is_no_disk() {
        let stream = stream(&some());
        for end in [0, 5, 12, 1000, stream.len() - 33, stream.len() - 1] {
            let error = take(&stream[..end], &empty(SIZE)).unwrap_err();
            assert!(error.message.contains("was cut"), "{end}: {error}");
        }
    }

    #[test]
    fn one_octet_that_was_changed_on_the_way_is_found() {
        let mut stream = stream(&some());
        stream[500] ^= 1;
        assert!(take(&stream, &empty(SIZE)).unwrap_err().message.contains("other contents"));
    }

    #[test]
    fn a_disk_that_was_not_zero_before_is_found() {
        let to = disk(&[(BLOCK as u64 * 8, b"left by another")]);
        assert!(take(&stream(&some()), &to).unwrap_err().message.contains("other contents"));
    }

    #[test]
    fn nothing_is_written_outside_the_disk_or_twice() {
        let record = |at: u64, length: u32| {
            let mut record = at.to_le_bytes().to_vec();
            record.extend(length.to_le_bytes());
            record.resize(12 + BLOCK, 7);
            record
        };
        let block = BLOCK as u32;
        for bad in [
            record(SIZE, block),
            record(SIZE.next_multiple_of(BLOCK as u64), block),
            record(1, block),
            record(0, block - 1),
            record(0, 0),
            record(0, u32::MAX),
            record(END - 1, block),
            [record(BLOCK as u64, block), record(0, block)].concat(),
        ] {
            let to = empty(SIZE);
            let error = take(&bad, &to).unwrap_err();
            assert!(error.message.contains("no disk's stream"), "{error}");
            assert_eq!(contents(to).len() as u64, SIZE);
        }
    }

    #[test]
    fn it_stops_when_there_is_no_more_room() {
        let octets = ASK + 2 * BLOCK as u64;
        let mut out = Vec::new();
        let from = empty(octets);
        for at in (0..octets).step_by(BLOCK) {
            from.write_all_at(b"x", at).unwrap();
        }
        send(&from, octets, &mut out).unwrap();
        let full = &mut || Err(Error::new("full"));
        assert_eq!(receive(&mut &out[..], &empty(octets), octets, full).unwrap_err().message, "full");
        // No hole at the end, either.
        receive(&mut &out[..], &empty(octets), octets, &mut || Ok(())).unwrap();
    }
}

//! Frames that were on their way at the cut: the state of the channels.
//!
//! A file of a host has the frames to its members, in the order in which they are to be given to
//! them: 8 octets that say what it is, then for each frame a [`ChannelRecord`] as the stub sends it,
//! and its octets. The SHA-256 of the file is in the host's part.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use handoff::{CHANNEL_RECORD_LEN, ChannelRecord};
use sha2::{Digest, Sha256};

use super::{Channel, GroupError};
use crate::error::{At, Result};
use crate::sealed::hex;

/// The first octets of a file; the last one is the format.
const MAGIC: [u8; 8] = *b"LUTHCHN1";

/// The longest file: 1 GiB.
pub const MAX_FILE: u64 = 1 << 30;

/// The name of a host's file in the group's folder.
pub(super) fn file_name(switch: &str) -> String {
    format!("channels-{switch}")
}

/// The switch that a file of this name is of.
pub(super) fn switch_of_file(name: &str) -> Option<&str> {
    name.strip_prefix("channels-").filter(|switch| super::switch_of(switch).is_some())
}

/// Writes the file.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
    octets: u64,
    frames: u64,
    bytes: u64,
}

impl Writer {
    pub(super) fn create(path: PathBuf) -> Result<Writer> {
        let file = File::create_new(&path).at("creating", &path)?;
        let out = BufWriter::with_capacity(1 << 16, file);
        let mut writer = Writer { path, out, hash: Sha256::new(), octets: 0, frames: 0, bytes: 0 };
        writer.write(&MAGIC)?;
        Ok(writer)
    }

    /// Appends `count` records with their frames, as they came from the stub.
    pub(super) fn append(&mut self, count: u16, bulk: &[u8]) -> Result<()> {
        let bad = |why| GroupError::BadChannel { path: self.path.clone(), offset: self.octets, why };
        if self.octets.saturating_add(bulk.len() as u64) > MAX_FILE {
            return Err(GroupError::ChannelFull { max: MAX_FILE }.into());
        }
        let (mut rest, mut bytes) = (bulk, 0);
        for _ in 0..count {
            let (record, _, left) =
                ChannelRecord::take(rest).map_err(|_| bad("the stub sent a malformed frame"))?;
            rest = left;
            bytes += u64::from(record.len);
        }
        if !rest.is_empty() {
            return Err(bad("the stub sent more than its frames").into());
        }
        self.write(bulk)?;
        self.frames += u64::from(count);
        self.bytes += bytes;
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<()> {
        self.out.write_all(octets).at("writing", &self.path)?;
        self.hash.update(octets);
        self.octets += octets.len() as u64;
        Ok(())
    }

    /// Puts it on the disk, and notes what is in it.
    pub(super) fn finish(self, channel: &mut Channel) -> Result<()> {
        let file = self.out.into_inner().map_err(|e| e.into_error()).at("writing", &self.path)?;
        file.sync_all().at("syncing", &self.path)?;
        channel.frames = self.frames;
        channel.bytes = self.bytes;
        channel.sha256 = hex(&self.hash.finalize());
        Ok(())
    }
}

/// Some frames in the form in which the stub takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// How many.
    pub count: u16,
    /// Their records, each followed by its octets.
    pub octets: Vec<u8>,
}

/// Reads a file of frames, in its order.
#[derive(Debug)]
pub struct ChannelReader {
    path: PathBuf,
    from: BufReader<File>,
    /// Octets in all, and how many were read.
    length: u64,
    at: u64,
    hash: Sha256,
    frames: u64,
    bytes: u64,
    /// A frame that did not fit the last bulk.
    next: Option<(ChannelRecord, Vec<u8>)>,
}

impl ChannelReader {
    pub(super) fn open(path: &Path) -> Result<ChannelReader> {
        let file = File::open(path).at("opening", path)?;
        let length = file.metadata().at("looking at", path)?.len();
        let mut reader = ChannelReader {
            path: path.to_path_buf(),
            from: BufReader::with_capacity(1 << 16, file),
            length,
            at: 0,
            hash: Sha256::new(),
            frames: 0,
            bytes: 0,
            next: None,
        };
        if length > MAX_FILE {
            return Err(reader.bad("it is too long"));
        }
        let mut magic = [0; MAGIC.len()];
        reader.read(&mut magic)?;
        if magic != MAGIC {
            return Err(reader.bad("it is not a file of frames that this version knows"));
        }
        Ok(reader)
    }

    /// The next frame, and what is to be known of it; `None` at the end.
    pub fn frame(&mut self) -> Result<Option<(ChannelRecord, Vec<u8>)>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        if self.at == self.length {
            return Ok(None);
        }
        // The record alone first, to learn how long its frame is.
        let mut bytes = vec![0; CHANNEL_RECORD_LEN];
        self.read(&mut bytes)?;
        let length = bytes.get(24..28).and_then(|len| len.try_into().ok()).map_or(0, u32::from_le_bytes);
        if length > u32::from(u16::MAX) {
            return Err(self.bad("a frame is too long"));
        }
        bytes.resize(CHANNEL_RECORD_LEN + length as usize, 0);
        let mut frame = bytes.split_off(CHANNEL_RECORD_LEN);
        self.read(&mut frame)?;
        bytes.extend_from_slice(&frame);
        let (record, _, _) =
            ChannelRecord::take(&bytes).map_err(|_| self.bad("the record of a frame is malformed"))?;
        self.frames += 1;
        self.bytes += u64::from(record.len);
        Ok(Some((record, frame)))
    }

    /// As many of the next frames as fit [`handoff::CHANNEL_BULK`]; `None` at the end.
    pub fn bulk(&mut self) -> Result<Option<Bulk>> {
        let mut bulk = Bulk { count: 0, octets: Vec::new() };
        while let Some((record, frame)) = self.frame()? {
            let length = bulk.octets.len() + CHANNEL_RECORD_LEN + frame.len();
            if bulk.count == u16::MAX || (length > handoff::CHANNEL_BULK && bulk.count > 0) {
                self.next = Some((record, frame));
                break;
            }
            bulk.octets.extend_from_slice(&record.emit());
            bulk.octets.extend_from_slice(&frame);
            bulk.count += 1;
        }
        Ok((bulk.count > 0).then_some(bulk))
    }

    /// Reads the rest, and compares the file with what its host's part says.
    pub fn verify(mut self, told: &Channel) -> Result<()> {
        while self.frame()?.is_some() {}
        let found = hex(&self.hash.clone().finalize());
        if found != told.sha256 {
            return Err(self.bad("it does not match the SHA-256 in the manifest"));
        }
        if (self.frames, self.bytes) != (told.frames, told.bytes) {
            return Err(self.bad("it has other frames than the manifest says"));
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<()> {
        if self.at.saturating_add(into.len() as u64) > self.length {
            return Err(self.bad("it is truncated"));
        }
        self.from.read_exact(into).at("reading", &self.path)?;
        self.hash.update(&*into);
        self.at += into.len() as u64;
        Ok(())
    }

    fn bad(&self, why: &'static str) -> crate::Error {
        GroupError::BadChannel { path: self.path.clone(), offset: self.at, why }.into()
    }
}

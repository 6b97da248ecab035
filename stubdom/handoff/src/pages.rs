//! The bulk of a `Pages` message: one entry a page, then the contents of the pages that have
//! any, in the order of their entries.

use crate::wire::WireError;

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// The most pages in one message: half of a ring of 1 MiB. Each message wakes its reader once, and
/// a wake-up costs two switches of domains, so messages are large.
pub const PAGES_PER_MESSAGE: usize = 128;

/// Bytes of a [`PageEntry`] on the wire.
pub const PAGE_ENTRY_LEN: usize = 16;

/// How a page's contents travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All bytes are zero; nothing follows.
    Zero,
    /// [`PAGE_SIZE`] bytes follow.
    Raw,
    /// `len` bytes follow: at least 1, and less than [`PAGE_SIZE`], which only blocks reach.
    Coded {
        /// What they are.
        coding: Coding,
        /// How many.
        len: u16,
    },
}

/// What the bytes of a coded page are. The formats are those of `livesave::codec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// An LZ4 block.
    Lz4,
    /// The difference to what was sent last for this slot.
    Delta,
    /// Blocks, new ones and ones that were sent before; [`PAGE_SIZE`] bytes are the page itself,
    /// of new blocks only. Such pages must be decoded in the order in which they were sent.
    Blocks,
}

/// What is said of a page: `slot: u32, content: u16, len: u16, checksum: u64`, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Which page of the guest.
    pub slot: u32,
    /// How its contents travel.
    pub content: Content,
    /// XXH3-64 (seed 0) of the page's 4096 bytes, taken in the stub from its private copy.
    pub checksum: u64,
}

impl PageEntry {
    /// The entry as bytes.
    pub fn emit(&self) -> [u8; PAGE_ENTRY_LEN] {
        let (content, len): (u16, u16) = match self.content {
            Content::Zero => (0, 0),
            Content::Raw => (1, 0),
            Content::Coded { coding: Coding::Lz4, len } => (2, len),
            Content::Coded { coding: Coding::Delta, len } => (3, len),
            Content::Coded { coding: Coding::Blocks, len } => (4, len),
        };
        let mut bytes = [0; PAGE_ENTRY_LEN];
        bytes[..4].copy_from_slice(&self.slot.to_le_bytes());
        bytes[4..6].copy_from_slice(&content.to_le_bytes());
        bytes[6..8].copy_from_slice(&len.to_le_bytes());
        bytes[8..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`WireError::BadBulk`] for an unknown kind of content, or an impossible length.
    pub fn parse(bytes: &[u8; PAGE_ENTRY_LEN]) -> Result<Self, WireError> {
        let [s0, s1, s2, s3, c0, c1, l0, l1, sum @ ..] = *bytes;
        let len = u16::from_le_bytes([l0, l1]);
        let coded = |coding| match (usize::from(len), coding) {
            (1..PAGE_SIZE, _) | (PAGE_SIZE, Coding::Blocks) => Ok(Content::Coded { coding, len }),
            _ => Err(WireError::BadBulk),
        };
        let content = match (u16::from_le_bytes([c0, c1]), len) {
            (0, 0) => Content::Zero,
            (1, 0) => Content::Raw,
            (2, _) => coded(Coding::Lz4)?,
            (3, _) => coded(Coding::Delta)?,
            (4, _) => coded(Coding::Blocks)?,
            _ => return Err(WireError::BadBulk),
        };
        Ok(Self { slot: u32::from_le_bytes([s0, s1, s2, s3]), content, checksum: u64::from_le_bytes(sum) })
    }

    /// Bytes of content that follow for this page.
    pub fn content_len(&self) -> usize {
        match self.content {
            Content::Zero => 0,
            Content::Raw => PAGE_SIZE,
            Content::Coded { len, .. } => len.into(),
        }
    }
}

//! What a snapshot is started with, and why it may be refused.

use core::fmt;

/// Pages in a batch at most.
pub const MAX_BATCH: u32 = 4096;

/// What does not change during a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Pages of the guest; slots are below this. At least 1.
    pub pages: u32,
    /// Pages of the pool that are free when the last round begins.
    pub pool_pages: u32,
    /// Pages in a batch at most, from 1 to [`MAX_BATCH`].
    pub batch: u32,
}

/// Why there is no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewError {
    /// The guest has no pages.
    NoPages,
    /// The batch is not within 1 to [`MAX_BATCH`].
    BadBatch,
    /// Memory is short: this many bytes are needed in all. Give the stub more memory.
    Memory(usize),
}

impl fmt::Display for NewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NewError::NoPages => f.write_str("the guest has no memory"),
            NewError::BadBatch => write!(f, "a batch must have 1 to {MAX_BATCH} pages"),
            NewError::Memory(bytes) => write!(
                f,
                "no memory for the snapshot's bitmaps ({} KiB needed): give the stub domain more",
                bytes.div_ceil(1024)
            ),
        }
    }
}

impl core::error::Error for NewError {}

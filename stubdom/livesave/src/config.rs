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
    /// What the first round reads.
    pub base: Base,
    /// Leave the log of the guest's writes on when the image is complete, so that the next
    /// snapshot can build on this one. It is turned off all the same if there is no image.
    pub keep_log: bool,
    /// Whether pages that are dirty again are left out of live rounds.
    pub skip: Skip,
    /// Leave pages that were dirty at two fetches in a row for the last round.
    pub defer_hot: bool,
    /// Pages to make ready before the last round, at most. 0: none.
    pub prepare: u32,
    /// The guest may be slowed down, if the policy sees no other way.
    pub throttle: bool,
    /// Ask the driver before the guest is suspended ([`Action::Barrier`](crate::Action::Barrier)),
    /// and copy on until it agrees: for guests that are to be suspended together.
    pub barrier: bool,
    /// What the suspended time had besides fetching the bitmap and reading pages in earlier
    /// snapshots ([`Report::fixed_us`](crate::Report::fixed_us)), in microseconds.
    pub fixed_us: u32,
    /// What reading a page that was made ready took in earlier snapshots, in nanoseconds. 0: not
    /// known, as long as any other.
    pub prepared_ns: u32,
}

impl Config {
    /// The plain way: all memory, skipping as the policy has it, and none of the extras.
    pub const fn new(pages: u32, pool_pages: u32, batch: u32) -> Self {
        Self {
            pages,
            pool_pages,
            batch,
            base: Base::Everything,
            keep_log: false,
            skip: Skip::Policy,
            defer_hot: false,
            prepare: 0,
            throttle: false,
            barrier: false,
            fixed_us: 0,
            prepared_ns: 0,
        }
    }
}

/// What the first round reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Base {
    /// Every page.
    #[default]
    Everything,
    /// Only the pages in the log, which was kept on since an earlier snapshot of this guest
    /// ([`Config::keep_log`]). The image is that snapshot's with these pages on top. When this
    /// snapshot is given up, the log has lost them: the next one must read everything.
    Log,
}

/// Whether pages that are dirty again are left out of live rounds (PEEK for each batch, as Xen
/// up to 4.5 did).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Skip {
    /// As the policy has it.
    #[default]
    Policy,
    /// Never.
    Never,
    /// In every live round.
    Always,
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

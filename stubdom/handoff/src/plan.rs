//! How a snapshot is to be taken: what the operator chose, and what the shim knows of the host.

use serde::{Deserialize, Serialize};

/// The most pages that one hypercall copies.
pub const MAX_COPY_BATCH: u16 = 512;

/// Pages that one hypercall copies as a rule. Counted in instructions (`qemu-ci/bench page`, Xen 4.17) a
/// page takes 153 µs alone, 78 in batches of 8, 58 of 32, 56 of 64 and 70 of 128; but an exit to Xen
/// takes longer than its instructions do, and by the clock 128 take an eighth less than 64 (six
/// snapshots of each, in turns).
pub const COPY_BATCH: u16 = 128;

/// Blocks of 1 KiB that both ends remember, when pages travel by blocks: 4 MiB.
pub const BLOCK_CACHE: u32 = 4096;

/// How a snapshot is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// When to stop copying live.
    pub policy: Policy,
    /// Whether pages that are dirty again are left out of live rounds.
    pub skip: Skip,
    /// Leave pages that are dirty in most rounds for the last one.
    pub defer_hot: bool,
    /// Pages made ready, granted and mapped, before the last round; 0: none.
    pub prepare: u32,
    /// Pages of the pool for the last round at most; 0: all that are free.
    pub pool_pages: u32,
    /// Pages copied by one hypercall, 1 to [`MAX_COPY_BATCH`].
    pub copy_batch: u16,
    /// How pages travel.
    pub codecs: Codecs,
    /// What the first round reads.
    pub base: Base,
    /// Leave the log of the guest's writes on at the end, for the next snapshot.
    pub keep_log: bool,
    /// The guest may be slowed down when nothing else helps.
    pub throttle: bool,
    /// Do not suspend the guest before the group that the job is of says so: copy on meanwhile.
    pub barrier: bool,
    /// What the suspended time had besides copying in earlier snapshots, in microseconds.
    pub fixed_us: u32,
    /// What reading a prepared page took in earlier snapshots, in nanoseconds; 0: not known.
    pub prepared_ns: u32,
}

impl Plan {
    /// A plan with everything else as usual.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            skip: Skip::Policy,
            defer_hot: false,
            prepare: 0,
            pool_pages: 0,
            copy_batch: COPY_BATCH,
            codecs: Codecs::Auto,
            base: Base::Everything,
            keep_log: false,
            throttle: false,
            barrier: false,
            fixed_us: 10_000,
            prepared_ns: 0,
        }
    }
}

/// When pre-copy stops. `livesave`, which has them, says where each comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// The Live Save paper's loop.
    LiveSave,
    /// The same with fewer rounds while the guest writes faster than the sink.
    ImprovedLiveSave,
    /// Xen's live migration as of 4.5.1.
    XenMigrate451,
    /// Xen's live migration as of today.
    XenMigrate,
    /// CloudNet's rule.
    SmartStop,
    /// Suspend as soon as what is left fits the pool.
    PoolFit,
    /// Suspend first, then copy everything: what `xl save` does.
    XenSave,
    /// Suspend when the suspended time would be within a target.
    Downtime {
        /// The target, in microseconds.
        target_us: u32,
        /// Without hope of meeting it, give up instead of doing one's best.
        strict: bool,
    },
}

/// Whether pages that are dirty again (log-dirty PEEK) are left out of live rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Skip {
    /// As the policy has it.
    #[default]
    Policy,
    /// Never.
    Never,
    /// In every live round.
    Always,
}

/// How pages travel to the shim. Zero pages are never sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codecs {
    /// LZ4 where it gains time, as measured while it goes on.
    #[default]
    Auto,
    /// As they are.
    Raw,
    /// By these codecs, where they make a page smaller.
    Chosen {
        /// LZ4.
        lz4: bool,
        /// The difference to what was sent before for the same slot.
        delta: bool,
        /// Blocks that were sent before, of any page.
        blocks: bool,
    },
}

/// What the first round reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Every page.
    #[default]
    Everything,
    /// What was written to since an earlier snapshot left the log on.
    Log,
}

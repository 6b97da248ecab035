//! What a snapshot did, and where it stands. Pages are 4 KiB.

use serde::{Deserialize, Serialize};

/// One round of pre-copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u16,
    /// Whether the guest ran.
    pub live: bool,
    /// Pages to be sent at its begin.
    pub asked: u32,
    /// Pages sent, with contents or as zero.
    pub sent: u32,
    /// Pages of `sent` that were all zero.
    pub zero: u32,
    /// Pages left for later because they were dirty again.
    pub skipped: u32,
    /// Pages found dirty at the end of the round.
    pub dirtied: u32,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The present round, from 1.
    pub round: u16,
    /// Pages left in it.
    pub remaining: u32,
    /// Pages sent since the start.
    pub sent: u64,
    /// Pages a second dirtied in the last round.
    pub dirty_rate: u32,
    /// Pages a second copied.
    pub copy_rate: u32,
}

/// Why pre-copy stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// The policy is not live.
    NotLive,
    /// Few pages were left.
    FewDirty,
    /// The policy's limit of rounds was reached.
    TooManyRounds,
    /// The policy's limit of pages was reached.
    TooMuchSent,
    /// What was left fitted the pool.
    FitsPool,
    /// Rounds no longer left less than the one before.
    NotShrinking,
    /// As little was left as in no round of the window before.
    LocalMinimum,
    /// The suspended time would be within the target.
    TargetMet,
    /// It would not, and there was no hope of better.
    TargetMissed,
}

impl Stop {
    /// The word for it in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLive => "not-live",
            Self::FewDirty => "few-dirty",
            Self::TooManyRounds => "too-many-rounds",
            Self::TooMuchSent => "too-much-sent",
            Self::FitsPool => "fits-pool",
            Self::NotShrinking => "not-shrinking",
            Self::LocalMinimum => "local-minimum",
            Self::TargetMet => "target-met",
            Self::TargetMissed => "target-missed",
        }
    }
}

/// Pages that travelled in one way, and the bytes that they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Pages.
    pub pages: u64,
    /// Bytes of their contents, as sent.
    pub bytes: u64,
}

/// What a finished snapshot did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rounds, the last one included.
    pub rounds: u16,
    /// Why pre-copy stopped.
    pub stop: Stop,
    /// Pages sent in all.
    pub sent: u64,
    /// Pages of `sent` that were zero.
    pub zero: u64,
    /// Pages left for later, in all rounds.
    pub skipped: u64,
    /// Pages of the last round that were copied to memory.
    pub kept: u32,
    /// Pages of the last round that did not fit the pool and were streamed while the guest was
    /// suspended.
    pub overflow: u32,
    /// Pages of the last round that had been made ready before.
    pub prepared: u32,
    /// Microseconds that reading these took.
    pub prepared_us: u32,
    /// The suspended time that was expected when copying live stopped, in microseconds; 0: the
    /// policy expects none.
    pub estimate_us: u32,
    /// What the suspended time had besides copying, in microseconds, as the stub saw it: for the
    /// [`Plan`](crate::Plan) of the next snapshot.
    pub fixed_us: u32,
    /// The smallest share of its CPU time, in percent, that the guest was given.
    pub throttle: u8,
    /// Hypercalls that copied pages.
    pub copy_hypercalls: u64,
    /// Microseconds in those hypercalls.
    pub copy_micros: u64,
    /// Microseconds in codecs.
    pub codec_micros: u64,
    /// Pages that travelled as they are.
    pub raw: Tally,
    /// Pages by LZ4.
    pub lz4: Tally,
    /// Pages as differences.
    pub delta: Tally,
    /// Pages by blocks.
    pub blocks: Tally,
}

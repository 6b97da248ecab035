//! One port's colour.

use super::Counts;
use crate::id::{Epoch, NetworkId};

/// What a port holds now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) frames: u32,
    pub(super) octets: u32,
}

/// A port.
pub(super) struct Port {
    pub(super) network: NetworkId,
    pub(super) epoch: Epoch,
    /// Captured by the cut that runs: what comes from before it is recorded.
    pub(super) flipped: bool,
    /// Held frames are to be judged again, as the epoch has risen.
    pub(super) due: bool,
    pub(super) held: Held,
    /// When the oldest held frame came, or earlier; `u64::MAX` without any.
    pub(super) oldest_ms: u64,
    pub(super) counts: Counts,
}

impl Port {
    pub(super) fn new(network: NetworkId, epoch: Epoch) -> Self {
        Self {
            network,
            epoch,
            flipped: false,
            due: false,
            held: Held::default(),
            oldest_ms: u64::MAX,
            counts: Counts::default(),
        }
    }

    /// To a higher epoch.
    pub(super) fn raise(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.due = self.held.frames > 0;
    }

    /// When its held frames are to be judged again: 0 for at once, `u64::MAX` for never.
    pub(super) fn due_at(&self, hold_ms: u64) -> u64 {
        match (self.held.frames, self.due) {
            (0, _) => u64::MAX,
            (_, true) => 0,
            (_, false) => self.oldest_ms.saturating_add(hold_ms),
        }
    }
}

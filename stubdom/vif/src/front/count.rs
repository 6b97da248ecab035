//! What the uplink did.

use core::cell::Cell;
use core::fmt;

/// A number that only grows.
#[derive(Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.get()
    }

    pub(super) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    pub(super) fn one(&self) {
        self.add(1);
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Counters of a front end, since it was made: they go on when it connects again.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames given to the back end.
    pub tx_frames: Count,
    /// Their octets, Ethernet header included.
    pub tx_octets: Count,
    /// Frames that the back end says it did not send.
    pub tx_refused: Count,
    /// Buffers asked for while all were on their way: a back end that is slow or stopped.
    pub tx_full: Count,
    /// Buffers asked for while there was no link.
    pub tx_down: Count,
    /// Frames received and handed on.
    pub rx_frames: Count,
    /// Their octets, Ethernet header included.
    pub rx_octets: Count,
    /// Frames that the back end could not deliver.
    pub rx_failed: Count,
    /// Frames that are shorter than an Ethernet header or longer than [`super::MAX_FRAME`].
    pub rx_size: Count,
    /// Notifications sent: a hypercall each.
    pub notifications_sent: Count,
    /// Times that [`super::Front::wait`] ended because the back end had notified us.
    pub notifications_received: Count,
    /// Times that the link came up.
    pub connects: Count,
    /// Times that the link went down, for whatever reason.
    pub disconnects: Count,
    /// Of these, because the back end broke the protocol of the rings.
    pub broken: Count,
}

//! Places in the sequence of what one switch seals for another, so that a group snapshot knows when a
//! channel is empty: which of the datagrams that a peer sealed before its cut have come.
//!
//! The numbers are those of the seal, so all datagrams of the key count: frames of all networks,
//! messages, empty ones. It never counts longer than it must: a datagram that is older than the
//! replay window is refused when it comes, so nobody need wait for it.

use super::sessions::Sessions;
use crate::id::PeerId;

/// A place in the sequence of datagrams that one switch seals for one other: after the last one that
/// was sealed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeqPoint {
    /// The index that the receiver gave the key.
    pub key: u32,
    /// The number that the next datagram gets: how many were sealed under this key so far.
    pub counter: u64,
}

/// What is missing of the datagrams between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// So many have not come, and would be taken if they came now. With 0, all have come.
    Known(u64),
    /// The range begins before what the window remembers, and some datagram of this key was lost
    /// before the window: perhaps one of the range, which would not be taken any more. Of the rest so many
    /// have not come. With 0, the channel is empty, and nobody can tell how many were lost.
    Past(u64),
    /// The points are of different keys, or of one that has ended, or there is no such peer.
    Unknown,
}

impl Missing {
    /// Whether nothing of the range can come any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Known(0) | Self::Past(0))
    }
}

impl Sessions {
    /// Where we are in what we seal for this peer: all that was sealed so far is before it. `None`
    /// without a session.
    pub fn sent_point(&self, peer: PeerId) -> Option<SeqPoint> {
        let key = self.slot(peer)?.current.as_ref()?;
        Some(SeqPoint { key: key.remote, counter: key.next() })
    }

    /// The point after the newest datagram of this peer that came under the newest key: what is
    /// missing before it was lost or overtaken. A receiver may begin there to count what is still to come.
    pub fn seen_point(&self, peer: PeerId) -> Option<SeqPoint> {
        let key = self.slot(peer)?.current.as_ref()?;
        Some(SeqPoint { key: key.local, counter: key.window().end() })
    }

    /// How many of the datagrams that this peer sealed after `after` and up to `upto` have not come.
    /// Both points are the peer's [`sent_point`](Self::sent_point)s, or our own
    /// [`seen_point`](Self::seen_point)s for it; `upto` may be any numbers, as a peer says it.
    pub fn missing(&self, peer: PeerId, after: SeqPoint, upto: SeqPoint) -> Missing {
        let key = (after.key == upto.key).then(|| self.slot(peer)?.look(upto.key)).flatten();
        let Some(key) = key else { return Missing::Unknown };
        let gap = key.window().missing(after.counter, upto.counter);
        if gap.past { Missing::Past(gap.awaited) } else { Missing::Known(gap.awaited) }
    }
}

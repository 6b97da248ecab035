//! What was counted, under names that stay.

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Shorter than a datagram of its kind.
    Truncated,
    /// Of another version of the wire format: update the older host.
    Version,
    /// A kind, flag, field or length that does not exist.
    Malformed,
    /// For another switch: somebody knows our address with another's key.
    NotForUs,
    /// From a switch that was never introduced.
    UnknownPeer,
    /// A handshake by somebody who claims a peer's id and holds another key.
    WrongKey,
    /// A tag or MAC that does not fit: altered on the way, or written without the key.
    Forged,
    /// A datagram that was taken before, or is too old to know.
    Replay,
    /// Sealed for a peer with whom there is no session: we restarted, or it does not know yet that
    /// ours has ended.
    NoSession,
    /// Sealed with a key that has been replaced or has expired.
    StaleKey,
    /// A handshake's first message that was taken before, or is older than one that was.
    HandshakeReplay,
    /// More handshakes than are answered in a second.
    HandshakeLimit,
    /// A handshake's first message that crossed ours, which takes precedence.
    HandshakeCrossed,
    /// A handshake's second message that we don't wait for (any longer).
    HandshakeUnasked,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Reason; 14] = [
        Self::Truncated,
        Self::Version,
        Self::Malformed,
        Self::NotForUs,
        Self::UnknownPeer,
        Self::WrongKey,
        Self::Forged,
        Self::Replay,
        Self::NoSession,
        Self::StaleKey,
        Self::HandshakeReplay,
        Self::HandshakeLimit,
        Self::HandshakeCrossed,
        Self::HandshakeUnasked,
    ];

    /// The counter's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::NotForUs => "not-for-us",
            Self::UnknownPeer => "unknown-peer",
            Self::WrongKey => "wrong-key",
            Self::Forged => "forged",
            Self::Replay => "replay",
            Self::NoSession => "no-session",
            Self::StaleKey => "stale-key",
            Self::HandshakeReplay => "handshake-replay",
            Self::HandshakeLimit => "handshake-limit",
            Self::HandshakeCrossed => "handshake-crossed",
            Self::HandshakeUnasked => "handshake-unasked",
        }
    }
}

/// What was counted, for a peer or for all. A drop is counted for a peer when the datagram claimed
/// to be from it: only what [`Reason`] says was proved is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams sealed, keep-alives of ours included.
    pub sealed: u64,
    /// Octets of payload sealed.
    pub sealed_octets: u64,
    /// Datagrams opened.
    pub opened: u64,
    /// Octets of payload opened.
    pub opened_octets: u64,
    /// Datagrams that were not sealed as there was no session yet.
    pub unsealed_no_session: u64,
    /// Handshakes' first messages sent, repeated ones included.
    pub initiations: u64,
    /// Handshakes' second messages sent.
    pub responses: u64,
    /// Sessions that both sides have proved to hold.
    pub established: u64,
    /// Handshakes given up, as nobody answered.
    pub handshake_timeouts: u64,
    /// Times that the peer's address changed.
    pub roamed: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Counters {
    /// How many datagrams were dropped for this reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many datagrams were dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// All names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        [
            ("sealed", self.sealed),
            ("sealed-octets", self.sealed_octets),
            ("opened", self.opened),
            ("opened-octets", self.opened_octets),
            ("unsealed-no-session", self.unsealed_no_session),
            ("initiations", self.initiations),
            ("responses", self.responses),
            ("established", self.established),
            ("handshake-timeouts", self.handshake_timeouts),
            ("roamed", self.roamed),
        ]
        .into_iter()
        .chain(Reason::ALL.iter().map(|&reason| (reason.name(), self.dropped(reason))))
    }

    /// Adds another's.
    pub(super) fn add(&mut self, other: &Counters) {
        let Self {
            sealed,
            sealed_octets,
            opened,
            opened_octets,
            unsealed_no_session,
            initiations,
            responses,
            established,
            handshake_timeouts,
            roamed,
            dropped,
        } = other;
        self.sealed += sealed;
        self.sealed_octets += sealed_octets;
        self.opened += opened;
        self.opened_octets += opened_octets;
        self.unsealed_no_session += unsealed_no_session;
        self.initiations += initiations;
        self.responses += responses;
        self.established += established;
        self.handshake_timeouts += handshake_timeouts;
        self.roamed += roamed;
        for (sum, count) in self.dropped.iter_mut().zip(dropped) {
            *sum += count;
        }
    }

    pub(super) fn drop(&mut self, reason: Reason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            let mut counters = Counters::default();
            counters.drop(reason);
            let counted: std::vec::Vec<_> = counters.iter().filter(|(_, count)| *count != 0).collect();
            assert_eq!(counted, [(reason.name(), 1)]);
        }
    }
}

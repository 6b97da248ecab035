//! What is counted: frames and octets in and out, and what did not go anywhere, by reason.

/// Why a frame went nowhere, or not everywhere. The names are stable: scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Shorter than an Ethernet header.
    Runt,
    /// Its payload is longer than the network's MTU.
    TooBig,
    /// Its source is a group address or all zeros.
    BadSource,
    /// Its source is not the MAC address pinned to its port, or is pinned to another live port.
    Spoofed,
    /// To 01:80:c2:00:00:00 to :0f, which a bridge keeps to itself. Neither do we speak what is said
    /// there, nor may a guest speak it to another's: a pause frame or a spanning tree of a guest must
    /// not stop others.
    LinkLocal,
    /// Its destination is where it came from.
    SamePort,
    /// From one peer to another: their own switches speak to each other.
    SplitHorizon,
    /// From a peer, for a network that this switch does not have.
    NoNetwork,
    /// From a peer, for a network which that peer is not known to be a member of.
    NotMember,
    /// From or to a port that is gone.
    Closed,
    /// More copies of broadcasts and of frames to unknown places than a port may ask for.
    FloodLimit,
    /// The target's queue had no room (told by the driver).
    QueueFull,
    /// There was no buffer for it (told by the driver).
    NoBuffer,
    /// It waited too long for a guest that takes no frames (told by the driver).
    Stale,
    /// A guest's grant did not grant what it should (told by the driver).
    BadGrant,
    /// The guest takes no frame of this kind, and it could not be made one that it takes (told by
    /// the driver).
    Unsupported,
    /// There is no session with the peer yet, or the uplink is down (told by the driver).
    NoSession,
    /// From after a cut, to a guest before it, and the snapshot is one that drops such frames (told by
    /// the driver, as [`Cut`](crate::cut::Cut) judges).
    AfterCut,
    /// From after a cut, to a guest before it, and there was no room to hold it (told by the driver).
    HeldFull,
    /// From after a cut, and held until it was too old (told by the driver).
    HeldTooLong,
    /// Not a drop: the source was not learned, for want of room for its port, peer or network. Frames
    /// to it are flooded.
    TableFull,
    /// Not a drop: the source has moved too often this second and stays where it was.
    Flapping,
}

impl DropReason {
    /// All of them, in the order of [`Drops::iter`].
    pub const ALL: [DropReason; 22] = {
        use DropReason::*;
        [
            Runt,
            TooBig,
            BadSource,
            Spoofed,
            LinkLocal,
            SamePort,
            SplitHorizon,
            NoNetwork,
            NotMember,
            Closed,
            FloodLimit,
            QueueFull,
            NoBuffer,
            Stale,
            BadGrant,
            Unsupported,
            NoSession,
            AfterCut,
            HeldFull,
            HeldTooLong,
            TableFull,
            Flapping,
        ]
    };

    /// Its name for people and scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::TooBig => "too-big",
            Self::BadSource => "bad-source",
            Self::Spoofed => "spoofed",
            Self::LinkLocal => "link-local",
            Self::SamePort => "same-port",
            Self::SplitHorizon => "split-horizon",
            Self::NoNetwork => "no-network",
            Self::NotMember => "not-member",
            Self::Closed => "closed",
            Self::FloodLimit => "flood-limit",
            Self::QueueFull => "queue-full",
            Self::NoBuffer => "no-buffer",
            Self::Stale => "stale",
            Self::BadGrant => "bad-grant",
            Self::Unsupported => "unsupported",
            Self::NoSession => "no-session",
            Self::AfterCut => "after-cut",
            Self::HeldFull => "held-full",
            Self::HeldTooLong => "held-too-long",
            Self::TableFull => "table-full",
            Self::Flapping => "flapping",
        }
    }

    /// Whether the frame was lost. [`TableFull`](Self::TableFull) and [`Flapping`](Self::Flapping)
    /// only count what was not learned.
    pub const fn is_loss(self) -> bool {
        !matches!(self, Self::TableFull | Self::Flapping)
    }
}

/// A count for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// How many for `reason`.
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its count, zeros too.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0)
    }

    /// Frames lost, all reasons together.
    pub fn lost(&self) -> u64 {
        self.iter().filter(|(reason, _)| reason.is_loss()).fold(0, |sum, (_, n)| sum.wrapping_add(n))
    }

    pub(super) const fn add(&mut self, reason: DropReason) {
        let count = &mut self.0[reason as usize];
        *count = count.wrapping_add(1);
    }
}

/// What a port or a peer has seen. In: from it into the switch; out: to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that came from it, dropped ones too.
    pub frames_in: u64,
    /// Their octets.
    pub bytes_in: u64,
    /// Frames that the driver gave to it.
    pub frames_out: u64,
    /// Their octets.
    pub bytes_out: u64,
    /// What came from it, or was meant for it, and did not get through.
    pub drops: Drops,
}

impl Counters {
    pub(super) const fn add_in(&mut self, len: usize) {
        self.frames_in = self.frames_in.wrapping_add(1);
        self.bytes_in = self.bytes_in.wrapping_add(len as u64);
    }

    pub(super) const fn add_out(&mut self, len: usize) {
        self.frames_out = self.frames_out.wrapping_add(1);
        self.bytes_out = self.bytes_out.wrapping_add(len as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_own_count_and_its_own_kebab_case_name() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert!(reason.name().bytes().all(|c| c == b'-' || c.is_ascii_lowercase()));
            let mut drops = Drops::default();
            drops.add(reason);
            assert_eq!(drops.get(reason), 1);
            assert_eq!(drops.lost(), u64::from(reason.is_loss()));
            assert_eq!(drops.iter().filter(|(_, n)| *n > 0).count(), 1);
        }
    }
}

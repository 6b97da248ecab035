//! What is said of group snapshots: one cut of all guests of a network, on all hosts that have it.
//!
//! The stubs agree among themselves when each guest is to be suspended and whether the whole is
//! complete; the shims keep the images. Of a host's side of a group snapshot:
//!
//! ```text
//! shim                                  stub
//!   Begin            ───────────────>             (only where the operator asked)
//!                    <───────────────  Begun
//!                    <───────────────  Prepare    on every host that has the network
//!   Start … (jobs with Plan::barrier)
//!   Prepared{jobs}   ───────────────>
//!        … the jobs run; all hosts ready; each guest is suspended, copied, resumed …
//!                    <───────────────  Cut        for each job
//!                    <───────────────  Channel …  frames that were on their way at the cut
//!                    <───────────────  Drained
//!   Stored (part)    ───────────────>             everything is durable here, undecided
//!                    <───────────────  Manifest … all parts: only at the coordinator
//!   Committed        ───────────────>             the manifest is durable: the commit point
//!                    <───────────────  Commit …   the manifest, everywhere else
//!   Committed        ───────────────>
//!                    <───────────────  Ended      at the coordinator
//! ```
//!
//! At any time before, either side may give it up: `Failed` or `Cancel`, and `Abort`. Guests run on
//! then, and what was stored of it is to be deleted.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::message::{Job, Why};
use crate::wire::WireError;

/// The most guests of one network on one host.
pub const MAX_GROUP_JOBS: usize = 48;

/// The longest part, in octets: what one host says of its members, in the shims' own JSON.
pub const MAX_PART: usize = 32 * 1024;

/// The longest manifest of a group, in octets.
pub const MAX_GROUP_MANIFEST: usize = 1 << 20;

/// The most octets of a manifest in one message.
pub const GROUP_PIECE: usize = 16 * 1024;

/// The longest bulk of one `Channel`, in octets.
pub const CHANNEL_BULK: usize = 64 * 1024 + CHANNEL_RECORD_LEN;

/// Octets of a [`ChannelRecord`] on the wire.
pub const CHANNEL_RECORD_LEN: usize = 32;

/// The name of a group among the hosts: network@time.
pub type GroupName = String<64>;

/// A group snapshot among the switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId {
    /// The network.
    pub network: u32,
    /// The epoch that its guests' vifs have after the cut.
    pub epoch: u32,
    /// The switch that began it.
    pub initiator: u64,
}

/// How the guests' cuts hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupMode {
    /// All pre-copy until each is ready, then all are suspended at once; frames from after the cut
    /// wait for receivers before it.
    Together,
    /// As VNsnap was published: each is suspended when its own pre-copy ends, and frames from after
    /// the cut to receivers before it are dropped. To compare with.
    Classic,
}

/// From the shim to its stub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// One at a time is on its way, as for NetAnswer.
#[allow(clippy::large_enum_variant)]
pub enum GroupOrder {
    /// Begin a group snapshot: this switch coordinates. Answered by `Begun` or `Refused`.
    Begin {
        /// The network.
        network: u32,
        /// How.
        mode: GroupMode,
        /// Its name on all hosts.
        name: GroupName,
        /// How each guest's snapshot is to be taken: the shims' own words.
        options: Vec<u8, 512>,
    },
    /// Answers `Prepare`: these jobs were started, or will be in a moment. May be none.
    Prepared {
        /// The group.
        group: GroupId,
        /// The jobs of this host's members.
        jobs: Vec<Job, MAX_GROUP_JOBS>,
    },
    /// Answers `Drained`: all of this host is durable. Bulk: the part, at most [`MAX_PART`].
    Stored {
        /// The group.
        group: GroupId,
    },
    /// The manifest is durable here.
    Committed {
        /// The group.
        group: GroupId,
    },
    /// It can't go on here: no memory, no space, a guest that was not attached.
    Failed {
        /// The group.
        group: GroupId,
        /// Why, naming the guest.
        why: Why,
    },
    /// The operator wants it no more.
    Cancel {
        /// The group.
        group: GroupId,
    },
    /// Something of this group is here, undecided: what became of it? Answered in time by `Commit`
    /// or `Abort`. Also answers `Question`. Bulk: the members as in `Prepare`.
    Ask {
        /// The group.
        group: GroupId,
        /// Whether this host has its manifest, and only wants to know that others have it as well.
        committed: bool,
    },
    /// Answers `Question`: whether this host has it committed and, if so, its manifest. Bulk: a piece of its manifest, or
    /// nothing.
    Decision {
        /// The group.
        group: GroupId,
        /// Whether it has.
        committed: bool,
        /// Octets of the manifest before this piece.
        first: u32,
        /// Octets of the manifest in all; 0 if it is not committed.
        total: u32,
    },
    /// An epoch of a network that was in use before, as far as this host knows: it is never used again.
    Raise {
        /// The network.
        network: u32,
        /// The epoch.
        epoch: u32,
    },
    /// Frames to give to guests that are being restored, as soon as their vifs connect and before
    /// anything else. Bulk: `count` times a [`ChannelRecord`] and its octets.
    Inject {
        /// The network.
        network: u32,
        /// How many.
        count: u16,
    },
}

/// From the stub to its shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// One at a time is on its way, as for NetAnswer.
#[allow(clippy::large_enum_variant)]
pub enum GroupNews {
    /// Answers `Begin`: it has begun.
    Begun {
        /// The group.
        group: GroupId,
    },
    /// Answers `Begin`: it has not.
    Refused {
        /// The group that is in the way, if one is.
        group: Option<GroupId>,
        /// Why.
        why: Why,
    },
    /// Take part: start a job for each guest that this host has in the network, and answer
    /// `Prepared` or `Failed`. Bulk: all switches that take part, this one included, 8 octets each,
    /// little endian: to be kept for `Ask`.
    Prepare {
        /// The group.
        group: GroupId,
        /// How.
        mode: GroupMode,
        /// Its name.
        name: GroupName,
        /// As in `Begin`.
        options: Vec<u8, 512>,
    },
    /// A member has been cut. Times in microseconds since this host's `Prepare`.
    Cut {
        /// The group.
        group: GroupId,
        /// The member's job.
        job: Job,
        /// When.
        times: CutTimes,
    },
    /// Frames that were on their way to members of this host at the cut. Bulk: `count` times a
    /// [`ChannelRecord`] and its octets, at most [`CHANNEL_BULK`] in all.
    Channel {
        /// The group.
        group: GroupId,
        /// How many.
        count: u16,
    },
    /// All channels to this host are closed: store everything, then say `Stored`.
    Drained {
        /// The group.
        group: GroupId,
        /// What became of frames.
        tally: ChannelTally,
    },
    /// At the coordinator: all is stored everywhere. Bulk: a piece of the parts, each preceded by its
    /// switch (u64) and length (u32), little endian. After the last piece: make it a manifest,
    /// durable, and say `Committed`.
    Manifest {
        /// The group.
        group: GroupId,
        /// Octets before this piece.
        first: u32,
        /// Octets in all.
        total: u32,
    },
    /// It is committed. Bulk: a piece of the manifest.
    Commit {
        /// The group.
        group: GroupId,
        /// Octets before this piece.
        first: u32,
        /// Octets in all.
        total: u32,
    },
    /// It was given up: delete what is here of it.
    Abort {
        /// The group.
        group: GroupId,
        /// Why, naming the host or guest.
        why: Why,
    },
    /// Another host asks whether this one has it committed, or wants the manifest: answer `Decision`,
    /// or `Ask` if it is undecided here, too.
    Question {
        /// The group.
        group: GroupId,
    },
    /// At the coordinator: every member knows how it ended.
    Ended {
        /// The group.
        group: GroupId,
    },
}

/// When what happened to a member, in microseconds since its host's `Prepare`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutTimes {
    /// Its policy wanted to suspend it.
    pub ready_us: u64,
    /// It was asked to suspend.
    pub asked_us: u64,
    /// It stood still, and its vifs were cut.
    pub cut_us: u64,
    /// It ran again.
    pub resumed_us: u64,
}

/// What became of frames around a cut, on one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelTally {
    /// From before the cut to members after it: delivered and recorded.
    pub recorded: u64,
    /// The same, that could not be recorded: the image lacks them, as a wire may.
    pub missed: u64,
    /// Datagrams from before the cut that never came. Those of other kinds may be among them.
    pub lost: u64,
    /// Peers of whom it is not known how many were lost.
    pub unknown: u16,
    /// From after the cut to members before it: waited.
    pub held: u64,
    /// The same, dropped.
    pub dropped: u64,
}

/// What is said of a frame of the channel state:
/// `time_us: u64, network: u32, mac: [u8; 6], checksum: u8, gso: u8, gso_size: u16, zero: u16, len: u32, zero: u32`,
/// little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// When it was recorded, in microseconds since this host's `Prepare`.
    pub time_us: u64,
    /// The network.
    pub network: u32,
    /// The MAC address of the vif that it was for.
    pub mac: [u8; 6],
    /// Its checksum: 0 in the frame, 1 known to be right, 2 left blank.
    pub checksum: u8,
    /// Segments that it stands for: 0 none, 4 TCP over IPv4, 6 TCP over IPv6.
    pub gso: u8,
    /// Payload octets of each segment.
    pub gso_size: u16,
    /// Octets of the frame that follow, at most 65535.
    pub len: u32,
}

impl ChannelRecord {
    /// The record as octets.
    pub fn emit(&self) -> [u8; CHANNEL_RECORD_LEN] {
        let mut bytes = [0; CHANNEL_RECORD_LEN];
        bytes[..8].copy_from_slice(&self.time_us.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.network.to_le_bytes());
        bytes[12..18].copy_from_slice(&self.mac);
        bytes[18] = self.checksum;
        bytes[19] = self.gso;
        bytes[20..22].copy_from_slice(&self.gso_size.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Takes the first record and its octets off a bulk; returns what is left.
    ///
    /// # Errors
    /// [`WireError::BadBulk`] if the bulk ends early, or the record makes no sense.
    pub fn take(bulk: &[u8]) -> Result<(Self, &[u8], &[u8]), WireError> {
        let (bytes, rest) = bulk.split_first_chunk::<CHANNEL_RECORD_LEN>().ok_or(WireError::BadBulk)?;
        let record = Self {
            time_us: u64::from_le_bytes(part(bytes, 0)),
            network: u32::from_le_bytes(part(bytes, 8)),
            mac: part(bytes, 12),
            checksum: bytes[18],
            gso: bytes[19],
            gso_size: u16::from_le_bytes(part(bytes, 20)),
            len: u32::from_le_bytes(part(bytes, 24)),
        };
        let zero: [u8; 2] = part(bytes, 22);
        let last: [u8; 4] = part(bytes, 28);
        let sane = zero == [0; 2]
            && last == [0; 4]
            && record.checksum <= 2
            && matches!(record.gso, 0 | 4 | 6)
            && record.len <= 65_535;
        let len = usize::try_from(record.len).map_err(|_| WireError::BadBulk)?;
        let (octets, rest) = rest.split_at_checked(len).ok_or(WireError::BadBulk)?;
        if sane { Ok((record, octets, rest)) } else { Err(WireError::BadBulk) }
    }
}

fn part<const N: usize>(bytes: &[u8; CHANNEL_RECORD_LEN], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

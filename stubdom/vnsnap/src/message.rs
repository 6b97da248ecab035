//! What switches say to each other: postcard, one message a datagram, sealed.
//!
//! The first octet is the version, whatever else follows in another one. It must never let pass what is cut,
//! too long, or has something behind its end.

use alloc::vec::Vec;

use heapless::Vec as Few;
use serde::{Deserialize, Serialize};

use crate::blob::Digest;
use crate::error::Why;
use crate::{GroupId, Mode, Name, Options, Point};

/// The version of the protocol: the first octet of each message. It changes with whatever a switch of the version
/// before would not understand, be it only that a text may be longer.
pub const VERSION: u8 = 2;

/// The longest message, in octets: fits the underlay with seal and headers.
pub const MESSAGE_MAX: usize = 1200;

/// Octets of a blob in one message.
pub(crate) const PIECE: usize = 1024;

/// Points in one message.
pub(crate) const PAGE: usize = 40;

/// The most pages of points: 256 peers.
pub(crate) const PAGES_MAX: usize = 7;

/// A page of a list of points: `page` of `pages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Points {
    pub(crate) page: u8,
    pub(crate) pages: u8,
    pub(crate) points: Few<Point, PAGE>,
}

/// How far a participant is: what it reports, again and again, until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The shim was told.
    Preparing,
    /// The shim has started its jobs.
    Prepared,
    /// All jobs stand at the barrier.
    Ready,
    /// The word to flip was heard.
    Flipping,
    /// The last guest is cut; its points go in messages of their own.
    Flipped,
    /// The channels are closed; all is being stored.
    Storing,
    /// All is durable, and this is the part.
    Done(Digest),
    /// The same, but the coordinator was not heard for long: a promise not to commit on its word
    /// alone any more.
    Locked(Digest),
    /// Committed.
    Committed,
    /// Given up.
    Aborted,
    /// It can't go on.
    Failed(Why),
}

impl Phase {
    /// How far this is: grows.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Preparing => 1,
            Self::Prepared => 2,
            Self::Ready => 3,
            Self::Flipping => 4,
            Self::Flipped => 5,
            Self::Storing => 6,
            Self::Done(_) => 7,
            Self::Locked(_) => 8,
            Self::Committed => 9,
            Self::Aborted => 10,
            Self::Failed(_) => 11,
        }
    }
}

/// The answer to a report: what the answerer knows of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// Not decided; `rank` of the report was noted.
    Running { rank: u8 },
    /// Not decided, and the answerer, no coordinator, does not commit on the coordinator's word alone any
    /// more.
    Locked,
    /// Committed. `confirmed`: by at least one participant that is not the coordinator.
    Committed { manifest: Digest, confirmed: bool },
    /// Given up.
    Aborted { why: Why },
}

/// Which blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Part,
    Manifest,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// "My epoch of this network is …": answered with `answer` set, unless it is set.
    Sync { network: u32, epoch: u32, answer: bool },
    /// Coordinator: take part. `view` is the hash of all members' names.
    Prepare { group: GroupId, mode: Mode, view: u64, name: Name, options: Options },
    /// Participant, to the coordinator or in doubt to all: how far it is. Answered by `Heard`.
    Report { group: GroupId, phase: Phase },
    /// Participant: it sees other members than the coordinator: these.
    View { group: GroupId, seen: Few<u64, 64>, count: u16 },
    /// The answer to `Report`.
    Heard { group: GroupId, verdict: Verdict },
    /// Coordinator: suspend all guests now.
    Flip { group: GroupId },
    /// Participant: the last it sent to each member before the cut. Answered by `PointsHeard`.
    Sent { group: GroupId, points: Points },
    /// Coordinator: `page` came.
    SentHeard { group: GroupId, page: u8 },
    /// Coordinator: the last that each member sent to you before the cut.
    Expect { group: GroupId, points: Points },
    /// Participant: `page` came.
    ExpectHeard { group: GroupId, page: u8 },
    /// "Send me the piece at `offset`."
    Pull { group: GroupId, what: What, offset: u32 },
    /// The piece.
    Piece { group: GroupId, what: What, offset: u32, octets: Few<u8, PIECE> },
    /// Coordinator: it is committed. Answered by a report, once it is here, too.
    Commit { group: GroupId, manifest: Digest, confirmed: bool },
    /// Coordinator: it is given up. Answered by a report.
    Abort { group: GroupId, why: Why },
}

impl Body {
    /// Of which network it speaks.
    pub(crate) fn network(&self) -> u32 {
        match self {
            Self::Sync { network, .. } => *network,
            Self::Prepare { group, .. }
            | Self::Report { group, .. }
            | Self::View { group, .. }
            | Self::Heard { group, .. }
            | Self::Flip { group }
            | Self::Sent { group, .. }
            | Self::SentHeard { group, .. }
            | Self::Expect { group, .. }
            | Self::ExpectHeard { group, .. }
            | Self::Pull { group, .. }
            | Self::Piece { group, .. }
            | Self::Commit { group, .. }
            | Self::Abort { group, .. } => group.network,
        }
    }
}

/// The message as octets; empty in the impossible case that it is too long.
pub(crate) fn emit(life: u64, body: &Body) -> Vec<u8> {
    let mut octets = [0; MESSAGE_MAX];
    match postcard::to_slice(&(VERSION, life, body), &mut octets) {
        Ok(used) => used.to_vec(),
        Err(_) => {
            debug_assert!(false, "a message is too long: {body:?}");
            Vec::new()
        }
    }
}

/// What octets are that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Something of another version.
    Version(u8),
    /// Nothing.
    Malformed,
}

/// A message that is well-formed, and which life of its sender it is from.
pub(crate) fn parse(octets: &[u8]) -> Result<(u64, Body), Unreadable> {
    let (&version, rest) = octets.split_first().ok_or(Unreadable::Malformed)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    if octets.len() > MESSAGE_MAX {
        return Err(Unreadable::Malformed);
    }
    match postcard::take_from_bytes::<(u64, Body)>(rest) {
        Ok((message, [])) if message.1.is_sane() => Ok(message),
        _ => Err(Unreadable::Malformed),
    }
}

impl Body {
    /// Whether its numbers may occur together.
    fn is_sane(&self) -> bool {
        match self {
            Self::Sent { points, .. } | Self::Expect { points, .. } => {
                points.page < points.pages
                    && usize::from(points.pages) <= PAGES_MAX
                    && (points.page + 1 == points.pages || points.points.is_full())
            }
            Self::SentHeard { page, .. } | Self::ExpectHeard { page, .. } => usize::from(*page) < PAGES_MAX,
            _ => true,
        }
    }
}

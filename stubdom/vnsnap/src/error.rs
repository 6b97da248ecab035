//! What can go wrong, in words that name the member.

use alloc::boxed::Box;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{GroupId, VERSION};

/// The most octets of a [`Text`].
pub const TEXT_MAX: usize = 248;

/// What a shim says of a failure.
pub type Text = heapless::String<TEXT_MAX>;

/// Members that a view has too many or too few, as far as there is room.
pub type Ids = heapless::Vec<u64, 32>;

/// Why a group snapshot was given up, and because of whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The switch.
    pub member: u64,
    /// What happened there.
    pub cause: Cause,
}

/// What happened at a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Its shim can't take part.
    Refused(Text),
    /// It could not go on.
    Failed(Text),
    /// It takes part in another group snapshot.
    Busy(GroupId),
    /// Another that was begun at the same time has the smaller name.
    Beaten(GroupId),
    /// It knows a later epoch already.
    Behind(u32),
    /// It sees other switches in the network than the coordinator does: these are seen by only one
    /// of the two.
    View(Ids),
    /// It speaks this version of the protocol.
    Version(u8),
    /// It never answered.
    NoAnswer,
    /// It gave no sign of life any more.
    Silent,
    /// It left, failed, or started anew.
    Lost,
    /// Its shim did not start in time.
    NotPrepared,
    /// Its guests were not ready in time.
    NotReady,
    /// Its guests were not suspended in time.
    NotFlipped,
    /// Its images were not durable in time.
    NotStored,
    /// Its part is too long, or not what it promised.
    BadPart,
    /// It is the coordinator, and was not heard any more.
    Orphan,
    /// It had not heard the coordinator any more.
    CutOff,
    /// Someone there cancelled it.
    Cancelled,
    /// It held the manifest, but every other member had given the snapshot up meanwhile.
    Revoked,
}

/// With the member's identity; who knows its host by a better name says that, and the cause.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {:016x} {}", self.member, self.cause)
    }
}

/// What follows the name of the member.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Refused(text) => write!(f, "can't take part: {text}"),
            Cause::Failed(text) => write!(f, "could not go on: {text}"),
            Cause::Busy(group) => write!(f, "takes part in group snapshot {group}; try again after it"),
            Cause::Beaten(group) => {
                write!(f, "takes part in {group}, begun at the same time; that one goes on")
            }
            Cause::Behind(epoch) => write!(f, "is at epoch {epoch} already; try again"),
            Cause::View(ids) => {
                write!(f, "sees other members of the network (")?;
                for (place, id) in ids.iter().enumerate() {
                    write!(f, "{}{id:016x}", if place == 0 { "" } else { ", " })?;
                }
                write!(f, " only by one side); see `luthier net peers` on both, and try again")
            }
            Cause::Version(version) => {
                write!(
                    f,
                    "speaks version {version} of the group protocol, this one version {VERSION}; install one release on all hosts, then luthier down && luthier up"
                )
            }
            Cause::NoAnswer => {
                f.write_str("does not answer; is its stub of a release that knows group snapshots?")
            }
            Cause::Silent => f.write_str("gave no sign of life any more"),
            Cause::Lost => f.write_str("left, failed, or was started anew"),
            Cause::NotPrepared => {
                f.write_str("did not start its snapshots in time; see luthierd's log there")
            }
            Cause::NotReady => {
                f.write_str("was not ready in time; its guests write too fast, see `luthier list`")
            }
            Cause::NotFlipped => f.write_str("did not suspend its guests in time"),
            Cause::NotStored => f.write_str("did not store its images in time"),
            Cause::BadPart => f.write_str("sent a part that is too long or not what it promised"),
            Cause::Orphan => f.write_str("coordinated it and was not heard any more"),
            Cause::CutOff => f.write_str("gave it up: it had not heard the coordinator any more"),
            Cause::Cancelled => f.write_str("cancelled it"),
            Cause::Revoked => f.write_str("was cut off while it committed; all others had given it up"),
        }
    }
}

/// Why a group snapshot can't begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This network is not known here: no port has it.
    NoNetwork,
    /// This one is under way here.
    Busy(GroupId),
    /// More switches than [`PEERS_MAX`](crate::PEERS_MAX).
    TooMany(usize),
    /// The name or the options are too long.
    TooLong,
    /// Something is in the way at a member: an old version, or it has not yet told its epoch.
    Member(Box<Why>),
    /// The last epoch of this network is used up; make a network with another number.
    Epochs,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork => {
                f.write_str("no guest of this host is in this network; ask a host that has some")
            }
            Self::Busy(group) => write!(f, "group snapshot {group} is under way; try again after it"),
            Self::TooMany(count) => write!(f, "{count} switches; a group snapshot takes 256 at most"),
            Self::TooLong => f.write_str("the name or the options are too long"),
            Self::Member(why) => why.fmt(f),
            Self::Epochs => f.write_str("this network has had its last epoch; use one with another number"),
        }
    }
}

/// A message that did nothing, for the driver's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It makes no sense.
    Malformed,
    /// It is of another version of the protocol.
    Version,
    /// Its sender is not known to be in the network.
    Stranger,
    /// Its sender had started anew since.
    Stale,
    /// Its sender may not say that.
    NotItsWord,
}

/// As much of a text as fits.
pub(crate) fn text(words: &str) -> Text {
    let mut text = Text::new();
    for letter in words.chars() {
        if text.push(letter).is_err() {
            break;
        }
    }
    text
}

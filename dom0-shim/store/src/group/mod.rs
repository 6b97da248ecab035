//! Group snapshots on disk: what one host keeps of one cut through a whole network.
//!
//! The images of the members are images as any other. What makes them a group is a folder in
//! `groups/` beside them, named `network@20261122T081500Z`:
//!
//! | file | what it holds |
//! | --- | --- |
//! | `manifest.json` | the whole group: all hosts, all members, their images and times; the same octets on every host ([`Manifest`]) |
//! | `group.json` | what this host has of it: its own part ([`Own`]) |
//! | `channels-SWITCH` | frames that were on their way to this host's members at the cut ([`channels`]) |
//! | `kept/SWITCH` | what this host keeps for another one: its members' images, and its frames ([`keep`]) |
//! | `confirmed` | empty; there where the group was coordinated, once another host has it, too |
//!
//! It is made in two steps, as its images are:
//!
//! ```text
//! GroupWriter::create    NAME.partial   frames are recorded; swept if the process ends
//! GroupWriter::seal      NAME.pending   everything here is durable, the images as well; undecided
//! PendingGroup::commit   NAME           the manifest is durable: it is a group, whatever comes
//! Group::publish                        the images get their names
//! ```
//!
//! After a crash, [`recover`] brings what was committed to its end, deletes what no group can need any
//! more, and returns what only other hosts can decide.
//!
//! What this must never do: decide by itself, or believe another host's words unchecked.

pub mod channels;
mod error;
pub mod keep;
mod manifest;
mod name;
mod own;
mod part;
mod pending;
mod recover;
mod whole;
mod writer;

use std::path::{Path, PathBuf};

pub use channels::{Bulk, ChannelReader};
pub use error::GroupError;
pub use manifest::{FORMAT, Manifest, Mode, Network};
pub use name::GroupName;
pub use own::Own;
pub use part::{Channel, Member, Part};
pub use pending::PendingGroup;
pub use recover::{Recovered, recover, sweep};
pub use whole::{Group, Listed, Place, State, images_of, is_kept_elsewhere, list, of_image, remove};
pub use writer::{GroupWriter, Head};

use serde::{Deserialize, Serialize};

/// The folder of groups in a directory of images.
pub const GROUPS: &str = "groups";

/// A group snapshot among the switches; the same as `handoff::GroupId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId {
    /// The network.
    pub network: u32,
    /// The epoch that its guests' vifs have after the cut.
    pub epoch: u32,
    /// The switch that began it, and coordinates it.
    pub initiator: u64,
}

impl From<handoff::GroupId> for GroupId {
    fn from(id: handoff::GroupId) -> Self {
        GroupId { network: id.network, epoch: id.epoch, initiator: id.initiator }
    }
}

impl From<GroupId> for handoff::GroupId {
    fn from(id: GroupId) -> Self {
        handoff::GroupId { network: id.network, epoch: id.epoch, initiator: id.initiator }
    }
}

/// A switch's id, as it is written everywhere: 16 hexadecimal digits.
pub fn switch_text(switch: u64) -> String {
    format!("{switch:016x}")
}

/// The switch of 16 lower-case hexadecimal digits.
fn switch_of(text: &str) -> Option<u64> {
    let switch = u64::from_str_radix(text, 16).ok()?;
    (switch_text(switch) == text).then_some(switch)
}

/// Where a directory of images has its groups.
fn folder(images: &Path) -> PathBuf {
    images.join(GROUPS)
}

#[cfg(test)]
mod tests;

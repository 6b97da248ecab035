//! What can go wrong with a group, in words that tell an operator what to do next.

use std::path::PathBuf;

/// Why an operation on a group failed. Those of files and of images are [`crate::Error`]'s own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The name can't be a group's.
    #[error("`{name}` is not a group's name ({why}): a name looks like network@20261122T081500Z")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such group.
    #[error("there is no group at {}: `luthier list` shows those that there are", .path.display())]
    NotFound {
        /// Folder that was looked for.
        path: PathBuf,
    },
    /// A folder or a file of it is damaged, or is no group's.
    #[error("{} is not a sound group: {why}", .path.display())]
    Malformed {
        /// The folder.
        path: PathBuf,
        /// Which file or field, and what is wrong with it.
        why: String,
    },
    /// The group was written by another version of this program.
    #[error("{} has group format {found}, and this program reads formats up to {known}: use the version that wrote it", .path.display())]
    Version {
        /// The folder.
        path: PathBuf,
        /// Format of the group.
        found: u64,
        /// Newest format that is understood.
        known: u64,
    },
    /// It is not decided yet whether it is one.
    #[error("{} is not decided yet: luthierd asks the other hosts about it, and then commits or deletes it", .path.display())]
    Undecided {
        /// The folder.
        path: PathBuf,
    },
    /// Something is to be kept for a group that is not being taken here.
    #[error("group {group} is not being taken here: it was given up, or this host takes no part in it")]
    NotPending {
        /// The group.
        group: String,
    },
    /// What a host says of its members can't be true.
    #[error("what host `{host}` says of its members can't be used: {why}")]
    BadPart {
        /// The host, in its own words.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// Parts that can't be of one group.
    #[error("the hosts' parts don't make a group: {0}")]
    BadParts(String),
    /// A manifest came for a group, and is not this group's.
    #[error("the manifest that came for {} is not of this group: {why}", .path.display())]
    OtherManifest {
        /// The folder.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A member's image is not there, complete and undecided, when its group is to be so.
    #[error("member `{guest}` has no complete image {image}: {why}")]
    NoImage {
        /// The guest.
        guest: String,
        /// Its image.
        image: String,
        /// What was found.
        why: String,
    },
    /// More frames than a channel may have.
    #[error("more than {max} octets of frames were on their way at the cut")]
    ChannelFull {
        /// The bound.
        max: u64,
    },
    /// A file of frames is not what was written.
    #[error("{} is damaged at octet {offset}: {why}", .path.display())]
    BadChannel {
        /// The file.
        path: PathBuf,
        /// Where, from its start.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// An image can't be removed alone.
    #[error("{} can't be removed alone, for it is of group {group}: `luthier rm {group}` removes the group with all its images here", .path.display())]
    InGroup {
        /// The image.
        path: PathBuf,
        /// Its group.
        group: String,
    },
}

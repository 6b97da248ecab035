//! What can go wrong with an image, in words that tell an operator what to do next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::state::StateKind;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on an image failed. Every message names the file or the field, and where
/// there is something to be done about it, says what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `ENOSPC` or `EDQUOT`.
    #[error("no space left for {}: free some space there or use another image directory, then try again", .path.display())]
    Full {
        /// File that could not grow.
        path: PathBuf,
    },
    /// `EROFS`, `EACCES` or `EPERM`.
    #[error("{} can't be written ({source}): mount it read-write, or use a directory that this user may write to", .path.display())]
    ReadOnly {
        /// File or directory that could not be written.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An image, finished or being written, has this name already.
    #[error("{} exists already: choose another name, or remove it with `luthier rm`", .path.display())]
    Exists {
        /// Directory in the way.
        path: PathBuf,
    },
    /// There is no such image.
    #[error("there is no image at {}: `luthier list` shows those that there are", .path.display())]
    NotFound {
        /// Directory that was looked for.
        path: PathBuf,
    },
    /// What another host sent did not arrive as it was.
    #[error("what another host sent did not arrive whole: {why}; nothing of it was kept, so send it again")]
    Transfer {
        /// What is wrong.
        why: String,
    },
    /// Only an image that stands alone can be sent.
    #[error("{} builds on another image, and can't be sent alone: `luthier merge` makes it stand alone", .path.display())]
    NotAlone {
        /// The image.
        path: PathBuf,
    },
    /// The directory of images is not there.
    #[error("there is no directory {}: create it, or name the one that images are in", .path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another process holds the image's lock.
    #[error("{} is in use by another process: wait until its snapshot, restore, export, merge or removal has ended", .path.display())]
    InUse {
        /// Directory that is locked.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("{doing} {} failed: {source}", .path.display())]
    Io {
        /// What was tried, as in "reading".
        doing: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading or writing a stream failed below us.
    #[error("{doing} failed: {source}")]
    StreamIo {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The name can't be an image's.
    #[error("`{id}` is not an image's name ({why}): a name looks like guest@20261121T202439Z")]
    BadId {
        /// The name.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What the caller said of the guest can't be true.
    #[error("the description of the guest is wrong: {0}")]
    BadMeta(String),
    /// A slot beyond the guest's populated frames.
    #[error("slot {slot} does not exist: the guest has {pages} pages")]
    NoSuchSlot {
        /// Slot that was asked for.
        slot: u64,
        /// Slots that exist, from 0.
        pages: u64,
    },
    /// Commit of an image that lacks pages.
    #[error("the image is incomplete: {absent} pages are missing, the first is frame {pfn:#x} (slot {slot})")]
    Incomplete {
        /// How many pages were never put.
        absent: u64,
        /// First such slot.
        slot: u64,
        /// Its frame number.
        pfn: u64,
    },
    /// A record without which no guest can be restored is missing.
    #[error("the image lacks {0}, without which it can't be restored")]
    MissingRecord(StateKind),
    /// A state record's body is not what its kind demands.
    #[error("the record {kind} is malformed: {why}")]
    BadRecord {
        /// Which record.
        kind: StateKind,
        /// What is wrong with it.
        why: String,
    },
    /// The directory holds something that is no image, or a damaged one.
    #[error("{} is not a sound image: {why}", .path.display())]
    Malformed {
        /// File or directory.
        path: PathBuf,
        /// Which field, and what is wrong with it.
        why: String,
    },
    /// The image was written by another version of this program.
    #[error("{} has image format {found}, and this program reads formats up to {known}: use the version that wrote it, or export it there with `--format xl`", .path.display())]
    Version {
        /// Image.
        path: PathBuf,
        /// Format of the image.
        found: u64,
        /// Newest format that is understood.
        known: u64,
    },
    /// The image's parent is not in its directory.
    #[error("{} builds on {parent}, which is not there: put it back beside it; without it, this image can't be used", .path.display())]
    MissingParent {
        /// Image that can't be used.
        path: PathBuf,
        /// Name of what is missing.
        parent: String,
    },
    /// The image's parent has other pages than when the image was made on it.
    #[error("{} builds on another {parent} than the one that is there: put back the one that it was made on; without it, this image can't be used", .path.display())]
    ParentChanged {
        /// Image that can't be used.
        path: PathBuf,
        /// Name of the one that was replaced.
        parent: String,
    },
    /// The image's parent can't be opened.
    #[error("{} can't be used, for {parent}, which it builds on, can't: {source}", .path.display())]
    BadParent {
        /// Image that can't be used.
        path: PathBuf,
        /// Name of the one that can't be opened.
        parent: String,
        /// Why not.
        source: Box<Error>,
    },
    /// Images build on each other in too many steps.
    #[error("{image} builds on {} images or more, and no more can follow: `luthier merge {image}` makes it stand alone", crate::MAX_CHAIN - 1)]
    ChainTooLong {
        /// Name of the image.
        image: String,
    },
    /// An image can't be made on a parent.
    #[error("no image can be made on {parent}: {why}; take a full snapshot, without a parent")]
    UnfitParent {
        /// Name of the parent.
        parent: String,
        /// Why not.
        why: &'static str,
    },
    /// Other images build on it.
    #[error("{} can't be removed, for {} on it: {} first", .path.display(), Builds(.children), Merges(.children))]
    HasChildren {
        /// Image that was to be removed.
        path: PathBuf,
        /// Names of those that build on it.
        children: Vec<String>,
    },
    /// A complete image of which it is not decided whether it is to be one.
    #[error("{} is of a group snapshot that is not decided yet: luthierd asks the other hosts about it, and then commits or deletes it", .path.display())]
    Undecided {
        /// Its directory.
        path: PathBuf,
    },
    /// An undecided image builds on it.
    #[error("{} can't be removed, for {child} builds on it, of a group snapshot that is not decided yet: wait until luthierd has heard from the other hosts", .path.display())]
    HasUndecidedChild {
        /// Image that was to be removed.
        path: PathBuf,
        /// Name of the one that builds on it.
        child: String,
    },
    /// Something about a group of images.
    #[error(transparent)]
    Group(#[from] crate::group::GroupError),
    /// A record outside of the room that was last made for records.
    #[error("there is no room for a record of {length} octets at {offset} of the image's memory")]
    NoRoom {
        /// Where it should be, in octets.
        offset: u64,
        /// Its length in octets.
        length: u64,
    },
    /// The image's contents don't match its checksums.
    #[error("{} is damaged: {}", .path.display(), Damages(.first, .total))]
    Damaged {
        /// Image.
        path: PathBuf,
        /// The first few findings.
        first: Vec<Damage>,
        /// How many findings there were in all.
        total: u64,
    },
    /// A stream is malformed.
    #[error("the stream is malformed at octet {offset}, in {record}: {why}")]
    Stream {
        /// Offset of the record in the stream, in octets.
        offset: u64,
        /// Name of the header or record.
        record: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A stream is well-formed, and is of a kind that an image can't hold.
    #[error("this stream can't be imported: {why} (octet {offset}, {record})")]
    Unsupported {
        /// Offset of the record in the stream, in octets.
        offset: u64,
        /// Name of the header or record.
        record: &'static str,
        /// Why it is refused.
        why: String,
    },
}

/// One piece of an image that is not what it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A page's contents don't match its checksum.
    Page {
        /// Frame number.
        pfn: u64,
        /// Slot in `memory`.
        slot: u64,
    },
    /// An entry of `pages` is not of the table's form, or names a place beyond the end of `memory`.
    Entry {
        /// Frame number.
        pfn: u64,
        /// Slot, the entry's index.
        slot: u64,
    },
    /// A state record's contents don't match its checksum.
    Record(StateKind),
    /// A whole file doesn't match the SHA-256 in the manifest.
    File(&'static str),
    /// All pages together are not those that were committed, though each matches its checksum.
    Contents,
    /// It is in an image that this one builds on.
    Parent {
        /// That image's name.
        image: String,
        /// What is damaged there.
        damage: Box<Damage>,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Page { pfn, slot } => {
                write!(f, "page {pfn:#x} (slot {slot}) does not match its checksum")
            }
            Damage::Entry { pfn, slot } => {
                write!(f, "the table entry of page {pfn:#x} (slot {slot}) is invalid")
            }
            Damage::Record(kind) => write!(f, "record {kind} does not match its checksum"),
            Damage::File(name) => write!(f, "file `{name}` does not match the manifest"),
            Damage::Contents => write!(f, "the pages are not those that the manifest was made of"),
            Damage::Parent { image, damage } => write!(f, "{damage} in {image}, on which it builds"),
        }
    }
}

struct Damages<'a>(&'a [Damage], &'a u64);

impl fmt::Display for Damages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, damage) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "; " };
            write!(f, "{comma}{damage}")?;
        }
        match self.1.saturating_sub(self.0.len() as u64) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// "web@…-2 builds", "web@…-2 and web@…-3 build"
struct Builds<'a>(&'a [String]);

impl fmt::Display for Builds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "{one} builds"),
            many => write!(f, "{} build", many.join(" and ")),
        }
    }
}

/// The commands that free a parent of its children.
struct Merges<'a>(&'a [String]);

impl fmt::Display for Merges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<String> = self.0.iter().map(|child| format!("`luthier merge {child}`")).collect();
        f.write_str(&commands.join(" and "))
    }
}

impl Error {
    /// Sorts an error of the file system into the variant that says what to do about it.
    pub fn from_io(doing: &'static str, path: &Path, source: io::Error) -> Error {
        use io::ErrorKind as K;
        let path = path.to_path_buf();
        match source.kind() {
            K::StorageFull | K::QuotaExceeded => Error::Full { path },
            K::ReadOnlyFilesystem | K::PermissionDenied => Error::ReadOnly { path, source },
            K::AlreadyExists | K::DirectoryNotEmpty => Error::Exists { path },
            _ => Error::Io { doing, path, source },
        }
    }

    pub(crate) fn malformed(path: &Path, why: impl Into<String>) -> Error {
        Error::Malformed { path: path.to_path_buf(), why: why.into() }
    }
}

/// Adds the path and the verb to an [`io::Result`].
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|e| Error::from_io(doing, path, e))
    }
}

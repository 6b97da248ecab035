//! Names of images.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::group::GROUPS;
use crate::time::utc_compact;

/// What the name of a directory ends with while an image is being written or removed.
pub(crate) const PARTIAL: &str = ".partial";
/// What it ends with while the image is complete and nobody has decided yet whether it is to be one.
pub(crate) const PENDING: &str = ".pending";

/// Longest part of a name before the `@`, in octets.
const MAX_GUEST: usize = 64;
/// Longest suffix, in octets.
const MAX_SUFFIX: usize = 32;

/// The name of an image: `guest@20261121T202439Z`, and with a suffix when that is taken:
/// `guest@20261121T202439Z-2`. It is also the name of its directory, so it has no slash, no
/// leading dot or dash, and only letters, digits and `_ . + -` besides the `@`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(String);

impl ImageId {
    /// The first free name in `dir` for a guest at a time. Characters that a name can't have
    /// become `_`. Nothing is reserved: [`crate::ImageWriter::create`] does that.
    pub fn unused(dir: &Path, guest: &str, when: SystemTime) -> ImageId {
        let mut name: String = guest.chars().map(keep).take(MAX_GUEST).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            name.insert(0, '_');
            name.truncate(MAX_GUEST);
        }
        let base = format!("{name}@{}", utc_compact(when));
        let taken = |id: &str| is_taken(dir, id) || is_taken(&dir.join(GROUPS), id);
        let mut id = base.clone();
        let mut n = 2u64;
        while taken(&id) {
            id = format!("{base}-{n}");
            n += 1;
        }
        ImageId(id)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`.
    pub fn guest(&self) -> &str {
        self.0.split_once('@').map_or("", |(guest, _)| guest)
    }
}

/// Whether a directory has something of this name, or of one that turns into it.
pub(crate) fn is_taken(dir: &Path, name: &str) -> bool {
    ["", PARTIAL, PENDING].iter().any(|end| is_there(&dir.join(format!("{name}{end}"))))
}

/// Whether anything has this path.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}

fn keep(c: char) -> char {
    if allowed(c) { c } else { '_' }
}

impl FromStr for ImageId {
    type Err = Error;

    fn from_str(id: &str) -> Result<ImageId> {
        let bad = |why| Err(Error::BadId { id: id.chars().take(200).collect(), why });
        let Some((guest, stamp)) = id.split_once('@') else {
            return bad("it has no @");
        };
        if guest.is_empty() || guest.len() > MAX_GUEST {
            return bad("the part before the @ must have 1 to 64 characters");
        }
        if guest.starts_with(['.', '-', '+']) {
            return bad("it must start with a letter, a digit or _");
        }
        if !guest.chars().chain(stamp.chars()).all(allowed) {
            return bad("only letters, digits and _ . + - may be in it");
        }
        let Some((time, suffix)) = stamp.split_at_checked(16) else {
            return bad("a time such as 20261121T202439Z must follow the @");
        };
        let is_time = time.char_indices().all(|(i, c)| match i {
            8 => c == 'T',
            15 => c == 'Z',
            _ => c.is_ascii_digit(),
        });
        if !is_time {
            return bad("a time such as 20261121T202439Z must follow the @");
        }
        if !(suffix.is_empty() || suffix.starts_with('-') && suffix.len() > 1) || suffix.len() > MAX_SUFFIX {
            return bad("only a suffix such as -2 may follow the time");
        }
        if id.ends_with(PARTIAL) || id.ends_with(PENDING) {
            return bad("names of unfinished images end with .partial or .pending");
        }
        Ok(ImageId(id.to_owned()))
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const WHEN: SystemTime = UNIX_EPOCH;

    #[test]
    fn a_taken_name_gets_a_suffix() {
        let dir = tempfile::tempdir().unwrap();
        let when = WHEN + Duration::from_secs(1_795_292_679);
        let first = ImageId::unused(dir.path(), "web", when);
        assert_eq!(first.as_str(), "web@20261121T202439Z");
        std::fs::create_dir(dir.path().join("web@20261121T202439Z.partial")).unwrap();
        let second = ImageId::unused(dir.path(), "web", when);
        assert_eq!(second.as_str(), "web@20261121T202439Z-2");
        std::fs::create_dir(dir.path().join(format!("{second}.pending"))).unwrap();
        let third = ImageId::unused(dir.path(), "web", when);
        assert_eq!(third.as_str(), "web@20261121T202439Z-3");
        assert_eq!(third.guest(), "web");
    }

    #[test]
    fn every_name_that_is_made_up_can_be_read_back() {
        for guest in ["web", "", "../../etc", "-rf", ".hidden", "a b/c@d", "ünïcode", &"x".repeat(300)] {
            let id = ImageId::unused(Path::new("/nonexistent"), guest, WHEN);
            assert_eq!(id.as_str().parse::<ImageId>().unwrap(), id, "{guest}");
        }
    }

    #[test]
    fn names_that_could_leave_the_directory_or_confuse_are_refused() {
        for id in [
            "",
            "@",
            "web",
            "web@",
            "web@now",
            "../x@20261121T202439Z",
            ".x@20261121T202439Z",
            "-x@20261121T202439Z",
            "a/b@20261121T202439Z",
            "a@20261121T202439Z/..",
            "a@20261121T202439Z.partial",
            "a@20261121T202439Z-2.partial",
            "a@20261121T202439Z.pending",
            "a@20261121T202439Z-2.pending",
            "a@20261121T202439Z-",
            "a@20261121T202439Zx",
            "a@2026112XT202439Z",
            "a@20261121T202439Z\0",
            "a\n@20261121T202439Z",
            "a@é0261121T202439Z",
        ] {
            assert!(id.parse::<ImageId>().is_err(), "{id:?}");
        }
    }
}

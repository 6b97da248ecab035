//! Names of groups.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use super::{GroupError, folder};
use crate::error::{Error, Result};
use crate::id::{ImageId, is_taken};
use crate::time::utc_compact;

/// Longest name, in octets: what fits `handoff::GroupName`.
const MAX: usize = 64;

/// The name of a group: `network@20261122T081500Z`, and with a suffix when that is taken. It is also
/// the name of its folder, has the form of an [`ImageId`], and begins with a network's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(ImageId);

impl GroupName {
    /// The first free name in a directory of images for a network at a time. Names of images are not
    /// free either, so that a name means one thing on this host. Nothing is reserved.
    ///
    /// Fails with [`GroupError::BadName`] when it can't be a network's.
    pub fn unused(images: &Path, network: &str, when: SystemTime) -> Result<GroupName> {
        let base = format!("{network}@{}", utc_compact(when));
        let mut name: GroupName = base.parse()?;
        let mut n = 2u64;
        while is_taken(images, name.as_str()) || is_taken(&folder(images), name.as_str()) {
            name = format!("{base}-{n}").parse()?;
            n += 1;
        }
        Ok(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The network's name, the part before the `@`.
    pub fn network(&self) -> &str {
        self.0.guest()
    }

    /// When it was begun, by its name: RFC 3339, UTC.
    pub fn created(&self) -> String {
        let time = self.as_str().split_once('@').map_or("", |(_, time)| time);
        let part = |range| time.get(range).unwrap_or_default();
        let (date, clock) = ((part(0..4), part(4..6), part(6..8)), (part(9..11), part(11..13), part(13..15)));
        format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, clock.0, clock.1, clock.2)
    }
}

impl FromStr for GroupName {
    type Err = Error;

    fn from_str(name: &str) -> Result<GroupName> {
        let bad = |why: String| GroupError::BadName { name: name.chars().take(200).collect(), why };
        let id = name.parse::<ImageId>().map_err(|e| match e {
            Error::BadId { why, .. } => bad(why.into()),
            other => bad(other.to_string()),
        })?;
        if !handoff::is_net_name(id.guest()) {
            return Err(bad("a network's name has 1 to 15 of a-z, 0-9, - and _".into()).into());
        }
        if name.len() > MAX {
            return Err(bad(format!("it has more than {MAX} characters")).into());
        }
        Ok(GroupName(id))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! What a client asks about periodic snapshots.

use serde::{Deserialize, Serialize};

use super::SnapshotOptions;
use crate::error::{Error, Result};

/// The longest interval: a year.
pub const MAX_EVERY_S: u32 = 366 * 86_400;
/// The most images that a schedule keeps: fewer than a chain of images can have.
pub const MAX_KEEP: u16 = 1000;

/// What the name of a network has before it where else a guest's name is. No guest's schedule can be
/// named so.
const NET: &str = "net/";

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ScheduleRequest {
    /// Take snapshots from now on; in place of the guest's former schedule.
    Add {
        /// Of which guest, how often, and how.
        wish: ScheduleWish,
    },
    /// All schedules.
    List,
    /// End a schedule. Its images stay.
    Remove {
        /// The guest's name, or [`ScheduleWish::of_network`].
        guest: String,
    },
}

/// Periodic snapshots of one guest, or of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleWish {
    /// The guest's name: the schedule is for whichever domain of this name is attached. Or what
    /// [`Self::of_network`] says.
    pub guest: String,
    /// Seconds between the begins of two snapshots, 1 to [`MAX_EVERY_S`].
    pub every_s: u32,
    /// Images that are kept, 1 to [`MAX_KEEP`].
    pub keep: u16,
    /// Each image builds on the former one.
    pub incremental: bool,
    /// How each snapshot is taken.
    pub options: SnapshotOptions,
}

impl ScheduleWish {
    /// What a network's schedule has instead of a guest's name.
    pub fn of_network(name: &str) -> String {
        format!("{NET}{name}")
    }

    /// The network, if it is one's schedule.
    pub fn network(&self) -> Option<&str> {
        self.guest.strip_prefix(NET)
    }

    /// Whether this can be.
    ///
    /// # Errors
    /// What can't, and what to say instead.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str, hint: &str| Err(Error::new(what).hint(hint));
        let name = self.network().unwrap_or(&self.guest);
        if self.network().is_some() && self.incremental {
            return refuse("snapshots of a network stand alone", "Leave --incremental out");
        }
        if self.network().is_none() && self.options.to.is_some() {
            return refuse("--to is for networks", "Use it with --net");
        }
        if name.is_empty() || name.len() > 128 || name.chars().any(|c| c.is_control() || c == '/') {
            return refuse("this can't be a guest's name", "`luthier status` shows the attached guests");
        }
        if name.bytes().all(|b| b.is_ascii_digit()) {
            return refuse(
                "a schedule is for a guest's name, not for a domain id",
                "`luthier status` shows the names",
            );
        }
        if !(1..=MAX_EVERY_S).contains(&self.every_s) {
            return refuse("the interval must be from 1 s to 366 days", "As in --every 5m");
        }
        if !(1..=MAX_KEEP).contains(&self.keep) {
            return refuse("1 to 1000 images can be kept", "As in --keep 12");
        }
        if self.options.parent.is_some() || self.options.keep_log {
            return refuse(
                "a schedule sees itself to --parent and --keep-log",
                "Use --incremental: each image then builds on the former one",
            );
        }
        self.options_on(None).check()
    }

    /// The options of one snapshot, on top of `parent` if there is one.
    pub fn options_on(&self, parent: Option<&str>) -> SnapshotOptions {
        let parent = parent.map(str::to_owned);
        SnapshotOptions { parent, keep_log: self.incremental, ..self.options.clone() }
    }
}

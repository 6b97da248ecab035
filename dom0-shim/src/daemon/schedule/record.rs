//! What is remembered of a schedule, also while the daemon is down.

use serde::{Deserialize, Serialize};
use store::ImageId;

use crate::api::ScheduleWish;
use crate::error::{Error, Result};

/// What is remembered of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// What the operator wants.
    pub(super) wish: ScheduleWish,
    /// The images that it made and still has, oldest first.
    pub(super) images: Vec<Made>,
    /// The image that is being made. When the daemon was killed in between, it may be there.
    pub(super) begun: Option<Made>,
    /// The next image is to stand alone: the former ones could not be merged.
    pub(super) whole: bool,
    /// When the next snapshot is due, in milliseconds since 1970. Only for a daemon that starts,
    /// which waits no longer than one interval, whatever this says.
    pub(super) next_unix_ms: u64,
    /// Snapshots that were made.
    pub(super) made: u64,
    /// Snapshots that failed.
    pub(super) failed: u64,
    /// How many of these since the last good one.
    pub(super) failing: u64,
    /// Snapshots that were due while another one of the guest was in progress, or that the
    /// daemon was too busy for.
    pub(super) skipped: u64,
    /// How the last one ended.
    pub(super) last: Option<Last>,
}

/// An image of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// Its name.
    pub(super) image: String,
    /// Whether it builds on the one before it.
    pub(super) chained: bool,
}

/// How a snapshot ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    /// When, in milliseconds since 1970.
    pub(super) unix_ms: u64,
    /// How.
    pub(super) result: Ended,
}

/// How a snapshot ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ended {
    /// With this image.
    Made(String),
    /// It could not begin: the guest is not attached, or there is no stub.
    NotReady(Error),
    /// Without an image.
    Failed(Error),
}

impl Record {
    /// A schedule that has not done anything yet.
    pub(super) fn new(wish: ScheduleWish) -> Self {
        Self {
            wish,
            images: Vec::new(),
            begun: None,
            whole: false,
            next_unix_ms: 0,
            made: 0,
            failed: 0,
            failing: 0,
            skipped: 0,
            last: None,
        }
    }

    /// Whether this can be true: it was read from a file.
    pub(super) fn check(&self) -> Result<()> {
        self.wish.check()?;
        for made in self.images.iter().chain(&self.begun) {
            made.image.parse::<ImageId>()?;
        }
        Ok(())
    }

    /// The interval, in milliseconds.
    pub(super) fn every_ms(&self) -> u64 {
        u64::from(self.wish.every_s.max(1)) * 1000
    }

    /// How many images are kept.
    pub(super) fn keep(&self) -> usize {
        usize::from(self.wish.keep.max(1))
    }
}

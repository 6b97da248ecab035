//! What must be undone if the daemon dies: one small file a snapshot in progress, in `/run`.
//!
//! The file is there before the first verb touches a guest and goes when the guest is as it was.
//! A daemon that starts undoes what it finds.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cap::Lowered;
use super::notes::{Note, Notes};
use crate::error::Result;

/// A snapshot in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The guest.
    pub(super) domid: u16,
    /// The guest's uuid: a domain id alone may be another guest's by now.
    pub(super) uuid: [u8; 16],
    /// The stub that may hold grants of the guest's.
    pub(super) stub: u16,
    /// Whether the guest was asked to suspend by us and not yet let go on.
    pub(super) suspend_asked: bool,
    /// Whether we log its writes.
    pub(super) log_dirty: bool,
    /// Whether pages may be granted beside the window.
    #[serde(default)]
    pub(super) prepared: bool,
    /// The cap of its CPU time, if we have lowered it.
    #[serde(default)]
    pub(super) lowered: Option<Lowered>,
}

impl Note for Entry {
    fn domid(&self) -> u16 {
        self.domid
    }
}

/// The entries.
pub(super) type Journal = Notes<Entry>;

/// Opens the journal in the daemon's run folder.
pub(super) fn open(run: &Path) -> Result<Journal> {
    Notes::open(&run.join("jobs"))
}

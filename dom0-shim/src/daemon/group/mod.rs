//! Group snapshots: this host's side of one cut of all guests of a network, over all hosts.
//!
//! The stubs agree on when each guest is cut and on whether the whole is complete; this module takes
//! the snapshots of this host's members, keeps what they are made of, and does what was decided. One
//! thread does it all, so that one thing follows the other; the members' snapshots have their own.
//!
//! ```text
//! Prepare ─> members run ─> Drained, all pending ─> sealed ─> Stored ──┬─> Manifest/Commit ─> committed
//!    └──────────┴──────────────┴─ Abort, a failure: all is discarded   └─> Abort, or asked after a crash
//! ```
//!
//! Rules that must always hold: nothing of a group has a name before its manifest has; what was
//! sealed, so that others may count on it, goes only when it was decided so; only the coordinator may
//! decide by itself, and only until its manifest has its name. Guests run on whatever happens: each
//! member's snapshot sees to that.
//!
//! Steps for faults of tests ([`super::fault`]): `group-prepared` (the members have begun, the stub
//! was not told), `group-pending` (a member's image is complete), `group-drained`, `group-sealed` (the
//! stub was not told), `group-kept` (another host has the images, the stub was not told), `group-manifest`
//! (all parts are here, nothing is written), `group-renamed` (the commit is done, the stub was not told),
//! `group-committed`, `group-aborted`.

mod ending;
mod epochs;
mod folders;
mod inbox;
mod keeping;
mod member;
mod participant;
mod pieces;
mod running;
mod summary;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use handoff::{GroupId, GroupMode, GroupOrder};
use store::group::keep::Received;

use crate::api::SnapshotOptions;
use crate::error::Result;

pub(super) use epochs::Epochs;
pub(super) use folders::{Folders, remove};
pub(super) use inbox::{Inbox, Letters, Said, Wish};
pub(super) use member::{Member, Taken};
use participant::Participant;

/// What is said to who wants a second group snapshot on one host.
pub(super) const BUSY: &str = "another group snapshot is in progress on this host";

/// How often to look for what is late.
const TICK: Duration = Duration::from_secs(1);

/// A group as this host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// Among the switches.
    pub(super) group: GroupId,
    /// On the disks.
    pub(super) name: String,
    /// How the members' cuts hang together.
    pub(super) mode: GroupMode,
    /// How many groups of its schedule stay.
    pub(super) keep: Option<u16>,
    /// The switches that take part: who can be asked how it ended.
    pub(super) switches: Vec<u64>,
}

/// What group snapshots need of the daemon.
pub(super) trait Host: Send + Sync + 'static {
    /// This host's name, for the manifest and for errors.
    fn host(&self) -> String;

    /// This host's switch, as other hosts know it.
    fn switch(&self) -> Result<u64>;

    /// The guests of a network on this host, none twice.
    ///
    /// # Errors
    /// One of them can't be snapshotted now; names it.
    fn members(&self, network: u32) -> Result<Vec<Member>>;

    /// Takes the snapshot of a member and leaves its image pending. Returns when the guest is as it
    /// was.
    fn take(
        &self,
        member: &Member,
        about: &About,
        options: &SnapshotOptions,
        said: &mut dyn FnMut(Said),
    ) -> Result<Taken>;

    /// Asks the host that is to keep the images whether it takes part in a group that has begun; returns
    /// its switch. Gives up when `stop` is set.
    fn reach(&self, to: &str, name: &str, stop: &AtomicBool) -> Result<String>;

    /// Sends what is sealed here of a group to the host that is to keep it; returns what that one has then.
    fn keep(&self, to: &str, name: &str, stop: &AtomicBool) -> Result<Received>;

    /// Tells the stub.
    fn send(&self, order: GroupOrder, bulk: &[u8]) -> Result<()>;
}

/// Does group snapshots for as long as the daemon lives. What an earlier daemon left is settled, or
/// asked about, first.
pub(super) fn run(host: Arc<dyn Host>, folders: Folders, epochs: Epochs, inbox: Inbox, letters: &Letters) {
    let mut participant = Participant::new(host, folders, epochs, inbox);
    participant.recover();
    while let Ok(letter) = letters.next(TICK) {
        let now = Instant::now();
        match letter {
            Some(letter) => participant.receive(letter, now),
            None => participant.tick(now),
        }
    }
}

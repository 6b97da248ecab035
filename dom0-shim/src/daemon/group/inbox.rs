//! What arrives for the group snapshots' thread: the stub's news, clients' wishes, members' ends.
//!
//! The link's reader leaves news here and must never wait for the disk. So what waits is bounded: a
//! stub that sends more channel state than the disk takes loses that group, not the memory of Dom0.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use handoff::{GroupId, GroupMode, GroupNews, Job};

use super::keeping::Errand;
use super::member::Taken;
use crate::api::{Event, SnapshotOptions};
use crate::error::Result;

/// Octets of bulk that may wait.
const MAX_QUEUED: usize = 64 << 20;

/// What a client wants.
pub(in crate::daemon) struct Wish {
    /// The network's number.
    pub(in crate::daemon) network: u32,
    /// How the members' cuts hang together.
    pub(in crate::daemon) mode: GroupMode,
    /// The group's name, which is free.
    pub(in crate::daemon) name: String,
    /// How many groups of its schedule stay, on every host.
    pub(in crate::daemon) keep: Option<u16>,
    /// How each member is taken.
    pub(in crate::daemon) options: SnapshotOptions,
    /// Hears how it goes; the last event is `Done` or `Failed`.
    pub(in crate::daemon) client: Sender<Event>,
}

/// Where a member's snapshot is called off.
pub(in crate::daemon) type Cancel = Arc<dyn Fn() + Send + Sync>;

/// What the thread of a member's snapshot says.
pub(in crate::daemon) enum Said {
    /// It has begun.
    Begun(Cancel),
    /// The stub is about to hear of it by this number.
    Enlisted(Job),
    /// How it goes.
    Tell(Event),
    /// Its image is pending, or why there is none. The guest is as it was.
    Ended(Result<Taken>),
}

/// Something that arrives.
// A thousand of them at most wait, and most are news.
#[allow(clippy::large_enum_variant)]
pub(super) enum Letter {
    /// The stub's news with its bulk.
    News(GroupNews, Vec<u8>),
    /// News with a bulk came, and had no room.
    Overrun,
    /// The connection to the stub has ended.
    Lost,
    /// A stub was connected, and told of the networks.
    Connected,
    /// A client wants a group snapshot.
    Begin(Wish),
    /// A client wants the group of this name no more.
    Cancel(String),
    /// A member of a group.
    Member(GroupId, usize, Said),
    /// What was to be done beside the members, or why it was not.
    Errand(GroupId, Result<Errand>),
}

/// Where letters are left.
#[derive(Clone)]
pub(in crate::daemon) struct Inbox {
    letters: Sender<Letter>,
    queued: Arc<AtomicUsize>,
}

/// Where they are read.
pub(in crate::daemon) struct Letters {
    letters: Receiver<Letter>,
    queued: Arc<AtomicUsize>,
}

impl Inbox {
    /// An inbox and its other end.
    pub(in crate::daemon) fn new() -> (Self, Letters) {
        let (sender, receiver) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        (Self { letters: sender, queued: Arc::clone(&queued) }, Letters { letters: receiver, queued })
    }

    /// Leaves the stub's news.
    pub(in crate::daemon) fn news(&self, news: GroupNews, bulk: Vec<u8>) {
        let before = self.queued.fetch_add(bulk.len(), Ordering::Relaxed);
        if before.saturating_add(bulk.len()) > MAX_QUEUED {
            self.queued.fetch_sub(bulk.len(), Ordering::Relaxed);
            return self.leave(Letter::Overrun);
        }
        self.leave(Letter::News(news, bulk));
    }

    /// The connection to the stub has ended.
    pub(in crate::daemon) fn lost(&self) {
        self.leave(Letter::Lost);
    }

    /// A stub is connected and knows the networks.
    pub(in crate::daemon) fn connected(&self) {
        self.leave(Letter::Connected);
    }

    /// A client wants a group snapshot.
    pub(in crate::daemon) fn begin(&self, wish: Wish) {
        self.leave(Letter::Begin(wish));
    }

    /// A client wants it no more.
    pub(in crate::daemon) fn cancel(&self, name: &str) {
        self.leave(Letter::Cancel(name.to_owned()));
    }

    /// What a member's thread says.
    pub(super) fn member(&self, group: GroupId, seat: usize, said: Said) {
        self.leave(Letter::Member(group, seat, said));
    }

    /// An errand of a group has ended.
    pub(super) fn errand(&self, group: GroupId, done: Result<Errand>) {
        self.leave(Letter::Errand(group, done));
    }

    fn leave(&self, letter: Letter) {
        // The reader lives as long as the daemon.
        let _ = self.letters.send(letter);
    }
}

impl Letters {
    /// The next letter; `None` if none came in time.
    ///
    /// # Errors
    /// None will come any more.
    pub(super) fn next(&self, timeout: Duration) -> std::result::Result<Option<Letter>, ()> {
        match self.letters.recv_timeout(timeout) {
            Ok(letter) => {
                if let Letter::News(_, bulk) = &letter {
                    self.queued.fetch_sub(bulk.len(), Ordering::Relaxed);
                }
                Ok(Some(letter))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_what_found_no_room_is_told_of() {
        let (inbox, letters) = Inbox::new();
        let group = GroupId { network: 7, epoch: 1, initiator: 2 };
        let news = GroupNews::Channel { group, count: 1 };
        inbox.news(news.clone(), vec![0; MAX_QUEUED]);
        inbox.news(news.clone(), vec![0; 1]);
        let next = || letters.next(Duration::ZERO).unwrap().unwrap();
        assert!(matches!(next(), Letter::News(_, bulk) if bulk.len() == MAX_QUEUED));
        assert!(matches!(next(), Letter::Overrun));
        inbox.news(news, vec![0; MAX_QUEUED]);
        assert!(matches!(next(), Letter::News(..)));
    }
}

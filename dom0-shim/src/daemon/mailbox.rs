//! Where the link and the client leave what is for a snapshot: its mail, and its pages.
//!
//! Pages go to the image in the link's own thread, straight from the ring; everything else waits
//! here for the snapshot's thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use handoff::{Failure, PageEntry, Verb};
use store::ImageWriter;

use super::lock;
use super::sink::{Contents, Sink};
use crate::error::Error;

/// What arrives for a snapshot.
#[derive(Debug)]
pub(super) enum Mail {
    /// The stub asks for a verb.
    Verb {
        /// Its number.
        seq: u16,
        /// What to do.
        verb: Verb,
        /// Its bulk.
        bulk: Vec<u8>,
    },
    /// A round has ended.
    Round(handoff::Round),
    /// Where it stands.
    Progress(handoff::Progress),
    /// The stub has finished.
    Ended(std::result::Result<handoff::Report, Failure>),
    /// The stub is gone.
    Lost,
    /// The client wants no snapshot any more.
    Cancel,
}

/// Where the link and the client leave what is for a snapshot.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: Sender<Mail>,
    shared: Arc<Shared>,
}

struct Shared {
    sink: Mutex<Sink>,
    cancelled: Arc<AtomicBool>,
    started: Instant,
    /// Milliseconds since `started` when the stub last said something.
    alive: AtomicU64,
}

impl Mailbox {
    /// A mailbox for an image, and the end where its mail is read.
    pub(super) fn new(sink: Sink) -> (Self, Receiver<Mail>) {
        let shared = Shared {
            sink: Mutex::new(sink),
            cancelled: Arc::default(),
            started: Instant::now(),
            alive: AtomicU64::new(0),
        };
        let (sender, receiver) = channel();
        (Self { sender, shared: Arc::new(shared) }, receiver)
    }

    /// Leaves mail.
    pub(super) fn post(&self, mail: Mail) {
        self.mark_alive();
        // A snapshot that has ended reads no mail; then nobody misses it.
        let _ = self.sender.send(mail);
    }

    /// Has the snapshot end without an image.
    pub(super) fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        let _ = self.sender.send(Mail::Cancel);
    }

    /// Whether it was cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// Set by [`Mailbox::cancel`]: for those that wait and read no mail.
    pub(super) fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.cancelled)
    }

    /// Notes that the stub said something.
    pub(super) fn mark_alive(&self) {
        let now = self.shared.started.elapsed().as_millis() as u64;
        self.shared.alive.store(now, Ordering::Relaxed);
    }

    /// How long the stub has said nothing.
    pub(super) fn silence(&self) -> Duration {
        let alive = Duration::from_millis(self.shared.alive.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(alive)
    }

    /// Stores a message of pages. One that can't be stored ends the snapshot, not the connection.
    ///
    /// # Errors
    /// Those of the ring.
    pub(super) fn store<C: Contents>(
        &self,
        entries: &[PageEntry],
        contents: &mut C,
    ) -> std::result::Result<(), C::Error> {
        self.mark_alive();
        let failed = lock(&self.shared.sink).store(entries, contents)?;
        if failed {
            self.cancel();
        }
        Ok(())
    }

    /// Takes the writer out: no page is stored any more. Also returns why storing failed, if it
    /// did.
    pub(super) fn close(&self) -> (Option<ImageWriter>, Option<Error>) {
        lock(&self.shared.sink).close()
    }
}

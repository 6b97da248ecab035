//! Where the link and the client leave what is for a snapshot: its mail, and its pages.
//!
//! Pages go to the image in the link's own thread, straight from the ring; everything else waits
//! here for the snapshot's thread.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use handoff::{Content, Failure, PageEntry, Verb};
use store::ImageWriter;

use super::lock;
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
    pub(super) fn new(writer: ImageWriter) -> (Self, Receiver<Mail>) {
        let sink = Sink { writer: Some(writer), failed: None };
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

    /// Stores a run of pages of consecutive slots, or of zero pages. `write(file, offset)` moves
    /// the contents from the ring to the file. `Ok(false)`: the snapshot takes no more pages, and
    /// the contents are still in the ring.
    ///
    /// # Errors
    /// Those of `write`, as they are: the caller tells a broken ring from a full disk.
    pub(super) fn store<E>(
        &self,
        run: &[PageEntry],
        write: impl FnOnce(&File, u64) -> std::result::Result<(), E>,
    ) -> std::result::Result<bool, E> {
        self.mark_alive();
        let mut sink = lock(&self.shared.sink);
        let Sink { writer: Some(writer), failed: None } = &mut *sink else { return Ok(false) };
        let Some(first) = run.first() else { return Ok(true) };
        if first.content == Content::Zero {
            let noted = run.iter().try_for_each(|e| writer.put_zero(e.slot.into()));
            sink.failed = noted.err().map(Error::from);
            return Ok(true);
        }
        if let Content::Coded { .. } = first.content {
            sink.failed = Some(Error::new("the stub domain sent coded pages"));
            return Ok(false);
        }
        // Asking for the last offset too proves that every slot of the run exists.
        let last = first.slot.saturating_add(run.len() as u32 - 1);
        let offset = match (writer.offset(first.slot.into()), writer.offset(last.into())) {
            (Ok(offset), Ok(_)) => offset,
            (Err(e), _) | (_, Err(e)) => {
                sink.failed = Some(e.into());
                return Ok(false);
            }
        };
        write(writer.memory_fd(), offset)?;
        let noted = run.iter().try_for_each(|e| {
            writer.offset(e.slot.into())?;
            writer.put_data_at(e.slot.into(), e.checksum)
        });
        sink.failed = noted.err().map(Error::from);
        Ok(true)
    }

    /// The store's words for a failed write of a page.
    pub(super) fn write_error(&self, e: std::io::Error) -> Error {
        match &lock(&self.shared.sink).writer {
            Some(writer) => writer.write_error(e).into(),
            None => Error::new(e.to_string()),
        }
    }

    /// Takes the writer out: no page is stored any more. Also returns why storing failed, if it
    /// did.
    pub(super) fn close(&self) -> (Option<ImageWriter>, Option<Error>) {
        let mut sink = lock(&self.shared.sink);
        (sink.writer.take(), sink.failed.take())
    }

    /// Notes that pages can't be stored, and has the snapshot end.
    pub(super) fn fail_store(&self, why: Error) {
        lock(&self.shared.sink).failed.get_or_insert(why);
        self.cancel();
    }
}

/// Where pages go.
struct Sink {
    writer: Option<ImageWriter>,
    failed: Option<Error>,
}

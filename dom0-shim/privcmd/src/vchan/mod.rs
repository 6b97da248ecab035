//! The client end of libvchan's protocol: a two-way byte stream to a stub domain, the server.
//!
//! The server's pages are mapped by grants that it gave us. It may write to them at any time, so:
//! indices are read once and checked; our own index is kept in private memory and only written to
//! the page; and no Rust reference to the rings' bytes ever exists: they are copied from raw
//! pointers into private memory, or handed to the kernel, which copies them straight into a file
//! ([`Reader::write_to`]). A server that changes bytes while they are copied only garbles its own
//! message.
//!
//! An extension of ours: the server removes its nodes when a client has connected, and publishes
//! them again when it is ready for the next. So [`Client::connect`] waits for nodes, and a client
//! that was killed is followed by the next without a restart of the server. (A plain libvchan
//! server works too, for one client.)

mod connect;
mod doorbell;
mod reader;
mod ring;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use connect::{Bytes, Parts, interface};
use ring::Interface;

pub use reader::Reader;
pub use writer::Writer;

use crate::{DomId, xenstore};

/// While blocked, how often to look whether the server's domain is still alive. (Its death rings no
/// bell.)
const LIVENESS: Duration = Duration::from_millis(200);

/// Why the channel does not work (any more).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody offers a channel under this path.
    #[error("the stub domain does not offer its channel")]
    NoServer,
    /// Another client is connected.
    #[error("the stub domain's channel is in use by another client (is luthierd running twice?)")]
    Busy,
    /// The server has closed, or its domain is gone.
    #[error("the stub domain has closed its channel or is gone")]
    Closed,
    /// Closed by [`Closer::close`].
    #[error("the channel was closed on our side")]
    Cancelled,
    /// Nothing happened within the time set.
    #[error("the stub domain did not answer in time")]
    Timeout,
    /// The server broke the protocol; what.
    #[error("the stub domain broke the channel's protocol: {0}")]
    Protocol(&'static str),
    /// Granted pages could not be mapped.
    #[error("cannot map the stub domain's channel: {0}")]
    Map(io::Error),
    /// The event channel failed.
    #[error("event channel: {0}")]
    Event(io::Error),
    /// Writing to the file failed.
    #[error("cannot write: {0}")]
    File(io::Error),
    /// Xen.
    #[error(transparent)]
    Xen(#[from] crate::Error),
    /// Xenstore.
    #[error(transparent)]
    Xenstore(#[from] xenstore::Error),
}

/// A connected channel.
#[derive(Debug)]
pub struct Client {
    reader: Reader,
    writer: Writer,
}

impl Client {
    /// Connects to the server in domain `domid` whose nodes `ring-ref` and `event-channel` are
    /// below `path`, such as `/local/domain/5/data/luthier`; waits for them as long as `timeout`.
    ///
    /// # Errors
    /// [`Error::NoServer`] when the nodes did not appear, [`Error::Busy`], [`Error::Closed`] when
    /// the domain is gone, [`Error::Map`], [`Error::Protocol`], and xenstore's.
    pub fn connect(domid: DomId, path: &str, timeout: Duration) -> Result<Client, Error> {
        connect::connect(domid, path, timeout).map(Client::new)
    }

    fn new(channel: Channel) -> Client {
        let channel = Arc::new(channel);
        Client { reader: Reader::new(channel.clone()), writer: Writer::new(channel) }
    }

    /// Both halves, for two threads. The channel is closed when both are dropped.
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    /// The reading half.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The writing half.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Ends blocked calls from elsewhere.
    pub fn closer(&self) -> Closer {
        self.reader.closer()
    }
}

/// Makes all present and future calls on a channel's halves return [`Error::Cancelled`].
#[derive(Clone, Debug)]
pub struct Closer {
    channel: Arc<Channel>,
}

impl Closer {
    /// Closes. The server learns of it when the halves are dropped.
    pub fn close(&self) {
        self.channel.parts.closing.store(true, Ordering::SeqCst);
        self.channel.parts.doorbell.ring();
    }
}

/// Whether the server's domain is there and runs.
type Alive = Box<dyn Fn() -> Result<bool, Error> + Send + Sync>;

/// What both halves share.
struct Channel {
    alive: Alive,
    parts: Parts,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("layout", &self.parts.layout).finish_non_exhaustive()
    }
}

impl Channel {
    fn new(alive: Alive, parts: Parts) -> Channel {
        Channel { alive, parts }
    }

    fn page(&self) -> &Interface {
        interface(&self.parts.page)
    }

    /// Address of a ring's first byte.
    fn bytes(&self, bytes: &Bytes) -> *mut u8 {
        match bytes {
            Bytes::Mapped(mapping) => mapping.addr().as_ptr(),
            // `Layout` only has offsets within the page.
            Bytes::InPage(offset) => self.parts.page.addr().as_ptr().wrapping_add(*offset),
        }
    }

    /// Asks the server for an event when it has done `what`. Indices must be read again after.
    fn request_notify(&self, what: u8) {
        self.page().srv_notify.fetch_or(what, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Tells the server that we did `what`, if it asked for that.
    fn notify(&self, what: u8) -> Result<(), Error> {
        fence(Ordering::SeqCst);
        let asked = self.page().cli_notify.fetch_and(!what, Ordering::SeqCst);
        if asked & what != 0 {
            self.parts.doorbell.notify()?;
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.parts.closing.load(Ordering::SeqCst) {
            return Err(Error::Cancelled);
        }
        if self.page().srv_live.load(Ordering::Acquire) == 0 { Err(Error::Closed) } else { Ok(()) }
    }

    /// Blocks until `test` says how many bytes it has got (at least `min`), the server is gone, or
    /// the time is over. `what` is the event to ask for. What a server wrote before it went is
    /// still delivered.
    fn wait_for(
        &self,
        what: u8,
        min: u32,
        timeout: Option<Duration>,
        test: impl Fn() -> Result<u32, Error>,
    ) -> Result<u32, Error> {
        let got = test()?;
        if got >= min {
            return Ok(got);
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let seen = self.parts.doorbell.rings();
            // Before the last look, so that a server that writes and closes at once is seen in
            // this order.
            let open = self.check_open();
            self.request_notify(what);
            let got = test()?;
            if got >= min {
                return Ok(got);
            }
            open?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::Timeout);
            }
            self.parts.doorbell.wait(seen, left.unwrap_or(LIVENESS).min(LIVENESS))?;
            let quiet = self.parts.doorbell.rings() == seen;
            if quiet && !(self.alive)()? && test()? < min {
                return Err(Error::Closed);
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The unmapping would do the same; this is the protocol's orderly way. Other errors than
        // a server that is gone are not possible, and there is nothing to do about them.
        self.page().cli_live.store(0, Ordering::SeqCst);
        let _ = self.parts.doorbell.notify();
    }
}

//! The writing half of a channel.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::ring::{self, NOTIFY_READ, NOTIFY_WRITE};
use super::{Channel, Closer, Error};

/// Sends to the server.
#[derive(Debug)]
pub struct Writer {
    channel: Arc<Channel>,
    /// Our index: the page's copy is only written.
    prod: u32,
    timeout: Option<Duration>,
}

impl Writer {
    pub(super) fn new(channel: Arc<Channel>) -> Writer {
        let prod = channel.page().left.prod.load(Ordering::Relaxed);
        Writer { channel, prod, timeout: None }
    }

    /// How long a call may block without any progress; `None` (at first): for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Size of the ring in bytes.
    pub fn capacity(&self) -> usize {
        self.size() as usize
    }

    /// Ends blocked calls from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer { channel: self.channel.clone() }
    }

    fn size(&self) -> u32 {
        self.channel.parts.layout.left.0
    }

    fn space(&self) -> Result<u32, Error> {
        let cons = self.channel.page().left.cons.load(Ordering::Acquire);
        let size = self.size();
        let ready = ring::ready(self.prod, cons, size).ok_or(Error::Protocol("consumer index"))?;
        Ok(size - ready)
    }

    /// Sends all parts, one after the other, blocking as need be. The server is told once, at the
    /// end, unless the ring gets full before.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Timeout`], [`Error::Cancelled`], [`Error::Protocol`],
    /// [`Error::Event`]. Part of it may have been sent.
    pub fn write_all(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        self.channel.check_open()?;
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                let mut space = self.space()?;
                if space == 0 {
                    self.publish()?;
                    space = self.channel.wait_for(NOTIFY_READ, 1, self.timeout, || self.space())?;
                }
                let len = part.len().min(space as usize);
                let Some((piece, rest)) = part.split_at_checked(len) else { break };
                self.copy_in(piece);
                part = rest;
            }
        }
        self.publish()
    }

    /// Copies a piece for which there is space, and moves our index on.
    fn copy_in(&mut self, piece: &[u8]) {
        let len = piece.len() as u32;
        let (offset, first, second) = ring::split(self.prod, len, self.size());
        // The consumer index was read before: the server must be done with these bytes.
        fence(Ordering::SeqCst);
        let ring = self.channel.bytes(&self.channel.parts.left);
        let (first, second) = (first as usize, second as usize);
        // SAFETY: (1) `split` gives ranges within the ring, which is mapped writably, and
        // `first + second` is at most the length of `piece`; (2) `piece` is private memory and
        // does not overlap with the ring; (3) no reference to the ring exists, and what the
        // server does to it meanwhile garbles its own input only.
        unsafe {
            piece.as_ptr().copy_to_nonoverlapping(ring.add(offset as usize), first);
            piece.as_ptr().add(first).copy_to_nonoverlapping(ring, second);
        }
        self.prod = self.prod.wrapping_add(len);
    }

    /// Shows the server what was copied in.
    fn publish(&mut self) -> Result<(), Error> {
        self.channel.page().left.prod.store(self.prod, Ordering::Release);
        self.channel.notify(NOTIFY_WRITE)
    }
}

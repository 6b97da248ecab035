//! The reading half of a channel.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::ring::{self, NOTIFY_READ, NOTIFY_WRITE};
use super::{Channel, Closer, Error};

/// Reads what the server sends.
#[derive(Debug)]
pub struct Reader {
    channel: Arc<Channel>,
    /// Our index: the page's copy is only written.
    cons: u32,
    /// Bytes given back to the server of which it was not told yet.
    untold: u32,
    timeout: Option<Duration>,
}

impl Reader {
    pub(super) fn new(channel: Arc<Channel>) -> Reader {
        let cons = channel.page().right.cons.load(Ordering::Relaxed);
        Reader { channel, cons, untold: 0, timeout: None }
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
        self.channel.parts.layout.right.0
    }

    /// Bytes that can be read without blocking.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub fn available(&self) -> Result<usize, Error> {
        self.ready().map(|ready| ready as usize)
    }

    fn ready(&self) -> Result<u32, Error> {
        let prod = self.channel.page().right.prod.load(Ordering::Acquire);
        ring::ready(prod, self.cons, self.size()).ok_or(Error::Protocol("producer index"))
    }

    /// Blocks until at least one byte is there, without taking it. With a `timeout` of its own, as
    /// the place to wait for the next message.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Timeout`], [`Error::Cancelled`], [`Error::Protocol`],
    /// [`Error::Event`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, Error> {
        self.tell()?;
        let ready = self.channel.wait_for(NOTIFY_WRITE, 1, timeout, || self.ready())?;
        Ok(ready as usize)
    }

    /// Blocks until `wanted` bytes are there, or half a ring full, so that large pieces are taken
    /// in few steps; at most `wanted`.
    fn wait_for_piece(&mut self, wanted: usize) -> Result<u32, Error> {
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let min = wanted.min(self.size() / 2);
        if self.ready()? < min {
            self.tell()?;
        }
        let ready = self.channel.wait_for(NOTIFY_WRITE, min, self.timeout, || self.ready())?;
        Ok(ready.min(wanted))
    }

    /// Fills `data`, blocking as need be. On an error some bytes may have been taken.
    ///
    /// # Errors
    /// As [`Reader::wait`].
    pub fn read_exact(&mut self, mut data: &mut [u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let len = self.wait_for_piece(data.len())?;
            let Some((piece, rest)) = data.split_at_mut_checked(len as usize) else { break };
            let (start, first, second) = self.place(len);
            let to = piece.as_mut_ptr();
            // SAFETY: (1) `place` gives ranges within the mapped ring, `first + second` bytes in
            // all, which is the length of `piece`; (2) `piece` is private memory and does not
            // overlap with the ring; (3) the server may write to the ring meanwhile: bytes have
            // no invalid values, and it garbles its own message only.
            unsafe {
                start.copy_to_nonoverlapping(to, first);
                self.ring().copy_to_nonoverlapping(to.add(first), second);
            }
            self.consume(len)?;
            data = rest;
        }
        Ok(())
    }

    /// Takes `len` bytes and writes them to `file` at `offset`, from the ring by the kernel,
    /// without a copy in this process. When the file fails, the rest of the bytes are taken and
    /// thrown away, so that the stream stays in step, and the file's error is returned.
    ///
    /// # Errors
    /// [`Error::File`], and as [`Reader::wait`].
    pub fn write_to(&mut self, file: &File, offset: u64, len: usize) -> Result<(), Error> {
        let (mut offset, mut left) = (offset, len);
        while left > 0 {
            let piece = self.wait_for_piece(left)?;
            match self.pwritev(file, offset, piece) {
                Ok(written) => {
                    self.consume(written)?;
                    offset = offset.saturating_add(u64::from(written));
                    left = left.saturating_sub(written as usize);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.skip(left)?;
                    return Err(Error::File(error));
                }
            }
        }
        Ok(())
    }

    /// Takes `len` bytes and throws them away.
    ///
    /// # Errors
    /// As [`Reader::wait`].
    pub fn skip(&mut self, mut len: usize) -> Result<(), Error> {
        while len > 0 {
            let piece = self.wait_for_piece(len)?;
            self.consume(piece)?;
            len = len.saturating_sub(piece as usize);
        }
        Ok(())
    }

    fn pwritev(&self, file: &File, offset: u64, len: u32) -> io::Result<u32> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        let (start, first, second) = self.place(len);
        let parts = [
            libc::iovec { iov_base: start.cast(), iov_len: first },
            libc::iovec { iov_base: self.ring().cast(), iov_len: second },
        ];
        let count = if second == 0 { 1 } else { 2 };
        // SAFETY: both ranges lie within the mapped ring; the kernel only reads them, and copes
        // with the server writing to them meanwhile.
        let written = unsafe { libc::pwritev(file.as_raw_fd(), parts.as_ptr(), count, offset) };
        match u32::try_from(written) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => Ok(written.min(len)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    fn ring(&self) -> *mut u8 {
        self.channel.bytes(&self.channel.parts.right)
    }

    /// Where the next `len` bytes are: a part from an address on, and a part at the ring's start.
    fn place(&self, len: u32) -> (*mut u8, usize, usize) {
        let (offset, first, second) = ring::split(self.cons, len, self.size());
        // The producer index was read before: bytes must not be read earlier than it.
        fence(Ordering::Acquire);
        (self.ring().wrapping_add(offset as usize), first as usize, second as usize)
    }

    /// Gives `len` bytes back to the server, and tells it when that is a quarter of the ring: one that
    /// waits for room is not woken for that of a header. It is told of less before we wait ourselves.
    fn consume(&mut self, len: u32) -> Result<(), Error> {
        self.cons = self.cons.wrapping_add(len);
        self.channel.page().right.cons.store(self.cons, Ordering::Release);
        self.untold = self.untold.saturating_add(len);
        if self.untold < self.size() / 4 { Ok(()) } else { self.tell() }
    }

    /// Tells the server what was given back, if it wants to know.
    fn tell(&mut self) -> Result<(), Error> {
        self.untold = 0;
        self.channel.notify(NOTIFY_READ)
    }
}

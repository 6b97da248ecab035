//! Reading from and writing to one client.

use core::time::Duration;

use xen_sys::vchan::{LIVE_CONNECTED, VCHAN_NOTIFY_READ, VCHAN_NOTIFY_WRITE};

use super::channel::{Channel, Impossible};
use super::{Server, VchanError};
use crate::event::{Listen, PortState};
use crate::time;

/// How often a connection without events is asked whether its peer is still bound: a client
/// whose kernel does not clear `cli_live` is found out by that.
const LIVENESS: Duration = Duration::from_secs(5);

/// One client's time with the server. Copies are the same connection: one task may read while
/// another writes, but no two may do the same.
#[derive(Clone, Copy)]
pub struct Connection<'a> {
    server: &'a Server,
    session: u64,
}

impl<'a> Connection<'a> {
    pub(super) fn new(server: &'a Server, session: u64) -> Connection<'a> {
        Connection { server, session }
    }

    /// Whether the client is still there, as far as is known.
    pub fn is_open(&self) -> bool {
        self.server.session.get() == self.session && self.server.channel.borrow().client() == LIVE_CONNECTED
    }

    /// Leaves the client.
    pub fn close(&self) {
        if self.server.session.get() == self.session {
            self.server.end_session();
        }
    }

    /// Reads until `bytes` is full. A client that leaves has its last bytes read first.
    ///
    /// # Errors
    /// See [`VchanError`]; some bytes may have been read.
    pub async fn read_exact(&self, bytes: &mut [u8]) -> Result<(), VchanError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.read(rest).await?;
            rest = &mut rest[count..];
        }
        Ok(())
    }

    /// Waits until there is something to read, and reads it as far as `bytes` goes (which must
    /// not be empty). Returns how much, never 0.
    ///
    /// # Errors
    /// See [`VchanError`].
    pub async fn read(&self, bytes: &mut [u8]) -> Result<usize, VchanError> {
        loop {
            let count = self.attempt(|channel| channel.read(bytes))?;
            if count > 0 {
                self.server.count(|stats| stats.bytes_in += count as u64);
                self.server.tell(VCHAN_NOTIFY_READ);
                return Ok(count);
            }
            if bytes.is_empty() {
                return Ok(0);
            }
            let event = self.ask(VCHAN_NOTIFY_WRITE);
            // Before the last look, so that what a client wrote before it left is still read.
            let open = self.is_open();
            if self.attempt(|channel| channel.readable())? == 0 {
                if !open {
                    self.close();
                    return Err(VchanError::Closed);
                }
                self.wait(event).await?;
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// See [`VchanError`]; some bytes may have been written.
    pub async fn write_all(&self, bytes: &[u8]) -> Result<(), VchanError> {
        self.write_slices(&[bytes]).await
    }

    /// Writes all of `slices`, one after the other, with one event for all that fits into the
    /// ring at once. If the future is dropped, the client gets a part.
    ///
    /// # Errors
    /// See [`VchanError`]; some bytes may have been written.
    pub async fn write_slices(&self, slices: &[&[u8]]) -> Result<(), VchanError> {
        for slice in slices {
            let mut rest = *slice;
            while !rest.is_empty() {
                let count = self.attempt(|channel| channel.stage(rest))?;
                self.server.count(|stats| stats.bytes_out += count as u64);
                rest = &rest[count..];
                if count == 0 {
                    self.show()?;
                    let event = self.ask(VCHAN_NOTIFY_READ);
                    self.check_open()?;
                    if self.attempt(|channel| channel.writable())? == 0 {
                        self.wait(event).await?;
                    }
                }
            }
        }
        self.check_open()?;
        self.show()
    }

    /// Waits until the client has read all that was written.
    ///
    /// # Errors
    /// See [`VchanError`].
    pub async fn drained(&self) -> Result<(), VchanError> {
        while !self.attempt(|channel| channel.drained())? {
            let event = self.ask(VCHAN_NOTIFY_READ);
            self.check_open()?;
            if !self.attempt(|channel| channel.drained())? {
                self.wait(event).await?;
            }
        }
        Ok(())
    }

    /// Shows the client what was staged, and tells it if it wants to know.
    fn show(&self) -> Result<(), VchanError> {
        if self.attempt(|channel| Ok(channel.publish()))? {
            self.server.tell(VCHAN_NOTIFY_WRITE);
        }
        Ok(())
    }

    /// Does something with the memory, if this is still the connection that it belongs to.
    fn attempt<T>(&self, work: impl FnOnce(&mut Channel) -> Result<T, Impossible>) -> Result<T, VchanError> {
        if self.server.session.get() != self.session {
            return Err(VchanError::Closed);
        }
        let result = work(&mut self.server.channel.borrow_mut());
        result.map_err(|Impossible| {
            self.server.end_session();
            VchanError::Protocol
        })
    }

    fn check_open(&self) -> Result<(), VchanError> {
        match self.is_open() {
            true => Ok(()),
            false => {
                self.close();
                Err(VchanError::Closed)
            }
        }
    }

    /// Listens, then asks the client for an event. After that, look whether it is still there,
    /// then at the indices, and only then wait.
    fn ask(&self, what: u8) -> Listen {
        let event = self.server.port.listen();
        self.server.channel.borrow().request_notify(what);
        event
    }

    /// Waits for an event, and now and then looks whether the client's end is still bound.
    async fn wait(&self, event: Listen) -> Result<(), VchanError> {
        self.server.count(|stats| stats.waits += 1);
        if time::timeout(LIVENESS, event).await.is_err() && self.server.port.state() == Ok(PortState::Unbound)
        {
            self.close();
            return Err(VchanError::Closed);
        }
        Ok(())
    }
}

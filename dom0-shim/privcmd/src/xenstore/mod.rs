//! A small xenstore client for Dom0: over xenstored's socket, or the kernel's device.
//!
//! One connection, one request at a time, every wait bounded. No transactions: nothing here needs
//! them.

#[cfg(test)]
mod tests;
mod wire;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::evtchn::wait_readable;
use crate::{DomId, device};

use wire::{HEADER, Header};

/// Where xenstored listens.
const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];
/// How long xenstored may take for an answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Watch events that wait to be fetched. The same event twice is one; beyond this number the
/// oldest is dropped.
const MAX_EVENTS: usize = 1024;

/// Why xenstore did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to xenstored.
    #[error("cannot reach xenstored: {0}; is it running, and are you root in Dom0?")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection to xenstored broke: {0}")]
    Connection(io::Error),
    /// No answer in time.
    #[error("xenstored did not answer in time")]
    Timeout,
    /// An answer that is not of the protocol.
    #[error("xenstored sent something that is not of its protocol")]
    Protocol,
    /// The path or value cannot be sent.
    #[error("not a valid xenstore path or value: {0}")]
    Invalid(String),
    /// There is no such node.
    #[error("xenstore has no {0}")]
    NotFound(String),
    /// Refused for another reason.
    #[error("xenstore refused {path}: {source}")]
    Refused {
        /// The path of the request.
        path: String,
        /// The reason.
        source: io::Error,
    },
}

/// Something changed at or below a watched path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What changed.
    pub path: String,
    /// The watch's token.
    pub token: String,
}

/// Who may do what with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Write.
    Write,
    /// Both.
    Both,
}

impl Permission {
    fn letter(self) -> char {
        match self {
            Permission::None => 'n',
            Permission::Read => 'r',
            Permission::Write => 'w',
            Permission::Both => 'b',
        }
    }
}

/// A connection to xenstored. After [`Error::Connection`], [`Error::Timeout`] or
/// [`Error::Protocol`] it is of no more use: open a new one.
#[derive(Debug)]
pub struct Client {
    file: File,
    last_id: u32,
    events: VecDeque<WatchEvent>,
    /// Bytes received that are not yet a whole message.
    partial: Vec<u8>,
}

impl Client {
    /// Connects: by xenstored's socket, else by `/dev/xen/xenbus` (xenstored in its own domain).
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn open() -> Result<Client, Error> {
        for path in SOCKETS {
            if let Ok(stream) = UnixStream::connect(path) {
                return Ok(Client::over(File::from(OwnedFd::from(stream))));
            }
        }
        match device::open("/dev/xen/xenbus", 0) {
            Ok(file) => Ok(Client::over(file)),
            Err(error) => Err(Error::Connect(io::Error::other(error.to_string()))),
        }
    }

    fn over(file: File) -> Client {
        Client { file, last_id: 0, events: VecDeque::new(), partial: Vec::new() }
    }

    /// Reads a node; `None` if it does not exist. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::NotFound`].
    pub fn read(&mut self, path: &str) -> Result<Option<String>, Error> {
        match self.request(wire::XS_READ, path, &[]) {
            Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a node, and makes it and its parents if need be.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write(&mut self, path: &str, value: &str) -> Result<(), Error> {
        self.request(wire::XS_WRITE, path, &[value.as_bytes()]).map(drop)
    }

    /// Makes an empty node.
    ///
    /// # Errors
    /// [`Error`].
    pub fn mkdir(&mut self, path: &str) -> Result<(), Error> {
        self.request(wire::XS_MKDIR, path, &[]).map(drop)
    }

    /// Removes a node and all below it. No error if it does not exist.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::NotFound`].
    pub fn rm(&mut self, path: &str) -> Result<(), Error> {
        match self.request(wire::XS_RM, path, &[]) {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Names of the nodes directly below.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `E2BIG` when there are more than 4 KiB of names.
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, Error> {
        Ok(wire::strings(&self.request(wire::XS_DIRECTORY, path, &[])?))
    }

    /// Sets a node's owner, what all others may do, and what some may do.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_permissions(
        &mut self,
        path: &str,
        owner: DomId,
        others: Permission,
        some: &[(DomId, Permission)],
    ) -> Result<(), Error> {
        let mut text = format!("{}{owner}\0", others.letter());
        for (domid, permission) in some {
            text.push_str(&format!("{}{domid}\0", permission.letter()));
        }
        self.request(wire::XS_SET_PERMS, path, &[text.as_bytes()]).map(drop)
    }

    /// Watches a node and all below it, or `@releaseDomain` and `@introduceDomain`. The first
    /// event comes at once.
    ///
    /// # Errors
    /// [`Error`].
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.request(wire::XS_WATCH, path, &[token.as_bytes(), b"\0"]).map(drop)
    }

    /// Ends a watch. Events of it may still be waiting.
    ///
    /// # Errors
    /// [`Error`].
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.request(wire::XS_UNWATCH, path, &[token.as_bytes(), b"\0"]).map(drop)
    }

    /// The next watch event; `None` if none came within the time.
    ///
    /// # Errors
    /// [`Error::Connection`], [`Error::Protocol`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<WatchEvent>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.receive(deadline)? {
                None => return Ok(None),
                Some((header, payload)) => self.queue_event(header, &payload)?,
            }
        }
    }

    /// Tells xenstored that a domain which had shut down goes on, so that `@releaseDomain` fires
    /// when it shuts down again.
    ///
    /// # Errors
    /// [`Error`].
    pub fn resume(&mut self, domid: DomId) -> Result<(), Error> {
        let text = format!("{domid}\0");
        self.call(wire::XS_RESUME, &format!("domain {domid}"), &[text.as_bytes()]).map(drop)
    }

    /// A request whose first part is a path.
    fn request(&mut self, ty: u32, path: &str, rest: &[&[u8]]) -> Result<Vec<u8>, Error> {
        if !wire::valid_path(path) {
            return Err(Error::Invalid(path.to_string()));
        }
        let mut parts = vec![path.as_bytes(), b"\0"];
        parts.extend(rest);
        self.call(ty, path, &parts)
    }

    /// Sends, and waits for the reply; events that come in between are kept.
    fn call(&mut self, ty: u32, path: &str, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
        self.last_id = self.last_id.wrapping_add(1);
        let message =
            wire::request(ty, self.last_id, parts).ok_or_else(|| Error::Invalid(path.to_string()))?;
        self.file.write_all(&message).map_err(Error::Connection)?;
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            let (header, payload) = self.receive(deadline)?.ok_or(Error::Timeout)?;
            if header.ty == wire::XS_WATCH_EVENT {
                self.queue_event(header, &payload)?;
                continue;
            }
            if header.req_id != self.last_id {
                return Err(Error::Protocol);
            }
            if header.ty == wire::XS_ERROR {
                return Err(match wire::errno(&payload) {
                    libc::ENOENT => Error::NotFound(path.to_string()),
                    errno => {
                        Error::Refused { path: path.to_string(), source: io::Error::from_raw_os_error(errno) }
                    }
                });
            }
            if header.ty != ty {
                return Err(Error::Protocol);
            }
            return Ok(payload);
        }
    }

    fn queue_event(&mut self, header: Header, payload: &[u8]) -> Result<(), Error> {
        if header.ty != wire::XS_WATCH_EVENT {
            return Err(Error::Protocol);
        }
        let mut strings = wire::strings(payload).into_iter();
        let (Some(path), Some(token)) = (strings.next(), strings.next()) else {
            return Err(Error::Protocol);
        };
        let event = WatchEvent { path, token };
        if !self.events.contains(&event) {
            if self.events.len() >= MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
        Ok(())
    }

    /// The next message; `None` at the deadline.
    fn receive(&mut self, deadline: Instant) -> Result<Option<(Header, Vec<u8>)>, Error> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = wait_readable(self.file.as_fd(), left).map_err(Error::Connection)?;
            if !ready {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                continue;
            }
            let mut chunk = [0; HEADER + wire::PAYLOAD_MAX];
            match self.file.read(&mut chunk) {
                Ok(0) => {
                    return Err(Error::Connection(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(len) => self.partial.extend(chunk.iter().take(len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Connection(error)),
            }
        }
    }

    /// Takes a whole message off what was received.
    fn take_message(&mut self) -> Result<Option<(Header, Vec<u8>)>, Error> {
        let Some(header) = self.partial.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::parse(*header).ok_or(Error::Protocol)?;
        let end = HEADER + header.len as usize;
        let Some(payload) = self.partial.get(HEADER..end) else { return Ok(None) };
        let payload = payload.to_vec();
        self.partial.drain(..end);
        Ok(Some((header, payload)))
    }
}

impl AsFd for Client {
    /// To poll for events along with other things. Events may also be waiting in memory: fetch
    /// with [`Client::wait`] and a timeout of zero until it says `None`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

//! A client of xenstore over the domain's ring.
//!
//! Requests of several tasks are under way at a time, told apart by their identifiers. One task
//! runs [`Xenstore::run`]; without it no answer arrives. All is bounded: requests, watches,
//! events that wait in a watch, and the size of an answer. Values are allegations of whoever may
//! write them: here only their length and, for text, their encoding are checked.
//!
//! Paths are absolute (`/local/domain/0/name`) or relative to the domain's own directory.

mod mux;
mod ring;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;

use xen_sys::hvm::{HvmParam, get_param};
use xen_sys::{DomId, PAGE_SHIFT, xs_wire};

use crate::Errno;
use crate::event::{Port, PortError};
#[cfg(feature = "hostile")]
pub(crate) use mux::Mux;
#[cfg(not(feature = "hostile"))]
use mux::Mux;
use ring::StoreRing;

/// Requests that can be under way at a time. One more waits.
pub const MAX_REQUESTS: usize = 16;
/// Watches that can be set at a time.
pub const MAX_WATCHES: usize = 64;
/// Events that wait in one watch. More are dropped: a watch says "look again", not what changed.
pub const MAX_EVENTS: usize = 8;
/// The most bytes of a value or a list of names.
pub const MAX_PAYLOAD: usize = xs_wire::XENSTORE_PAYLOAD_MAX;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XsError {
    /// The daemon refused; `ENOENT` is no such node, `EACCES` no permission, `ENOSPC` quota.
    Refused(Errno),
    /// The path or value cannot be sent: it is too long, or a path with a zero byte in it.
    Unsendable,
    /// The value is no text.
    NotText,
    /// All [`MAX_WATCHES`] are set.
    TooManyWatches,
    /// The daemon broke the protocol, as it says here. The connection is dead.
    Protocol(&'static str),
}

impl fmt::Display for XsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XsError::Refused(errno) => write!(f, "xenstore refused: {errno}"),
            XsError::Unsendable => f.write_str("the path or value is too long for xenstore"),
            XsError::NotText => f.write_str("the value is not UTF-8 text"),
            XsError::TooManyWatches => write!(f, "all {MAX_WATCHES} xenstore watches are set"),
            XsError::Protocol(what) => write!(f, "xenstore broke the protocol: {what}"),
        }
    }
}

impl core::error::Error for XsError {}

/// Why there is no xenstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Xen did not tell where the ring is.
    Param(Errno),
    /// The toolstack gave the domain no ring.
    Absent,
    /// Its event channel cannot be used.
    Port(PortError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Param(errno) => write!(f, "xenstore's parameters: {errno}"),
            ConnectError::Absent => f.write_str("the toolstack gave this domain no xenstore"),
            ConnectError::Port(error) => write!(f, "xenstore's event channel: {error}"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// The connection. There is one in a domain.
pub struct Xenstore {
    mux: RefCell<Mux>,
    ring: RefCell<StoreRing>,
    port: Port,
}

impl Xenstore {
    /// Finds the ring. Once in a domain's life: a second client would steal the first's answers.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect() -> Result<&'static Xenstore, ConnectError> {
        let frame = get_param(HvmParam::StorePfn).map_err(ConnectError::Param)?;
        let number = get_param(HvmParam::StoreEvtchn).map_err(ConnectError::Param)?;
        if frame == 0 || frame > u64::MAX >> PAGE_SHIFT {
            return Err(ConnectError::Absent);
        }
        let port = Port::from_toolstack(number).map_err(ConnectError::Port)?;
        // SAFETY: the toolstack put the ring there for good, and the memory is identity-mapped
        // as `init` was told.
        let ring = unsafe { StoreRing::new((frame << PAGE_SHIFT) as *mut _) };
        Ok(Box::leak(Box::new(Xenstore { mux: RefCell::new(Mux::new()), ring: RefCell::new(ring), port })))
    }

    /// Moves messages for ever: spawn it.
    pub async fn run(&self) {
        loop {
            self.pump();
            self.port.wait().await;
        }
    }

    /// Moves what can be moved, both ways, and wakes whoever it concerns.
    fn pump(&self) {
        let mut mux = self.mux.borrow_mut();
        if self.ring.borrow_mut().exchange(&mut mux) {
            let _ = self.port.notify();
        }
    }

    async fn call(&self, typ: u32, tx: u32, parts: &[&[u8]]) -> Result<Vec<u8>, XsError> {
        let id = poll_fn(|cx| self.mux.borrow_mut().poll_submit(cx, typ, tx, parts)).await?;
        let _abandon = Abandon { store: self, id };
        self.pump();
        poll_fn(|cx| self.mux.borrow_mut().poll_reply(cx, id)).await
    }

    /// Reads a node's value, at most [`MAX_PAYLOAD`] bytes.
    pub async fn read_bytes(&self, path: &str) -> Result<Vec<u8>, XsError> {
        self.call(xs_wire::XS_READ, 0, &[check(path)?, b"\0"]).await
    }

    /// Reads a node's value as text.
    pub async fn read(&self, path: &str) -> Result<String, XsError> {
        text(self.read_bytes(path).await?)
    }

    /// Sets a node's value, and makes the node and those above it if need be.
    pub async fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Result<(), XsError> {
        let parts = [check(path)?, b"\0", value.as_ref()];
        self.call(xs_wire::XS_WRITE, 0, &parts).await.map(drop)
    }

    /// Removes a node and all below it. One that is not there is no error, if its parent is.
    pub async fn rm(&self, path: &str) -> Result<(), XsError> {
        let parts = [check(path)?, b"\0"];
        self.call(xs_wire::XS_RM, 0, &parts).await.map(drop)
    }

    /// The names of the nodes right below a node.
    pub async fn directory(&self, path: &str) -> Result<Vec<String>, XsError> {
        let parts = [check(path)?, b"\0"];
        let list = self.call(xs_wire::XS_DIRECTORY, 0, &parts).await?;
        let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        names.map(|name| text(name.to_vec())).collect()
    }

    /// Lets only `owner` write a node, and `reader` read it too (Dom0 may do both anyway).
    pub async fn set_readable_by(&self, path: &str, owner: DomId, reader: DomId) -> Result<(), XsError> {
        let permissions = format!("n{owner}\0r{reader}\0");
        let parts = [check(path)?, b"\0", permissions.as_bytes()];
        self.call(xs_wire::XS_SET_PERMS, 0, &parts).await.map(drop)
    }

    /// Watches a node and all below it. The first event comes at once, without a change.
    ///
    /// # Errors
    /// [`XsError::TooManyWatches`], or what the daemon says.
    pub async fn watch(&self, path: &str) -> Result<Watch<'_>, XsError> {
        check(path)?;
        let token = self.mux.borrow_mut().add_watch()?;
        let watch = Watch { store: self, path: String::from(path), token };
        let name = mux::token_name(token);
        let parts = [path.as_bytes(), b"\0", name.as_bytes(), b"\0"];
        self.call(xs_wire::XS_WATCH, 0, &parts).await?;
        Ok(watch)
    }

    /// Begins a transaction: what it reads and writes happens at once or not at all.
    pub async fn transaction(&self) -> Result<Transaction<'_>, XsError> {
        let reply = self.call(xs_wire::XS_TRANSACTION_START, 0, &[b"\0"]).await?;
        let id = text(reply)?;
        let id = id.trim_end_matches('\0').parse();
        let id = id.map_err(|_| XsError::Protocol("a transaction without a number"))?;
        Ok(Transaction { store: self, id })
    }
}

/// Text of an allegation.
fn text(bytes: Vec<u8>) -> Result<String, XsError> {
    String::from_utf8(bytes).map_err(|_| XsError::NotText)
}

/// A path that can be sent.
fn check(path: &str) -> Result<&[u8], XsError> {
    let limit = match path.starts_with('/') {
        true => xs_wire::XENSTORE_ABS_PATH_MAX,
        false => xs_wire::XENSTORE_REL_PATH_MAX,
    };
    match path.len() < limit && !path.bytes().any(|byte| byte == 0) {
        true => Ok(path.as_bytes()),
        false => Err(XsError::Unsendable),
    }
}

/// Lets an answer go nowhere when nobody waits for it any more.
struct Abandon<'a> {
    store: &'a Xenstore,
    id: u32,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.store.mux.borrow_mut().abandon(self.id);
    }
}

/// A watch. Ends when dropped.
pub struct Watch<'a> {
    store: &'a Xenstore,
    path: String,
    token: u32,
}

impl Watch<'_> {
    /// Waits for the next event and returns the path of the node that changed, as the daemon
    /// tells it. Events may have been dropped or merged: look at the present state.
    ///
    /// # Errors
    /// [`XsError::Protocol`] when the connection is dead.
    pub async fn next(&mut self) -> Result<String, XsError> {
        poll_fn(|cx| self.store.mux.borrow_mut().poll_event(cx, self.token)).await
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let name = mux::token_name(self.token);
        let parts = [self.path.as_bytes(), b"\0", name.as_bytes(), b"\0"];
        let mut mux = self.store.mux.borrow_mut();
        mux.remove_watch(self.token);
        mux.submit_and_forget(xs_wire::XS_UNWATCH, &parts);
        drop(mux);
        self.store.pump();
    }
}

/// A transaction. Aborted by the daemon if it is dropped without [`Transaction::commit`].
pub struct Transaction<'a> {
    store: &'a Xenstore,
    id: u32,
}

impl Transaction<'_> {
    /// Reads a node's value as text.
    pub async fn read(&self, path: &str) -> Result<String, XsError> {
        let parts = [check(path)?, b"\0"];
        text(self.store.call(xs_wire::XS_READ, self.id, &parts).await?)
    }

    /// Sets a node's value.
    pub async fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Result<(), XsError> {
        let parts = [check(path)?, b"\0", value.as_ref()];
        let reply = self.store.call(xs_wire::XS_WRITE, self.id, &parts);
        reply.await.map(drop)
    }

    /// Removes a node and all below it.
    pub async fn rm(&self, path: &str) -> Result<(), XsError> {
        let parts = [check(path)?, b"\0"];
        let reply = self.store.call(xs_wire::XS_RM, self.id, &parts);
        reply.await.map(drop)
    }

    /// Makes it happen.
    ///
    /// # Errors
    /// `Refused(EAGAIN)`: somebody else changed what it read; nothing happened, do it again.
    pub async fn commit(mut self) -> Result<(), XsError> {
        let id = core::mem::take(&mut self.id);
        let reply = self.store.call(xs_wire::XS_TRANSACTION_END, id, &[b"T\0"]);
        reply.await.map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            let mut mux = self.store.mux.borrow_mut();
            mux.submit_and_forget_in(xs_wire::XS_TRANSACTION_END, self.id, &[b"F\0"]);
            drop(mux);
            self.store.pump();
        }
    }
}

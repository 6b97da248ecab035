//! The server's side of a vchan (`io/libxenvchan.h`): two byte streams over shared rings, one
//! event channel, and xenstore nodes by which the client finds them.
//!
//! Any client of libxenvchan can connect. Beyond that protocol, a client may come again: while
//! none is connected `ring-ref` and `event-channel` stand under the path; when one has connected
//! they are removed; when it has gone (it closed, or was killed and its kernel cleared
//! `cli_live`), what is left in the rings is forgotten and the nodes are published again, with
//! the same values. The port then waits for the client's domain again by Xen's own doing.
//!
//! A [`Connection`] belongs to one client: its successor never sees its bytes.

mod channel;
mod connection;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;

use xen_sys::vchan::{LIVE_CONNECTED, LIVE_WAITING, ORDERS};
use xen_sys::{DomId, PAGE_SHIFT};

use crate::event::{Port, PortError, PortState};
use crate::grant::{self, Access, GrantError};
use crate::page::{Page, PagePool};
use crate::time;
use crate::xenstore::{Xenstore, XsError};
use channel::Channel;
pub use connection::Connection;

/// The sizes of a vchan and where it is announced.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// Where in xenstore, such as `data/luthier` (relative to the domain's own directory).
    pub path: &'a str,
    /// Who may connect.
    pub client: DomId,
    /// `log2` of the bytes of the ring towards us, 12 to 20.
    pub left_order: u16,
    /// `log2` of the bytes of the ring towards the client, 12 to 20.
    pub right_order: u16,
}

impl<'a> Config<'a> {
    /// 64 KiB towards us and 1 MiB towards the client: bulk goes that way.
    pub const fn new(path: &'a str, client: DomId) -> Config<'a> {
        Config { path, client, left_order: 16, right_order: 20 }
    }

    /// Pages that it takes from a pool.
    pub const fn pages(&self) -> usize {
        1 + pages(self.left_order) + pages(self.right_order)
    }
}

const fn pages(order: u16) -> usize {
    1 << (order as u32 - PAGE_SHIFT)
}

/// Why there is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// An order is not from 12 to 20.
    Order(u16),
    /// The pool has no such number of pages in a row.
    NoPages(usize),
    /// The rings cannot be granted.
    Grant(GrantError),
    /// There is no event channel for it.
    Port(PortError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Order(order) => write!(f, "no ring of 2^{order} bytes: 12 to 20"),
            SetupError::NoPages(count) => {
                write!(f, "no {count} pages in a row for the rings; give the stub domain more memory")
            }
            SetupError::Grant(error) => write!(f, "the rings cannot be granted: {error}"),
            SetupError::Port(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for SetupError {}

/// Why nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VchanError {
    /// The client has gone, or we have left it. Wait for the next.
    Closed,
    /// The client's indices are impossible. The connection is closed.
    Protocol,
}

impl fmt::Display for VchanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VchanError::Closed => "the vchan's client has gone",
            VchanError::Protocol => "the vchan's client wrote impossible indices",
        })
    }
}

impl core::error::Error for VchanError {}

/// What went through since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients that connected.
    pub connections: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Events sent.
    pub notifies: u64,
    /// Events that the client did not want, and were not sent.
    pub suppressed: u64,
    /// Times that a reader or writer had to wait.
    pub waits: u64,
}

/// The server. Its memory and grants are for good.
pub struct Server {
    channel: RefCell<Channel>,
    port: Port,
    store: &'static Xenstore,
    path: String,
    client: DomId,
    ring_ref: u32,
    /// The number of the present connection; even: none.
    session: Cell<u64>,
    stats: Cell<Stats>,
}

impl Server {
    /// Takes memory, grants it to the client's domain and makes an event channel. The client can
    /// find it once [`Server::wait_connected`] is called.
    ///
    /// # Errors
    /// See [`SetupError`]. Memory and grants that were taken by then are not given back.
    pub fn new(
        config: Config<'_>,
        pool: &'static PagePool,
        store: &'static Xenstore,
    ) -> Result<Server, SetupError> {
        for order in [config.left_order, config.right_order] {
            if !ORDERS.contains(&order) {
                return Err(SetupError::Order(order));
            }
        }
        let count = config.pages();
        let memory = pool.take_contiguous(count).ok_or(SetupError::NoPages(count))?;
        let port = Port::alloc_unbound(config.client).map_err(SetupError::Port)?;
        let (channel, ring_ref) = build(config, memory).map_err(SetupError::Grant)?;
        Ok(Server {
            channel: RefCell::new(channel),
            port,
            store,
            path: String::from(config.path),
            client: config.client,
            ring_ref,
            session: Cell::new(0),
            stats: Cell::new(Stats::default()),
        })
    }

    /// What went through since boot.
    pub fn stats(&self) -> Stats {
        self.stats.get()
    }

    /// Waits for a client. The connection before, if any, ends by this.
    ///
    /// # Errors
    /// Xenstore refuses to publish the nodes.
    pub async fn wait_connected(&self) -> Result<Connection<'_>, XsError> {
        self.end_session();
        loop {
            self.wait_unbound().await;
            self.channel.borrow_mut().reset();
            self.publish().await?;
            if self.wait_client().await {
                break;
            }
        }
        self.unpublish().await?;
        self.session.set(self.session.get() + 1);
        self.count(|stats| stats.connections += 1);
        Ok(Connection::new(self, self.session.get()))
    }

    /// Leaves the client, if there is one.
    fn end_session(&self) {
        if self.session.get() % 2 == 1 {
            self.session.set(self.session.get() + 1);
            self.channel.borrow_mut().hang_up();
            let _ = self.port.notify();
            // Whoever waits for this client in another task waits in vain.
            self.port.wake_listeners();
        }
    }

    /// Waits until the client before has closed its end of the event channel: from then on it
    /// can't disturb its successor, and that can bind.
    async fn wait_unbound(&self) {
        let mut pause = Duration::from_millis(5);
        while self.port.state() == Ok(PortState::Bound) {
            time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Waits until a client has connected (true), or one came and went again (false).
    async fn wait_client(&self) -> bool {
        loop {
            let event = self.port.listen();
            match self.channel.borrow().client() {
                LIVE_WAITING => {}
                state => return state == LIVE_CONNECTED,
            }
            event.await;
        }
    }

    async fn publish(&self) -> Result<(), XsError> {
        // The reference last: who sees it finds the other too.
        for (name, value) in [("event-channel", self.port.number()), ("ring-ref", self.ring_ref)] {
            let path = format!("{}/{name}", self.path);
            self.store.write(&path, format!("{value}")).await?;
            if let Some(info) = crate::info() {
                let (owner, reader) = (info.domid, self.client);
                self.store.set_readable_by(&path, owner, reader).await?;
            }
        }
        Ok(())
    }

    async fn unpublish(&self) -> Result<(), XsError> {
        for name in ["ring-ref", "event-channel"] {
            self.store.rm(&format!("{}/{name}", self.path)).await?;
        }
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Tells the client that something was done, if it wants to know.
    fn tell(&self, what: u8) {
        if self.channel.borrow().take_notify(what) {
            let _ = self.port.notify();
            self.count(|stats| stats.notifies += 1);
        } else {
            self.count(|stats| stats.suppressed += 1);
        }
    }
}

/// Lays out the shared page, the left ring and the right ring in `memory`, grants all to the
/// client and writes the references down. Returns the reference of the shared page too.
fn build(config: Config<'_>, memory: &'static mut [Page]) -> Result<(Channel, u32), GrantError> {
    let first = memory.as_mut_ptr();
    let left = first.wrapping_add(1);
    let right = left.wrapping_add(pages(config.left_order));
    // SAFETY: `memory` is ours for good, zeroed, and has exactly these three parts.
    let mut channel = unsafe {
        Channel::new(first.cast(), (left.cast(), config.left_order), (right.cast(), config.right_order))
    };
    let mut ring_ref = 0;
    for index in 0..config.pages() {
        let frame = first.wrapping_add(index) as u64 >> PAGE_SHIFT;
        // SAFETY: only the channel uses the page from now on, by raw pointers.
        let gref = unsafe { grant::grant(config.client, frame, Access::ReadWrite) }?.0;
        match index.checked_sub(1) {
            None => ring_ref = gref,
            Some(index) => channel.set_grant(index, gref),
        }
    }
    Ok((channel, ring_ref))
}

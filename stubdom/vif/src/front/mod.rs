//! Netfront: the stub's own uplink to Dom0's bridge.
//!
//! Each frame of up to [`MAX_FRAME`] octets is one slot and one buffer. Buffers stay granted for
//! good: no frame costs a grant. A sender fills a granted page in place ([`Front::tx_buffer`]),
//! any number of frames go with one notification ([`Front::flush`]); a received frame is copied
//! out once, because its page may change (see `rx`). No events are asked for while there is work.
//!
//! | module | what for |
//! | --- | --- |
//! | `tx`, `rx` | the two rings and their buffers |
//! | `state` | when to connect and disconnect, as a function |
//! | `run` | the task that does it, with xenstore |
//! | [`underlay`] | IPv4 and UDP over it, for sealed datagrams |
//!
//! The back end is Dom0, which could do worse things; all the same, nothing that it says makes us
//! panic or reach beyond a page: an index or identifier that can't be ends the connection, which
//! is then made anew, and counted. Not offered, as sealed datagrams have no use for them: frames
//! of several slots, segmentation, several queues.

mod count;
#[cfg(test)]
mod fake;
mod room;
mod run;
mod rx;
mod state;
mod tx;
pub mod underlay;

use alloc::vec::Vec;
use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::future::poll_fn;
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll, Waker};

use xen::DomId;
use xen::event::Port;
use xen::grant::{GrantedPage, InPage, OutPage};
use xen::page::PagePool;
use xen::ring::BadIndex;
use xen::xenstore::Xenstore;

pub use count::{Count, Counters};
pub use rx::Checksum;

/// The longest frame, in octets: an Ethernet header and 1500.
pub const MAX_FRAME: usize = HEADER + 1500;
/// Octets of an Ethernet header.
const HEADER: usize = 14;
/// Buffers of each direction: as many as a ring has slots. With the rings, 514 grants and pages.
const BUFFERS: usize = 256;

type Tx = tx::Tx<GrantedPage, OutPage>;
type Rx = rx::Rx<GrantedPage, InPage>;

/// How the back end broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// An index that can't be.
    Index(BadIndex),
    /// An answer to a request that was not made.
    Id(u16),
    /// A frame beyond the end of its page.
    Span,
    /// Something that was not asked for.
    Unasked,
}

impl From<BadIndex> for Broken {
    fn from(bad: BadIndex) -> Self {
        Broken::Index(bad)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(bad) => bad.fmt(f),
            Self::Id(id) => write!(f, "it answered request {id}, which was not made"),
            Self::Span => f.write_str("a frame beyond the end of its page"),
            Self::Unasked => f.write_str("extra information that was not asked for"),
        }
    }
}

/// A flag that one task waits for.
#[derive(Default)]
struct Signal {
    set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    fn set(&self) {
        self.set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.take() {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// What a connection is made of that outlives it: a buffer that the back end may still have is
/// used again as a buffer, and for nothing else.
struct Parts {
    tx_ring: GrantedPage,
    rx_ring: GrantedPage,
    tx: Vec<OutPage>,
    rx: Vec<InPage>,
}

/// The uplink. One task runs [`Front::run`], which connects it; one other uses the rest.
pub struct Front {
    store: &'static Xenstore,
    pool: &'static PagePool,
    device: &'static str,
    tx: RefCell<Option<Tx>>,
    rx: RefCell<Option<Rx>>,
    port: RefCell<Option<Port>>,
    live: Cell<bool>,
    mac: Cell<[u8; 6]>,
    mtu: Cell<u16>,
    broken: Cell<Option<Broken>>,
    /// For `run`: the link is broken.
    broke: Signal,
    /// For the one who waits: the link came or went.
    changed: Signal,
    /// Between connections, and for whom they are granted.
    parts: Cell<Option<(DomId, Parts)>>,
    owner: Cell<DomId>,
    counters: Counters,
}

impl Front {
    /// The first vif of this domain. Nothing happens until [`Front::run`] runs.
    pub fn new(store: &'static Xenstore, pool: &'static PagePool) -> Front {
        Front {
            store,
            pool,
            device: "device/vif/0",
            tx: RefCell::new(None),
            rx: RefCell::new(None),
            port: RefCell::new(None),
            live: Cell::new(false),
            mac: Cell::new([0; 6]),
            mtu: Cell::new(1500),
            broken: Cell::new(None),
            broke: Signal::default(),
            changed: Signal::default(),
            parts: Cell::new(None),
            owner: Cell::new(0),
            counters: Counters::default(),
        }
    }

    /// Whether frames can go and come.
    pub fn link_up(&self) -> bool {
        self.live.get()
    }

    /// Our address: zero until the link came up for the first time.
    pub fn mac(&self) -> [u8; 6] {
        self.mac.get()
    }

    /// The most octets behind the Ethernet header, at most 1500: 1500 or what the toolstack said.
    pub fn mtu(&self) -> u16 {
        self.mtu.get()
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A buffer for a frame. `None`, and counted: no link, or all buffers are on their way. Then
    /// [`Front::wait`] ends when there is hope again.
    pub fn tx_buffer(&self) -> Option<TxSlot<'_>> {
        if !self.live.get() {
            self.counters.tx_down.one();
            return None;
        }
        let mut tx = RefMut::filter_map(self.tx.try_borrow_mut().ok()?, Option::as_mut).ok()?;
        match tx.take(&self.counters) {
            Ok(Some(id)) => Some(TxSlot { tx, id, sent: false, counters: &self.counters }),
            Ok(None) => {
                self.counters.tx_full.one();
                // All of them may be there unseen.
                self.flush_ring(&mut tx);
                None
            }
            Err(broken) => {
                drop(tx);
                self.break_link(broken);
                None
            }
        }
    }

    /// Sends what was committed, with at most one notification.
    pub fn flush(&self) {
        if self.live.get()
            && let Ok(mut tx) = self.tx.try_borrow_mut()
            && let Some(tx) = tx.as_mut()
        {
            self.flush_ring(tx);
        }
    }

    fn flush_ring(&self, tx: &mut Tx) {
        match tx.flush(&self.counters) {
            Ok(true) => self.notify(),
            Ok(false) => {}
            Err(broken) => self.break_link(broken),
        }
    }

    /// Hands each frame that waits to `each`, which may change it, send frames, but not receive.
    /// At most one ring full; returns whether there were any.
    pub fn receive(&self, each: impl FnMut(&mut [u8], Checksum)) -> bool {
        if !self.live.get() {
            return false;
        }
        let Ok(mut rx) = self.rx.try_borrow_mut() else { return false };
        let Some(rx) = rx.as_mut() else { return false };
        let before = self.counters.rx_frames.get();
        match rx.receive(&self.counters, each) {
            Ok(true) => self.notify(),
            Ok(false) => {}
            Err(broken) => self.break_link(broken),
        }
        self.counters.rx_frames.get() != before
    }

    /// Waits until there is something to do: frames came, buffers came back after there were
    /// none, or the link came or went. For one task.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// As [`Front::wait`], for a task that waits for several things.
    pub fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.changed.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !self.live.get() {
            return Poll::Pending;
        }
        let (port, rx) = (self.port.borrow(), self.rx.borrow());
        let (Some(port), Some(rx)) = (port.as_ref(), rx.as_ref()) else { return Poll::Pending };
        // First: so that an event that is over doesn't count.
        let event = port.poll_wait(cx).map(|()| self.counters.notifications_received.one());
        match rx.arm() {
            Ok(false) => event,
            Ok(true) => Poll::Ready(()),
            Err(broken) => {
                self.break_link(broken);
                Poll::Pending
            }
        }
    }

    fn notify(&self) {
        if let Some(port) = self.port.borrow().as_ref() {
            self.counters.notifications_sent.one();
            let _ = port.notify();
        }
    }

    /// The back end can't be believed any more: nothing moves until there is a new connection.
    fn break_link(&self, broken: Broken) {
        self.live.set(false);
        self.broken.set(Some(broken));
        self.broke.set();
    }
}

/// A granted page to be filled with a frame: [`MAX_FRAME`] octets with something old in them. The
/// back end can read what is there at any moment (as Dom0 it can anyway). Given back when dropped;
/// never to be held across an `.await`.
pub struct TxSlot<'a> {
    tx: RefMut<'a, Tx>,
    id: u16,
    sent: bool,
    counters: &'a Counters,
}

impl TxSlot<'_> {
    /// Puts the first `len` octets into the ring as a frame. [`Front::flush`] sends it.
    pub fn commit(mut self, len: usize) {
        self.sent = true;
        self.tx.commit(self.id, len, self.counters);
    }
}

impl Deref for TxSlot<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.tx.peek(self.id)
    }
}

impl DerefMut for TxSlot<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.tx.bytes(self.id)
    }
}

impl Drop for TxSlot<'_> {
    fn drop(&mut self) {
        if !self.sent {
            self.tx.give_back(self.id);
        }
    }
}

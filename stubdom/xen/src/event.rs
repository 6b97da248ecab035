//! Event channels.
//!
//! All channels stay masked: Xen sets a port's pending bit and wakes us from `SCHEDOP_poll`, but
//! never interrupts. [`scan`] finds the pending ports, clears their bits and wakes the tasks that
//! wait; [`idle`] sleeps in Xen until one of our ports is pending or a deadline has come. Xen
//! looks at the pending bits after it has put us to sleep, so no event is lost in between.

use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};

use spin::Mutex;
use xen_sys::DomId;
use xen_sys::errno::Errno;
use xen_sys::event_channel as sys;
use xen_sys::sched::POLL_MAX_PORTS;
use xen_sys::shared_info::{EVTCHN_2L_NR_CHANNELS, EVTCHN_WORDS, SharedInfo};

use crate::time::Instant;

/// Ports that can be open at a time: what one `SCHEDOP_poll` takes.
pub const MAX_PORTS: usize = POLL_MAX_PORTS;

/// Tasks that can wait for one port without stepping on each other's toes.
const WAITERS: usize = 4;

/// Why a port could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// All [`MAX_PORTS`] are open.
    TooMany,
    /// The number is not one that the two-level ABI has.
    OutOfRange(u64),
    /// Xen refused.
    Xen(Errno),
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortError::TooMany => write!(f, "all {MAX_PORTS} event channels are in use"),
            PortError::OutOfRange(port) => write!(f, "event channel {port} is out of range"),
            PortError::Xen(errno) => write!(f, "Xen refused an event channel: {errno}"),
        }
    }
}

impl core::error::Error for PortError {}

impl From<Errno> for PortError {
    fn from(errno: Errno) -> Self {
        PortError::Xen(errno)
    }
}

/// The state of a port as Xen sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Nobody is bound to it.
    Unbound,
    /// Somebody is.
    Bound,
    /// Anything else.
    Other,
}

struct Slot {
    /// 0: free (Xen never gives out port 0).
    port: u32,
    /// Events seen, modulo 2^32.
    count: u32,
    wakers: [Option<Waker>; WAITERS],
}

struct Table {
    slots: [Slot; MAX_PORTS],
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    slots: [const { Slot { port: 0, count: 0, wakers: [const { None }; WAITERS] } }; MAX_PORTS],
});

impl Table {
    fn add(&mut self, port: u32) -> Result<usize, PortError> {
        let (index, slot) =
            (self.slots.iter_mut().enumerate()).find(|(_, slot)| slot.port == 0).ok_or(PortError::TooMany)?;
        slot.port = port;
        Ok(index)
    }

    fn remove(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.port = 0;
        // Whoever still waits learns that something happened, looks, and finds it closed.
        slot.count = slot.count.wrapping_add(1);
        slot.wake();
    }
}

impl Slot {
    fn wake(&mut self) {
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    fn register(&mut self, waker: &Waker) {
        if (self.wakers.iter().flatten()).any(|known| known.will_wake(waker)) {
            return;
        }
        if self.wakers.iter().all(Option::is_some) {
            // More waiters than places: all look again, and come back if need be.
            self.wake();
        }
        if let Some(place) = self.wakers.iter_mut().find(|place| place.is_none()) {
            *place = Some(waker.clone());
        }
    }
}

/// A reference to the part of `shared_info` that is made of atomics.
fn bitmaps() -> Option<(&'static Bitmap, &'static Bitmap)> {
    let shared: *const SharedInfo = crate::init::shared_info()?;
    // SAFETY: the page is mapped for good, and these fields are atomics for both sides.
    unsafe { Some((&(*shared).evtchn_pending, &(*shared).evtchn_mask)) }
}

type Bitmap = [core::sync::atomic::AtomicU64; EVTCHN_WORDS];

/// Clears the pending bit of `port` and says whether it was set.
fn take_pending(port: u32) -> bool {
    let Some((pending, _)) = bitmaps() else {
        return false;
    };
    let bit = 1u64 << (port % 64);
    match pending.get((port / 64) as usize) {
        // Looking first is cheaper than a locked operation.
        Some(word) if word.load(Ordering::Relaxed) & bit != 0 => {
            word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
        }
        _ => false,
    }
}

/// Masks every channel. Part of [`crate::init()`].
pub(crate) fn mask_all() {
    if let Some((_, mask)) = bitmaps() {
        for word in mask {
            word.store(u64::MAX, Ordering::Relaxed);
        }
    }
}

/// Finds the ports that are pending and wakes their tasks. Returns how many there were.
pub(crate) fn scan() -> u64 {
    let mut table = TABLE.lock();
    let mut found = 0;
    for slot in table.slots.iter_mut().filter(|slot| slot.port != 0) {
        if take_pending(slot.port) {
            slot.count = slot.count.wrapping_add(1);
            slot.wake();
            found += 1;
        }
    }
    found
}

/// Sleeps in Xen until a port of ours is pending or `deadline` has come.
pub(crate) fn idle(deadline: Option<Instant>) -> Result<(), Errno> {
    // 0 would mean: no deadline.
    let timeout = deadline.map_or(0, |at| at.as_nanos().max(1));
    // Only those that somebody waits for: Xen walks our page tables for each (6,000 instructions).
    let mut ports = [0; MAX_PORTS];
    let mut used = 0;
    for slot in TABLE.lock().slots.iter().filter(|slot| slot.wakers.iter().any(Option::is_some)) {
        ports[used] = slot.port;
        used += 1;
    }
    xen_sys::sched::poll(&ports[..used], timeout)
}

/// One end of an event channel, ours. Closed when dropped, unless the toolstack made it.
#[derive(Debug)]
pub struct Port {
    number: u32,
    slot: usize,
    seen: Cell<u32>,
    close: bool,
}

impl Port {
    /// Makes a port that `remote` may bind to.
    pub fn alloc_unbound(remote: DomId) -> Result<Port, PortError> {
        Port::adopt(sys::alloc_unbound(remote)?, true)
    }

    /// Binds a new port to `remote_port` of `remote`.
    pub fn bind_interdomain(remote: DomId, remote_port: u32) -> Result<Port, PortError> {
        Port::adopt(sys::bind_interdomain(remote, remote_port)?, true)
    }

    /// Takes a port that the toolstack made for us (xenstore's, the console's).
    pub(crate) fn from_toolstack(number: u64) -> Result<Port, PortError> {
        let port = u32::try_from(number).map_err(|_| PortError::OutOfRange(number))?;
        Port::adopt(port, false)
    }

    fn adopt(number: u32, close: bool) -> Result<Port, PortError> {
        let result = if (1..EVTCHN_2L_NR_CHANNELS).contains(&number) {
            TABLE.lock().add(number)
        } else {
            Err(PortError::OutOfRange(number.into()))
        };
        match result {
            Ok(slot) => {
                let seen = TABLE.lock().slots[slot].count;
                Ok(Port { number, slot, seen: Cell::new(seen), close })
            }
            Err(error) => {
                if close {
                    let _ = sys::close(number);
                }
                Err(error)
            }
        }
    }

    /// The port's number, as the other end needs it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Sends an event to the other end. One hypercall; does nothing if nobody is bound.
    pub fn notify(&self) -> Result<(), Errno> {
        sys::send(self.number)
    }

    /// Whether somebody is bound to it. One hypercall.
    pub fn state(&self) -> Result<PortState, Errno> {
        Ok(match sys::status(self.number)?.status {
            sys::STATUS_UNBOUND => PortState::Unbound,
            sys::STATUS_INTERDOMAIN => PortState::Bound,
            _ => PortState::Other,
        })
    }

    /// Begins to listen: the future is ready once an event came after this call. So listen first,
    /// then look at what the event is about, then wait. Several tasks may listen.
    pub fn listen(&self) -> Listen {
        Listen { slot: self.slot, since: TABLE.lock().slots[self.slot].count }
    }

    /// Waits for an event since the last `wait` ended: ready at once if one came in the meantime.
    /// For ports with one task that waits.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// As [`Port::wait`], for a task that waits for several ports.
    pub fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut listen = Listen { slot: self.slot, since: self.seen.get() };
        Pin::new(&mut listen).poll(cx).map(|count| self.seen.set(count))
    }

    /// Makes those who listen look again, as an event would.
    pub(crate) fn wake_listeners(&self) {
        let mut table = TABLE.lock();
        let slot = &mut table.slots[self.slot];
        slot.count = slot.count.wrapping_add(1);
        slot.wake();
    }

    /// Blocks in Xen, all tasks with it, until the port is pending or `deadline` has come. Only
    /// for the console, which may have to wait for room in the midst of anything.
    pub(crate) fn block(&self, deadline: Instant) {
        if !take_pending(self.number) {
            let _ = xen_sys::sched::poll(&[self.number], deadline.as_nanos().max(1));
            take_pending(self.number);
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        TABLE.lock().remove(self.slot);
        if self.close {
            let _ = sys::close(self.number);
        }
        take_pending(self.number);
    }
}

/// The future of [`Port::listen`]. Its output is of no interest outside.
#[derive(Debug)]
#[must_use = "does nothing unless awaited"]
pub struct Listen {
    slot: usize,
    since: u32,
}

impl Future for Listen {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        let mut table = TABLE.lock();
        let slot = &mut table.slots[self.slot];
        if slot.count != self.since {
            return Poll::Ready(slot.count);
        }
        slot.register(cx.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Executor;
    use alloc::rc::Rc;

    #[test]
    fn an_event_wakes_every_listener_even_when_there_are_many() {
        let port = Rc::new(Port::adopt(40, false).unwrap());
        let executor = Executor::new();
        let woken = Rc::new(Cell::new(0));
        for _ in 0..WAITERS + 2 {
            let (listen, woken) = (port.listen(), woken.clone());
            let task = async move {
                listen.await;
                woken.set(woken.get() + 1);
            };
            executor.spawner().spawn("listener", task).unwrap();
        }
        // More listeners than places keep each other awake, so this can't run until stalled.
        for _ in 0..10 {
            executor.poll_ready();
        }
        assert_eq!(woken.get(), 0);
        port.wake_listeners();
        executor.run_until_stalled();
        assert_eq!(woken.get(), WAITERS + 2);
    }

    #[test]
    fn an_event_that_came_before_the_wait_is_not_lost_and_counts_once() {
        let port = Rc::new(Port::adopt(41, false).unwrap());
        let executor = Executor::new();
        let waits = Rc::new(Cell::new(0));
        port.wake_listeners();
        port.wake_listeners();
        let (p, w) = (port.clone(), waits.clone());
        let task = async move {
            loop {
                p.wait().await;
                w.set(w.get() + 1);
            }
        };
        executor.spawner().spawn("waiter", task).unwrap();
        executor.run_until_stalled();
        assert_eq!(waits.get(), 1);
        port.wake_listeners();
        executor.run_until_stalled();
        assert_eq!(waits.get(), 2);
    }

    #[test]
    fn ports_outside_the_abi_are_refused() {
        assert_eq!(Port::from_toolstack(0).unwrap_err(), PortError::OutOfRange(0));
        assert!(Port::from_toolstack(4096).is_err());
        assert!(Port::from_toolstack(u64::MAX).is_err());
    }
}

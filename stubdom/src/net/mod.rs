//! The guests' network: vifs, the switch between them, and the way to other hosts.
//!
//! | module | what for |
//! | --- | --- |
//! | [`state`] | networks, devices and ports, and which is which |
//! | [`plane`] | the data path: from what guests sent to where the switch says |
//! | [`backend`] | a task for each vif: xenstore, connecting, disconnecting |
//! | [`convert`] | frames that a guest can't take as they are |
//! | [`far`] | the way to other hosts: who the peers are |
//! | [`carry`] | frames to and from them, sealed |
//! | [`underlay`] | the uplink that it goes by |
//! | [`gate`] | the colours of frames at the ports |
//! | [`cut`] | a group snapshot's work at the guests' vifs |
//! | [`restore`] | guests that come back together |
//! | [`orders`] | what the shim orders |
//! | [`figures`] | what it asks |
//! | [`capture`] | copies of frames for an operator |
//!
//! There is one task for all data ([`plane`]): frames go from one to the next in one turn, with one
//! hypercall for many. Everything here runs on one CPU and never waits while it holds the state.

mod backend;
mod capture;
mod carry;
mod convert;
mod cut;
mod far;
mod figures;
mod gate;
mod orders;
mod plane;
mod restore;
mod state;
mod underlay;

use alloc::rc::Rc;
use core::cell::RefCell;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use vif::front::Front;
use xen::executor::Spawner;
use xen::page::PagePool;
use xen::xenstore::Xenstore;

use state::State;

/// The network of this stub.
pub(crate) struct Net {
    state: RefCell<State>,
    /// Set when there may be something to do that no event tells.
    wake: Signal<NoopRawMutex, ()>,
    /// Set when frames were captured.
    captured: Signal<NoopRawMutex, ()>,
    /// Set when there is something for group snapshots.
    grouped: Signal<NoopRawMutex, ()>,
    store: &'static Xenstore,
    pool: &'static PagePool,
    uplink: &'static Front,
}

impl Net {
    /// Starts serving vifs. Networks come by orders.
    ///
    /// # Errors
    /// What there was no room for.
    pub(crate) fn start(
        store: &'static Xenstore,
        pool: &'static PagePool,
        spawner: &Spawner,
    ) -> Result<Rc<Self>, &'static str> {
        let state = RefCell::new(State::new());
        let uplink = underlay::open(spawner, store, pool).map_err(|_| "no task for the uplink")?;
        let net = Rc::new(Self {
            state,
            wake: Signal::new(),
            captured: Signal::new(),
            grouped: Signal::new(),
            store,
            pool,
            uplink,
        });
        spawner.spawn("plane", plane::run(Rc::clone(&net))).map_err(|_| "no task for the network")?;
        let watch = backend::watch(Rc::clone(&net), spawner.clone());
        spawner.spawn("vifs", watch).map_err(|_| "no task for the vifs")?;
        Ok(net)
    }
}

/// Milliseconds since boot.
pub(crate) fn now_ms() -> u64 {
    xen::time::now().as_micros() / 1000
}

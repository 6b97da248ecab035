//! Finding a server in xenstore, mapping its pages, and becoming its client.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use super::doorbell::Doorbell;
use super::ring::{GRANTS_OFFSET, Interface, Layout, NOTIFY_WRITE, Place};
use super::{Channel, Error};
use crate::evtchn::EventChannel;
use crate::gntdev::{GrantDevice, GrantMapping};
use crate::{DomId, Hypervisor, xenstore};

/// Between attempts when a server is there but did not take us.
const RETRY: Duration = Duration::from_millis(50);
/// `cli_live` before a client has connected.
const NOT_YET: u8 = 2;

/// The bytes of a ring, where they are mapped.
#[derive(Debug)]
pub(super) enum Bytes {
    /// Offset in the shared page.
    InPage(usize),
    /// Pages of its own.
    Mapped(GrantMapping),
}

/// Waits for the nodes of a server and connects.
pub(super) fn connect(domid: DomId, path: &str, timeout: Duration) -> Result<Channel, Error> {
    let deadline = Instant::now() + timeout;
    let mut store = xenstore::Client::open()?;
    store.watch(path, "vchan")?;
    let hypervisor = Hypervisor::open()?;
    let mut last = Error::NoServer;
    loop {
        if hypervisor.domain_info(domid)?.is_none_or(|info| !info.alive()) {
            return Err(Error::Closed);
        }
        if let Some((gref, port)) = read_nodes(&mut store, path)? {
            match attach(domid, gref, port) {
                Ok(parts) => {
                    let alive = move || -> Result<bool, Error> {
                        let info = hypervisor.domain_info(domid)?;
                        Ok(info.is_some_and(|info| info.alive()))
                    };
                    return Ok(Channel::new(Box::new(alive), parts));
                }
                // What the server published is not a vchan: waiting does not help.
                Err(Error::Protocol(what)) => return Err(Error::Protocol(what)),
                // Nodes of an offer that is gone already, or another client was quicker.
                Err(error) => last = error,
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(last);
        }
        // After a failed attempt the nodes need not change, so look again soon in any case.
        let pause = if matches!(last, Error::NoServer) { Duration::from_secs(1) } else { RETRY };
        store.wait(left.min(pause))?;
    }
}

/// Both nodes, if they are there and are numbers.
fn read_nodes(store: &mut xenstore::Client, path: &str) -> Result<Option<(u32, u32)>, Error> {
    let mut number = |name: &str| -> Result<Option<u32>, Error> {
        let text = store.read(&format!("{path}/{name}"))?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    };
    let gref = number("ring-ref")?;
    let port = number("event-channel")?;
    Ok(gref.zip(port))
}

/// What a connection consists of.
pub(super) struct Parts {
    pub(super) page: GrantMapping,
    pub(super) layout: Layout,
    pub(super) left: Bytes,
    pub(super) right: Bytes,
    pub(super) doorbell: Doorbell,
    pub(super) closing: AtomicBool,
}

fn attach(domid: DomId, gref: u32, port: u32) -> Result<Parts, Error> {
    let device = GrantDevice::open()?;
    let page = device.map(domid, &[gref], true).map_err(Error::Map)?;
    let interface = interface(&page);
    let layout = Layout::new(
        interface.left_order.load(Ordering::Relaxed),
        interface.right_order.load(Ordering::Relaxed),
    )
    .ok_or(Error::Protocol("sizes of rings"))?;
    if interface.srv_live.load(Ordering::Acquire) == 0 {
        return Err(Error::NoServer);
    }
    // Looked at before anything else is taken; decided by the compare-and-swap below.
    match interface.cli_live.load(Ordering::Acquire) {
        NOT_YET => {}
        0 => return Err(Error::NoServer),
        _ => return Err(Error::Busy),
    }
    let bytes = |place, writable| match place {
        Place::InPage(offset) => Ok(Bytes::InPage(offset)),
        Place::Granted { first, count } => {
            let grants = read_grants(&page, first, count);
            device.map(domid, &grants, writable).map(Bytes::Mapped).map_err(Error::Map)
        }
    };
    let left = bytes(layout.left.1, true)?;
    let right = bytes(layout.right.1, false)?;
    let channel = EventChannel::bind_interdomain(domid, port)?;

    // Only one of several clients gets from "not yet" to "connected".
    let taken = interface.cli_live.compare_exchange(NOT_YET, 1, Ordering::AcqRel, Ordering::Acquire);
    if taken.is_err() {
        return Err(Error::Busy);
    }
    // From here on our end, however it comes, clears `cli_live` and rings.
    let cli_live = std::mem::offset_of!(Interface, cli_live);
    if let Err(error) = page.notify_on_unmap(cli_live, channel.port()) {
        interface.cli_live.store(NOT_YET, Ordering::Release);
        return Err(Error::Map(error));
    }
    interface.srv_notify.fetch_or(NOTIFY_WRITE, Ordering::SeqCst);
    channel.notify().map_err(Error::Event)?;
    Ok(Parts { page, layout, left, right, doorbell: Doorbell::new(channel), closing: AtomicBool::new(false) })
}

/// The shared page's fields.
pub(super) fn interface(page: &GrantMapping) -> &Interface {
    // SAFETY: (1) the mapping is a page, aligned, writable, and lives as long as the borrow;
    // (2) `Interface` consists of atomics only, so what the other domain writes there meanwhile is
    // covered by their interior mutability; (3) any bits are valid for them.
    unsafe { page.addr().cast::<Interface>().as_ref() }
}

/// Reads a part of the list of grants. `Layout` has checked that it ends within the page.
fn read_grants(page: &GrantMapping, first: usize, count: usize) -> Vec<u32> {
    let slots = page.len().saturating_sub(GRANTS_OFFSET) / size_of::<u32>();
    fence(Ordering::Acquire);
    (first..first.saturating_add(count).min(slots))
        .map(|slot| {
            let at = GRANTS_OFFSET + slot * size_of::<u32>();
            // SAFETY: within the mapped page, aligned to 4; volatile because the other domain may
            // write it at any time.
            unsafe { page.addr().as_ptr().add(at).cast::<u32>().read_volatile() }
        })
        .collect()
}

//! Copies of frames for an operator who debugs a network.
//!
//! The data path never waits for it: what the link does not take in time is left out and counted.

use alloc::vec::Vec;

use handoff::{CAPTURE_BULK, CAPTURE_RECORD_LEN, CaptureRecord, Direction, NetAnswer, RequestId};
use violin::id::NetworkId;

use super::Net;
use super::state::State;

/// Networks that can be captured at a time.
const MAX_CAPTURES: usize = 4;

/// A capture that is going on.
pub(super) struct Capture {
    request: RequestId,
    network: NetworkId,
    snaplen: u16,
    /// Records and octets that wait for the link.
    bulk: Vec<u8>,
    count: u16,
    missed: u64,
}

/// All captures.
#[derive(Default)]
pub(super) struct Captures(heapless::Vec<Capture, MAX_CAPTURES>);

impl Captures {
    /// Begins one. Returns the request of the one whose place it takes. `Err`: there are
    /// [`MAX_CAPTURES`].
    pub(super) fn begin(
        &mut self,
        request: RequestId,
        network: NetworkId,
        snaplen: u16,
    ) -> Result<Option<RequestId>, ()> {
        let ended = self.end(network);
        let bulk = Vec::with_capacity(CAPTURE_BULK);
        let capture = Capture { request, network, snaplen, bulk, count: 0, missed: 0 };
        self.0.push(capture).map_err(drop).map(|()| ended)
    }

    /// Ends one. Returns the request that began it.
    pub(super) fn end(&mut self, network: NetworkId) -> Option<RequestId> {
        let at = self.0.iter().position(|capture| capture.network == network)?;
        Some(self.0.swap_remove(at).request)
    }

    /// Whether frames of this network are wanted, and how much of them.
    pub(super) fn wants(&self, network: NetworkId) -> Option<usize> {
        self.0.iter().find(|c| c.network == network).map(|c| c.snaplen.into())
    }

    /// Takes a copy of a frame of `len` octets, the first of which are `octets`.
    pub(super) fn add(
        &mut self,
        network: NetworkId,
        direction: Direction,
        source: u64,
        octets: &[u8],
        len: usize,
    ) {
        let Some(capture) = self.0.iter_mut().find(|c| c.network == network) else { return };
        let kept = octets.get(..usize::from(capture.snaplen)).unwrap_or(octets);
        if capture.bulk.len() + CAPTURE_RECORD_LEN + kept.len() > CAPTURE_BULK {
            capture.missed += 1;
            return;
        }
        let record = CaptureRecord {
            time_us: xen::time::now().as_micros(),
            source,
            len: len as u32,
            caplen: kept.len() as u16,
            direction,
        };
        capture.bulk.extend_from_slice(&record.emit());
        capture.bulk.extend_from_slice(kept);
        capture.count += 1;
    }

    /// Whether something waits for the link.
    pub(super) fn waits(&self) -> bool {
        self.0.iter().any(|capture| capture.count > 0)
    }
}

impl Net {
    /// Waits until frames were captured.
    pub(crate) async fn captured(&self) {
        self.captured.wait().await;
    }

    /// Takes what was captured: for which request, what to say, and its bulk.
    pub(crate) fn take_captured(&self) -> Option<(RequestId, NetAnswer, Vec<u8>)> {
        let mut state = self.state.borrow_mut();
        let capture = state.captures.0.iter_mut().find(|capture| capture.count > 0)?;
        let bulk = core::mem::replace(&mut capture.bulk, Vec::with_capacity(CAPTURE_BULK));
        let count = core::mem::take(&mut capture.count);
        let now_us = xen::time::now().as_micros();
        Some((capture.request, NetAnswer::Captured { count, missed: capture.missed, now_us }, bulk))
    }

    /// Ends all captures: whoever wanted them is gone.
    pub(crate) fn end_captures(&self) {
        self.state.borrow_mut().captures.0.clear();
    }
}

impl State {
    /// Captures a guest's frame, if its network is captured.
    pub(super) fn capture(&mut self, network: NetworkId, device: u16, place: u16) {
        let Self { captures, hub, staging, devices, .. } = self;
        let Some(snaplen) = captures.wants(network) else { return };
        let source = devices.get(usize::from(device)).and_then(Option::as_ref);
        let source = source.map_or(0, |d| u64::from(d.dom) << 16 | u64::from(d.devid));
        let Some(frame) = hub.frame(place) else { return };
        let len = frame.len.into();
        if snaplen <= frame.head().len() {
            captures.add(network, Direction::FromGuest, source, frame.head(), len);
            return;
        }
        // A debugging aid may cost a copy more.
        hub.read(&[place], staging, |_, _, octets| {
            captures.add(network, Direction::FromGuest, source, octets.as_deref().unwrap_or_default(), len);
        });
    }
}

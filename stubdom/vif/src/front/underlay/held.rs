//! Datagrams that wait until their neighbour's address is known: few, and not for long.

use alloc::boxed::Box;
use core::net::{Ipv4Addr, SocketAddrV4};

use super::super::MAX_FRAME;
use super::header::HEADERS;

/// Datagrams that wait at a time.
const MAX_HELD: usize = 16;
/// Of these, for one neighbour.
const MAX_EACH: usize = 4;
/// How long one waits, in milliseconds: three questions.
const HOLD_MS: u64 = 2_900;

/// Whom a datagram waits for.
struct Waits {
    hop: Ipv4Addr,
    to: SocketAddrV4,
    len: usize,
    since: u64,
}

/// Room for a datagram.
pub(super) struct Frame {
    waits: Option<Waits>,
    payload: [u8; MAX_FRAME - HEADERS],
}

impl Frame {
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.payload
    }

    /// Keeps the first `len` octets.
    pub(super) fn hold(&mut self, hop: Ipv4Addr, to: SocketAddrV4, len: usize, now: u64) {
        self.waits = Some(Waits { hop, to, len, since: now });
    }
}

/// All that wait.
pub(super) struct Held(Box<[Frame]>);

impl Held {
    pub(super) fn new() -> Self {
        let frame = || Frame { waits: None, payload: [0; MAX_FRAME - HEADERS] };
        Self((0..MAX_HELD).map(|_| frame()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|frame| frame.waits.is_none())
    }

    /// Room for one more that waits for `hop`. It is used by [`Frame::hold`] only.
    pub(super) fn room_for(&mut self, hop: Ipv4Addr) -> Option<&mut Frame> {
        let waiting = self.0.iter().flat_map(|frame| &frame.waits).filter(|waits| waits.hop == hop);
        if waiting.count() >= MAX_EACH {
            return None;
        }
        self.0.iter_mut().find(|frame| frame.waits.is_none())
    }

    /// Hands out those that wait for `hop`.
    pub(super) fn release(&mut self, hop: Ipv4Addr, mut each: impl FnMut(SocketAddrV4, &[u8])) {
        for frame in &mut self.0 {
            if let Some(waits) = frame.waits.take_if(|waits| waits.hop == hop) {
                each(waits.to, frame.payload.get(..waits.len).unwrap_or_default());
            }
        }
    }

    /// Drops those that waited too long. Returns how many.
    pub(super) fn expire(&mut self, now: u64) -> u64 {
        let old = |waits: &mut Waits| now.saturating_sub(waits.since) > HOLD_MS;
        self.0.iter_mut().filter_map(|frame| frame.waits.take_if(old)).count() as u64
    }

    /// Names whom they wait for, perhaps more than once.
    pub(super) fn each_hop(&self, each: impl FnMut(Ipv4Addr)) {
        self.0.iter().flat_map(|frame| &frame.waits).map(|waits| waits.hop).for_each(each);
    }
}

//! A datagram in the making.

use core::cell::RefMut;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::{Deref, DerefMut};

use smoltcp::wire::EthernetAddress;

use super::super::Front;
use super::header::HEADERS;
use super::{Underlay, Wire, held};

/// Where a datagram is made.
pub(super) enum Place<'a, W: Wire> {
    /// In a buffer of the ring.
    Ring { slot: W::Slot<'a>, mac: EthernetAddress },
    /// Where it waits for its neighbour's address.
    Held { frame: RefMut<'a, held::Frame>, hop: Ipv4Addr },
}

/// Room for the payload of a datagram: [`Underlay::max_payload`] octets with something old in
/// them. Nothing is sent when it is dropped; never to be held across an `.await`.
pub struct Outgoing<'a, W: Wire = Front> {
    place: Place<'a, W>,
    to: SocketAddrV4,
    max: usize,
    underlay: &'a Underlay<W>,
}

impl<'a, W: Wire> Outgoing<'a, W> {
    pub(super) fn new(underlay: &'a Underlay<W>, place: Place<'a, W>, to: SocketAddrV4) -> Self {
        Self { place, to, max: underlay.max_payload(), underlay }
    }

    /// Makes the first `len` octets a datagram. [`Underlay::flush`] sends it.
    pub fn commit(self, len: usize) {
        let len = len.min(self.max);
        match self.place {
            Place::Ring { slot, mac } => self.underlay.finish(slot, mac, self.to, len),
            Place::Held { mut frame, hop } => frame.hold(hop, self.to, len, self.underlay.now.get()),
        }
    }
}

impl<W: Wire> Deref for Outgoing<'_, W> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Ring { slot, .. } => slot.get(HEADERS..HEADERS + self.max).unwrap_or_default(),
            Place::Held { frame, .. } => frame.payload().get(..self.max).unwrap_or_default(),
        }
    }
}

impl<W: Wire> DerefMut for Outgoing<'_, W> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.place {
            Place::Ring { slot, .. } => slot.get_mut(HEADERS..HEADERS + self.max).unwrap_or_default(),
            Place::Held { frame, .. } => frame.payload_mut().get_mut(..self.max).unwrap_or_default(),
        }
    }
}

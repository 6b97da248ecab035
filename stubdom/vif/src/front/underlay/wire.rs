//! What the underlay needs of the uplink, so that tests can be something else.

use core::ops::DerefMut;

use super::super::{Checksum, Front, TxSlot};

/// What frames travel over: the uplink, or what a test puts in its place.
pub trait Wire: 'static {
    /// A buffer for a frame.
    type Slot<'a>: Slot;
    /// See [`Front::tx_buffer`].
    fn tx_buffer(&self) -> Option<Self::Slot<'_>>;
    /// See [`Front::flush`].
    fn flush(&self);
    /// See [`Front::receive`].
    fn receive(&self, each: impl FnMut(&mut [u8], Checksum)) -> bool;
    /// See [`Front::link_up`].
    fn link_up(&self) -> bool;
    /// See [`Front::mac`].
    fn mac(&self) -> [u8; 6];
    /// See [`Front::mtu`].
    fn mtu(&self) -> u16;
}

/// A buffer for a frame: [`MAX_FRAME`](super::super::MAX_FRAME) octets, given back when dropped.
pub trait Slot: DerefMut<Target = [u8]> {
    /// See [`TxSlot::commit`].
    fn commit(self, len: usize);
}

impl Slot for TxSlot<'_> {
    fn commit(self, len: usize) {
        TxSlot::commit(self, len);
    }
}

impl Wire for Front {
    type Slot<'a> = TxSlot<'a>;
    fn tx_buffer(&self) -> Option<TxSlot<'_>> {
        Front::tx_buffer(self)
    }
    fn flush(&self) {
        Front::flush(self);
    }
    fn receive(&self, each: impl FnMut(&mut [u8], Checksum)) -> bool {
        Front::receive(self, each)
    }
    fn link_up(&self) -> bool {
        Front::link_up(self)
    }
    fn mac(&self) -> [u8; 6] {
        Front::mac(self)
    }
    fn mtu(&self) -> u16 {
        Front::mtu(self)
    }
}

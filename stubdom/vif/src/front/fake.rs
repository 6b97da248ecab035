//! Pages that both ends of a test have.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use xen::ring::RingPage;

use super::rx::InBuffer;
use super::tx::OutBuffer;

/// A page for a ring.
#[derive(Clone)]
pub(super) struct Page(Rc<[Cell<u64>; 512]>);

impl Default for Page {
    fn default() -> Self {
        Self(Rc::new([const { Cell::new(0) }; 512]))
    }
}

impl RingPage for Page {
    fn first(&self) -> *mut u8 {
        self.0.as_ptr() as *mut u8
    }
}

/// A page for a frame.
#[derive(Clone)]
pub(super) struct Buffer {
    gref: u32,
    shared: Rc<RefCell<Vec<u8>>>,
    ours: Vec<u8>,
}

impl Buffer {
    pub(super) fn gref(&self) -> u32 {
        self.gref
    }

    pub(super) fn write(&self, offset: usize, octets: &[u8]) {
        self.shared.borrow_mut()[offset..offset + octets.len()].copy_from_slice(octets);
    }
}

pub(super) fn buffers(count: usize) -> Vec<Buffer> {
    let buffer = |i| {
        let shared = Rc::new(RefCell::new(std::vec![0; 4096]));
        Buffer { gref: 1000 + i as u32, shared, ours: std::vec![0; 4096] }
    };
    (0..count).map(buffer).collect()
}

impl OutBuffer for Buffer {
    fn gref(&self) -> u32 {
        self.gref
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.ours
    }
    fn peek(&self) -> &[u8] {
        &self.ours
    }
}

impl InBuffer for Buffer {
    fn gref(&self) -> u32 {
        self.gref
    }
    fn copy_out(&self, offset: usize, to: &mut [u8]) -> bool {
        let shared = self.shared.borrow();
        let from = offset.checked_add(to.len()).and_then(|end| shared.get(offset..end));
        from.is_some_and(|from| {
            to.copy_from_slice(from);
            true
        })
    }
}

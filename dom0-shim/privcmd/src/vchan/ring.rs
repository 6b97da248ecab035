//! The shared page of libvchan's protocol (`io/libxenvchan.h`) and arithmetic on ring indices.
//! Sans-I/O.

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};

use crate::PAGE_SIZE;

/// `VCHAN_NOTIFY_WRITE`: send an event when data is written.
pub(super) const NOTIFY_WRITE: u8 = 1;
/// `VCHAN_NOTIFY_READ`: send an event when data is read.
pub(super) const NOTIFY_READ: u8 = 2;

/// Orders of rings that lie in the shared page itself, at the offset of the same size.
const IN_PAGE_ORDERS: [u16; 2] = [10, 11];
/// Largest ring: 1 MiB.
const MAX_ORDER: u16 = 20;
const PAGE_ORDER: u16 = 12;

/// `struct ring_shared`
#[repr(C)]
pub(super) struct RingShared {
    /// Bytes consumed so far, modulo 2^32.
    pub(super) cons: AtomicU32,
    /// Bytes produced so far, modulo 2^32.
    pub(super) prod: AtomicU32,
}

/// `struct vchan_interface`, without its list of grants. The other domain may write any of it at
/// any time.
#[repr(C)]
pub(super) struct Interface {
    /// Client writes, server reads.
    pub(super) left: RingShared,
    /// Server writes, client reads.
    pub(super) right: RingShared,
    /// log2 of the left ring's size.
    pub(super) left_order: AtomicU16,
    /// log2 of the right ring's size.
    pub(super) right_order: AtomicU16,
    /// 0: exited, 1: connected, 2: not yet connected.
    pub(super) cli_live: AtomicU8,
    /// 0: exited, 1: there.
    pub(super) srv_live: AtomicU8,
    /// When the client is to send an event.
    pub(super) cli_notify: AtomicU8,
    /// When the server is to send an event.
    pub(super) srv_notify: AtomicU8,
}

/// Offset of `grants[]`.
pub(super) const GRANTS_OFFSET: usize = size_of::<Interface>();

const _: () = assert!(size_of::<Interface>() == 24);
const _: () = assert!(offset_of!(Interface, right) == 8);
const _: () = assert!(offset_of!(Interface, left_order) == 16);
const _: () = assert!(offset_of!(Interface, cli_live) == 20);
const _: () = assert!(offset_of!(Interface, srv_notify) == 23);

/// Where the bytes of a ring are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the shared page, at this offset.
    InPage(usize),
    /// In pages of its own: this many grants from this position of the list on.
    Granted {
        /// Position in the list.
        first: usize,
        /// How many.
        count: usize,
    },
}

/// Both rings of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Size in bytes of the ring that the client writes, and where it is.
    pub(super) left: (u32, Place),
    /// Size in bytes of the ring that the client reads, and where it is.
    pub(super) right: (u32, Place),
}

impl Layout {
    /// Checks what the server wrote. `None`: not a layout of the protocol.
    pub(super) fn new(left_order: u16, right_order: u16) -> Option<Layout> {
        let pages = |order: u16| match order {
            PAGE_ORDER..=MAX_ORDER => Some(1 << (order - PAGE_ORDER)),
            _ if IN_PAGE_ORDERS.contains(&order) => Some(0),
            _ => None,
        };
        let (left_pages, right_pages): (usize, usize) = (pages(left_order)?, pages(right_order)?);
        let place = |order: u16, first, count| match count {
            0 => Place::InPage(1usize << order),
            count => Place::Granted { first, count },
        };
        let layout = Layout {
            left: (1 << left_order, place(left_order, 0, left_pages)),
            right: (1 << right_order, place(right_order, left_pages, right_pages)),
        };
        // The list of grants ends before a ring in the page, and two rings there differ in size.
        let list_end = GRANTS_OFFSET + (left_pages + right_pages) * size_of::<u32>();
        let in_page = [layout.left.1, layout.right.1];
        let limit = in_page.iter().fold(PAGE_SIZE, |limit, place| match place {
            Place::InPage(offset) => limit.min(*offset),
            Place::Granted { .. } => limit,
        });
        let same = left_order == right_order && left_order < PAGE_ORDER;
        (list_end <= limit && !same).then_some(layout)
    }
}

/// Bytes that wait between the indices. `None`: the peer broke the protocol.
pub(super) fn ready(prod: u32, cons: u32, size: u32) -> Option<u32> {
    Some(prod.wrapping_sub(cons)).filter(|&ready| ready <= size)
}

/// The place of `len` bytes from index `at` on, in a ring of `size` (a power of two): offset and
/// length of the part up to the ring's end, and the length of the part at its start. `len` is cut
/// to `size`.
pub(super) fn split(at: u32, len: u32, size: u32) -> (u32, u32, u32) {
    let len = len.min(size);
    let offset = at & size.wrapping_sub(1);
    let first = len.min(size - offset);
    (offset, first, len - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_may_wrap_around_but_not_run_apart() {
        assert_eq!(ready(5, 3, 1024), Some(2));
        assert_eq!(ready(1, u32::MAX, 1024), Some(2));
        assert_eq!(ready(1024, 0, 1024), Some(1024));
        assert_eq!(ready(1025, 0, 1024), None);
        assert_eq!(ready(3, 5, 1024), None);
    }

    #[test]
    fn a_run_across_the_end_comes_in_two_parts() {
        assert_eq!(split(10, 5, 16), (10, 5, 0));
        assert_eq!(split(14, 5, 16), (14, 2, 3));
        assert_eq!(split(u32::MAX, 3, 16), (15, 1, 2));
        assert_eq!(split(0, 16, 16), (0, 16, 0));
        assert_eq!(split(3, 99, 16), (3, 13, 3));
    }

    #[test]
    fn layouts_of_the_protocol_are_taken() {
        let small = Layout::new(10, 11).unwrap();
        assert_eq!(small.left, (1024, Place::InPage(1024)));
        assert_eq!(small.right, (2048, Place::InPage(2048)));
        let bulk = Layout::new(14, 18).unwrap();
        assert_eq!(bulk.left, (16384, Place::Granted { first: 0, count: 4 }));
        assert_eq!(bulk.right, (262_144, Place::Granted { first: 4, count: 64 }));
        assert!(Layout::new(20, 20).is_some());
    }

    #[test]
    fn other_layouts_are_refused() {
        for (left, right) in [(9, 11), (10, 10), (11, 11), (12, 21), (0, 0), (65535, 12)] {
            assert_eq!(Layout::new(left, right), None, "{left} {right}");
        }
        // 256 grants would run into the ring at offset 1024.
        assert_eq!(Layout::new(10, 20), None);
        assert!(Layout::new(11, 20).is_some());
    }
}

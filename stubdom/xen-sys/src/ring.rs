//! The shared request/response ring of the split drivers (`io/ring.h`): its layout and its index
//! arithmetic. What travels in it is the business of each driver.
//!
//! Indices run freely modulo 2^32. An index that the other side wrote is an allegation: check it
//! with [`unconsumed`] before use.

/// `struct NAME_sring` without its entries, which follow.
#[repr(C)]
pub struct SringHeader {
    /// Requests up to here were made. Written by the front end.
    pub req_prod: u32,
    /// Notify the back end when `req_prod` passes this.
    pub req_event: u32,
    /// Responses up to here were made. Written by the back end.
    pub rsp_prod: u32,
    /// Notify the front end when `rsp_prod` passes this.
    pub rsp_event: u32,
    pvt: [u8; 4],
    pad: [u8; 44],
}

const _: () = assert!(size_of::<SringHeader>() == 64);

/// How many entries of `entry` bytes a ring of `bytes` (header included) has: a power of two.
pub const fn entries(bytes: usize, entry: usize) -> u32 {
    if entry == 0 || bytes < size_of::<SringHeader>() + entry {
        return 0;
    }
    let fit = (bytes - size_of::<SringHeader>()) / entry;
    1 << fit.ilog2()
}

/// Entries between `cons` (ours) and `prod` (alleged by the other side), if there can be that
/// many in a ring of `size`.
pub const fn unconsumed(prod: u32, cons: u32, size: u32) -> Option<u32> {
    let count = prod.wrapping_sub(cons);
    if count <= size { Some(count) } else { None }
}

/// Whether the other side asked to be notified about any of the entries `old..new`, having set
/// its event index to `event`.
pub const fn needs_notify(new: u32, old: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_256_netif_tx_entries_of_twelve_bytes() {
        assert_eq!(entries(4096, 12), 256);
        assert_eq!(entries(4096, 8), 256);
        assert_eq!(entries(64, 8), 0);
    }

    #[test]
    fn a_producer_that_is_too_far_ahead_or_runs_backwards_is_impossible() {
        assert_eq!(unconsumed(5, 3, 256), Some(2));
        assert_eq!(unconsumed(1, u32::MAX, 256), Some(2));
        assert_eq!(unconsumed(300, 0, 256), None);
        assert_eq!(unconsumed(3, 5, 256), None);
    }

    #[test]
    fn a_notification_is_due_when_the_event_index_is_passed() {
        assert!(needs_notify(2, 1, 2));
        assert!(!needs_notify(2, 1, 5));
        assert!(needs_notify(1, u32::MAX, 0));
    }
}

//! Requests of a guest's transmit ring: whatever they say, a frame that is gathered lies within
//! pages and within its slots.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vif::back::gather::{MAX_FRAGMENTS, gather};
use xen_sys::PAGE_SIZE;
use xen_sys::netif::{NR_SLOTS_MIN, TX_SLOT, TxRequest};

fuzz_target!(|octets: &[u8]| {
    let slots: Vec<[u8; TX_SLOT]> = octets.as_chunks().0.iter().copied().take(256).collect();
    let mut next = slots.iter().copied();
    let mut pending = slots.len() as u32;
    while pending > 0 {
        let before = next.len() as u32;
        let result = gather(pending, || next.next().expect("takes no more than is pending"));
        let taken = before - next.len() as u32;
        assert!((1..=pending).contains(&taken));
        let Ok((frame, said)) = result else { return };
        assert_eq!(said, taken);
        let fragments = &frame.fragments;
        assert!((1..=MAX_FRAGMENTS).contains(&fragments.len()) && MAX_FRAGMENTS <= NR_SLOTS_MIN);
        assert_eq!(taken as usize, fragments.len() + usize::from(frame.extras));
        assert_eq!(usize::from(frame.len), fragments.iter().map(|f| usize::from(f.len)).sum::<usize>());
        for fragment in fragments {
            assert!(fragment.len > 0);
            assert!(usize::from(fragment.offset) + usize::from(fragment.len) <= PAGE_SIZE);
        }
        assert!(frame.gso.is_none_or(|gso| gso.size > 0 && frame.extras > 0));
        // The first request is believed on what it says of the whole, and its place.
        let first = TxRequest::from_slot(slots[slots.len() - before as usize]);
        assert_eq!((frame.len, fragments[0].offset), (first.size, first.offset));
        pending -= taken;
    }
});

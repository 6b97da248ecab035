//! The memory of a vchan against a model of its client, which does what libxenvchan does.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::SeqCst};

use xen_sys::vchan::{
    GRANTS_OFFSET, LIVE_CLOSED, LIVE_CONNECTED, LIVE_WAITING, VCHAN_NOTIFY_READ, VCHAN_NOTIFY_WRITE,
    VchanInterface,
};

use super::channel::{Channel, Impossible};
use crate::byte_ring;
use crate::page::Page;

const LEFT_ORDER: u16 = 12;
const RIGHT_ORDER: u16 = 13;

/// The client: it finds everything in the shared page.
struct Client {
    shared: *mut VchanInterface,
    left: *mut u8,
    right: *mut u8,
}

impl Client {
    fn word(&self, field: impl FnOnce(*mut VchanInterface) -> *mut u32) -> &AtomicU32 {
        // SAFETY: the page lives for ever and the field is aligned.
        unsafe { AtomicU32::from_ptr(field(self.shared)) }
    }

    fn byte(&self, field: impl FnOnce(*mut VchanInterface) -> *mut u8) -> &AtomicU8 {
        // SAFETY: the page lives for ever.
        unsafe { AtomicU8::from_ptr(field(self.shared)) }
    }

    fn sizes(&self) -> (u32, u32) {
        // SAFETY: the page lives for ever, and the orders never change.
        unsafe { (1 << (*self.shared).left_order, 1 << (*self.shared).right_order) }
    }

    fn connect(&self) {
        // SAFETY: raw pointers to fields of a page that lives for ever.
        unsafe {
            assert_eq!(self.byte(|p| &raw mut (*p).cli_live).swap(LIVE_CONNECTED, SeqCst), LIVE_WAITING);
            self.byte(|p| &raw mut (*p).srv_notify).store(VCHAN_NOTIFY_WRITE, SeqCst);
        }
    }

    /// Sends what fits. Returns how much, and whether it sends an event.
    fn send(&self, bytes: &[u8]) -> (usize, bool) {
        // SAFETY: raw pointers to fields of a page that lives for ever; the ring has that size.
        unsafe {
            let prod = self.word(|p| &raw mut (*p).left.prod);
            let cons = self.word(|p| &raw mut (*p).left.cons).load(SeqCst);
            let size = self.sizes().0;
            let space = byte_ring::space(prod.load(SeqCst), cons, size).expect("a good server");
            let part = &bytes[..bytes.len().min(space as usize)];
            byte_ring::copy_in(self.left, size, prod.load(SeqCst), part);
            prod.fetch_add(part.len() as u32, SeqCst);
            let asked = self.byte(|p| &raw mut (*p).cli_notify).fetch_and(!VCHAN_NOTIFY_WRITE, SeqCst);
            (part.len(), asked & VCHAN_NOTIFY_WRITE != 0)
        }
    }

    /// Takes what is there, up to `limit`. Returns whether it sends an event, too.
    fn receive(&self, limit: usize) -> (Vec<u8>, bool) {
        // SAFETY: raw pointers to fields of a page that lives for ever; the ring has that size.
        unsafe {
            let prod = self.word(|p| &raw mut (*p).right.prod).load(SeqCst);
            let cons = self.word(|p| &raw mut (*p).right.cons);
            let size = self.sizes().1;
            let used = byte_ring::used(prod, cons.load(SeqCst), size).expect("a good server");
            let mut bytes = vec![0; limit.min(used as usize)];
            byte_ring::copy_out(self.right, size, cons.load(SeqCst), &mut bytes);
            cons.fetch_add(bytes.len() as u32, SeqCst);
            let asked = self.byte(|p| &raw mut (*p).cli_notify).fetch_and(!VCHAN_NOTIFY_READ, SeqCst);
            (bytes, asked & VCHAN_NOTIFY_READ != 0)
        }
    }
}

/// A server's memory and a client of it, over pages that live for ever.
fn pair() -> (Channel, Client) {
    let pages: Vec<Page> = (0..4).map(|_| Page([0; 4096])).collect();
    let first = Vec::leak(pages).as_mut_ptr();
    let (left, right) = (first.wrapping_add(1).cast(), first.wrapping_add(2).cast());
    // SAFETY: one page for each part but two for the right ring, zeroed, for ever.
    let mut channel = unsafe { Channel::new(first.cast(), (left, LEFT_ORDER), (right, RIGHT_ORDER)) };
    channel.reset();
    (channel, Client { shared: first.cast(), left, right })
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ seed.wrapping_mul(97)) as u8).collect()
}

#[test]
fn a_new_channel_waits_for_a_client_and_wants_to_hear_of_its_writes() {
    let (channel, client) = pair();
    assert_eq!(channel.client(), LIVE_WAITING);
    assert_eq!(client.sizes(), (4096, 8192));
    client.connect();
    assert_eq!(channel.client(), LIVE_CONNECTED);
    assert_eq!(client.send(b"hello"), (5, true));
    assert_eq!(client.send(b"again"), (5, false));
}

#[test]
fn grant_references_stand_where_a_client_looks_for_them() {
    let (mut channel, client) = pair();
    channel.set_grant(0, 0x1111);
    channel.set_grant(2, 0x3333);
    channel.set_grant(usize::MAX, 1);
    // SAFETY: within the shared page.
    let word = |at: usize| unsafe { client.shared.cast::<u8>().add(at).cast::<u32>().read() };
    assert_eq!((word(GRANTS_OFFSET), word(GRANTS_OFFSET + 8)), (0x1111, 0x3333));
}

#[test]
fn bytes_arrive_in_order_whatever_the_pieces_also_where_indices_wrap() {
    let (mut channel, client) = pair();
    let start = u32::MAX - 5000;
    channel.start_at(start);
    client.connect();
    let there = pattern(1, 100_000);
    let back = pattern(2, 100_000);
    let (mut sent, mut staged) = (0, 0);
    let (mut arrived, mut received) = (Vec::new(), Vec::new());
    let mut step = 1usize;
    while arrived.len() < there.len() || received.len() < back.len() {
        step = step.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let size = (step >> 33) % 9000;
        match (step >> 60) % 4 {
            0 => sent += client.send(&there[sent..there.len().min(sent + size)]).0,
            1 => {
                staged += channel.stage(&back[staged..back.len().min(staged + size)]).unwrap();
                if step & (1 << 50) != 0 {
                    channel.publish();
                }
            }
            2 => {
                let mut bytes = vec![0; size];
                let count = channel.read(&mut bytes).unwrap();
                arrived.extend_from_slice(&bytes[..count]);
            }
            _ => {
                channel.publish();
                received.extend(client.receive(size).0);
            }
        }
    }
    assert!(arrived == there && received == back);
    assert_eq!(channel.drained(), Ok(true));
}

#[test]
fn what_is_staged_is_not_seen_before_it_is_published() {
    let (mut channel, client) = pair();
    client.connect();
    assert!(!channel.publish(), "nothing to show");
    channel.stage(b"head ").unwrap();
    channel.stage(b"body").unwrap();
    assert_eq!(client.receive(100).0, b"");
    assert!(channel.publish());
    assert!(channel.take_notify(VCHAN_NOTIFY_WRITE), "the client asked at its start");
    assert_eq!(channel.drained(), Ok(false));
    assert_eq!(client.receive(100).0, b"head body");
    assert_eq!(channel.drained(), Ok(true));
}

#[test]
fn an_event_is_sent_only_when_it_was_asked_for() {
    let (mut channel, client) = pair();
    client.connect();
    assert_eq!(channel.stage(&[7; 9000]), Ok(8192), "the ring is full");
    channel.publish();
    assert!(!client.receive(10).1);
    channel.request_notify(VCHAN_NOTIFY_READ);
    assert!(client.receive(10).1);
    assert!(!client.receive(10).1);
    assert!(channel.take_notify(VCHAN_NOTIFY_WRITE));
    assert!(!channel.take_notify(VCHAN_NOTIFY_WRITE));
}

#[test]
fn impossible_indices_of_the_client_are_found_out_before_anything_is_copied() {
    let (mut channel, client) = pair();
    client.connect();
    let mut bytes = [0xee; 16];
    for alleged in [4097, 9000, 1 << 31] {
        // SAFETY: raw pointers to fields of a page that lives for ever.
        unsafe {
            client.word(|p| &raw mut (*p).left.prod).store(alleged, SeqCst);
            client.word(|p| &raw mut (*p).right.cons).store(alleged, SeqCst);
        }
        assert_eq!(channel.read(&mut bytes), Err(Impossible));
        assert_eq!(channel.readable(), Err(Impossible));
        assert_eq!(channel.stage(&bytes), Err(Impossible));
        assert_eq!(channel.drained(), Err(Impossible));
    }
    assert_eq!(bytes, [0xee; 16]);
}

#[test]
fn our_own_indices_are_not_what_the_client_says_they_are() {
    let (mut channel, client) = pair();
    client.connect();
    client.send(b"12345678");
    let mut bytes = [0; 4];
    channel.read(&mut bytes).unwrap();
    // SAFETY: raw pointers to fields of a page that lives for ever.
    unsafe {
        client.word(|p| &raw mut (*p).left.cons).store(77, SeqCst);
        client.word(|p| &raw mut (*p).right.prod).store(77, SeqCst);
    }
    channel.read(&mut bytes).unwrap();
    assert_eq!(&bytes, b"5678");
    channel.stage(b"x").unwrap();
    channel.publish();
    assert_eq!(client.receive(10).0, b"x");
}

#[test]
fn the_next_client_finds_nothing_of_the_last_one_s() {
    let (mut channel, client) = pair();
    client.connect();
    client.send(b"never read");
    channel.stage(b"never read either").unwrap();
    channel.publish();
    channel.stage(b"nor this").unwrap();
    channel.hang_up();
    // SAFETY: raw pointers to fields of a page that lives for ever.
    unsafe {
        assert_eq!(client.byte(|p| &raw mut (*p).srv_live).load(SeqCst), LIVE_CLOSED);
        client.byte(|p| &raw mut (*p).cli_live).store(LIVE_CLOSED, SeqCst);
    }
    channel.reset();
    client.connect();
    assert_eq!(channel.readable(), Ok(0));
    assert!(!channel.publish());
    assert_eq!(client.receive(100).0, b"");
    assert_eq!(client.send(b"hello").0, 5);
    assert_eq!(channel.readable(), Ok(5));
}

//! The transmit ring and its buffers, which stay granted: sending a frame is filling a buffer and
//! writing a slot.

use alloc::vec::Vec;

use xen::grant::OutPage;
use xen::ring::{FrontRing, RingPage};
use xen_sys::netif::{NETIF_RSP_OKAY, TX_SLOT, TxRequest, TxResponse};

use super::count::Counters;
use super::{BUFFERS, Broken, MAX_FRAME};

/// A buffer that the other side reads.
pub(super) trait OutBuffer {
    fn gref(&self) -> u32;
    fn bytes(&mut self) -> &mut [u8];
    fn peek(&self) -> &[u8];
}

impl OutBuffer for OutPage {
    fn gref(&self) -> u32 {
        self.gref().0
    }
    fn bytes(&mut self) -> &mut [u8] {
        OutPage::bytes(self)
    }
    fn peek(&self) -> &[u8] {
        OutPage::peek(self)
    }
}

pub(super) struct Tx<R, B> {
    ring: FrontRing<R, TX_SLOT>,
    buffers: Vec<B>,
    /// Buffers that nobody uses; the one used last comes first, for it is warm.
    free: heapless::Vec<u16, BUFFERS>,
    /// Those that the back end has.
    sent: [bool; BUFFERS],
}

impl<R: RingPage, B: OutBuffer> Tx<R, B> {
    /// An empty ring, with at most [`BUFFERS`] buffers.
    pub(super) fn new(page: R, buffers: Vec<B>) -> Self {
        let free = (0..buffers.len().min(BUFFERS) as u16).rev().collect();
        Self { ring: FrontRing::new(page), buffers, free, sent: [false; BUFFERS] }
    }

    pub(super) fn into_parts(self) -> (R, Vec<B>) {
        (self.ring.into_page(), self.buffers)
    }

    pub(super) fn page(&self) -> &R {
        self.ring.page()
    }

    /// Takes a buffer: it is sent with [`Tx::commit`] or given back. `None`: all are on their way,
    /// and the back end will notify us when half of them have come back.
    pub(super) fn take(&mut self, counters: &Counters) -> Result<Option<u16>, Broken> {
        while self.free.is_empty() || self.ring.free() == 0 {
            self.reap(counters)?;
            if !self.free.is_empty() && self.ring.free() > 0 {
                break;
            }
            if !self.ring.ask_for_event(self.buffers.len() as u32 / 2)? {
                return Ok(None);
            }
        }
        Ok(self.free.pop())
    }

    /// Buffers that are free; asks for an event at `wanted` if there are less.
    pub(super) fn room(&mut self, wanted: usize, counters: &Counters) -> Result<usize, Broken> {
        loop {
            self.reap(counters)?;
            let missing = wanted.saturating_sub(self.free.len()) as u32;
            if missing == 0 || !self.ring.ask_for_event(missing - 1)? {
                return Ok(self.free.len());
            }
        }
    }

    /// The octets of a buffer that was taken: room for [`MAX_FRAME`].
    pub(super) fn bytes(&mut self, id: u16) -> &mut [u8] {
        let buffer = self.buffers.get_mut(usize::from(id));
        buffer.and_then(|buffer| buffer.bytes().get_mut(..MAX_FRAME)).unwrap_or_default()
    }

    /// As [`Tx::bytes`], to look at.
    pub(super) fn peek(&self, id: u16) -> &[u8] {
        let buffer = self.buffers.get(usize::from(id));
        buffer.and_then(|buffer| buffer.peek().get(..MAX_FRAME)).unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, id: u16) {
        // It was taken from there, so there is room.
        let _ = self.free.push(id);
    }

    /// Puts a frame of `len` octets into the ring, cut at [`MAX_FRAME`]. [`Tx::flush`] sends it.
    pub(super) fn commit(&mut self, id: u16, len: usize, counters: &Counters) {
        let size = len.min(MAX_FRAME) as u16;
        let (Some(buffer), Some(sent)) =
            (self.buffers.get(usize::from(id)), self.sent.get_mut(usize::from(id)))
        else {
            return;
        };
        *sent = true;
        self.ring.request(TxRequest { gref: buffer.gref(), offset: 0, flags: 0, id, size }.to_slot());
        counters.tx_frames.one();
        counters.tx_octets.add(size.into());
    }

    /// Makes the frames visible, and takes back buffers. Returns whether to notify the back end.
    pub(super) fn flush(&mut self, counters: &Counters) -> Result<bool, Broken> {
        self.reap(counters)?;
        Ok(self.ring.publish())
    }

    /// Takes back the buffers of frames that went.
    fn reap(&mut self, counters: &Counters) -> Result<(), Broken> {
        for _ in 0..self.ring.pending()? {
            let (_, slot) = self.ring.take();
            let response = TxResponse::from_slot(slot);
            let sent = self.sent.get_mut(usize::from(response.id)).filter(|sent| **sent);
            *sent.ok_or(Broken::Id(response.id))? = false;
            self.give_back(response.id);
            if response.status != NETIF_RSP_OKAY {
                counters.tx_refused.one();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Buffer, Page, buffers};
    use super::*;
    use xen::ring::BackRing;

    type Fake = (Tx<Page, Buffer>, BackRing<Page, TX_SLOT>, Counters);

    fn rings() -> Fake {
        let page = Page::default();
        let tx = Tx::new(page.clone(), buffers(BUFFERS));
        (tx, BackRing::attach(page).unwrap(), Counters::default())
    }

    fn send((tx, _, counters): &mut Fake, octets: &[u8]) {
        let id = tx.take(counters).unwrap().unwrap();
        tx.bytes(id)[..octets.len()].copy_from_slice(octets);
        tx.commit(id, octets.len(), counters);
    }

    fn respond(back: &mut BackRing<Page, TX_SLOT>, count: u32) {
        for _ in 0..count {
            let id = TxRequest::from_slot(back.take()).id;
            back.respond(TxResponse { id, status: NETIF_RSP_OKAY }.to_slot());
        }
    }

    #[test]
    fn several_frames_are_one_notification() {
        let mut fake = rings();
        for octet in 1..=5 {
            send(&mut fake, &[octet; 60]);
        }
        let (mut tx, mut back, counters) = fake;
        assert_eq!(back.pending(), Ok(0));
        assert_eq!(tx.flush(&counters), Ok(true));
        assert_eq!(back.pending(), Ok(5));
        // Nothing new, nothing to say.
        assert_eq!(tx.flush(&counters), Ok(false));
        let request = TxRequest::from_slot(back.take());
        assert_eq!((request.offset, request.flags, request.size), (0, 0, 60));
        assert_eq!((counters.tx_frames.get(), counters.tx_octets.get()), (5, 300));
    }

    #[test]
    fn a_back_end_that_stops_fills_the_ring_and_one_that_goes_on_empties_it() {
        let mut fake = rings();
        for _ in 0..BUFFERS {
            send(&mut fake, &[7; 14]);
        }
        let (tx, back, counters) = (&mut fake.0, &mut fake.1, &fake.2);
        assert_eq!(tx.take(counters), Ok(None));
        tx.flush(counters).unwrap();
        assert_eq!(tx.take(counters), Ok(None));
        // The event comes when half of them are back.
        respond(back, BUFFERS as u32 / 2);
        assert!(!back.publish());
        respond(back, 1);
        assert!(back.publish());
        assert!(tx.take(counters).unwrap().is_some());
    }

    #[test]
    fn frames_go_around_the_ring_for_long() {
        let mut fake = rings();
        for round in 0..2000u32 {
            for _ in 0..=round % 7 {
                send(&mut fake, &[round as u8; 100]);
            }
            fake.0.flush(&fake.2).unwrap();
            respond(&mut fake.1, round % 7 + 1);
            fake.1.publish();
        }
        fake.0.flush(&fake.2).unwrap();
        assert_eq!(fake.0.free.len(), BUFFERS);
    }

    #[test]
    fn a_response_to_what_was_not_sent_breaks_the_link() {
        for id in [3, 255, 256, u16::MAX] {
            let mut fake = rings();
            send(&mut fake, &[1; 14]);
            fake.0.flush(&fake.2).unwrap();
            fake.1.take();
            fake.1.respond(TxResponse { id, status: NETIF_RSP_OKAY }.to_slot());
            fake.1.publish();
            assert_eq!(fake.0.flush(&fake.2), Err(Broken::Id(id)));
        }
    }

    #[test]
    fn a_frame_answered_twice_breaks_the_link() {
        let mut fake = rings();
        send(&mut fake, &[1; 14]);
        send(&mut fake, &[1; 14]);
        fake.0.flush(&fake.2).unwrap();
        let id = TxRequest::from_slot(fake.1.take()).id;
        fake.1.take();
        fake.1.respond(TxResponse { id, status: NETIF_RSP_OKAY }.to_slot());
        fake.1.respond(TxResponse { id, status: NETIF_RSP_OKAY }.to_slot());
        fake.1.publish();
        assert_eq!(fake.0.flush(&fake.2), Err(Broken::Id(id)));
    }

    #[test]
    fn more_responses_than_requests_break_the_link() {
        let mut fake = rings();
        fake.1.respond([0; TX_SLOT]);
        fake.1.publish();
        assert!(matches!(fake.0.flush(&fake.2), Err(Broken::Index(_))));
    }

    #[test]
    fn who_wants_room_is_told_how_much_there_is_and_notified_when_there_is_enough() {
        let mut fake = rings();
        for _ in 0..BUFFERS - 3 {
            send(&mut fake, &[7; 14]);
        }
        let (tx, back, counters) = (&mut fake.0, &mut fake.1, &fake.2);
        tx.flush(counters).unwrap();
        assert_eq!(tx.room(2, counters), Ok(3));
        assert_eq!(tx.room(10, counters), Ok(3));
        respond(back, 6);
        assert!(!back.publish());
        respond(back, 1);
        assert!(back.publish());
        assert_eq!(tx.room(10, counters), Ok(10));
    }

    #[test]
    fn a_buffer_that_was_given_back_can_be_taken_again() {
        let (mut tx, _back, counters) = rings();
        for _ in 0..3 * BUFFERS {
            let id = tx.take(&counters).unwrap().unwrap();
            tx.give_back(id);
        }
        assert_eq!(tx.flush(&counters), Ok(false));
    }
}

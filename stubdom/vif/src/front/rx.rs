//! The receive ring and its buffers: all of them are always posted.
//!
//! The back end can write to a posted page at any time, also after it said that a frame is there.
//! Ending the grant before looking would cost a new grant for each frame; so each frame is copied
//! out once, then checked, then used, and its buffer is posted again at once. In the lab the copy
//! of a full frame takes 1 µs and a hypercall 200.

use alloc::boxed::Box;
use alloc::vec::Vec;

use xen::grant::InPage;
use xen::ring::{FrontRing, RingPage};
use xen_sys::netif::{
    NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA, RX_SLOT, RxRequest,
    RxResponse,
};

use super::count::Counters;
use super::{BUFFERS, Broken, MAX_FRAME};

/// A buffer that the other side writes.
pub(super) trait InBuffer {
    fn gref(&self) -> u32;
    fn copy_out(&self, offset: usize, to: &mut [u8]) -> bool;
}

impl InBuffer for InPage {
    fn gref(&self) -> u32 {
        self.gref().0
    }
    fn copy_out(&self, offset: usize, to: &mut [u8]) -> bool {
        InPage::copy_out(self, offset, to)
    }
}

/// What the back end says of a frame's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: check it.
    Unknown,
    /// It was checked, or the frame comes from the same host and has none yet.
    Good,
}

pub(super) struct Rx<R, B> {
    ring: FrontRing<R, RX_SLOT>,
    buffers: Vec<B>,
    /// The buffer that was posted in each slot of the ring: answers come in the order of requests.
    posted: [u16; BUFFERS],
    /// Where the rest of a frame of several slots is thrown away.
    in_long_frame: bool,
    frame: Box<[u8; MAX_FRAME]>,
}

impl<R: RingPage, B: InBuffer> Rx<R, B> {
    /// A ring with all buffers posted: at most [`BUFFERS`].
    pub(super) fn new(page: R, buffers: Vec<B>) -> Self {
        let (posted, frame) = ([0; BUFFERS], Box::new([0; MAX_FRAME]));
        let mut rx = Self { ring: FrontRing::new(page), buffers, posted, in_long_frame: false, frame };
        for id in 0..rx.buffers.len().min(BUFFERS) as u16 {
            rx.post(id);
        }
        rx.ring.publish();
        rx
    }

    pub(super) fn into_parts(self) -> (R, Vec<B>) {
        (self.ring.into_page(), self.buffers)
    }

    pub(super) fn page(&self) -> &R {
        self.ring.page()
    }

    fn post(&mut self, id: u16) {
        let slot = self.posted.get_mut(self.ring.next_slot() as usize);
        if let (Some(buffer), Some(slot)) = (self.buffers.get(usize::from(id)), slot) {
            *slot = id;
            self.ring.request(RxRequest { id, gref: buffer.gref() }.to_slot());
        }
    }

    /// Hands each frame that waits to `each`, in a buffer of our own, but no more than one ring
    /// full. Returns whether to notify the back end that buffers are posted.
    pub(super) fn receive(
        &mut self,
        counters: &Counters,
        mut each: impl FnMut(&mut [u8], Checksum),
    ) -> Result<bool, Broken> {
        for _ in 0..self.ring.pending()? {
            let (index, slot) = self.ring.take();
            let response = RxResponse::from_slot(slot);
            if self.posted.get(index as usize) != Some(&response.id) {
                return Err(Broken::Id(response.id));
            }
            let found = self.copy_out(&response, counters)?;
            self.post(response.id);
            let Some(frame) = found.and_then(|len| self.frame.get_mut(..len)) else { continue };
            counters.rx_frames.one();
            counters.rx_octets.add(frame.len() as u64);
            let good = response.flags & (NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED) != 0;
            each(frame, if good { Checksum::Good } else { Checksum::Unknown });
        }
        Ok(self.ring.publish())
    }

    /// Copies a whole frame out. `Ok(None)`: there is none, and a counter says why.
    fn copy_out(&mut self, response: &RxResponse, counters: &Counters) -> Result<Option<usize>, Broken> {
        if response.flags & NETRXF_EXTRA_INFO != 0 {
            return Err(Broken::Unasked);
        }
        let rest = core::mem::replace(&mut self.in_long_frame, response.flags & NETRXF_MORE_DATA != 0);
        if rest {
            return Ok(None);
        }
        let Ok(len) = usize::try_from(response.status) else {
            counters.rx_failed.one();
            return Ok(None);
        };
        let room = self.frame.get_mut(..len).filter(|_| len >= super::HEADER && !self.in_long_frame);
        let (Some(room), Some(buffer)) = (room, self.buffers.get(usize::from(response.id))) else {
            counters.rx_size.one();
            return Ok(None);
        };
        buffer.copy_out(response.offset.into(), room).then_some(Some(len)).ok_or(Broken::Span)
    }

    /// Asks to be notified of the next frame, and says whether one came meanwhile.
    pub(super) fn arm(&self) -> Result<bool, Broken> {
        Ok(self.ring.ask_for_event(0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Buffer, Page, buffers};
    use super::*;
    use xen::ring::BackRing;

    struct Fake {
        rx: Rx<Page, Buffer>,
        back: BackRing<Page, RX_SLOT>,
        pages: Vec<Buffer>,
        counters: Counters,
    }

    fn rings() -> Fake {
        let page = Page::default();
        let pages = buffers(BUFFERS);
        let rx = Rx::new(page.clone(), pages.clone());
        Fake { rx, back: BackRing::attach(page).unwrap(), pages, counters: Counters::default() }
    }

    impl Fake {
        /// Delivers a frame as a back end does, with flags.
        fn deliver(&mut self, octets: &[u8], offset: u16, flags: u16) {
            let request = RxRequest::from_slot(self.back.take());
            let page = self.pages.iter().find(|page| page.gref() == request.gref).unwrap();
            page.write(offset.into(), octets);
            let status = octets.len() as i16;
            self.respond(RxResponse { id: request.id, offset, flags, status });
        }

        fn respond(&mut self, response: RxResponse) {
            self.back.respond(response.to_slot());
            self.back.publish();
        }

        fn receive(&mut self) -> Result<Vec<(Vec<u8>, Checksum)>, Broken> {
            let mut frames = Vec::new();
            self.rx.receive(&self.counters, |frame, sum| frames.push((frame.to_vec(), sum)))?;
            Ok(frames)
        }
    }

    #[test]
    fn frames_arrive_whole_and_their_buffers_are_posted_again() {
        let mut fake = rings();
        for round in 0..1000u32 {
            let frame = std::vec![round as u8; 60 + (round % 1400) as usize];
            fake.deliver(&frame, (round % 64) as u16, 0);
            assert_eq!(fake.receive().unwrap(), [(frame, Checksum::Unknown)]);
            assert_eq!(fake.back.pending(), Ok(BUFFERS as u32));
        }
        assert_eq!(fake.counters.rx_frames.get(), 1000);
    }

    #[test]
    fn a_frame_that_changes_after_it_was_handed_out_does_not_change() {
        let mut fake = rings();
        fake.deliver(&[1; 60], 0, 0);
        let page = fake.pages[0].clone();
        let mut seen = Vec::new();
        let each = |frame: &mut [u8], _| {
            page.write(0, &[2; 60]);
            seen.extend_from_slice(frame);
        };
        fake.rx.receive(&fake.counters, each).unwrap();
        assert_eq!(seen, [1; 60]);
    }

    #[test]
    fn the_back_end_s_word_on_checksums_is_passed_on() {
        let mut fake = rings();
        for flags in [NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED, NETRXF_DATA_VALIDATED] {
            fake.deliver(&[0; 60], 0, flags);
            assert_eq!(fake.receive().unwrap()[0].1, Checksum::Good);
        }
    }

    #[test]
    fn frames_too_short_too_long_failed_or_in_pieces_are_dropped_and_counted() {
        let mut fake = rings();
        fake.deliver(&[0; 13], 0, 0);
        fake.deliver(&[0; MAX_FRAME + 1], 0, 0);
        fake.deliver(&[0; 1000], 0, NETRXF_MORE_DATA);
        fake.deliver(&[0; 1000], 0, NETRXF_MORE_DATA);
        fake.deliver(&[0; 1000], 0, 0);
        let id = RxRequest::from_slot(fake.back.take()).id;
        fake.respond(RxResponse { id, offset: 0, flags: 0, status: -1 });
        fake.deliver(&[9; 60], 0, 0);
        assert_eq!(fake.receive().unwrap(), [(std::vec![9; 60], Checksum::Unknown)]);
        assert_eq!((fake.counters.rx_size.get(), fake.counters.rx_failed.get()), (3, 1));
        assert_eq!(fake.back.pending(), Ok(BUFFERS as u32));
    }

    #[test]
    fn a_frame_beyond_its_page_breaks_the_link() {
        for offset in [4096 - 59, 4096, u16::MAX] {
            let mut fake = rings();
            let id = RxRequest::from_slot(fake.back.take()).id;
            fake.respond(RxResponse { id, offset, flags: 0, status: 60 });
            assert_eq!(fake.receive(), Err(Broken::Span));
        }
    }

    #[test]
    fn a_buffer_that_is_not_there_or_not_next_breaks_the_link() {
        for id in [0, 2, 255, 256, u16::MAX] {
            let mut fake = rings();
            fake.deliver(&[0; 60], 0, 0);
            fake.receive().unwrap();
            fake.back.take();
            fake.respond(RxResponse { id, offset: 0, flags: 0, status: 60 });
            assert_eq!(fake.receive(), Err(Broken::Id(id)));
        }
    }

    #[test]
    fn extra_info_that_nobody_asked_for_breaks_the_link() {
        let mut fake = rings();
        fake.deliver(&[0; 60], 0, NETRXF_EXTRA_INFO);
        assert_eq!(fake.receive(), Err(Broken::Unasked));
    }

    #[test]
    fn the_next_frame_is_notified_only_when_that_was_asked_for() {
        let mut fake = rings();
        assert_eq!(fake.rx.arm(), Ok(false));
        let id = RxRequest::from_slot(fake.back.take()).id;
        fake.back.respond(RxResponse { id, offset: 0, flags: 0, status: 60 }.to_slot());
        assert!(fake.back.publish());
        assert_eq!(fake.rx.arm(), Ok(true));
        fake.receive().unwrap();
        let id = RxRequest::from_slot(fake.back.take()).id;
        fake.back.respond(RxResponse { id, offset: 0, flags: 0, status: 60 }.to_slot());
        // Not armed since: no event while we are busy.
        assert!(!fake.back.publish());
    }
}

//! Frames on their way: where their octets are, and a fixed number of places for them.
//!
//! A guest's frame stays in the guest's own pages until it is delivered; only its first octets are
//! copied, once, into [`Frame::head`]. What was decided, was decided on that copy, and the copy is
//! what the receiver gets: the guest may change its page, but not what the switch has checked.

use alloc::boxed::Box;

use heapless::Vec;
use xen::grant::Gref;
use xen::page::PoolPage;

use super::gather::{Checksum, Gso, MAX_FRAGMENTS, TxFrame};

/// The most first octets that are copied: of a shorter frame in one piece all, else enough for the
/// headers of Ethernet, IP and TCP.
pub const HEAD: usize = 256;

/// Slots that a frame can take in a receive ring, the extra info not counted.
pub const MAX_RANGES: usize = MAX_FRAGMENTS;

/// Octets of a page.
const PAGE: u16 = 4096;

/// Where a frame's octets are.
pub enum Body {
    /// In pages that a guest granted; the guest waits for an answer.
    Guest {
        /// Its port.
        port: u16,
        /// Which of the guests that this port has had.
        generation: u32,
        /// The fragments.
        frame: TxFrame,
    },
    /// In a page of ours.
    Own {
        /// The page.
        page: PoolPage,
        /// First octet of the frame within it.
        start: u16,
    },
}

/// A frame on its way.
pub struct Frame {
    /// Where its octets are.
    pub body: Body,
    /// A private copy of the first octets of a guest's frame.
    pub head: [u8; HEAD],
    /// How many of them there are.
    pub head_len: u16,
    /// Octets in all.
    pub len: u16,
    /// Its transport checksum.
    pub checksum: Checksum,
    /// Set if its segments are yet to be made.
    pub gso: Option<Gso>,
    /// Queues that it is in, and hands that hold it.
    pub holders: u16,
    /// When it came, in milliseconds since boot.
    pub since_ms: u64,
    /// A piece of it could not be read.
    pub unreadable: bool,
}

/// A part of a frame: its first octet and its length.
pub type Range = (u16, u16);

impl Frame {
    /// The frame of a guest, without its head.
    pub fn of_guest(port: u16, generation: u32, frame: TxFrame, now_ms: u64) -> Self {
        Self {
            head: [0; HEAD],
            head_len: 0,
            len: frame.len,
            checksum: frame.checksum,
            gso: frame.gso,
            holders: 1,
            since_ms: now_ms,
            unreadable: false,
            body: Body::Guest { port, generation, frame },
        }
    }

    /// A frame of ours. `start + len` is within the page.
    pub fn own(page: PoolPage, start: u16, len: u16, checksum: Checksum, now_ms: u64) -> Self {
        Self {
            body: Body::Own { page, start },
            head: [0; HEAD],
            head_len: 0,
            len: len.min(PAGE.saturating_sub(start)),
            checksum,
            gso: None,
            holders: 1,
            since_ms: now_ms,
            unreadable: false,
        }
    }

    /// How many octets the head is to have: the first fragment up to [`HEAD`], and as many more
    /// fragments as it takes for `least` octets.
    pub fn head_wanted(&self, least: u16) -> u16 {
        let Body::Guest { frame, .. } = &self.body else { return 0 };
        let first = frame.fragments.first().map_or(0, |f| f.len);
        first.max(least.min(self.len)).min(HEAD as u16)
    }

    /// The head.
    pub fn head(&self) -> &[u8] {
        match &self.body {
            Body::Guest { .. } => self.head.get(..self.head_len.into()).unwrap_or_default(),
            Body::Own { page, start } => {
                let start = usize::from(*start);
                page.0.get(start..start + usize::from(self.len)).unwrap_or_default()
            }
        }
    }

    /// How the frame is spread over the slots of a receive ring. As the sender has it, if that is
    /// not much more than it takes: then each fragment is one copy. Else page by page.
    pub fn ranges(&self) -> Vec<Range, MAX_RANGES> {
        let mut ranges = Vec::new();
        let pages = self.len.div_ceil(PAGE);
        let fragments = match &self.body {
            Body::Guest { frame, .. } if frame.fragments.len() <= usize::from(pages) + 2 => {
                frame.fragments.as_slice()
            }
            _ => &[],
        };
        let mut at = 0;
        for fragment in fragments {
            // As many places as there are fragments.
            let _ = ranges.push((at, fragment.len));
            at += fragment.len;
        }
        while at < self.len {
            let len = PAGE.min(self.len - at);
            let _ = ranges.push((at, len));
            at += len;
        }
        ranges
    }

    /// The pieces of a range that are in the guest's pages, behind the head: grant, offset in its
    /// page, first octet in the frame, length.
    pub fn pieces(&self, range: Range) -> impl Iterator<Item = (Gref, u16, u16, u16)> + '_ {
        let fragments = match &self.body {
            Body::Guest { frame, .. } => frame.fragments.as_slice(),
            Body::Own { .. } => &[],
        };
        let (from, until) = (range.0.max(self.head_len), range.0.saturating_add(range.1));
        let mut at = 0u16;
        fragments.iter().filter_map(move |fragment| {
            let (start, end) = (at, at.saturating_add(fragment.len));
            at = end;
            let (first, last) = (start.max(from), end.min(until));
            (first < last).then(|| (fragment.gref, fragment.offset + (first - start), first, last - first))
        })
    }
}

/// A fixed number of places for frames.
pub struct Frames {
    places: Box<[Option<Frame>]>,
    free: alloc::vec::Vec<u16>,
}

impl Frames {
    /// Sets memory aside for so many, at most 65,535: about 550 octets each.
    pub fn new(count: u16) -> Self {
        Self { places: (0..count).map(|_| None).collect(), free: (0..count).rev().collect() }
    }

    /// All places.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Places that are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Puts a frame into a free place; gives it back if there is none.
    // A frame is large, and it is given back to whoever has it on the stack.
    #[allow(clippy::result_large_err)]
    pub fn put(&mut self, frame: Frame) -> Result<u16, Frame> {
        let Some(index) = self.free.pop() else { return Err(frame) };
        if let Some(place) = self.places.get_mut(usize::from(index)) {
            *place = Some(frame);
        }
        Ok(index)
    }

    /// A frame.
    pub fn get(&self, index: u16) -> Option<&Frame> {
        self.places.get(usize::from(index))?.as_ref()
    }

    /// A frame, to be changed.
    pub fn get_mut(&mut self, index: u16) -> Option<&mut Frame> {
        self.places.get_mut(usize::from(index))?.as_mut()
    }

    /// One holder less; the frame comes out with the last.
    pub fn release(&mut self, index: u16) -> Option<Frame> {
        let place = self.places.get_mut(usize::from(index))?;
        let frame = place.as_mut()?;
        frame.holders = frame.holders.saturating_sub(1);
        if frame.holders > 0 {
            return None;
        }
        self.free.push(index);
        place.take()
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather::Fragment;
    use super::*;

    fn frame(lengths: &[u16]) -> Frame {
        let fragments: Vec<Fragment, MAX_FRAGMENTS> = lengths
            .iter()
            .zip(0u16..)
            .map(|(len, i)| Fragment { gref: Gref(i.into()), offset: 10 * i, len: *len, id: i })
            .collect();
        let len = lengths.iter().sum();
        Frame::of_guest(0, 0, TxFrame { fragments, len, ..TxFrame::default() }, 0)
    }

    #[test]
    fn a_head_is_the_first_fragment_or_what_it_takes() {
        assert_eq!(frame(&[60]).head_wanted(22), 60);
        assert_eq!(frame(&[1500]).head_wanted(22), 256);
        assert_eq!(frame(&[66, 4000]).head_wanted(22), 66);
        assert_eq!(frame(&[1, 1, 4000]).head_wanted(22), 22);
        assert_eq!(frame(&[10, 5]).head_wanted(22), 15);
    }

    #[test]
    fn slots_are_as_the_sender_has_them_unless_it_has_many_small_ones() {
        assert_eq!(frame(&[66, 4096, 100]).ranges(), [(0, 66), (66, 4096), (4162, 100)]);
        assert_eq!(frame(&[1; 18]).ranges(), [(0, 18)]);
        assert_eq!(frame(&[1, 4000, 1, 1, 1, 1]).ranges(), [(0, 4005)]);
        let large = frame(&[
            66, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096,
        ]);
        assert_eq!(large.ranges().len(), 16);
    }

    #[test]
    fn pieces_cover_what_is_behind_the_head_once() {
        for (lengths, head) in
            [(&[66u16, 4096, 100][..], 66u16), (&[1500], 256), (&[1, 1, 1, 30, 5000 - 1000], 22)]
        {
            let mut frame = frame(lengths);
            frame.head_len = head;
            let mut next = head;
            for range in frame.ranges() {
                for (gref, offset, first, len) in frame.pieces(range) {
                    assert_eq!(first, next);
                    let start: u16 = lengths[..gref.0 as usize].iter().sum();
                    assert_eq!(offset, 10 * gref.0 as u16 + (first - start));
                    next += len;
                }
            }
            assert_eq!(next, frame.len);
        }
    }

    #[test]
    fn a_place_is_free_again_when_the_last_holder_lets_go() {
        let mut frames = Frames::new(1);
        let index = frames.put(frame(&[60])).unwrap_or_else(|_| panic!("there is a place"));
        frames.get_mut(index).unwrap().holders = 2;
        assert!(frames.put(frame(&[60])).is_err());
        assert!(frames.release(index).is_none());
        assert!(frames.release(index).is_some());
        assert!(frames.release(index).is_none());
        assert_eq!(frames.free(), 1);
    }
}

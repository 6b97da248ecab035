//! What a guest was given, so that at a cut it is known what it has not taken: that is on its way, as its
//! driver drops what lies in its ring when it is restored.
//!
//! Which buffers were given and what is in them is kept here, in memory of ours, for as long as a receive
//! ring can have it; the octets stay where they are. Of what the guest can write, two things are
//! believed: how far it says it is, and what its own buffers hold. Both can mislead only itself.

use alloc::boxed::Box;

use heapless::Vec;
use xen::grant::{Gref, Remote};
use xen_sys::PAGE_SIZE;
use xen_sys::netif::RX_SLOT;
use xen_sys::ring::entries;

use super::frame::MAX_RANGES;
use super::gather::{Checksum, Gso};
use super::hub::{Hub, all_made};

/// Slots of a receive ring.
const SLOTS: u32 = entries(PAGE_SIZE, RX_SLOT);

/// What of a frame is not in its octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Its transport checksum.
    pub checksum: Checksum,
    /// Set if its segments are yet to be made.
    pub gso: Option<Gso>,
}

/// What a slot was answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// No part of a frame: an extra info, or an error.
    #[default]
    None,
    /// The beginning of a frame: so many octets, at most a page.
    First(u16, Kind),
    /// More of it: so many octets.
    More(u16),
}

/// A frame that may lie in the guest's ring.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Untaken {
    /// What is not in its octets.
    pub kind: Kind,
    /// Its buffers, and how many octets of each, from the first.
    pub pieces: Vec<(Gref, u16), MAX_RANGES>,
}

/// The last slots of a receive ring: a buffer is taken, and told of later, in the same order.
pub(super) struct Given {
    slots: Box<[(u32, Part)]>,
    taken: u32,
    told: u32,
}

impl Default for Given {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| (0, Part::None)).collect(), taken: 0, told: 0 }
    }
}

impl Given {
    /// A buffer was taken from the ring.
    pub(super) fn take(&mut self, gref: u32) {
        if let Some(slot) = self.slots.get_mut((self.taken % SLOTS) as usize) {
            *slot = (gref, Part::None);
        }
        self.taken = self.taken.wrapping_add(1);
    }

    /// The guest is told what is in the buffer that was taken first of those not told yet.
    pub(super) fn tell(&mut self, part: Part) {
        if let Some(slot) = self.slots.get_mut((self.told % SLOTS) as usize) {
            slot.1 = part;
        }
        self.told = self.told.wrapping_add(1);
    }

    /// The frames in the last `count` slots that were told of, in their order. One that begins before
    /// these is none of them: front ends take frames as a whole.
    pub(super) fn last(&self, count: u32) -> impl Iterator<Item = Untaken> + '_ {
        let slot = |back: u32| self.slots.get((self.told.wrapping_sub(back) % SLOTS) as usize);
        let mut back = count.min(SLOTS);
        core::iter::from_fn(move || {
            let mut frame = Untaken::default();
            while back > 0 {
                let (gref, part) = slot(back)?;
                let len = match *part {
                    Part::First(..) if !frame.pieces.is_empty() => break,
                    Part::First(len, kind) => {
                        frame.kind = kind;
                        Some(len)
                    }
                    Part::More(len) => (!frame.pieces.is_empty()).then_some(len),
                    Part::None => None,
                };
                if let Some(len) = len {
                    // No frame has more slots.
                    let _ = frame.pieces.push((Gref(*gref), len));
                }
                back -= 1;
            }
            (!frame.pieces.is_empty()).then_some(frame)
        })
    }
}

impl Hub {
    /// Reads back what a port's guest was given and may not have taken, frame by frame, in `into`: 64 KiB.
    /// `each` gets a frame's kind and its octets, none if they could not be read. For a guest that
    /// stands still; a hypercall for each frame.
    pub fn read_untaken(&mut self, index: u16, into: &mut [u8], mut each: impl FnMut(Kind, Option<&[u8]>)) {
        let Self { members, relay, .. } = self;
        let member = members.get(usize::from(index)).filter(|member| member.broken.is_none());
        let Some(port) = member.and_then(|member| member.port.as_ref()) else { return };
        for Untaken { kind, pieces } in port.rings.untaken() {
            let mut batch = relay.batch();
            let mut rest = &mut *into;
            let (mut len, mut fits) = (0, true);
            for &(gref, octets) in &pieces {
                let Some((part, behind)) = rest.split_at_mut_checked(octets.into()) else {
                    fits = false;
                    break;
                };
                (rest, len) = (behind, len + usize::from(octets));
                fits &= batch.fetch(Remote { dom: port.dom, gref, offset: 0 }, part).is_ok();
            }
            let copies = batch.len() as u16;
            let mut statuses = batch.run().ok();
            let read = fits && all_made(&mut statuses, copies);
            drop(statuses);
            each(kind, into.get(..len).filter(|_| read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Kind = Kind { checksum: Checksum::Validated, gso: None };
    const LARGE: Kind = Kind { checksum: Checksum::Blank, gso: Some(Gso { size: 1448, v6: false }) };

    fn give(given: &mut Given, parts: &[(u32, Part)]) {
        parts.iter().for_each(|(gref, _)| given.take(*gref));
        parts.iter().for_each(|(_, part)| given.tell(*part));
    }

    fn grefs(given: &Given, count: u32) -> std::vec::Vec<std::vec::Vec<u32>> {
        given.last(count).map(|frame| frame.pieces.iter().map(|(gref, _)| gref.0).collect()).collect()
    }

    #[test]
    fn frames_are_put_together_from_their_slots() {
        let mut given = Given::default();
        assert_eq!(given.last(SLOTS).count(), 0, "nothing was given");
        give(&mut given, &[(11, Part::First(60, PLAIN))]);
        let large =
            [(12, Part::First(66, LARGE)), (13, Part::None), (14, Part::More(4096)), (15, Part::More(9))];
        give(&mut given, &large);
        give(&mut given, &[(16, Part::None), (17, Part::First(1514, PLAIN))]);
        let frames: std::vec::Vec<Untaken> = given.last(7).collect();
        assert_eq!(frames.len(), 3);
        assert_eq!((frames[0].kind, &frames[0].pieces[..]), (PLAIN, &[(Gref(11), 60)][..]));
        let pieces = [(Gref(12), 66), (Gref(14), 4096), (Gref(15), 9)];
        assert_eq!((frames[1].kind, &frames[1].pieces[..]), (LARGE, &pieces[..]));
        assert_eq!((frames[2].kind, &frames[2].pieces[..]), (PLAIN, &[(Gref(17), 1514)][..]));
        assert_eq!(given.last(0).count(), 0, "all is taken");
    }

    #[test]
    fn a_frame_that_was_begun_to_be_taken_is_taken() {
        let mut given = Given::default();
        give(&mut given, &[(1, Part::First(66, LARGE)), (2, Part::None), (3, Part::More(10))]);
        give(&mut given, &[(4, Part::First(60, PLAIN))]);
        for count in 1..4 {
            assert_eq!(grefs(&given, count), [[4]]);
        }
        assert_eq!(grefs(&given, 4), [&[1, 3][..], &[4]]);
    }

    #[test]
    fn only_what_a_ring_can_have_is_known_and_however_much_is_claimed() {
        let mut given = Given::default();
        for gref in 0..1000 {
            give(&mut given, &[(gref, Part::First(60, PLAIN))]);
        }
        // Taken from the ring, but not told: its place is another frame's now.
        given.take(5000);
        for claimed in [SLOTS, SLOTS + 1, u32::MAX] {
            let frames = grefs(&given, claimed).concat();
            assert_eq!(frames, (745..1000).collect::<std::vec::Vec<u32>>());
        }
    }
}

//! Whole frames into our memory, for the way to other hosts: many with one hypercall.

use heapless::Vec;
use xen::grant::Remote;

use super::frame::{Body, Frame};
use super::gather::MAX_FRAGMENTS;
use super::hub::{Hub, TURN, all_made, sender_of};

impl Hub {
    /// Copies frames into `into`, one behind the other, as many as there is room for and at most
    /// [`TURN`]. `each` gets the place in `places`, the frame and its octets: none if they could
    /// not be read. Returns how many were gone through: at least one if `into` has 64 KiB.
    pub fn read(
        &mut self,
        places: &[u16],
        into: &mut [u8],
        mut each: impl FnMut(usize, &Frame, Option<&mut [u8]>),
    ) -> usize {
        let Self { members, frames, relay, .. } = self;
        let mut batch = relay.batch();
        let mut copies: Vec<u16, TURN> = Vec::new();
        let mut rest = &mut *into;
        for &place in places.iter().take(TURN) {
            let len = frames.get(place).map_or(0, |frame| usize::from(frame.len));
            // A fragment is on two pages of ours at most.
            if rest.len() < len || batch.room() < 2 * MAX_FRAGMENTS {
                break;
            }
            let (octets, behind) = core::mem::take(&mut rest).split_at_mut(len);
            rest = behind;
            let before = batch.len();
            if let Some(frame) = frames.get(place) {
                let head = frame.head();
                let (mut to, mut tail) = octets.split_at_mut(head.len().min(len));
                to.copy_from_slice(head.get(..to.len()).unwrap_or_default());
                let dom = sender_of(members, frame);
                for (gref, offset, _, len) in frame.pieces((0, frame.len)) {
                    (to, tail) = tail.split_at_mut(usize::from(len).min(tail.len()));
                    // A sender that is gone: no status will say that this was copied.
                    let Some(dom) = dom else { break };
                    let _ = batch.fetch(Remote { dom, gref, offset }, to);
                }
            }
            let _ = copies.push((batch.len() - before) as u16);
        }
        let mut statuses = batch.run().ok();
        let mut good: Vec<bool, TURN> = Vec::new();
        for (&place, copies) in places.iter().zip(&copies) {
            let read = all_made(&mut statuses, *copies);
            // A guest's frame with more than its head and no copy: the guest is gone.
            let whole = frames.get(place).is_some_and(|f| *copies > 0 || f.head().len() >= f.len.into());
            let _ = good.push(read && whole);
        }
        drop(statuses);
        let mut rest = into;
        for (i, (&place, good)) in places.iter().zip(&good).enumerate() {
            let Some(frame) = frames.get_mut(place) else { continue };
            let len = usize::from(frame.len).min(rest.len());
            let (octets, behind) = core::mem::take(&mut rest).split_at_mut(len);
            rest = behind;
            frame.unreadable |= !good;
            each(i, frame, good.then_some(octets));
        }
        for (&place, _) in places.iter().zip(&good).filter(|(_, good)| !**good) {
            if let Some(Body::Guest { port, generation, .. }) = self.frames.get(place).map(|f| &f.body)
                && self.members.get(usize::from(*port)).is_some_and(|m| m.generation == *generation)
            {
                let port = *port;
                self.blame(port);
            }
        }
        good.len()
    }
}

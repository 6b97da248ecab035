//! Frames that a guest can't take as they are, and answers to guests whose frames are too long.
//!
//! Most guests take what others send, large frames and blank checksums too. For one that does not,
//! the frame is read into memory of ours and made fit: the slow path.

use vif::back::gather::{Checksum, Gso};
use violin::id::PortId;
use violin::segment::{self, Segments, TOO_BIG_LEN};
use violin::switch::{DropReason, Target};
use xen::page::PagePool;

use super::state::{State, reason};

/// Answers about the MTU in a second for one guest, which needs one for each that it talks to.
const TOO_BIG_A_SECOND: u32 = 16;

/// How many answers were given in which second.
#[derive(Default)]
pub(super) struct Answers {
    second: u64,
    given: u32,
}

impl Answers {
    fn one_more(&mut self, now_ms: u64) -> bool {
        if self.second != now_ms / 1000 {
            *self = Self { second: now_ms / 1000, given: 0 };
        }
        self.given += 1;
        self.given <= TOO_BIG_A_SECOND
    }
}

/// Writes a frame into a page; says how long it is, and what is known of its checksum.
type Fill<'a> = dyn FnMut(&mut [u8]) -> Option<(usize, Checksum)> + 'a;

impl State {
    /// Makes a frame fit for a guest that can't take it as it is, and puts what comes of it into
    /// its queue.
    pub(super) fn convert(&mut self, pool: &'static PagePool, place: u16, to: PortId, now_ms: u64) {
        let result = self.try_convert(pool, place, to, now_ms);
        if let Err(reason) = result {
            self.switch.count_drop(Target::Port(to), reason);
        }
    }

    fn try_convert(
        &mut self,
        pool: &'static PagePool,
        place: u16,
        to: PortId,
        now_ms: u64,
    ) -> Result<(), DropReason> {
        let device = self.device_at(to).ok_or(DropReason::Closed)?;
        let takes = self.hub.port(device).ok_or(DropReason::Closed)?.takes;
        let mtu = self.switch.network_of(to).and_then(|id| self.switch.mtu(id)).ok_or(DropReason::Closed)?;
        let Self { hub, staging, .. } = self;
        let (mut len, mut gso, mut checksum) = (0, None, Checksum::Unknown);
        hub.read(&[place], staging, |_, frame, octets| {
            (len, gso, checksum) = (octets.map_or(0, |o| o.len()), frame.gso, frame.checksum);
        });
        let octets = staging.get_mut(..len).filter(|o| !o.is_empty()).ok_or(DropReason::BadGrant)?;
        let finish = |frame: &mut [u8]| match takes.blank {
            true => Some(Checksum::Blank),
            false => segment::complete_checksum(frame).ok().map(|()| Checksum::Validated),
        };
        let mut put = |fill: &mut Fill<'_>| {
            let mut page = pool.take().ok_or(DropReason::NoBuffer)?;
            let (len, checksum) = fill(&mut page.0).ok_or(DropReason::Unsupported)?;
            let own = hub.own(page, 0, len as u16, checksum, now_ms).ok_or(DropReason::NoBuffer)?;
            let queued = hub.enqueue(own, device).map_err(reason);
            hub.release(own);
            queued
        };
        let Some(Gso { size, v6 }) = gso else {
            return put(&mut |page| {
                let room = page.get_mut(..octets.len())?;
                room.copy_from_slice(octets);
                let checksum = if checksum == Checksum::Blank { finish(room)? } else { checksum };
                Some((room.len(), checksum))
            });
        };
        // Each goes into one page of ours.
        let longest = (usize::from(mtu) + violin::frame::HEADER_LEN).min(4096);
        let mut segments = Segments::new(octets, size, v6, longest).map_err(|_| DropReason::Unsupported)?;
        for _ in 0..segments.count() {
            put(&mut |page| {
                let len = segments.next_into(page)?;
                let checksum = finish(page.get_mut(..len)?)?;
                Some((len, checksum))
            })?;
        }
        Ok(())
    }

    /// Tells a guest that its frame is longer than the network's MTU, as a router would: a guest
    /// that does not know its MTU would else lose each long frame, and wait for ever.
    pub(super) fn answer_too_big(&mut self, pool: &'static PagePool, place: u16, from: PortId, now_ms: u64) {
        let Some(mtu) = self.switch.network_of(from).and_then(|id| self.switch.mtu(id)) else { return };
        let (Some(device), Some(frame)) = (self.device_at(from), self.hub.frame(place)) else { return };
        let mut answer = [0; TOO_BIG_LEN];
        let Some(len) = segment::too_big(frame.head(), mtu, &mut answer) else { return };
        if !self.device(device).is_some_and(|device| device.answers.one_more(now_ms)) {
            return;
        }
        let Some(mut page) = pool.take() else { return };
        let (Some(room), Some(answer)) = (page.0.get_mut(..len), answer.get(..len)) else { return };
        room.copy_from_slice(answer);
        if let Some(own) = self.hub.own(page, 0, len as u16, Checksum::Unknown, now_ms) {
            // One that finds no room is said again with the guest's next long frame.
            let _ = self.hub.enqueue(own, device);
            self.hub.release(own);
        }
    }
}

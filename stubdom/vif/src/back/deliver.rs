//! From the queues into the guests' buffers: many frames for many guests with one hypercall.

use heapless::Vec;
use xen::GrantStatus;
use xen::grant::{Full, Gref, RelayBatch, Remote};
use xen_sys::netif::{self, ExtraInfo, RxResponse};

use super::frame::{Body, Frame, MAX_RANGES};
use super::gather::Checksum;
use super::given::{Kind, Part};
use super::hub::{HOLD_MS, Hub, Lost, Outcome, all_made, dom_of, sender_of};
use super::port::{Broken, Port};

/// A frame whose copies are in the batch at hand.
pub(super) struct Pending {
    port: u16,
    frame: u16,
    /// Its copies in the batch.
    copies: u16,
    /// Whether all of them were made, once the batch has run.
    made: bool,
    /// The slots, the extra info not among them.
    slots: Vec<Slot, MAX_RANGES>,
}

/// A slot of a receive ring that was taken for a frame.
#[derive(Clone, Copy)]
struct Slot {
    id: u16,
    /// The grant of the guest's buffer.
    gref: u32,
    /// Octets that go into it.
    len: u16,
}

/// What became of the head of a queue.
enum Planned {
    /// Its copies are in the batch.
    Yes,
    /// There are not so many buffers.
    Wait(u32),
    /// The batch is full.
    Full,
}

impl Hub {
    /// Delivers what can be delivered. `on` hears what became of each frame at each port.
    pub fn deliver(&mut self, now_ms: u64, on: &mut impl FnMut(u16, Outcome)) {
        loop {
            let full = self.plan(now_ms, on);
            if self.pending.is_empty() && !full {
                return;
            }
            // The statuses are gone through when the frames are not borrowed any more.
            self.conclude(on);
            if !full {
                return;
            }
        }
    }

    /// Fills a batch from the queues and runs it; the pending frames know what became of them.
    /// Returns whether there is more.
    fn plan(&mut self, now_ms: u64, on: &mut impl FnMut(u16, Outcome)) -> bool {
        let mut full = false;
        let mut dropped: Vec<u16, 64> = Vec::new();
        let Hub { members, frames, relay, pending, .. } = self;
        let mut batch = relay.batch();
        for index in 0..members.len() {
            let paused = members.get(index).is_none_or(|member| member.paused);
            while !full && !paused {
                let Some(&place) = members.get(index).and_then(|m| m.queue.front()) else { break };
                let Some(frame) = frames.get(place) else { break };
                let from = match &frame.body {
                    Body::Guest { .. } => sender_of(members, frame),
                    Body::Own { .. } => Some(xen::DOMID_SELF),
                };
                let Some(member) = members.get_mut(index) else { break };
                let planned = match (&mut member.port, from, frame.unreadable) {
                    (Some(port), Some(from), false) => plan_one(port, frame, from, &mut batch),
                    // Its sender is gone, or it can't be read.
                    _ => Err(None),
                };
                match planned {
                    Ok((Planned::Yes, copies, slots)) => {
                        member.wanted = None;
                        let _ = member.queue.pop_front();
                        pending.push(Pending {
                            port: index as u16,
                            frame: place,
                            copies,
                            made: false,
                            slots,
                        });
                        continue;
                    }
                    Ok((Planned::Full, ..)) => full = true,
                    Ok((Planned::Wait(_), ..)) if frame.since_ms + HOLD_MS < now_ms => {
                        on(index as u16, Err(Lost::Stale));
                        let _ = member.queue.pop_front();
                        full = dropped.push(place).is_err() || dropped.is_full();
                        continue;
                    }
                    Ok((Planned::Wait(buffers), ..)) => member.wanted = Some(buffers),
                    Err(None) => {
                        on(index as u16, Err(Lost::Unreadable));
                        let _ = member.queue.pop_front();
                        full = dropped.push(place).is_err() || dropped.is_full();
                        continue;
                    }
                    Err(Some(broken)) => member.broken = Some(broken),
                }
                break;
            }
            if let Some(member) = members.get_mut(index).filter(|member| member.queue.is_empty()) {
                member.wanted = None;
            }
        }
        let mut statuses = batch.run().ok();
        for pending in pending.iter_mut() {
            pending.made = all_made(&mut statuses, pending.copies);
        }
        drop(statuses);
        for place in dropped {
            self.release(place);
        }
        full
    }

    /// Answers receivers and senders.
    fn conclude(&mut self, on: &mut impl FnMut(u16, Outcome)) {
        let mut all = core::mem::take(&mut self.pending);
        for Pending { port, frame: place, made, slots, .. } in all.drain(..) {
            let outcome = match made {
                true => Ok(self.frames.get(place).map_or(0, |frame| frame.len)),
                false => Err(self.find_fault(port, place, &slots)),
            };
            if let (Some(frame), Some(port)) = (
                self.frames.get(place),
                self.members.get_mut(usize::from(port)).and_then(|member| member.port.as_mut()),
            ) {
                respond(port, frame, &slots, outcome.is_ok());
            }
            on(port, outcome);
            self.release(place);
        }
        self.pending = all;
    }

    /// Whose grant it was, tried again: the sender's, if its pages can't be read now; the
    /// receiver's, if its buffers can't be written. If both can be, nobody is blamed: a guest may
    /// have taken back a page for a moment to have another one blamed.
    fn find_fault(&mut self, to: u16, place: u16, slots: &[Slot]) -> Lost {
        let Hub { members, frames, relay, .. } = self;
        let Some(frame) = frames.get_mut(place) else { return Lost::Unwritable };
        if let Body::Guest { port: from, frame: sent, .. } = &frame.body {
            let from = *from;
            let mut scratch = [0u8; MAX_RANGES];
            let readable = dom_of(members, from).is_some_and(|dom| {
                let mut batch = relay.batch();
                for (fragment, octet) in sent.fragments.iter().zip(scratch.chunks_mut(1)) {
                    let remote = Remote { dom, gref: fragment.gref, offset: fragment.offset };
                    let _ = batch.fetch(remote, octet);
                }
                batch.run().is_ok_and(|mut statuses| statuses.all(|s| s == GrantStatus::Okay))
            });
            if !readable {
                frame.unreadable = true;
                self.blame(from);
                return Lost::Unreadable;
            }
        }
        let writable = dom_of(members, to).is_some_and(|dom| {
            let mut batch = relay.batch();
            for slot in slots {
                let _ = batch.store(&[0], Remote { dom, gref: Gref(slot.gref), offset: 0 });
            }
            batch.run().is_ok_and(|mut statuses| statuses.all(|s| s == GrantStatus::Okay))
        });
        if !writable {
            self.blame(to);
        }
        Lost::Unwritable
    }
}

/// Plans the copies of one frame. `Err(Some)`: the receiver's ring is broken.
type Plan = Result<(Planned, u16, Vec<Slot, MAX_RANGES>), Option<Broken>>;

fn plan_one<'a>(port: &mut Port, frame: &'a Frame, from: xen::DomId, batch: &mut RelayBatch<'_, 'a>) -> Plan {
    let ranges = frame.ranges();
    let wanted = ranges.len() as u32 + u32::from(frame.gso.is_some());
    if port.rings.buffers().map_err(Some)? < wanted {
        return Ok((Planned::Wait(wanted), 0, Vec::new()));
    }
    // Each end of a range, and each end of a fragment, ends a copy; a head may be on two pages.
    let fragments = match &frame.body {
        Body::Guest { frame, .. } => frame.fragments.len(),
        Body::Own { .. } => 0,
    };
    if batch.room() < 2 * ranges.len() + fragments + 2 {
        return Ok((Planned::Full, 0, Vec::new()));
    }
    let before = batch.len();
    let mut slots = Vec::new();
    for (i, range) in ranges.iter().enumerate() {
        let buffer = port.rings.take_buffer();
        let to = |at: u16| Remote { dom: port.dom, gref: Gref(buffer.gref), offset: at - range.0 };
        let copied: Result<(), Full> = (|| {
            if let Some(head) = head_part(frame, *range) {
                batch.store(head, to(range.0))?;
            }
            for (gref, offset, first, len) in frame.pieces(*range) {
                batch.relay(Remote { dom: from, gref, offset }, to(first), len)?;
            }
            Ok(())
        })();
        // There is room, as was looked at above.
        debug_assert!(copied.is_ok());
        let _ = slots.push(Slot { id: buffer.id, gref: buffer.gref, len: range.1 });
        if i == 0 && frame.gso.is_some() {
            // The extra info is written over the second buffer's slot; its page stays unused.
            port.rings.take_buffer();
        }
    }
    Ok((Planned::Yes, (batch.len() - before) as u16, slots))
}

/// The part of a range that is in our memory.
fn head_part(frame: &Frame, (start, len): (u16, u16)) -> Option<&[u8]> {
    let head = frame.head();
    let end = usize::from(start.saturating_add(len)).min(head.len());
    head.get(usize::from(start)..end).filter(|part| !part.is_empty())
}

/// Tells a receiver of a frame, slot by slot.
fn respond(port: &mut Port, frame: &Frame, slots: &[Slot], good: bool) {
    let checksum = match frame.checksum {
        Checksum::Unknown => 0,
        Checksum::Validated => netif::NETRXF_DATA_VALIDATED,
        Checksum::Blank => netif::NETRXF_CSUM_BLANK | netif::NETRXF_DATA_VALIDATED,
    };
    for (i, Slot { id, len, .. }) in slots.iter().enumerate() {
        let mut flags = if i == 0 { checksum } else { 0 };
        if i + 1 < slots.len() {
            flags |= netif::NETRXF_MORE_DATA;
        }
        let gso = frame.gso.filter(|_| i == 0);
        if gso.is_some() {
            flags |= netif::NETRXF_EXTRA_INFO;
        }
        // At most 4096 octets.
        let status = if good { *len as i16 } else { netif::NETIF_RSP_ERROR };
        let part = match (good, i) {
            (false, _) => Part::None,
            (true, 0) => Part::First(*len, Kind { checksum: frame.checksum, gso: frame.gso }),
            (true, _) => Part::More(*len),
        };
        port.rings.received(RxResponse { id: *id, offset: 0, flags, status }, part);
        if let Some(gso) = gso {
            let gso_type = if gso.v6 { netif::GSO_TYPE_TCPV6 } else { netif::GSO_TYPE_TCPV4 };
            let extra = ExtraInfo { typ: netif::EXTRA_TYPE_GSO, flags: 0, gso_size: gso.size, gso_type };
            port.rings.received_extra(extra.to_slot());
        }
    }
}

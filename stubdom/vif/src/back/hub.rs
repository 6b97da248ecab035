//! All ports of the stub, and the frames between them. It moves frames and knows no addresses:
//! where a frame goes is told to it, port by port.
//!
//! A frame for a guest that has no buffer waits in that guest's queue, in its sender's pages: the
//! sender's slots stay taken meanwhile, which slows a sender of TCP down as a slow wire would. A
//! guest that never reads holds at most [`QUEUE`] frames for at most [`HOLD_MS`], and of each
//! sender no more slots than leave it a third of its ring for others (XSA-392).

use alloc::boxed::Box;

use heapless::Deque;
use xen::grant::{Relay, Remote};
use xen::page::PoolPage;
use xen::{DomId, GrantStatus};
use xen_sys::netif;

use super::deliver::Pending;
use super::frame::{Body, Frame, Frames, HEAD};
use super::gather::Checksum;
use super::port::{Broken, Port};

/// Frames that wait for one guest, at most.
pub const QUEUE: usize = 256;
/// How long a frame waits, in milliseconds. Longer than a guest is suspended for a snapshot,
/// shorter than what TCP takes for a dead peer.
pub const HOLD_MS: u64 = 1000;
/// Frames that are taken from one port in one turn.
pub const TURN: usize = 64;
/// Slots of one sender that may wait for slow receivers: of 256.
const HELD_SLOTS: u32 = 170;
/// Frames of one port that may be on their way when three quarters of all places are taken.
pub const SHARE: u32 = 64;
/// Frames of ours that may wait for one guest then.
const OWN_SHARE: usize = 32;
/// Grants that grant nothing, before a port is closed; half as many are remembered a second later.
const BAD_GRANTS: u32 = 64;
/// Copies of one hypercall: the heads of a turn, of 18 fragments each, and more.
const COPIES: usize = 1280;
const _: () = assert!(COPIES >= TURN * super::gather::MAX_FRAGMENTS);

/// Why a frame was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The port is not connected.
    Closed,
    /// The guest's queue is full, or its sender has too much waiting.
    QueueFull,
    /// It waited for [`HOLD_MS`].
    Stale,
    /// Its sender's grants don't grant.
    Unreadable,
    /// The receiver's grants don't grant.
    Unwritable,
    /// The receiver takes no frame of this kind as it is.
    Unsupported,
}

/// What became of a frame at one port.
pub type Outcome = Result<u16, Lost>;

/// A port's place.
#[derive(Default)]
pub(super) struct Member {
    pub(super) port: Option<Port>,
    /// Counts the guests that were here, so that frames of earlier ones are known.
    pub(super) generation: u32,
    pub(super) queue: Deque<u16, QUEUE>,
    /// Buffers that the frame at the head of the queue waits for.
    pub(super) wanted: Option<u32>,
    /// Grants that granted nothing, halved each second.
    bad_grants: u32,
    bad_since_ms: u64,
    /// Frames of its own that are on their way.
    frames: u32,
    pub(super) broken: Option<Broken>,
    /// No ring is touched: the guest stands still for a snapshot.
    pub(super) paused: bool,
    /// Nothing is taken from the guest: what it sends waits in its ring.
    pub(super) frozen: bool,
    /// Notifications that came.
    pub(super) notifications: u64,
}

/// Where a head is copied to. Never on two pages, which would take two copies.
#[repr(align(256))]
struct Head([u8; HEAD]);

/// All ports and frames.
pub struct Hub {
    pub(super) members: Box<[Member]>,
    pub(super) frames: Frames,
    pub(super) relay: Relay,
    pub(super) pending: alloc::vec::Vec<Pending>,
    heads: Box<[Head]>,
    now_ms: u64,
}

/// A frame that waits to be told where it goes: its place, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The port that sent it.
    pub port: u16,
    /// Its place, held for the caller: [`Hub::release`] it in the end.
    pub frame: u16,
}

impl Hub {
    /// A hub of so many ports, with places for so many frames.
    pub fn new(ports: usize, frames: u16) -> Self {
        Self {
            members: (0..ports).map(|_| Member::default()).collect(),
            frames: Frames::new(frames),
            relay: Relay::new(COPIES),
            pending: alloc::vec::Vec::with_capacity(COPIES),
            heads: (0..TURN).map(|_| Head([0; HEAD])).collect(),
            now_ms: 0,
        }
    }

    /// Puts a connected port into a place that has none.
    pub fn connect(&mut self, index: u16, mut port: Port) {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            // A front end may have sent before it knew of us, or wait for what the last one took.
            port.kick();
            member.port = Some(port);
            member.broken = None;
            member.bad_grants = 0;
            member.frames = 0;
            member.paused = false;
        }
    }

    /// Takes a port out. Its rings are unmapped when the caller drops it; what waits for it or
    /// came from it is lost.
    pub fn disconnect(&mut self, index: u16, on: &mut impl FnMut(u16, Outcome)) -> Option<Port> {
        let member = self.members.get_mut(usize::from(index))?;
        let port = member.port.take()?;
        member.generation = member.generation.wrapping_add(1);
        member.wanted = None;
        while let Some(frame) = self.members.get_mut(usize::from(index)).and_then(|m| m.queue.pop_front()) {
            on(index, Err(Lost::Closed));
            self.release(frame);
        }
        Some(port)
    }

    /// A connected port.
    pub fn port(&self, index: u16) -> Option<&Port> {
        self.members.get(usize::from(index))?.port.as_ref()
    }

    /// Frames that wait for a port, and notifications that came from it.
    pub fn figures(&self, index: u16) -> (usize, u64) {
        self.members.get(usize::from(index)).map_or((0, 0), |m| (m.queue.len(), m.notifications))
    }

    /// The ports whose front ends broke the protocol, and how: close them.
    pub fn broken(&self) -> impl Iterator<Item = (u16, Broken)> + '_ {
        (0u16..).zip(&self.members).filter_map(|(index, member)| {
            member.port.as_ref()?;
            Some((index, member.broken?))
        })
    }

    /// Hypercalls and copies made.
    pub fn counters(&self) -> (u64, u64) {
        self.relay.counters()
    }

    /// Takes the next frames that guests have sent, at most [`TURN`], a fair share from each port,
    /// with the first `least` octets of each copied. Whose octets can't be read are answered and
    /// not told.
    pub fn collect(&mut self, least: u16, now_ms: u64, into: &mut heapless::Vec<Arrived, TURN>) {
        self.now_ms = now_ms;
        let Self { members, frames, .. } = self;
        let share = TURN / members.iter().filter(|m| m.port.is_some()).count().clamp(1, TURN);
        for (index, member) in (0u16..).zip(members.iter_mut()) {
            let open = member.broken.is_none() && !member.frozen && !member.paused;
            let Some(port) = member.port.as_mut().filter(|_| open) else { continue };
            for _ in 0..share {
                // When places are few, nobody takes more than a share of them.
                let few = few(frames);
                if into.is_full() || frames.free() == 0 || (few && member.frames >= SHARE) {
                    break;
                }
                match port.rings.next_frame() {
                    Ok(Some(sent)) => {
                        let frame = Frame::of_guest(index, member.generation, sent, now_ms);
                        if let Ok(place) = frames.put(frame) {
                            member.frames += 1;
                            let _ = into.push(Arrived { port: index, frame: place });
                        }
                    }
                    Ok(None) => break,
                    Err(broken) => {
                        member.broken = Some(broken);
                        break;
                    }
                }
            }
        }
        self.fetch_heads(least, into);
    }

    /// Copies the first octets of each, with one hypercall.
    fn fetch_heads(&mut self, least: u16, arrived: &mut heapless::Vec<Arrived, TURN>) {
        let Self { members, frames, relay, heads, .. } = self;
        let mut batch = relay.batch();
        let mut copies = [0u16; TURN];
        for ((place, head), count) in arrived.iter().zip(heads.iter_mut()).zip(&mut copies) {
            let Some(frame) = frames.get(place.frame) else { continue };
            let Some(dom) = dom_of(members, place.port) else { continue };
            let wanted = frame.head_wanted(least);
            let before = batch.len();
            let mut rest = head.0.get_mut(..wanted.into()).unwrap_or_default();
            for (gref, offset, _, len) in frame.pieces((0, wanted)) {
                let Some((part, behind)) = core::mem::take(&mut rest).split_at_mut_checked(len.into()) else {
                    break;
                };
                rest = behind;
                // A turn's heads fit a batch.
                let _ = batch.fetch(Remote { dom, gref, offset }, part);
            }
            *count = (batch.len() - before) as u16;
        }
        let mut statuses = batch.run().ok();
        let mut bad = [false; TURN];
        for (((place, head), count), bad) in arrived.iter().zip(heads.iter()).zip(copies).zip(&mut bad) {
            let good = all_made(&mut statuses, count);
            let Some(frame) = frames.get_mut(place.frame) else { continue };
            let wanted = frame.head_wanted(least);
            if let (Some(to), Some(from)) = (frame.head.get_mut(..wanted.into()), head.0.get(..wanted.into()))
            {
                to.copy_from_slice(from);
                frame.head_len = wanted;
            }
            frame.unreadable = !good;
            *bad = !good;
        }
        drop(statuses);
        let mut at = 0;
        let mut lost = heapless::Vec::<Arrived, TURN>::new();
        arrived.retain(|place| {
            let keep = !bad.get(at).copied().unwrap_or(true);
            at += 1;
            if !keep {
                let _ = lost.push(*place);
            }
            keep
        });
        for place in lost {
            self.blame(place.port);
            self.release(place.frame);
        }
    }

    /// Counts a grant that did not grant.
    pub(super) fn blame(&mut self, index: u16) {
        let now_ms = self.now_ms;
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            let seconds = now_ms.saturating_sub(member.bad_since_ms) / 1000;
            if seconds > 0 {
                member.bad_grants = member.bad_grants.checked_shr(seconds.min(32) as u32).unwrap_or(0);
                member.bad_since_ms = now_ms;
            }
            member.bad_grants += 1;
            if member.bad_grants > BAD_GRANTS {
                member.broken = Some(Broken::Grants);
            }
        }
    }

    /// A frame.
    pub fn frame(&self, place: u16) -> Option<&Frame> {
        self.frames.get(place)
    }

    /// Takes in a frame of ours, held for the caller. `None`: no place is free.
    pub fn own(
        &mut self,
        page: PoolPage,
        start: u16,
        len: u16,
        checksum: Checksum,
        now_ms: u64,
    ) -> Option<u16> {
        self.frames.put(Frame::own(page, start, len, checksum, now_ms)).ok()
    }

    /// Puts a frame into a port's queue. [`Hub::deliver`] tells what becomes of it.
    ///
    /// # Errors
    /// Why it was not put there.
    pub fn enqueue(&mut self, place: u16, to: u16) -> Result<(), Lost> {
        let held = self.holds_too_much(place);
        let frame = self.frames.get(place).ok_or(Lost::Closed)?;
        let member = self.members.get_mut(usize::from(to)).ok_or(Lost::Closed)?;
        let port = member.port.as_ref().ok_or(Lost::Closed)?;
        let takes = port.takes;
        let large = match frame.gso {
            Some(gso) => {
                if gso.v6 {
                    takes.gso_v6
                } else {
                    takes.gso_v4
                }
            }
            None => takes.sg || frame.len <= 4096,
        };
        if !large || (frame.checksum == Checksum::Blank && !takes.blank) {
            return Err(Lost::Unsupported);
        }
        // What is ours is under no guest's share.
        let own = matches!(frame.body, Body::Own { .. });
        let waits = member.wanted.is_some() || member.paused;
        if own && waits && few(&self.frames) && member.queue.len() >= OWN_SHARE {
            return Err(Lost::QueueFull);
        }
        // Only who waits is held up: a queue that moves may be as long as it takes.
        if waits && held {
            return Err(Lost::QueueFull);
        }
        member.queue.push_back(place).map_err(|_| Lost::QueueFull)?;
        self.hold(place);
        Ok(())
    }

    /// Holds a frame once more: [`Hub::release`] it in the end.
    pub fn hold(&mut self, place: u16) {
        if let Some(frame) = self.frames.get_mut(place) {
            frame.holders += 1;
        }
    }

    /// Whether a frame's sender has too much waiting for slow receivers already.
    pub fn holds_too_much(&self, place: u16) -> bool {
        let Some(Frame { body: Body::Guest { port, .. }, .. }) = self.frames.get(place) else { return false };
        let few = few(&self.frames);
        let frames = self.members.get(usize::from(*port)).map_or(0, |member| member.frames);
        (few && frames >= SHARE / 2)
            || self.port(*port).is_some_and(|port| port.rings.open_slots() > HELD_SLOTS)
    }

    /// Lets go of a frame. Whoever is the last answers its sender.
    pub fn release(&mut self, place: u16) {
        let Some(frame) = self.frames.release(place) else { return };
        let Body::Guest { port, generation, frame: sent } = &frame.body else { return };
        let Some(member) = self.members.get_mut(usize::from(*port)) else { return };
        if member.generation == *generation
            && let Some(port) = &mut member.port
        {
            member.frames = member.frames.saturating_sub(1);
            let status = if frame.unreadable { netif::NETIF_RSP_ERROR } else { netif::NETIF_RSP_OKAY };
            port.rings.complete(sent, status);
        }
    }
}

/// Whether three quarters of all places are taken.
fn few(frames: &Frames) -> bool {
    frames.free() < frames.count() / 4
}

/// Whether the next `count` copies of a batch were made. `None`: Xen refused the batch.
pub(super) fn all_made(statuses: &mut Option<impl Iterator<Item = GrantStatus>>, count: u16) -> bool {
    // All are looked at, as the next frame's come behind them.
    let made = |all, status| all & (status == GrantStatus::Okay);
    statuses.as_mut().is_some_and(|statuses| statuses.by_ref().take(count.into()).fold(true, made))
}

/// Whose pages a frame is in: nobody's if the guest that sent it is gone, or it is ours.
pub(super) fn sender_of(members: &[Member], frame: &Frame) -> Option<DomId> {
    let Body::Guest { port, generation, .. } = &frame.body else { return None };
    members.get(usize::from(*port)).filter(|member| member.generation == *generation)?;
    dom_of(members, *port)
}

/// Whose a port is.
pub(super) fn dom_of(members: &[Member], index: u16) -> Option<DomId> {
    members.get(usize::from(index))?.port.as_ref().map(|port| port.dom)
}

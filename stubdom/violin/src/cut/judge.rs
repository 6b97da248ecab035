//! The rules, applied to one frame.

use super::{Ahead, Arrival, Cut, Mode, Verdict};
use crate::id::PortId;
use crate::switch::DropReason;

impl Cut {
    /// What becomes of a frame that has just arrived for a port. In all but a snapshot's time this is
    /// one comparison.
    #[inline]
    pub fn judge(&mut self, port: PortId, frame: &Arrival) -> Verdict {
        match self.ports.get(usize::from(port.0)) {
            Some(Some(port)) if port.epoch == frame.epoch => Verdict::Deliver,
            _ => self.weigh(frame.at_ms, port, frame, false),
        }
    }

    /// What becomes now of a frame that was held. To be asked for each frame held for a port that
    /// [`due`](Self::due) has named, in their order.
    pub fn again(&mut self, now_ms: u64, port: PortId, frame: &Arrival) -> Verdict {
        self.forget(port, frame);
        self.weigh(now_ms, port, frame, true)
    }

    /// A held frame is given up by the driver.
    pub fn forget(&mut self, port: PortId, frame: &Arrival) {
        let Some(Some(port)) = self.ports.get_mut(usize::from(port.0)) else { return };
        if port.held.frames > 0 {
            port.held.frames -= 1;
            port.held.octets = port.held.octets.saturating_sub(frame.octets);
            self.held = self.held.saturating_sub(1);
        }
        if port.held.frames == 0 {
            port.oldest_ms = u64::MAX;
        }
    }

    /// A port whose held frames are to be judged [`again`](Self::again), every one of them: its epoch has risen, or
    /// one of them is too old. To be asked until `None`.
    pub fn due(&mut self, now_ms: u64) -> Option<PortId> {
        if self.held == 0 {
            return None;
        }
        let hold_ms = self.limits.hold_ms;
        let ports = self.ports.iter_mut().zip(0u16..).filter_map(|(port, n)| Some((port.as_mut()?, n)));
        let (port, n) = ports.into_iter().find(|(port, _)| port.due_at(hold_ms) <= now_ms)?;
        port.due = false;
        port.oldest_ms = u64::MAX;
        Some(PortId(n))
    }

    /// When to ask [`due`](Self::due) next, in milliseconds since boot.
    pub fn poll_at(&self) -> Option<u64> {
        if self.held == 0 {
            return None;
        }
        let times = self.ports.iter().flatten().map(|port| port.due_at(self.limits.hold_ms));
        times.min().filter(|at| *at != u64::MAX)
    }

    #[cold]
    fn weigh(&mut self, now_ms: u64, id: PortId, frame: &Arrival, again: bool) -> Verdict {
        let Some(Some(port)) = self.ports.get_mut(usize::from(id.0)) else {
            return Verdict::Drop(DropReason::Closed);
        };
        let running = self.running.as_ref().filter(|running| running.network == port.network);
        if frame.epoch == port.epoch {
            return Verdict::Deliver;
        }
        if frame.epoch < port.epoch {
            // Flipped by the cut that runs: each begins by taking the marks away.
            return if port.flipped && running.is_some_and(|cut| cut.is_open(frame.from)) {
                port.counts.recorded.add(frame.octets);
                Verdict::Record
            } else {
                port.counts.late.add(frame.octets);
                Verdict::Deliver
            };
        }
        // From after a cut that this port has yet to pass.
        let known = running.filter(|cut| frame.epoch <= cut.epoch);
        if known.is_none() {
            self.news.heard(Ahead { network: port.network, epoch: frame.epoch, from: frame.from });
        }
        let limits = &self.limits;
        let octets = port.held.octets.saturating_add(frame.octets);
        let reason = if known.is_some_and(|cut| cut.mode == Mode::Drop) {
            DropReason::AfterCut
        } else if now_ms.saturating_sub(frame.at_ms) >= limits.hold_ms {
            DropReason::HeldTooLong
        } else if port.held.frames >= limits.hold_frames || octets > limits.hold_octets {
            DropReason::HeldFull
        } else {
            port.held.frames += 1;
            port.held.octets = octets;
            port.oldest_ms = port.oldest_ms.min(frame.at_ms);
            self.held += 1;
            if !again {
                port.counts.held.add(frame.octets);
            }
            return Verdict::Hold;
        };
        port.counts.dropped.add(frame.octets);
        Verdict::Drop(reason)
    }
}

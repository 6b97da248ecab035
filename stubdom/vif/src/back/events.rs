//! Notifications to and from the front ends, of all ports.

use core::task::{Context, Poll};

use super::hub::Hub;

impl Hub {
    /// Makes all answers visible and notifies whom it concerns.
    pub fn flush(&mut self) {
        for port in self.members.iter_mut().filter(|m| !m.paused).filter_map(|m| m.port.as_mut()) {
            port.flush();
        }
    }

    /// Notifies guests of what they sent, those who wait for that: before a rest.
    pub fn settle(&mut self) {
        for port in self.members.iter_mut().filter(|m| !m.paused).filter_map(|m| m.port.as_mut()) {
            port.settle();
        }
    }

    /// Asks all front ends for events. Returns whether there is something to do already.
    pub fn ask_for_events(&mut self) -> bool {
        let mut busy = false;
        for member in &mut self.members {
            let open = member.broken.is_none() && !member.frozen && !member.paused;
            let Some(port) = member.port.as_mut().filter(|_| open) else { continue };
            match port.rings.ask_for_events(member.wanted) {
                Ok(some) => busy |= some,
                Err(broken) => member.broken = Some(broken),
            }
        }
        busy
    }

    /// Whether a frame waits for a guest's buffers.
    pub fn waits(&self) -> bool {
        self.members.iter().any(|m| m.wanted.is_some())
    }

    /// Ready when a guest has notified.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = Poll::Pending;
        for member in &mut self.members {
            if let Some(port) = &member.port
                && port.poll_event(cx, member.wanted.is_some()).is_ready()
            {
                member.notifications += 1;
                ready = Poll::Ready(());
            }
        }
        ready
    }
}

//! What is not done at a port for a while: while its guest is suspended for a snapshot, or while the
//! network waits for guests that are being restored.

use super::hub::Hub;

impl Hub {
    /// Pauses a port (true), or lets it go on. While its guest stands still nothing is taken from it, and
    /// nothing that comes for it may change its memory: that waits. (Answers to what it has sent may
    /// still come into its ring, but are not made visible; a guest that is restored makes a new ring.)
    pub fn pause(&mut self, index: u16, on: bool) {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            member.paused = on;
        }
    }

    /// Takes no frames from a guest (true), or takes them again.
    pub fn freeze(&mut self, index: u16, on: bool) {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            member.frozen = on;
        }
    }

    /// The frames that wait for a port, in their order.
    pub fn backlog(&self, index: u16) -> impl Iterator<Item = u16> + '_ {
        self.members.get(usize::from(index)).into_iter().flat_map(|member| member.queue.iter().copied())
    }

    /// Whether a port's guest has sent something that was not taken yet.
    pub fn has_sent(&self, index: u16) -> bool {
        let member = self.members.get(usize::from(index)).filter(|member| member.broken.is_none());
        member.and_then(|member| member.port.as_ref()).is_some_and(|port| port.rings.has_sent())
    }
}

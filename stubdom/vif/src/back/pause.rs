//! What is not done at a port for a while: while its guest is suspended for a snapshot, or while the
//! network waits for guests that are being restored.

use xen::grant::MappedPage;

use super::hub::Hub;
use super::port::Rings;

/// What is not done at a port for the time being.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// Everything is done.
    #[default]
    No,
    /// Nothing is delivered: what comes for the guest waits.
    Deliveries,
    /// Nothing is taken either, and no ring is touched: the guest stands still.
    All,
}

impl Hub {
    /// Pauses a port, or lets it go on. While a guest is suspended for a snapshot nothing of what
    /// comes may change its memory. (Answers to what it has sent may still come into its ring, but
    /// are not made visible; a guest that is restored makes a new ring.)
    pub fn pause(&mut self, index: u16, pause: Pause) {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            member.pause = pause;
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
        self.rings(index).is_some_and(Rings::has_sent)
    }

    /// Whether a port's guest has taken in all that it was given, by its own word.
    pub fn has_taken_all(&self, index: u16) -> bool {
        self.rings(index).is_none_or(Rings::has_taken_all)
    }

    fn rings(&self, index: u16) -> Option<&Rings<MappedPage>> {
        let member = self.members.get(usize::from(index)).filter(|member| member.broken.is_none())?;
        member.port.as_ref().map(|port| &port.rings)
    }
}

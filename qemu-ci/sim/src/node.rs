//! What runs on a host.

/// A host of the simulated world: its place in it, and its address.
pub type Host = usize;

/// What a datagram carries, so that the network can lose one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Between the control planes: membership, later snapshots.
    Control,
    /// A guest's frame.
    Frame,
}

/// Something that takes datagrams and time, and sends datagrams. Its clock is its host's:
/// milliseconds since the world began, but for leaps.
pub trait Node {
    /// A datagram that `from` sent.
    fn on_datagram(&mut self, now_ms: u64, from: Host, kind: Kind, octets: &[u8]);

    /// Called when the time of [`Node::poll_at`] has come.
    fn on_timer(&mut self, _now_ms: u64) {}

    /// Sends all that it wants to send now.
    fn poll(&mut self, now_ms: u64, out: &mut Outbox);

    /// When it wants to be called next if nothing arrives before; none if never.
    fn poll_at(&self) -> Option<u64>;
}

/// Where a node puts what it sends.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(crate) datagrams: Vec<(Host, Kind, Box<[u8]>)>,
}

impl Outbox {
    /// Sends a datagram.
    pub fn send(&mut self, to: Host, kind: Kind, octets: &[u8]) {
        self.datagrams.push((to, kind, octets.into()));
    }
}

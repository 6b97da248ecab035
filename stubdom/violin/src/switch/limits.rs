//! How much of everything.

/// The most ports that [`Limits`] can ask for.
pub const MAX_PORTS: usize = 256;
/// The most peers that [`Limits`] can ask for.
pub const MAX_PEERS: usize = 1024;
/// The most networks that [`Limits`] can ask for, and the most that a peer can be a member of.
pub const MAX_NETWORKS: usize = 64;
/// The most MAC addresses in all, pinned ones included, that [`Limits`] can ask for.
pub const MAX_MACS: usize = 32_768;

const _: () = assert!(MAX_PORTS.is_multiple_of(64) && MAX_PEERS.is_multiple_of(64) && MAX_NETWORKS <= 64);
const _: () = assert!(MAX_MACS <= crate::table::Table::MAX);

/// How much of everything a switch has room for. All of it is allocated at its start.
///
/// The table has room for `networks * macs_per_network` learned addresses, so no network can take
/// another's room, and besides for one pinned address a port. Nothing that was learned is pushed out
/// by what comes later: it leaves by age, or with its port or peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Networks, 1 to [`MAX_NETWORKS`].
    pub networks: usize,
    /// Ports, all networks together, 1 to [`MAX_PORTS`].
    pub ports: usize,
    /// Peers, up to [`MAX_PEERS`]: a [`PeerId`](crate::id::PeerId) is below it.
    pub peers: usize,
    /// Addresses learned in one network. Cut if that many for each network, and one a port, would be
    /// more than [`MAX_MACS`].
    pub macs_per_network: usize,
    /// Addresses learned on one port that has none pinned.
    pub macs_per_port: usize,
    /// Addresses of one network learned behind one peer.
    pub macs_per_peer: usize,
    /// How often an address may move in a second, at least 1; then it stays until the second is over.
    pub moves_per_second: u8,
    /// Copies of broadcasts and of frames to unknown places that one port may ask for in a second
    /// (storm control), at least 1, with bursts of as many. `u32::MAX`: no limit.
    pub flood_copies_per_second: u32,
}

impl Default for Limits {
    /// For one host: 16,384 addresses; the switch then takes 0.91 MiB of heap.
    fn default() -> Self {
        Self {
            networks: 32,
            ports: 64,
            peers: 256,
            macs_per_network: 512,
            macs_per_port: 64,
            macs_per_peer: 256,
            moves_per_second: 8,
            flood_copies_per_second: 200_000,
        }
    }
}

impl Limits {
    /// These limits, cut to what the sets and the table can hold and to what makes sense.
    pub(super) fn cut(mut self) -> Self {
        self.networks = self.networks.clamp(1, MAX_NETWORKS);
        self.ports = self.ports.clamp(1, MAX_PORTS);
        self.peers = self.peers.min(MAX_PEERS);
        self.macs_per_network = self.macs_per_network.min((MAX_MACS - self.ports) / self.networks);
        // With none at all, no guest could move and no ARP request would pass.
        self.moves_per_second = self.moves_per_second.max(1);
        self.flood_copies_per_second = self.flood_copies_per_second.max(1);
        self
    }

    /// Addresses that the table has room for.
    pub(super) const fn macs(&self) -> usize {
        self.networks * self.macs_per_network + self.ports
    }
}

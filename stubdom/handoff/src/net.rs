//! What is said of networks: the shim configures the stub's switch and asks for its figures.
//!
//! The shim sends its whole configuration at each connection: [`NetOrder::Underlay`] if there is
//! one, [`NetOrder::Only`], [`NetOrder::Add`] for each network, [`NetOrder::Join`] for each seed or
//! [`NetOrder::Leave`]. To say again what is already so changes nothing and disturbs no traffic. Between connections the
//! stub goes on with what it was told last.
//!
//! Counters and reasons travel with their names, so that the shim needs no table of them.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::message::Detail;

/// The most networks of one switch.
pub const MAX_NETWORKS: usize = 64;

/// The most named counters in one [`Counters`].
pub const MAX_COUNTERS: usize = 24;

/// The most entries in one [`NetAnswer::Macs`].
pub const MACS_PER_MESSAGE: usize = 32;

/// The UDP port of switches if none is named.
pub const DEFAULT_PORT: u16 = 4790;

/// The number of a request, chosen by the shim; its answers carry it. Never 0.
pub type RequestId = u32;

/// A network's name: 1 to 15 of `a-z`, `0-9`, `-`, `_`. Guests' vifs say it as `bridge=NAME`.
pub type NetName = String<15>;

/// A name of a state, a counter or a reason: lower case, words joined by `-`.
pub type Word = String<24>;

/// Whether this is a network's name.
pub fn is_net_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=15).contains(&name.len()) && name.bytes().all(fits)
}

/// An x25519 secret key. Wiped when dropped, and never shown.
///
/// Who encodes or decodes a message with one also wipes the buffer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(pub [u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(not shown)")
    }
}

/// An order to the switch. Each is answered: those that ask for figures by items and then
/// [`NetAnswer::Done`], all others by `Done` or [`NetAnswer::Failed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetOrder {
    /// How the stub is reached by other switches. Without one, networks are local.
    Underlay(Underlay),
    /// Have this network. If it is there under the same number: take its new name, MTU and rule.
    Add {
        /// Its number, the same on all hosts.
        id: u32,
        /// Its name, on this host.
        name: NetName,
        /// The longest packet inside, in octets, without the Ethernet header. Told to guests by
        /// the shim (`mtu=` of the vif).
        mtu: u16,
        /// Whether ports are pinned: a guest sends from the MAC address of its vif's configuration
        /// only, and nobody else can claim that. What breaks the rule is dropped and counted.
        pin: bool,
    },
    /// Close the network's ports and forget it. No error if it is not there.
    Remove {
        /// Its number.
        id: u32,
    },
    /// Remove every network that is not of these.
    Only {
        /// Their numbers.
        ids: Vec<u32, MAX_NETWORKS>,
    },
    /// Join the other switches through this one, and keep trying. Answered when the seed was
    /// noted; whether it was reached, the peers say.
    Join(Seed),
    /// Leave the other switches and forget all seeds. Networks go on locally.
    Leave,
    /// Figures: one `Switch`, then for each network (or the one that is named) `Network` and its
    /// `Port`s, then every `Peer`.
    Stats {
        /// The network, or all.
        network: Option<u32>,
    },
    /// One `Peer` for each.
    Peers,
    /// The MAC table of a network: `Macs`, as many as it takes.
    Macs {
        /// The network.
        network: u32,
    },
    /// Take no frames from the guests of this network, or take them again: while they are being
    /// restored none may lose what another sends too early. Ends by itself after a minute.
    Freeze {
        /// The network.
        network: u32,
        /// Whether.
        on: bool,
    },
    /// Begin or end to send copies of a network's frames, as [`NetAnswer::Captured`] with the
    /// number of the request that began it, which is answered by `Done` when it ends. One capture
    /// of a network at a time: a second takes the place of the first. Ends with the connection.
    Capture {
        /// The network.
        network: u32,
        /// Begin or end.
        on: bool,
        /// The most octets to keep of each frame.
        snaplen: u16,
    },
}

/// The stub's side of the physical network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underlay {
    /// IPv4 address of the stub's uplink.
    pub address: [u8; 4],
    /// Bits of its network: 0 to 32.
    pub prefix: u8,
    /// The router, if there is one.
    pub gateway: Option<[u8; 4]>,
    /// UDP port of this switch and, if they don't say another, of all others.
    pub port: u16,
    /// The longest IP packet of the physical network, in octets.
    pub mtu: u16,
    /// Time-outs of group snapshots, in percent of those of a fast machine; `None`: as this machine was
    /// found to be. Can change while the switch runs.
    pub timeouts_percent: Option<u32>,
    /// Grows with each start of this host's stub. A switch that runs keeps the first that it was
    /// told.
    pub incarnation: u64,
    /// This switch's key. A running switch can't change it: that is `Failed` with `Restart`.
    pub key: SecretKey,
}

/// A switch through which to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Its IPv4 address.
    pub address: [u8; 4],
    /// Its UDP port.
    pub port: u16,
    /// Its x25519 public key.
    pub key: [u8; 32],
}

/// An answer of the switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// One at a time is on its way: a box for each would cost more than the room.
#[allow(clippy::large_enum_variant)]
pub enum NetAnswer {
    /// The end: it was done, or all was told.
    Done,
    /// The end: it was not done.
    Failed(NetError),
    /// The switch itself.
    Switch(SwitchStats),
    /// A network.
    Network(NetworkStats),
    /// A port.
    Port(PortStats),
    /// A peer.
    Peer(PeerStats),
    /// A part of a MAC table.
    Macs {
        /// The entries.
        entries: Vec<MacEntry, MACS_PER_MESSAGE>,
    },
    /// Captured frames. Bulk: `count` times a [`CaptureRecord`](crate::CaptureRecord) and its octets, at most
    /// [`CAPTURE_BULK`](crate::CAPTURE_BULK) in all.
    Captured {
        /// Frames in the bulk.
        count: u16,
        /// Frames that were left out since the capture began, because the link was slow. The
        /// data path never waits for a capture.
        missed: u64,
        /// The stub's clock when it sent this, in microseconds: the clock of the records.
        now_us: u64,
    },
}

/// Why an order was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetError {
    /// The class of the error.
    pub kind: NetErrorKind,
    /// What the operator should know.
    pub detail: Detail,
}

/// Classes of [`NetError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetErrorKind {
    /// There is no such network.
    NoNetwork,
    /// The stub has no uplink, or it is not configured.
    NoUplink,
    /// A table of fixed size is full.
    Full,
    /// The order makes no sense: an MTU beyond the underlay's, a key that is none.
    Invalid,
    /// It takes a new stub: `luthier down`, `luthier up`.
    Restart,
    /// This stub can't do it.
    Unsupported,
}

/// Frames and their octets, Ethernet header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames; one that carries several segments (GSO) counts once.
    pub frames: u64,
    /// Octets.
    pub bytes: u64,
}

/// A named count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What is counted.
    pub name: Word,
    /// How many.
    pub count: u64,
}

/// A few named counts; those that are 0 are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters(pub Vec<Counter, MAX_COUNTERS>);

impl Counters {
    /// Adds a count, unless it is 0. Names beyond [`Word`]'s bound are cut; when all places are
    /// taken, the last one is `other` and holds the sum of what found no room.
    pub fn add(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(known) = self.0.iter_mut().find(|c| c.name == name) {
            known.count = known.count.saturating_add(count);
        } else if self.0.push(Counter { name: word(name), count }).is_err()
            && let Some(last) = self.0.last_mut()
        {
            last.name = word("other");
            last.count = last.count.saturating_add(count);
        }
    }
}

/// As much of a text as fits.
pub fn word<const N: usize>(text: &str) -> String<N> {
    let mut word = String::new();
    for c in text.chars() {
        if word.push(c).is_err() {
            break;
        }
    }
    word
}

/// The switch's own figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchStats {
    /// Its id: made of its public key. 0 without an underlay.
    pub id: u64,
    /// Its public key; zeros without an underlay.
    pub key: [u8; 32],
    /// Its incarnation.
    pub incarnation: u64,
    /// State of the uplink: `none`, `down`, `up`.
    pub uplink: Word,
    /// What it did: hypercalls, copies, wake-ups.
    pub counters: Counters,
    /// Frames and datagrams that belonged to no port, network or peer, by reason.
    pub drops: Counters,
}

/// A network's figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStats {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: NetName,
    /// Its MTU.
    pub mtu: u16,
    /// Entries of its MAC table.
    pub macs: u32,
    /// The most entries of its MAC table.
    pub macs_limit: u32,
    /// Its ports.
    pub ports: u16,
    /// Peers that have it too.
    pub peers: u16,
    /// Frames that were sent to all, having no known place.
    pub flooded: u64,
    /// What did not go anywhere, by reason.
    pub drops: Counters,
}

/// A port's figures: a guest's vif.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Its network.
    pub network: u32,
    /// The guest.
    pub domid: u16,
    /// The vif's number in the guest.
    pub devid: u16,
    /// The MAC address of its configuration.
    pub mac: [u8; 6],
    /// Whether the address is pinned.
    pub pinned: bool,
    /// `waiting`, `connected`, `closed`.
    pub state: Word,
    /// Why it was closed, or is not connected; may be empty.
    pub reason: String<96>,
    /// What the guest sent.
    pub from_guest: Traffic,
    /// What the guest was sent.
    pub to_guest: Traffic,
    /// What did not go on, by reason, in both directions.
    pub drops: Counters,
    /// Notifications that the guest was sent.
    pub notified: u64,
    /// Notifications from the guest.
    pub notifications: u64,
    /// Frames that wait for the guest.
    pub queued: u32,
}

/// A peer's figures: another host's switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStats {
    /// Its id.
    pub switch: u64,
    /// Its IPv4 address.
    pub address: [u8; 4],
    /// Its UDP port.
    pub port: u16,
    /// `joining`, `up`, `silent`, `left`.
    pub state: Word,
    /// Its incarnation.
    pub incarnation: u64,
    /// Networks that both have.
    pub networks: Vec<u32, MAX_NETWORKS>,
    /// What it was sent.
    pub to_peer: Traffic,
    /// What it sent.
    pub from_peer: Traffic,
    /// What did not go on, by reason, in both directions.
    pub drops: Counters,
    /// Milliseconds since it was heard.
    pub heard_ms: Option<u32>,
    /// Round trip in microseconds, if known.
    pub rtt_us: Option<u32>,
}

/// An entry of a MAC table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacEntry {
    /// The address.
    pub mac: [u8; 6],
    /// Where it is.
    pub place: Place,
    /// Seconds since it last sent; 0 for a pinned one.
    pub age_s: u32,
    /// Whether it is pinned to a port.
    pub pinned: bool,
}

/// Where a MAC address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// At a port of this switch.
    Port {
        /// The guest.
        domid: u16,
        /// The vif's number in the guest.
        devid: u16,
    },
    /// At another switch.
    Peer {
        /// Its id.
        switch: u64,
    },
}

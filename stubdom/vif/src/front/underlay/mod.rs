//! The stub on the network of the hosts: IPv4 and one UDP port over the uplink.
//!
//! Sealed datagrams don't pass smoltcp's sockets. Out: the payload is sealed in the granted page
//! that goes into the ring, behind headers that are written here: no copy. In: the frame is
//! copied out of its page once, checked, and its payload is opened where it lies: one copy. A
//! UDP socket would add a copy each way, and its queue would stall behind the first datagram to a
//! host that is down; also, smoltcp asks for one unknown neighbour a second, and there may be a
//! thousand. So neighbours are known here, and a few datagrams are held while one is asked for
//! (copied once). All other frames (ARP, ICMP, what else there may be) go to smoltcp's interface,
//! which answers them: an operator can ping the stub.
//!
//! What it must never do: send fragments, allocate for a frame, or wait for a peer.

mod config;
mod header;
mod held;
mod neighbours;
mod outgoing;
mod stack;
#[cfg(test)]
mod tests;
mod wire;

use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use log::warn;
use smoltcp::wire::{EthernetAddress, Ipv4Cidr};

use super::{Checksum, Count, Front, MAX_FRAME};
pub use config::{Config, ConfigError};
pub use outgoing::Outgoing;
pub use wire::{Slot, Wire};

use header::{ARP_FRAME, HEADERS, Own, Seen};
use held::Held;
use neighbours::Neighbours;
use outgoing::Place;
use stack::Stack;

/// Octets of IPv4 and UDP headers: what an MTU loses to them.
pub const OVERHEAD: u16 = 28;

/// How often to look at datagrams that are held, in milliseconds.
const HELD_POLL_MS: u64 = 250;

/// Why there is no buffer for a datagram. All but `Unroutable` pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The uplink is down.
    Down,
    /// All buffers are on their way.
    Full,
    /// It is not on our network, and there is no gateway.
    Unroutable,
    /// Its neighbour's address is being asked for, and enough datagrams wait for that.
    Unresolved,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "the uplink is down",
            Self::Full => "the uplink is full",
            Self::Unroutable => "not on the uplink's network, and no gateway is configured",
            Self::Unresolved => "nobody answers for that address yet",
        })
    }
}

impl core::error::Error for SendError {}

/// Counters, since it was made. [`Front::counters`] has those of frames.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams put into the ring.
    pub sent: Count,
    /// Datagrams handed on.
    pub received: Count,
    /// Not sent: the link was down or its ring full.
    pub no_buffer: Count,
    /// Not sent: no way to that address.
    pub unroutable: Count,
    /// Not sent: nobody answered for the address, or too many datagrams waited.
    pub unresolved: Count,
    /// Frames for other stations, flooded by the bridge.
    pub stray: Count,
    /// Frames for us that make no sense.
    pub malformed: Count,
    /// Fragments: the peer's MTU is larger than that of the network in between.
    pub fragments: Count,
    /// Datagrams with a wrong checksum.
    pub checksum: Count,
    /// Frames that smoltcp got: ARP, ICMP and the like.
    pub others: Count,
    /// Another station says that it has our address.
    pub conflicts: Count,
}

/// Our place on the network of the hosts. One task polls it; it may send from within
/// [`Underlay::poll`]'s closure, too.
pub struct Underlay<W: Wire = Front> {
    wire: &'static W,
    network: Ipv4Cidr,
    gateway: Option<Ipv4Addr>,
    own: Cell<Own>,
    neighbours: RefCell<Neighbours>,
    held: RefCell<Held>,
    stack: RefCell<Stack>,
    up: Cell<bool>,
    now: Cell<u64>,
    counters: Counters,
}

impl<W: Wire> Underlay<W> {
    /// Nothing is sent before the first [`Underlay::poll`].
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(wire: &'static W, config: Config) -> Result<Self, ConfigError> {
        let network = config.network()?;
        let own = Own { mac: EthernetAddress([0; 6]), address: config.address, port: config.port };
        Ok(Self {
            wire,
            network,
            gateway: config.gateway,
            own: Cell::new(own),
            neighbours: RefCell::new(Neighbours::new()),
            held: RefCell::new(Held::new()),
            stack: RefCell::new(Stack::new(wire, network, config.gateway)),
            up: Cell::new(false),
            now: Cell::new(0),
            counters: Counters::default(),
        })
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether datagrams can go and come.
    pub fn link_up(&self) -> bool {
        self.wire.link_up()
    }

    /// The most octets of a datagram that is sent: 1472, or less where the uplink's MTU is less.
    pub fn max_payload(&self) -> usize {
        usize::from(self.wire.mtu().saturating_sub(OVERHEAD)).min(MAX_FRAME - HEADERS)
    }

    /// Hands each datagram that came to `each`, with who sent it; `each` may change it in place
    /// and send others. Answers ARP and pings, asks for neighbours, and flushes. `now_ms`:
    /// milliseconds since boot. Returns whether frames came: then poll again before you wait.
    pub fn poll(&self, now_ms: u64, mut each: impl FnMut(SocketAddrV4, &mut [u8])) -> bool {
        self.now.set(now_ms);
        let up = self.wire.link_up();
        if up != self.up.replace(up) && up {
            self.announce();
        }
        let own = self.own.get();
        let count = &self.counters;
        let came = self.wire.receive(|frame, checksum| {
            match header::classify(frame, checksum == Checksum::Good, &own) {
                Seen::Datagram { from, source, payload } => {
                    let hop = self.next_hop(*from.ip()).unwrap_or(*from.ip());
                    self.neighbours.borrow_mut().heard(hop, source, now_ms);
                    count.received.one();
                    if let Some(payload) = frame.get_mut(payload) {
                        each(from, payload);
                    }
                }
                Seen::Arp { address, mac, target } => self.learn(frame, address, mac, target),
                Seen::Other => self.pass_on(frame),
                Seen::Stray => count.stray.one(),
                Seen::Malformed => count.malformed.one(),
                Seen::Fragment => count.fragments.one(),
                Seen::Checksum => count.checksum.one(),
            }
        });
        self.tend_held();
        self.wire.flush();
        came
    }

    /// When to poll at the latest, in milliseconds since boot, though nothing came. `None`: no
    /// need to.
    pub fn poll_at(&self) -> Option<u64> {
        (!self.held.borrow().is_empty()).then(|| self.now.get().saturating_add(HELD_POLL_MS))
    }

    /// Sends what was committed, with at most one notification.
    pub fn flush(&self) {
        self.wire.flush();
    }

    /// A buffer for the payload of a datagram to `to`. Have one at a time.
    ///
    /// # Errors
    /// See [`SendError`]; counted.
    pub fn tx_buffer(&self, to: SocketAddrV4) -> Result<Outgoing<'_, W>, SendError> {
        let outgoing = self.find_place(to);
        match outgoing {
            Err(SendError::Down | SendError::Full) => self.counters.no_buffer.one(),
            Err(SendError::Unroutable) => self.counters.unroutable.one(),
            Err(SendError::Unresolved) => self.counters.unresolved.one(),
            Ok(_) => {}
        }
        outgoing
    }

    fn find_place(&self, to: SocketAddrV4) -> Result<Outgoing<'_, W>, SendError> {
        if !self.wire.link_up() {
            return Err(SendError::Down);
        }
        let hop = self.next_hop(*to.ip()).ok_or(SendError::Unroutable)?;
        let place = match self.resolve(hop) {
            Some(mac) => Place::Ring { slot: self.wire.tx_buffer().ok_or(SendError::Full)?, mac },
            None => {
                let held = self.held.try_borrow_mut().map_err(|_| SendError::Unresolved)?;
                let held = RefMut::filter_map(held, |held| held.room_for(hop));
                Place::Held { frame: held.map_err(|_| SendError::Unresolved)?, hop }
            }
        };
        Ok(Outgoing::new(self, place, to))
    }

    /// Sends a datagram of which `fill` writes the payload, and says how long it is; `None`:
    /// nothing is sent. [`Underlay::flush`] makes it go.
    ///
    /// # Errors
    /// See [`SendError`]; counted.
    pub fn send(
        &self,
        to: SocketAddrV4,
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), SendError> {
        let mut outgoing = self.tx_buffer(to)?;
        if let Some(len) = fill(&mut outgoing) {
            outgoing.commit(len);
        }
        Ok(())
    }

    /// Whom to give a packet for `to` to. `None`: no way.
    fn next_hop(&self, to: Ipv4Addr) -> Option<Ipv4Addr> {
        if to.is_multicast()
            || to.is_broadcast()
            || to.is_unspecified()
            || self.network.broadcast() == Some(to)
        {
            return None;
        }
        if self.network.contains_addr(&to) { Some(to) } else { self.gateway }
    }

    /// Where a neighbour is. It is asked for when that is not known or was not heard of for long.
    fn resolve(&self, hop: Ipv4Addr) -> Option<EthernetAddress> {
        let found = self.neighbours.borrow_mut().look_up(hop, self.now.get());
        if found.ask {
            self.ask(hop, found.mac);
        }
        found.mac
    }

    fn ask(&self, address: Ipv4Addr, last: Option<EthernetAddress>) {
        if let Some(mut slot) = self.wire.tx_buffer() {
            header::ask(&mut slot, &self.own.get(), address, last);
            slot.commit(ARP_FRAME);
        }
    }

    /// The link came up: tells everybody where we are, as bridges may have forgotten.
    fn announce(&self) {
        let mac = EthernetAddress(self.wire.mac());
        self.own.set(Own { mac, ..self.own.get() });
        self.stack.borrow_mut().set_mac(mac);
        self.ask(self.own.get().address, None);
    }

    /// Learns from ARP, sends what waited for it, and lets smoltcp answer.
    fn learn(&self, frame: &[u8], address: Ipv4Addr, mac: EthernetAddress, target: Ipv4Addr) {
        let own = self.own.get();
        if address == own.address {
            if mac != own.mac {
                if self.counters.conflicts.get() == 0 {
                    warn!("uplink: {mac} has our address {address}, too: give one of us another");
                }
                self.counters.conflicts.one();
            }
            return;
        }
        if self.network.contains_addr(&address) {
            self.neighbours.borrow_mut().learn(address, mac, target == own.address, self.now.get());
            self.release(address, mac);
        }
        self.pass_on(frame);
    }

    fn pass_on(&self, frame: &[u8]) {
        self.counters.others.one();
        self.stack.borrow_mut().handle(self.wire, frame, self.now.get());
    }

    /// Sends the datagrams that wait for a neighbour.
    fn release(&self, hop: Ipv4Addr, mac: EthernetAddress) {
        self.held.borrow_mut().release(hop, |to, payload| match self.wire.tx_buffer() {
            Some(mut slot) => {
                if let Some(room) = slot.get_mut(HEADERS..HEADERS + payload.len()) {
                    room.copy_from_slice(payload);
                    self.finish(slot, mac, to, payload.len());
                }
            }
            None => self.counters.no_buffer.one(),
        });
    }

    /// Asks again for those that are waited for, and drops what waited too long.
    fn tend_held(&self) {
        let mut held = self.held.borrow_mut();
        self.counters.unresolved.add(held.expire(self.now.get()));
        held.each_hop(|hop| {
            self.resolve(hop);
        });
    }

    fn finish(&self, mut slot: W::Slot<'_>, mac: EthernetAddress, to: SocketAddrV4, len: usize) {
        header::emit(&mut slot, &self.own.get(), mac, to, len);
        slot.commit(HEADERS + len);
        self.counters.sent.one();
    }
}

impl Underlay<Front> {
    /// Waits until there is something to do: see [`Front::wait`].
    pub async fn wait(&self) {
        self.wire.wait().await;
    }

    /// The uplink below.
    pub fn front(&self) -> &'static Front {
        self.wire
    }
}

//! The underlay over a wire that is two queues.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::{Deref, DerefMut};

use super::super::{Checksum, MAX_FRAME};
use super::{Config, ConfigError, SendError, Slot, Underlay, Wire};

struct Queues {
    came: RefCell<VecDeque<Vec<u8>>>,
    went: RefCell<Vec<Vec<u8>>>,
    up: Cell<bool>,
    mac: [u8; 6],
    mtu: Cell<u16>,
}

struct Buffer<'a>(&'a Queues, Vec<u8>);

impl Deref for Buffer<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.1
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.1
    }
}

impl Slot for Buffer<'_> {
    fn commit(mut self, len: usize) {
        self.1.truncate(len);
        self.0.went.borrow_mut().push(self.1);
    }
}

impl Wire for Queues {
    type Slot<'a> = Buffer<'a>;
    fn tx_buffer(&self) -> Option<Buffer<'_>> {
        self.up.get().then(|| Buffer(self, std::vec![0xa5; MAX_FRAME]))
    }
    fn flush(&self) {}
    fn receive(&self, mut each: impl FnMut(&mut [u8], Checksum)) -> bool {
        let came = self.came.take();
        let any = !came.is_empty();
        came.into_iter().for_each(|mut frame| each(&mut frame, Checksum::Unknown));
        any
    }
    fn link_up(&self) -> bool {
        self.up.get()
    }
    fn mac(&self) -> [u8; 6] {
        self.mac
    }
    fn mtu(&self) -> u16 {
        self.mtu.get()
    }
}

struct Host {
    wire: &'static Queues,
    underlay: Underlay<Queues>,
    address: SocketAddrV4,
}

fn host(last: u8) -> Host {
    let wire = Queues {
        came: RefCell::default(),
        went: RefCell::default(),
        up: Cell::new(true),
        mac: [2, 0, 0, 0, 0, last],
        mtu: Cell::new(1500),
    };
    let wire = &*Box::leak(Box::new(wire));
    let address = Ipv4Addr::new(10, 0, 0, last);
    let gateway = (last != 254).then_some(Ipv4Addr::new(10, 0, 0, 254));
    let config = Config { address, prefix: 24, gateway, port: 4789 };
    let underlay = Underlay::new(wire, config).unwrap();
    Host { wire, underlay, address: SocketAddrV4::new(address, 4789) }
}

/// What one host got, and from whom.
type Got = Vec<(SocketAddrV4, Vec<u8>)>;

impl Host {
    fn poll(&self, now: u64) -> Got {
        let mut got = Vec::new();
        self.underlay.poll(now, |from, payload| got.push((from, payload.to_vec())));
        got
    }

    fn say(&self, to: &Host, payload: &[u8]) -> Result<(), SendError> {
        self.underlay.send(to.address, |room| {
            room[..payload.len()].copy_from_slice(payload);
            Some(payload.len())
        })
    }

    /// The types of the frames that went, which are gone then.
    fn went(&self) -> Vec<u16> {
        self.wire.went.take().iter().map(|frame| u16::from_be_bytes([frame[12], frame[13]])).collect()
    }
}

/// Everybody hears everything until nobody says anything.
fn settle(hosts: &[&Host], now: u64) -> Vec<Got> {
    let mut got: Vec<Got> = hosts.iter().map(|_| Vec::new()).collect();
    loop {
        for (host, got) in hosts.iter().zip(&mut got) {
            got.extend(host.poll(now));
        }
        let went: Vec<Vec<Vec<u8>>> = hosts.iter().map(|host| host.wire.went.take()).collect();
        if went.iter().all(Vec::is_empty) {
            return got;
        }
        for (from, frames) in went.iter().enumerate() {
            for (_, host) in hosts.iter().enumerate().filter(|(to, _)| *to != from) {
                host.wire.came.borrow_mut().extend(frames.iter().cloned());
            }
        }
    }
}

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;

#[test]
fn the_first_datagram_waits_for_its_neighbour_and_then_arrives() {
    let (a, b) = (host(1), host(2));
    settle(&[&a, &b], 0);
    a.say(&b, b"hello").unwrap();
    assert_eq!(a.went(), [ARP]);
    assert!(a.underlay.poll_at().is_some());
    let got = settle(&[&a, &b], 1001);
    assert_eq!(got[1], [(a.address, b"hello".to_vec())]);
    assert_eq!(a.underlay.poll_at(), None);
    // The next one goes at once; and the one who was asked knows the way back.
    a.say(&b, b"again").unwrap();
    b.say(&a, b"yes").unwrap();
    assert_eq!((a.went(), b.went()), (std::vec![IPV4], std::vec![IPV4]));
}

#[test]
fn a_host_that_is_down_stalls_nobody() {
    let (a, b) = (host(1), host(2));
    settle(&[&a, &b], 0);
    let dead = host(9);
    for _ in 0..4 {
        a.say(&dead, b"anybody?").unwrap();
    }
    assert_eq!(a.say(&dead, b"anybody?"), Err(SendError::Unresolved));
    a.say(&b, b"hello").unwrap();
    assert_eq!(settle(&[&a, &b], 10)[1].len(), 1);
    // Asked three times, then given up.
    for now in (250..4000).step_by(250) {
        a.poll(now);
    }
    assert_eq!(a.went(), [ARP; 2]);
    assert_eq!(a.underlay.counters().unresolved.get(), 5);
    assert_eq!(a.underlay.poll_at(), None);
}

#[test]
fn a_datagram_may_be_answered_from_where_it_was_received() {
    let (a, b) = (host(1), host(2));
    settle(&[&a, &b], 0);
    a.say(&b, b"one").unwrap();
    settle(&[&a, &b], 10);
    a.say(&b, b"two").unwrap();
    b.wire.came.borrow_mut().extend(a.wire.went.take());
    b.underlay.poll(20, |from, payload| {
        payload.make_ascii_uppercase();
        let outgoing = b.underlay.tx_buffer(from);
        let mut outgoing = outgoing.ok().unwrap();
        outgoing[..payload.len()].copy_from_slice(payload);
        outgoing.commit(payload.len());
    });
    assert_eq!(settle(&[&a, &b], 30)[0], [(b.address, b"TWO".to_vec())]);
}

#[test]
fn other_networks_are_reached_through_the_gateway() {
    let (a, gateway) = (host(1), host(254));
    settle(&[&a, &gateway], 0);
    let far = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 99);
    a.underlay.send(far, |_| Some(10)).unwrap();
    // The gateway here is a host, which does not route: it gets the frame, and drops it.
    settle(&[&a, &gateway], 10);
    a.underlay.send(far, |_| Some(10)).unwrap();
    let went = a.wire.went.take();
    assert_eq!(went[0][..6], gateway.wire.mac);
    assert_eq!(went[0][30..34], far.ip().octets());
    for nobody in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let to = SocketAddrV4::new(nobody, 4789);
        assert_eq!(a.underlay.send(to, |_| Some(1)), Err(SendError::Unroutable));
    }
}

#[test]
fn a_link_that_was_lost_is_announced_when_it_is_back() {
    let (a, b) = (host(1), host(2));
    settle(&[&a, &b], 0);
    a.say(&b, b"one").unwrap();
    settle(&[&a, &b], 10);
    a.wire.up.set(false);
    assert_eq!(a.say(&b, b"two"), Err(SendError::Down));
    a.poll(20);
    a.wire.up.set(true);
    a.poll(30);
    assert_eq!(a.went(), [ARP]);
    a.say(&b, b"three").unwrap();
    assert_eq!(settle(&[&a, &b], 40)[1], [(a.address, b"three".to_vec())]);
    assert_eq!(a.underlay.counters().no_buffer.get(), 1);
}

#[test]
fn a_ping_is_answered() {
    let (a, b) = (host(1), host(2));
    settle(&[&a, &b], 0);
    a.say(&b, b"so that both know the other").unwrap();
    settle(&[&a, &b], 10);
    a.say(&b, &[0x11; 64]).unwrap();
    // Made an echo request of what would have been a datagram.
    let mut frame = a.wire.went.take().remove(0);
    frame[23] = 1;
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame[34..42].copy_from_slice(&[8, 0, 0, 0, 0, 1, 0, 1]);
    smoltcp::wire::Icmpv4Packet::new_unchecked(&mut frame[34..]).fill_checksum();
    b.wire.came.borrow_mut().push_back(frame.clone());
    b.poll(20);
    let answer = b.wire.went.take().remove(0);
    assert_eq!((answer.len(), answer[23], answer[34]), (frame.len(), 1, 0));
    assert_eq!(answer[42..], frame[42..]);
    assert_eq!(answer[..6], a.wire.mac);
}

#[test]
fn somebody_with_our_address_is_counted_and_not_believed() {
    let (a, b, mut twin) = (host(1), host(2), host(1));
    settle(&[&a, &b], 0);
    let wire = Queues {
        came: RefCell::default(),
        went: RefCell::default(),
        up: Cell::new(true),
        mac: [2, 0, 0, 0, 9, 9],
        mtu: Cell::new(1500),
    };
    twin.wire = Box::leak(Box::new(wire));
    let config = Config { address: *a.address.ip(), prefix: 24, gateway: None, port: 4789 };
    twin.underlay = Underlay::new(twin.wire, config).unwrap();
    settle(&[&a, &twin], 10);
    assert!(a.underlay.counters().conflicts.get() > 0);
}

#[test]
fn the_uplink_s_mtu_bounds_a_datagram() {
    let (a, b) = (host(1), host(2));
    settle(&[&a, &b], 0);
    a.say(&b, b"one").unwrap();
    settle(&[&a, &b], 10);
    assert_eq!(a.underlay.max_payload(), 1472);
    a.wire.mtu.set(1400);
    assert_eq!(a.underlay.max_payload(), 1372);
    let outgoing = a.underlay.tx_buffer(b.address).unwrap();
    assert_eq!(outgoing.len(), 1372);
    outgoing.commit(9999);
    assert_eq!(a.wire.went.take()[0].len(), 1414);
}

#[test]
fn a_configuration_that_can_t_work_is_refused_with_the_reason() {
    let wire = host(1).wire;
    let good = Config { address: Ipv4Addr::new(10, 0, 0, 1), prefix: 24, gateway: None, port: 4789 };
    let refused = |config| Underlay::new(wire, config).err();
    assert_eq!(refused(good), None);
    assert_eq!(refused(Config { prefix: 0, ..good }), Some(ConfigError::Prefix(0)));
    assert_eq!(refused(Config { prefix: 33, ..good }), Some(ConfigError::Prefix(33)));
    assert_eq!(refused(Config { port: 0, ..good }), Some(ConfigError::Port));
    for bad in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        assert_eq!(refused(Config { address: bad, ..good }), Some(ConfigError::Address(bad)));
    }
    let far = Ipv4Addr::new(10, 0, 1, 1);
    assert_eq!(refused(Config { gateway: Some(far), ..good }), Some(ConfigError::Gateway(far)));
}

//! What is said of networks fits, comes back, and stays what it was on the wire.

use handoff::*;
use proptest::prelude::*;

fn through<M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(message: M) {
    let mut buf = [0; HEADER_LEN + MAX_BODY];
    let bytes = encode(&message, 0, &mut buf).unwrap();
    assert_eq!(decode::<M>(&bytes[HEADER_LEN..]).unwrap(), message);
}

fn order(order: NetOrder) {
    through(ToStub::Net { request: u32::MAX, order });
}

fn answer(answer: NetAnswer) {
    through(ToShim::Net { request: u32::MAX, answer });
}

/// As many and as long as there can be.
fn full() -> Counters {
    let mut counters = Counters::default();
    for i in 0..MAX_COUNTERS {
        counters.add(&format!("{i:024}"), u64::MAX);
    }
    assert_eq!(counters.0.len(), MAX_COUNTERS);
    counters
}

fn all_networks() -> heapless::Vec<u32, MAX_NETWORKS> {
    heapless::Vec::from_slice(&[u32::MAX; MAX_NETWORKS]).unwrap()
}

fn underlay() -> Underlay {
    Underlay {
        address: [10, 0, 0, 11],
        prefix: 24,
        gateway: Some([10, 0, 0, 1]),
        port: DEFAULT_PORT,
        mtu: 1500,
        timeouts_percent: Some(u32::MAX),
        incarnation: 3,
        key: SecretKey([0xab; 32]),
    }
}

#[test]
fn every_order_fits_and_comes_back_as_it_was() {
    order(NetOrder::Underlay(Underlay { incarnation: u64::MAX, ..underlay() }));
    order(NetOrder::Add { id: u32::MAX, name: word("a-name-of-15-ch"), mtu: u16::MAX, pin: true });
    order(NetOrder::Remove { id: u32::MAX });
    order(NetOrder::Only { ids: all_networks() });
    order(NetOrder::Join(Seed { address: [255; 4], port: u16::MAX, key: [255; 32] }));
    order(NetOrder::Leave);
    order(NetOrder::Stats { network: Some(u32::MAX) });
    order(NetOrder::Peers);
    order(NetOrder::Macs { network: u32::MAX });
    order(NetOrder::Capture { network: u32::MAX, on: true, snaplen: u16::MAX });
}

#[test]
fn every_answer_fits_and_comes_back_as_it_was() {
    let most = Traffic { frames: u64::MAX, bytes: u64::MAX };
    answer(NetAnswer::Done);
    let detail = word(&"x".repeat(200));
    answer(NetAnswer::Failed(NetError { kind: NetErrorKind::Unsupported, detail }));
    answer(NetAnswer::Switch(SwitchStats {
        id: u64::MAX,
        key: [255; 32],
        incarnation: u64::MAX,
        uplink: word(&"x".repeat(24)),
        counters: full(),
        drops: full(),
    }));
    answer(NetAnswer::Network(NetworkStats {
        id: u32::MAX,
        name: word("a-name-of-15-ch"),
        mtu: u16::MAX,
        macs: u32::MAX,
        macs_limit: u32::MAX,
        ports: u16::MAX,
        peers: u16::MAX,
        flooded: u64::MAX,
        drops: full(),
    }));
    answer(NetAnswer::Port(PortStats {
        network: u32::MAX,
        domid: u16::MAX,
        devid: u16::MAX,
        mac: [255; 6],
        pinned: true,
        state: word(&"x".repeat(24)),
        reason: word(&"x".repeat(96)),
        from_guest: most,
        to_guest: most,
        drops: full(),
        notified: u64::MAX,
        notifications: u64::MAX,
        queued: u32::MAX,
    }));
    answer(NetAnswer::Peer(PeerStats {
        switch: u64::MAX,
        address: [255; 4],
        port: u16::MAX,
        state: word(&"x".repeat(24)),
        incarnation: u64::MAX,
        networks: all_networks(),
        to_peer: most,
        from_peer: most,
        drops: full(),
        heard_ms: Some(u32::MAX),
        rtt_us: Some(u32::MAX),
    }));
    let place = Place::Peer { switch: u64::MAX };
    let entry = MacEntry { mac: [255; 6], place, age_s: u32::MAX, pinned: false };
    let entries = heapless::Vec::from_slice(&[entry; MACS_PER_MESSAGE]).unwrap();
    answer(NetAnswer::Macs { entries });
    answer(NetAnswer::Captured { count: u16::MAX, missed: u64::MAX, now_us: u64::MAX });
}

/// The octets of some messages. If these change, so must [`VERSION`].
#[test]
fn the_octets_are_those_of_this_version() {
    assert_eq!(VERSION, 6);
    let mut buf = [0; HEADER_LEN + MAX_BODY];
    let message =
        ToStub::Net { request: 5, order: NetOrder::Add { id: 7, name: word("blue"), mtu: 1400, pin: true } };
    let bytes = encode(&message, 0, &mut buf).unwrap();
    assert_eq!(bytes, b"\x0c\0\0\0\0\0\0\0\x04\x05\x01\x07\x04blue\xf8\x0a\x01");
    let message = ToStub::Net { request: 5, order: NetOrder::Underlay(underlay()) };
    let bytes = encode(&message, 0, &mut buf).unwrap();
    let mut wanted =
        b"\x38\0\0\0\0\0\0\0\x04\x05\x00\x0a\0\0\x0b\x18\x01\x0a\0\0\x01\xb6\x25\xdc\x0b\x01\xff\xff\xff\xff\x0f\x03".to_vec();
    wanted.extend([0xab; 32]);
    assert_eq!(bytes, wanted);
    let failed = NetAnswer::Failed(NetError { kind: NetErrorKind::Full, detail: word("no room") });
    let bytes = encode(&ToShim::Net { request: 300, answer: failed }, 0, &mut buf).unwrap();
    assert_eq!(bytes, b"\x0d\0\0\0\0\0\0\0\x06\xac\x02\x01\x02\x07no room");
}

#[test]
fn a_secret_key_is_never_shown() {
    let shown = format!("{:?}", ToStub::Net { request: 1, order: NetOrder::Underlay(underlay()) });
    assert!(shown.contains("not shown"), "{shown}");
    assert!(!shown.contains("171") && !shown.contains("ab"), "{shown}");
}

#[test]
fn names_of_networks_are_bounded() {
    for good in ["a", "blue", "a-name-of-15-ch", "0_9-z"] {
        assert!(is_net_name(good), "{good}");
    }
    for bad in ["", "Blue", "a b", "a.b", "sixteen-letters-", "ä", "a/b"] {
        assert!(!is_net_name(bad), "{bad}");
    }
}

#[test]
fn counts_that_find_no_room_are_summed_up() {
    let mut counters = Counters::default();
    counters.add("nothing", 0);
    assert!(counters.0.is_empty());
    for i in 0..MAX_COUNTERS + 2 {
        counters.add(&format!("reason-{i}"), 10);
    }
    counters.add("reason-3", 1);
    assert_eq!(counters.0.len(), MAX_COUNTERS);
    assert_eq!(counters.0[3].count, 11);
    let last = counters.0.last().unwrap();
    assert_eq!((last.name.as_str(), last.count), ("other", 30));
}

proptest! {
    #[test]
    fn captured_frames_come_back(time_us: u64, source: u64, peer: bool, octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 0u32..100) {
        let direction = if peer { Direction::FromPeer } else { Direction::FromGuest };
        let caplen = octets.len() as u16;
        let record = CaptureRecord { time_us, source, len: u32::from(caplen) + cut, caplen, direction };
        let mut bulk = record.emit().to_vec();
        bulk.extend(&octets);
        bulk.push(9);
        prop_assert_eq!(CaptureRecord::take(&bulk), Ok((record, &octets[..], &[9][..])));
        bulk.truncate(CAPTURE_RECORD_LEN + octets.len());
        bulk.pop();
        prop_assert_eq!(CaptureRecord::take(&bulk), Err(WireError::BadBulk));
    }

    #[test]
    fn no_octets_make_the_reader_of_captures_panic(bulk in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = CaptureRecord::take(&bulk);
    }
}

#[test]
fn a_record_that_claims_more_octets_than_its_frame_has_is_refused() {
    let record = CaptureRecord { time_us: 1, source: 2, len: 3, caplen: 4, direction: Direction::FromGuest };
    let mut bulk = record.emit().to_vec();
    bulk.extend([0; 4]);
    assert_eq!(CaptureRecord::take(&bulk), Err(WireError::BadBulk));
}

//! Messages of group snapshots, and what is missing of what a peer sealed.

use violin::session::{Missing, Opened, SeqPoint, What};

use super::net::{FRAME, Net, PEER, Told, address};

#[test]
fn a_group_message_is_told_apart_from_a_control_message() {
    let mut net = Net::established(1);
    let group = net.seal(0, What::Group, b"prepare").unwrap();
    let control = net.seal(0, What::Control, b"ping").unwrap();
    assert_eq!(net.give(1, &control), Told::Control(b"ping".to_vec()));
    assert_eq!(net.give(1, &group), Told::Group(b"prepare".to_vec()));
}

#[test]
fn the_kind_of_a_message_can_not_be_changed_on_its_way() {
    let mut net = Net::established(2);
    for (what, kind) in [(What::Group, 4), (What::Control, 5), (What::Group, 3)] {
        let mut datagram = net.seal(0, what, b"commit").unwrap();
        datagram[1] = kind;
        let opened = net.switches[1].open(net.now, address(0), &mut datagram);
        assert!(matches!(opened, Opened::Dropped(_)), "{opened:?}");
    }
}

#[test]
fn a_channel_is_empty_when_all_that_was_sealed_before_the_point_has_come() {
    let mut net = Net::established(3);
    let after = net.switches[0].sent_point(PEER).unwrap();
    let frames: Vec<_> = (0..5).map(|_| net.seal(0, FRAME, b"white").unwrap()).collect();
    let upto = net.switches[0].sent_point(PEER).unwrap();
    let red = net.seal(0, FRAME, b"red").unwrap();
    let missing = |net: &Net| net.switches[1].missing(PEER, after, upto);
    for (arrived, frame) in [4, 0, 2, 3].into_iter().enumerate() {
        assert_eq!(missing(&net), Missing::Known(5 - arrived as u64));
        net.give(1, &frames[frame]);
        // A second time counts nothing.
        net.give(1, &frames[frame]);
    }
    net.give(1, &red);
    assert_eq!(missing(&net), Missing::Known(1));
    assert!(!missing(&net).is_over());
    net.give(1, &frames[1]);
    assert_eq!(missing(&net), Missing::Known(0));
    assert!(missing(&net).is_over());
}

#[test]
fn what_was_lost_long_before_keeps_no_channel_open() {
    let mut net = Net::established(4);
    let lost = net.seal(0, FRAME, b"lost").unwrap();
    let begin = net.switches[0].sent_point(PEER).unwrap();
    let came = net.seal(0, FRAME, b"came").unwrap();
    net.give(1, &came);
    let seen = net.switches[1].seen_point(PEER).unwrap();
    let white = net.seal(0, FRAME, b"white").unwrap();
    let upto = net.switches[0].sent_point(PEER).unwrap();
    assert_eq!(net.switches[1].missing(PEER, seen, upto), Missing::Known(1));
    net.give(1, &white);
    assert_eq!(net.switches[1].missing(PEER, seen, upto), Missing::Known(0));
    assert_eq!(net.switches[1].missing(PEER, begin, upto), Missing::Known(0));
    // From further back, the lost one is missing, until it could not be taken any more.
    let back = SeqPoint { counter: begin.counter - 1, ..begin };
    assert_eq!(net.switches[1].missing(PEER, back, upto), Missing::Known(1));
    for _ in 0..2100 {
        let red = net.seal(0, FRAME, b"red").unwrap();
        net.give(1, &red);
    }
    assert_eq!(net.switches[1].missing(PEER, back, upto), Missing::Past(0));
    assert!(matches!(net.give(1, &lost), Told::Dropped(_)), "nor was it taken");
}

#[test]
fn where_nothing_was_ever_lost_nothing_is_unknown_however_long_ago() {
    let mut net = Net::established(7);
    let after = net.switches[0].sent_point(PEER).unwrap();
    let white = net.seal(0, FRAME, b"white").unwrap();
    net.give(1, &white);
    let upto = net.switches[0].sent_point(PEER).unwrap();
    for _ in 0..5000 {
        let red = net.seal(0, FRAME, b"red").unwrap();
        net.give(1, &red);
    }
    assert_eq!(net.switches[1].missing(PEER, after, upto), Missing::Known(0));
}

#[test]
fn points_of_two_keys_tell_nothing() {
    let mut net = Net::established(5);
    let after = net.switches[0].sent_point(PEER).unwrap();
    net.restart(0, 2);
    net.switches[0].connect(net.now, PEER);
    net.run(100);
    let upto = net.switches[0].sent_point(PEER).unwrap();
    let other = &net.switches[1];
    assert_eq!(other.missing(PEER, after, upto), Missing::Unknown);
    assert_eq!(other.missing(PEER, after, SeqPoint { counter: 9, ..after }), Missing::Unknown);
    // What a peer says may be any numbers.
    let lie = SeqPoint { counter: u64::MAX, ..upto };
    assert!(matches!(other.missing(PEER, upto, lie), Missing::Known(_)));
    assert_eq!(other.missing(PEER, lie, upto), Missing::Known(0));
    assert_eq!(other.missing(violin::id::PeerId(3), after, after), Missing::Unknown);
}

#[test]
fn without_a_session_there_is_no_point() {
    let net = Net::new(6, super::net::Faults::default());
    assert_eq!(net.switches[0].sent_point(PEER), None);
    assert_eq!(net.switches[0].seen_point(PEER), None);
}

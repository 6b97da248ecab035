//! Each rule by itself.

use violin::cut::{Ahead, Count, Mode, NotBegun};
use violin::switch::DropReason;

use super::*;

const A: PortId = PortId(0);
const B: PortId = PortId(1);
const OTHER: PortId = PortId(2);

/// Two ports of one network at epoch 4, and one of another network.
fn cut() -> Cut {
    let limits = Limits { ports: 4, hold_frames: 8, hold_octets: 500, hold_ms: 150 };
    let mut cut = Cut::new(limits);
    cut.open(A, BLUE, Epoch(4));
    cut.open(B, BLUE, Epoch(4));
    cut.open(OTHER, RED, Epoch(0));
    cut
}

/// The same with a cut to epoch 5 that has begun.
fn begun(mode: Mode) -> Cut {
    let mut cut = cut();
    cut.begin(BLUE, Epoch(5), mode).unwrap();
    cut
}

fn octets(frames: u64) -> Count {
    Count { frames, octets: frames * 100 }
}

#[test]
fn within_an_epoch_everything_is_delivered() {
    for mut cut in [cut(), begun(Mode::Hold), begun(Mode::Drop)] {
        assert_eq!(cut.judge(A, &frame(1, 4, PEER)), Verdict::Deliver);
        assert_eq!(cut.judge(A, &frame(1, 4, Channel::Local)), Verdict::Deliver);
    }
}

#[test]
fn a_frame_from_after_the_cut_waits_for_the_port_to_be_flipped() {
    let mut cut = begun(Mode::Hold);
    assert!(cut.flip(B));
    assert_eq!(cut.epoch(B), Some(Epoch(5)));
    let red = frame(10, cut.epoch(B).unwrap().0, Channel::Local);
    assert_eq!(cut.judge(A, &red), Verdict::Hold);
    assert_eq!((cut.held(A), cut.due(11)), (octets(1), None));
    assert!(cut.flip(A));
    assert_eq!(cut.due(11), Some(A));
    assert_eq!(cut.again(11, A, &red), Verdict::Deliver);
    assert_eq!((cut.due(11), cut.poll_at(), cut.held(A)), (None, None, octets(0)));
    assert_eq!(cut.counts(A).unwrap().held, octets(1));
    assert_eq!(cut.next_ahead(), None, "the cut was known");
}

#[test]
fn a_frame_from_after_the_cut_is_dropped_as_published_when_so_wanted() {
    let mut cut = begun(Mode::Drop);
    assert_eq!(cut.judge(A, &frame(10, 5, PEER)), Verdict::Drop(DropReason::AfterCut));
    assert_eq!(cut.counts(A).unwrap().dropped, octets(1));
    // An epoch of which nothing is known is no business of this cut.
    assert_eq!(cut.judge(A, &frame(10, 6, PEER)), Verdict::Hold);
}

#[test]
fn a_frame_that_was_in_transit_across_the_cut_is_delivered_and_recorded() {
    let mut cut = begun(Mode::Hold);
    cut.flip(A);
    // From a guest of the same host, too: the epoch is the port's, not the host's.
    for from in [PEER, Channel::Local] {
        assert_eq!(cut.judge(A, &frame(10, 4, from)), Verdict::Record);
        assert_eq!(cut.judge(B, &frame(10, 4, from)), Verdict::Deliver);
    }
    // Of two epochs ago: in transit across both cuts.
    assert_eq!(cut.judge(A, &frame(10, 3, PEER)), Verdict::Record);
    assert_eq!(cut.counts(A).unwrap().recorded, octets(3));
    assert_eq!(cut.sum(BLUE).recorded, octets(3));
}

#[test]
fn a_closed_channel_records_no_more_and_the_others_do() {
    let mut cut = begun(Mode::Hold);
    cut.flip(A);
    cut.close(PEER);
    assert_eq!(cut.judge(A, &frame(10, 4, PEER)), Verdict::Deliver);
    assert_eq!(cut.judge(A, &frame(10, 4, Channel::Peer(PeerId(4)))), Verdict::Record);
    assert_eq!(cut.judge(A, &frame(10, 4, Channel::Local)), Verdict::Record);
    cut.close(Channel::Local);
    assert_eq!(cut.judge(A, &frame(10, 4, Channel::Local)), Verdict::Deliver);
    cut.close_all();
    assert_eq!(cut.judge(A, &frame(10, 4, Channel::Peer(PeerId(4)))), Verdict::Deliver);
    assert_eq!(cut.counts(A).unwrap().late, octets(3));
}

#[test]
fn a_closed_channel_still_holds_back_what_comes_from_after_the_cut() {
    let mut cut = begun(Mode::Hold);
    cut.close(PEER);
    assert_eq!(cut.judge(A, &frame(10, 5, PEER)), Verdict::Hold);
}

#[test]
fn each_cut_begins_with_open_channels_and_counts_at_zero() {
    let mut cut = begun(Mode::Hold);
    cut.flip(A);
    assert_eq!(cut.judge(A, &frame(10, 4, PEER)), Verdict::Record);
    cut.close_all();
    cut.raise(BLUE, Epoch(5));
    cut.begin(BLUE, Epoch(6), Mode::Hold).unwrap();
    assert_eq!(cut.counts(A).unwrap().recorded, octets(0));
    // It was flipped by the last cut, not by this one.
    assert_eq!(cut.judge(A, &frame(20, 4, PEER)), Verdict::Deliver);
    cut.flip(A);
    assert_eq!(cut.judge(A, &frame(20, 5, PEER)), Verdict::Record);
}

#[test]
fn without_a_cut_what_is_late_is_just_delivered() {
    let mut cut = cut();
    assert_eq!(cut.judge(A, &frame(1, 3, PEER)), Verdict::Deliver);
    assert_eq!(cut.counts(A).unwrap().late, octets(1));
}

#[test]
fn an_epoch_that_nobody_told_of_is_held_and_asked_about_once() {
    let mut cut = cut();
    let (one, two) = (frame(10, 5, PEER), frame(20, 5, Channel::Peer(PeerId(9))));
    assert_eq!(cut.judge(A, &one), Verdict::Hold);
    assert_eq!(cut.judge(B, &two), Verdict::Hold);
    assert_eq!(cut.next_ahead(), Some(Ahead { network: BLUE, epoch: Epoch(5), from: PEER }));
    assert_eq!(cut.next_ahead(), None);
    assert_eq!(cut.judge(A, &frame(30, 6, PEER)), Verdict::Hold);
    assert_eq!(cut.next_ahead().map(|ahead| ahead.epoch), Some(Epoch(6)));
    // The answer: snapshot 5 is over.
    cut.raise(BLUE, Epoch(5));
    assert_eq!((cut.due(40), cut.again(40, A, &one)), (Some(A), Verdict::Deliver));
    assert_eq!(cut.again(40, A, &frame(30, 6, PEER)), Verdict::Hold);
    assert_eq!((cut.due(40), cut.again(40, B, &two)), (Some(B), Verdict::Deliver));
    assert_eq!(cut.due(40), None);
    assert_eq!(cut.next_ahead(), None, "6 was asked about already");
}

#[test]
fn holding_is_bounded_in_age() {
    let mut cut = begun(Mode::Hold);
    let (first, second) = (frame(10, 5, PEER), frame(30, 5, PEER));
    assert_eq!(cut.judge(A, &first), Verdict::Hold);
    assert_eq!(cut.judge(A, &second), Verdict::Hold);
    assert_eq!((cut.poll_at(), cut.due(159)), (Some(160), None));
    assert_eq!(cut.due(160), Some(A));
    assert_eq!(cut.again(160, A, &first), Verdict::Drop(DropReason::HeldTooLong));
    assert_eq!(cut.again(160, A, &second), Verdict::Hold);
    assert_eq!((cut.poll_at(), cut.due(160)), (Some(180), None));
    let counts = cut.counts(A).unwrap();
    assert_eq!((counts.held, counts.dropped), (octets(2), octets(1)));
}

#[test]
fn a_slower_machine_holds_for_longer_also_what_it_holds_already() {
    let mut cut = begun(Mode::Hold);
    let held = frame(10, 5, PEER);
    assert_eq!(cut.judge(A, &held), Verdict::Hold);
    cut.set_hold_ms(1500);
    assert_eq!((cut.poll_at(), cut.due(1509)), (Some(1510), None));
    assert_eq!((cut.due(1510), cut.again(1510, A, &held)), (Some(A), Verdict::Drop(DropReason::HeldTooLong)));
}

#[test]
fn holding_is_bounded_in_octets_and_in_frames_and_for_each_port() {
    let mut cut = begun(Mode::Hold);
    for _ in 0..5 {
        assert_eq!(cut.judge(A, &frame(10, 5, PEER)), Verdict::Hold);
    }
    assert_eq!(cut.judge(A, &frame(10, 5, PEER)), Verdict::Drop(DropReason::HeldFull));
    let small = Arrival { octets: 0, ..frame(10, 5, PEER) };
    for _ in 5..8 {
        assert_eq!(cut.judge(A, &small), Verdict::Hold);
    }
    assert_eq!(cut.judge(A, &small), Verdict::Drop(DropReason::HeldFull));
    let huge = Arrival { octets: u32::MAX, ..small };
    assert_eq!(cut.judge(B, &small), Verdict::Hold);
    assert_eq!(cut.judge(B, &huge), Verdict::Drop(DropReason::HeldFull));
    // What the driver gives up makes room.
    cut.forget(A, &frame(10, 5, PEER));
    assert_eq!(cut.judge(A, &frame(10, 5, PEER)), Verdict::Hold);
}

#[test]
fn an_abort_raises_everybody_and_lets_go_what_was_held_and_captures_nothing() {
    let mut cut = begun(Mode::Hold);
    cut.flip(A);
    let red = frame(10, 5, Channel::Local);
    assert_eq!(cut.judge(B, &red), Verdict::Hold);
    cut.raise(BLUE, Epoch(5));
    assert_eq!((cut.epoch(A), cut.epoch(B), cut.running()), (Some(Epoch(5)), Some(Epoch(5)), None));
    assert_eq!((cut.due(10), cut.again(10, B, &red)), (Some(B), Verdict::Deliver));
    for port in [A, B] {
        assert_eq!(cut.judge(port, &frame(10, 4, PEER)), Verdict::Deliver, "nothing is recorded any more");
    }
    assert_eq!(cut.epoch(OTHER), Some(Epoch(0)), "another network's");
}

#[test]
fn a_cut_that_nobody_has_passed_can_be_given_up_without_a_trace() {
    let mut cut = begun(Mode::Drop);
    assert!(!cut.cancel(BLUE, Epoch(6)) && !cut.cancel(RED, Epoch(5)));
    assert!(cut.cancel(BLUE, Epoch(5)));
    assert_eq!((cut.epoch(A), cut.running()), (Some(Epoch(4)), None));
    // Another takes its epoch, and its own mode.
    cut.begin(BLUE, Epoch(5), Mode::Hold).unwrap();
    assert_eq!(cut.judge(B, &frame(1, 5, PEER)), Verdict::Hold);
    assert!(cut.flip(A) && !cut.cancel(BLUE, Epoch(5)));
    assert_eq!(cut.running(), Some((BLUE, Epoch(5))));
}

#[test]
fn no_epoch_ever_goes_back_or_is_used_twice() {
    let mut cut = begun(Mode::Hold);
    cut.flip(A);
    assert!(!cut.flip(A), "it was flipped");
    cut.raise(BLUE, Epoch(2));
    assert_eq!((cut.epoch(A), cut.epoch(B)), (Some(Epoch(5)), Some(Epoch(4))));
    assert_eq!(cut.running(), Some((BLUE, Epoch(5))), "what is over was another");
    cut.raise(BLUE, Epoch(5));
    let stale = Err(NotBegun::Stale { epoch: Epoch(5) });
    assert_eq!(cut.begin(BLUE, Epoch(5), Mode::Hold), stale);
    assert_eq!(cut.begin(BLUE, Epoch(0), Mode::Hold), stale);
    assert_eq!(cut.highest(BLUE), Some(Epoch(5)));
}

#[test]
fn one_cut_at_a_time_and_to_begin_it_again_changes_nothing() {
    let mut cut = begun(Mode::Hold);
    cut.flip(A);
    assert_eq!(cut.judge(A, &frame(1, 4, PEER)), Verdict::Record);
    assert_eq!(cut.begin(BLUE, Epoch(5), Mode::Hold), Ok(()));
    assert_eq!(cut.counts(A).unwrap().recorded, octets(1));
    let busy = Err(NotBegun::Busy { network: BLUE, epoch: Epoch(5) });
    assert_eq!(cut.begin(RED, Epoch(1), Mode::Hold), busy);
    assert_eq!(cut.begin(BLUE, Epoch(6), Mode::Hold), busy);
    // The other network is left alone.
    assert!(!cut.flip(OTHER));
    assert_eq!(cut.judge(OTHER, &frame(1, 0, PEER)), Verdict::Deliver);
}

#[test]
fn who_was_left_behind_is_raised_to_just_before_the_cut() {
    let mut cut = cut();
    let ahead = frame(1, 8, PEER);
    assert_eq!(cut.judge(A, &ahead), Verdict::Hold);
    cut.begin(BLUE, Epoch(9), Mode::Hold).unwrap();
    assert_eq!(cut.epoch(A), Some(Epoch(8)));
    assert_eq!((cut.due(2), cut.again(2, A, &ahead)), (Some(A), Verdict::Deliver));
    assert_eq!(cut.next_ahead(), None, "it is known now");
}

#[test]
fn a_guest_that_came_during_a_cut_passes_it_without_being_captured() {
    let mut cut = begun(Mode::Hold);
    let late = PortId(3);
    // Whoever opened it has not heard of the last snapshots.
    cut.open(late, BLUE, Epoch(2));
    assert_eq!(cut.epoch(late), Some(Epoch(4)));
    assert_eq!(cut.judge(late, &frame(1, 5, PEER)), Verdict::Hold);
    assert!(cut.skip(late));
    assert_eq!((cut.due(2), cut.again(2, late, &frame(1, 5, PEER))), (Some(late), Verdict::Deliver));
    assert_eq!(cut.judge(late, &frame(2, 4, PEER)), Verdict::Deliver, "it has no part in the snapshot");
}

#[test]
fn a_held_frame_that_the_next_cut_overtakes_is_recorded_by_it() {
    let mut cut = cut();
    let five = frame(10, 5, PEER);
    assert_eq!(cut.judge(A, &five), Verdict::Hold);
    cut.begin(BLUE, Epoch(6), Mode::Hold).unwrap();
    cut.flip(A);
    assert_eq!((cut.due(11), cut.again(11, A, &five)), (Some(A), Verdict::Record));
}

#[test]
fn a_port_that_is_not_there_takes_nothing() {
    let mut cut = begun(Mode::Hold);
    assert_eq!(cut.judge(A, &frame(1, 5, PEER)), Verdict::Hold);
    cut.close_port(A);
    assert_eq!((cut.epoch(A), cut.poll_at(), cut.due(999)), (None, None, None));
    for port in [A, PortId(u16::MAX)] {
        assert_eq!(cut.judge(port, &frame(1, 4, PEER)), Verdict::Drop(DropReason::Closed));
        assert_eq!(cut.again(1, port, &frame(1, 5, PEER)), Verdict::Drop(DropReason::Closed));
        assert!(!cut.flip(port) && !cut.skip(port));
    }
}

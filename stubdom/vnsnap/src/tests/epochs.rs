//! Epochs, names of groups, and lives of switches: none comes twice.

use alloc::vec::Vec;

use super::{BOSS, Bench, GROUP, ME, NET, PEER};
use crate::coordinator::view_of;
use crate::error::{Cause, Why};
use crate::message::{Body, Phase};
use crate::{GroupId, Mode, Name, Options, Output};

fn prepare(group: GroupId, members: &[u64]) -> Body {
    let (name, options) = (Name::new(), Options::new());
    Body::Prepare { group, mode: Mode::Together, view: view_of(members), name, options }
}

const ALL: [u64; 3] = [BOSS, ME, PEER];

/// Why this switch refused.
fn refusals(bench: &mut Bench) -> Vec<Cause> {
    let refusal = |(_, body)| match body {
        Body::Report { phase: Phase::Failed(Why { cause, .. }), .. } => Some(cause),
        _ => None,
    };
    bench.said().into_iter().filter_map(refusal).collect()
}

#[test]
fn an_epoch_that_is_known_already_is_not_cut_again() {
    for epoch in 1..=5 {
        let mut bench = Bench::new();
        bench.hear(PEER, &Body::Sync { network: NET, epoch: 5, answer: true }).unwrap();
        bench.outputs();
        bench.hear(BOSS, &prepare(GroupId { epoch, ..GROUP }, &ALL)).unwrap();
        assert_eq!(refusals(&mut bench), [Cause::Behind(5)]);
        assert_eq!(bench.node.running(), None);
    }
}

#[test]
fn what_was_given_up_for_another_is_not_taken_up_by_a_late_word() {
    let mut bench = Bench::new();
    let loser = GroupId { initiator: PEER, ..GROUP };
    bench.hear(PEER, &prepare(loser, &ALL)).unwrap();
    // The winner sees others, so this switch is free for now, and at the epoch of before.
    bench.hear(BOSS, &prepare(GROUP, &[BOSS, ME])).unwrap();
    assert!(matches!(bench.asked()[..], [Output::Prepare { .. }, Output::Abort { settle: None, .. }]));
    assert_eq!((bench.node.running(), bench.node.epoch(NET)), (None, 0));
    bench.hear(PEER, &prepare(loser, &ALL)).unwrap();
    assert_eq!(refusals(&mut bench), [Cause::Behind(1)]);
    assert_eq!(bench.node.running(), None);
}

#[test]
fn who_was_beaten_begins_with_another_name_the_next_time() {
    let mut bench = Bench::new();
    let first = bench.begin();
    bench.outputs();
    bench.hear(BOSS, &prepare(GROUP, &[BOSS, ME])).unwrap();
    bench.outputs();
    assert_eq!(bench.node.running(), None);
    let second = bench.begin();
    assert!(second.epoch > first.epoch);
}

#[test]
fn a_coordinator_that_speaks_from_a_new_life_has_forgotten() {
    let mut bench = Bench::new();
    bench.prepare();
    let sync = Body::Sync { network: NET, epoch: 0, answer: false };
    bench.node.receive(0, BOSS, &crate::message::emit(2, &sync)).unwrap();
    let lost = |output: &Output| matches!(output, Output::Abort { why, .. } if why.cause == Cause::Lost);
    assert!(bench.asked().iter().any(lost));
    // What the membership says of it later is not another life.
    let again = prepare(GroupId { epoch: 2, ..GROUP }, &ALL);
    bench.node.receive(0, BOSS, &crate::message::emit(2, &again)).unwrap();
    bench.node.set_peers(0, NET, &[(BOSS, 2), (PEER, 1)]);
    assert!(bench.node.running().is_some());
}

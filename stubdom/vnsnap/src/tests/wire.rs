//! Octets: the longest messages, and what is no message or makes no sense.

use alloc::vec;
use alloc::vec::Vec;

use super::{BOSS, Bench, GROUP, ME, PEER, POINT, committed};
use crate::blob::Digest;
use crate::error::{Cause, Ids, Why, text};
use crate::message::{Body, PAGE, Phase, Points, Verdict, What, emit, parse};
use crate::{GroupId, Local, MESSAGE_MAX, Mode, Name, Options, SeqPoint, TEXT_MAX, VERSION};

/// The longest of each message.
fn longest() -> Vec<Body> {
    let group = GroupId { network: u32::MAX, epoch: u32::MAX, initiator: u64::MAX };
    let point = (u64::MAX, SeqPoint { key: u32::MAX, counter: u64::MAX });
    let points = Points { page: 6, pages: 7, points: [point; PAGE].into_iter().collect() };
    let view: Ids = [u64::MAX; 32].into_iter().collect();
    let digest = Digest { total: u32::MAX, sha256: [255; 32] };
    let whys = [Cause::View(view), Cause::Failed(text(&"x".repeat(400))), Cause::Busy(group)];
    let whys = whys.map(|cause| Why { member: u64::MAX, cause });
    let mut all = vec![
        Body::Prepare {
            group,
            mode: Mode::Classic,
            view: u64::MAX,
            name: Name::try_from("x".repeat(64).as_str()).unwrap(),
            options: Options::from_slice(&[255; 512]).unwrap(),
        },
        Body::View { group, seen: [u64::MAX; 64].into_iter().collect(), count: u16::MAX },
        Body::Sent { group, points: points.clone() },
        Body::Expect { group, points },
        Body::Piece {
            group,
            what: What::Manifest,
            offset: u32::MAX,
            octets: [255; 1024].into_iter().collect(),
        },
        Body::Commit { group, manifest: digest, confirmed: true },
        Body::Report { group, phase: Phase::Locked(digest) },
    ];
    for why in whys {
        all.push(Body::Abort { group, why: why.clone() });
        all.push(Body::Report { group, phase: Phase::Failed(why.clone()) });
        all.push(Body::Heard { group, verdict: Verdict::Aborted { why } });
    }
    all
}

#[test]
fn the_longest_messages_fit_and_come_back_as_they_were() {
    for body in longest() {
        let octets = emit(u64::MAX, &body);
        assert!((1..=MESSAGE_MAX).contains(&octets.len()), "{} octets: {body:?}", octets.len());
        assert_eq!(parse(&octets), Ok((u64::MAX, body)));
    }
}

/// The octets of some messages, and the bounds of what is in them: a switch of the release before drops what is
/// longer than its own. If any of this changes, so must [`VERSION`].
#[test]
fn the_octets_are_those_of_this_version() {
    assert_eq!(VERSION, 2);
    let bounds = [MESSAGE_MAX, TEXT_MAX, crate::NAME_MAX, crate::OPTIONS_MAX, crate::message::PIECE, PAGE];
    assert_eq!(bounds, [1200, 248, 64, 512, 1024, 40]);
    let sync = Body::Sync { network: 7, epoch: 300, answer: true };
    assert_eq!(emit(5, &sync), [2, 5, 0, 7, 0xac, 2, 1]);
    let (name, options) = (Name::try_from("blue").unwrap(), Options::from_slice(b"{}").unwrap());
    let prepare = Body::Prepare { group: GROUP, mode: Mode::Classic, view: 9, name, options };
    assert_eq!(emit(5, &prepare), b"\x02\x05\x01\x07\x01\x01\x01\x09\x04blue\x02{}");
    let why = Why { member: 3, cause: Cause::Failed(text("no room")) };
    let report = Body::Report { group: GROUP, phase: Phase::Failed(why.clone()) };
    assert_eq!(emit(5, &report), b"\x02\x05\x02\x07\x01\x01\x0a\x03\x01\x07no room");
    let abort = Body::Abort { group: GROUP, why: Why { cause: Cause::Revoked, ..why } };
    assert_eq!(emit(5, &abort), [2, 5, 13, 7, 1, 1, 3, 18]);
}

#[test]
fn octets_that_are_no_message_do_no_harm() {
    let mut random = 1_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let steps = [Bench::prepare, Bench::flip, Bench::store, |bench: &mut Bench| {
        bench.begin();
    }];
    for round in 0..400 {
        let mut bench = Bench::new();
        if let Some(step) = steps.get(round % 5) {
            step(&mut bench);
        }
        for body in longest() {
            let mut octets = emit(1, &body);
            for _ in 0..next() % 4 {
                let place = next() as usize % octets.len();
                octets[place] = next() as u8;
            }
            if next().is_multiple_of(3) {
                octets.truncate(next() as usize % MESSAGE_MAX);
            }
            let from = if next().is_multiple_of(2) { BOSS } else { PEER };
            bench.now += next() % 700;
            let _ = bench.node.receive(bench.now, from, &octets);
            bench.outputs();
        }
    }
}

#[test]
fn members_of_this_group_that_are_mad_in_all_its_words_do_no_harm() {
    let mut random = 7_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    for _ in 0..500 {
        let mut bench = Bench::new();
        let own = next().is_multiple_of(2);
        let group = if own { bench.begin() } else { GROUP };
        for _ in 0..60 {
            let points =
                Points { page: 0, pages: 1, points: [(ME, POINT), (99, POINT)].into_iter().collect() };
            let digest = Digest { total: next() as u32 % 20_000, sha256: [0; 32] };
            let offset = if next().is_multiple_of(2) { 0 } else { u32::MAX - next() as u32 % 2 };
            let octets = heapless::Vec::from_slice(&[0; 1024]).unwrap();
            let phases = [
                Phase::Preparing,
                Phase::Prepared,
                Phase::Ready,
                Phase::Flipping,
                Phase::Flipped,
                Phase::Storing,
                Phase::Done(digest),
                Phase::Locked(digest),
                Phase::Committed,
                Phase::Aborted,
            ];
            let phase = phases[next() as usize % phases.len()].clone();
            let view = crate::coordinator::view_of(&[BOSS, ME, PEER]);
            let (name, options) = (Name::new(), Options::new());
            let body = match next() % 12 {
                0 => Body::Prepare { group, mode: Mode::Classic, view, name, options },
                1..=4 => Body::Report { group, phase },
                5 => Body::Flip { group },
                6 => Body::Sent { group, points },
                7 => Body::Expect { group, points },
                8 => Body::Pull { group, what: What::Part, offset },
                9 => Body::Piece { group, what: What::Part, offset, octets },
                10 => Body::Commit { group, manifest: digest, confirmed: own },
                _ => Body::Heard { group, verdict: committed(own) },
            };
            let from = if next().is_multiple_of(2) { BOSS } else { PEER };
            let _ = bench.hear(from, &body);
            bench.now += next() % 300;
            let done = match next() % 6 {
                0 => Local::Prepared { group, jobs: 2 },
                1 => Local::Ready { group },
                2 => Local::Flipped { group, points: &[(BOSS, POINT)] },
                3 => Local::Drained { group },
                4 => Local::Stored { group, part: b"part" },
                _ => Local::Committed { group, manifest: b"manifest" },
            };
            bench.node.local(bench.now, done);
            bench.outputs();
        }
    }
}

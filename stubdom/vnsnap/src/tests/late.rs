//! What comes late, or to nobody: after the end, after a failure, to a shim that was down.

use alloc::vec;

use super::{BOSS, Bench, GROUP, ME, PEER, why};
use crate::blob::Digest;
use crate::message::{Body, Phase, Points, Verdict, What};
use crate::{GroupId, Local, Output};

#[test]
fn a_shim_that_was_down_when_a_group_was_given_up_is_told_again() {
    let mut bench = Bench::new();
    let group = bench.begin();
    bench.outputs();
    bench.node.local(0, Local::Cancel { group });
    bench.outputs();
    let aborted = |bench: &mut Bench| {
        let asked = bench.asked();
        asked.iter().any(|output| matches!(output, Output::Abort { group: known, .. } if *known == group))
    };
    assert!(!aborted(&mut bench));
    let members = &[BOSS, ME, PEER];
    bench.node.local(0, Local::Decision { group, manifest: Some(b"manifest"), members });
    assert!(aborted(&mut bench));
    bench.node.local(0, Local::Ask { group, members });
    assert!(aborted(&mut bench));
}

#[test]
fn a_shim_that_was_down_when_it_was_asked_is_asked_again() {
    let mut bench = Bench::new();
    let mut questions = 0;
    for second in 0..40 {
        bench.now = second * 1_000;
        bench.hear(BOSS, &Body::Commit { group: GROUP, manifest: Digest::of(&[]), confirmed: true }).unwrap();
        questions += bench.asked().len();
    }
    assert!((2..10).contains(&questions), "{questions} questions");
}

#[test]
fn what_has_failed_stays_failed_whatever_the_coordinator_says() {
    let mut bench = Bench::new();
    bench.flip();
    bench.node.local(0, Local::Failed { group: GROUP, why: "g1 is gone" });
    let points = Points { page: 0, pages: 1, points: heapless::Vec::new() };
    bench.shrugs_off(BOSS, &Body::Expect { group: GROUP, points });
    bench.node.local(0, Local::Drained { group: GROUP });
    bench.node.local(0, Local::Stored { group: GROUP, part: b"part" });
    let failed = |(_, body): &(u64, Body)| matches!(body, Body::Report { phase: Phase::Failed(_), .. });
    bench.now = 2_000;
    assert!(bench.said().iter().all(failed));
}

#[test]
fn a_word_that_comes_after_the_end_changes_nothing() {
    let mut bench = Bench::new();
    bench.store();
    bench.node.local(0, Local::Decision { group: GROUP, manifest: Some(b"manifest"), members: &[] });
    assert_eq!(bench.node.running(), None);
    bench.outputs();
    let points = Points { page: 0, pages: 1, points: heapless::Vec::new() };
    let late = [
        Body::Flip { group: GROUP },
        Body::Expect { group: GROUP, points },
        Body::SentHeard { group: GROUP, page: 0 },
        Body::Heard { group: GROUP, verdict: Verdict::Running { rank: 3 } },
        Body::Commit { group: GROUP, manifest: Digest::of(b"manifest"), confirmed: true },
        Body::Abort { group: GROUP, why: why() },
    ];
    for body in late {
        let _ = bench.hear(BOSS, &body);
        let outputs = bench.said();
        let right = |(_, body): &(u64, Body)| matches!(body, Body::Report { phase: Phase::Committed, .. });
        assert!(outputs.iter().all(right), "{body:?}: {outputs:?}");
    }
    // Of a group that nobody here knows, only its coordinator may make this host ask its shim.
    let group = GroupId { epoch: 9, ..GROUP };
    bench.shrugs_off(PEER, &Body::Commit { group, manifest: Digest::of(&[]), confirmed: true });
}

#[test]
fn a_shim_that_goes_before_all_is_stored_fails_it() {
    let mut bench = Bench::new();
    bench.flip();
    bench.said();
    bench.node.shim_lost(0);
    let failed = |(_, body): &(u64, Body)| matches!(body, Body::Report { phase: Phase::Failed(_), .. });
    assert!(bench.said().iter().any(failed));
}

/// The coordinator may have it committed by now: who fails then takes from an operator what was said to
/// be whole.
#[test]
fn what_is_stored_waits_for_a_shim_that_has_gone() {
    let mut bench = Bench::new();
    bench.store();
    bench.said();
    bench.node.shim_lost(0);
    assert_eq!(bench.asked(), []);
    let manifest = b"manifest";
    bench
        .hear(BOSS, &Body::Commit { group: GROUP, manifest: Digest::of(manifest), confirmed: false })
        .unwrap();
    let pull = |(to, body): &(u64, Body)| *to == BOSS && matches!(body, Body::Pull { .. });
    assert!(bench.said().iter().any(pull), "the manifest of what is committed is fetched");
    let octets = manifest.iter().copied().collect();
    bench.hear(BOSS, &Body::Piece { group: GROUP, what: What::Manifest, offset: 0, octets }).unwrap();
    assert!(matches!(bench.asked()[..], [Output::Commit { .. }]), "to nobody, as it happens");
    // The shim is back, and has it undecided.
    bench.node.local(0, Local::Ask { group: GROUP, members: &[BOSS, ME, PEER] });
    assert!(matches!(bench.asked()[..], [Output::Commit { .. }]));
}

#[test]
fn a_coordinator_whose_shim_goes_before_the_manifest_gives_up() {
    let mut bench = Bench::new();
    let group = bench.begin();
    bench.outputs();
    bench.node.shim_lost(0);
    let asked = bench.asked();
    assert!(asked.iter().any(|output| matches!(output, Output::Ended { result: Err(_), .. })), "{asked:?}");
    assert_eq!((bench.node.running(), bench.node.undecided()), (None, vec![]), "{group}");
}

/// It may have renamed the manifest, or not.
#[test]
fn a_manifest_that_was_given_out_is_only_the_shims_to_give_up() {
    for written in [true, false] {
        let mut bench = Bench::alone();
        let group = bench.write();
        bench.node.shim_lost(0);
        assert_eq!(bench.asked(), []);
        assert_eq!(bench.node.undecided(), [group]);
        let manifest = written.then_some(&b"manifest"[..]);
        bench.node.local(0, Local::Decision { group, manifest, members: &[] });
        let asked = bench.asked();
        let ended =
            |output: &&Output| matches!(output, Output::Ended { result, .. } if result.is_ok() == written);
        assert_eq!(asked.iter().filter(ended).count(), 1, "{asked:?}");
    }
}

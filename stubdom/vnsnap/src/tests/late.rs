//! What comes late, or to nobody: after the end, after a failure, to a shim that was down.

use super::{BOSS, Bench, GROUP, ME, PEER, why};
use crate::blob::Digest;
use crate::message::{Body, Phase, Points, Verdict};
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

//! Peers that are mad: sealed, so they are who they are, but what they say is not true.

mod epochs;
mod late;
mod wire;

use alloc::vec;
use alloc::vec::Vec;

use crate::blob::Digest;
use crate::error::{Cause, Why, text};
use crate::message::{Body, Phase, Points, Verdict, What, emit, parse};
use crate::{
    Begin, Config, Dropped, EPOCH_MAX, GroupId, Local, Mode, Name, Node, Options, Output, PART_MAX, Refusal,
    SeqPoint,
};

const NET: u32 = 7;
const ME: u64 = 2;
const BOSS: u64 = 1;
const PEER: u64 = 3;
const GROUP: GroupId = GroupId { network: NET, epoch: 1, initiator: BOSS };
const POINT: SeqPoint = SeqPoint { key: 1, counter: 1 };

struct Bench {
    node: Node,
    now: u64,
}

impl Bench {
    /// A switch that knows two others, which have told their epochs.
    fn new() -> Self {
        let mut bench = Self { node: Node::new(ME, 1, Config::default()), now: 0 };
        bench.node.set_peers(0, NET, &[(BOSS, 1), (PEER, 1)]);
        for peer in [BOSS, PEER] {
            bench.hear(peer, &Body::Sync { network: NET, epoch: 0, answer: true }).unwrap();
        }
        bench.outputs();
        bench
    }

    fn hear(&mut self, from: u64, body: &Body) -> Result<(), Dropped> {
        self.node.receive(self.now, from, &emit(1, body))
    }

    fn outputs(&mut self) -> Vec<Output> {
        core::iter::from_fn(|| self.node.poll(self.now)).collect()
    }

    /// What is said to peers.
    fn said(&mut self) -> Vec<(u64, Body)> {
        let sent = |output| match output {
            Output::Send { to, octets } => Some((to, parse(&octets).unwrap().1)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(sent).collect()
    }

    /// What is asked of this host.
    fn asked(&mut self) -> Vec<Output> {
        let mut outputs = self.outputs();
        outputs.retain(|output| !matches!(output, Output::Send { .. }));
        outputs
    }

    fn prepare(&mut self) {
        let members = [BOSS, ME, PEER];
        let view = crate::coordinator::view_of(&members);
        let (name, options) = (Name::new(), Options::new());
        let prepare = Body::Prepare { group: GROUP, mode: Mode::Together, view, name, options };
        self.hear(BOSS, &prepare).unwrap();
        assert!(matches!(self.asked()[..], [Output::Prepare { .. }]));
        self.node.local(self.now, Local::Prepared { group: GROUP, jobs: 1 });
    }

    fn flip(&mut self) {
        self.prepare();
        self.node.local(self.now, Local::Ready { group: GROUP });
        self.hear(BOSS, &Body::Flip { group: GROUP }).unwrap();
        assert!(matches!(self.asked()[..], [Output::Go { .. }]));
        self.node.local(self.now, Local::Flipped { group: GROUP, points: &[(BOSS, POINT), (PEER, POINT)] });
    }

    fn store(&mut self) {
        self.flip();
        let points = Points { page: 0, pages: 1, points: [(PEER, POINT)].into_iter().collect() };
        self.hear(BOSS, &Body::Expect { group: GROUP, points }).unwrap();
        self.node.local(self.now, Local::Drained { group: GROUP });
        assert!(matches!(self.asked()[..], [Output::Expect { .. }, Output::Close { .. }]));
        self.node.local(self.now, Local::Stored { group: GROUP, part: b"part" });
    }

    /// A switch that is alone in its network.
    fn alone() -> Self {
        let mut bench = Self { node: Node::new(ME, 1, Config::default()), now: 0 };
        bench.node.set_peers(0, NET, &[]);
        bench
    }

    /// One that is alone, until the manifest is its shim's.
    fn write(&mut self) -> GroupId {
        let group = self.begin();
        let steps = [
            Local::Prepared { group, jobs: 1 },
            Local::Ready { group },
            Local::Flipped { group, points: &[] },
            Local::Drained { group },
            Local::Stored { group, part: b"part" },
        ];
        for step in steps {
            self.outputs();
            self.node.local(self.now, step);
        }
        assert!(matches!(self.asked()[..], [Output::Manifest { .. }]));
        group
    }

    fn begin(&mut self) -> GroupId {
        let begin = Begin { network: NET, mode: Mode::Together, name: "blue", options: &[] };
        self.node.begin(self.now, begin).unwrap()
    }

    /// Nothing of this is believed, and nothing comes of it.
    fn shrugs_off(&mut self, from: u64, body: &Body) {
        assert_eq!(self.hear(from, body), Err(Dropped::NotItsWord), "{body:?}");
        assert_eq!(self.asked(), [], "{body:?}");
    }
}

fn why() -> Why {
    Why { member: PEER, cause: Cause::Failed(text("madness")) }
}

fn committed(confirmed: bool) -> Verdict {
    Verdict::Committed { manifest: Digest::of(b"manifest"), confirmed }
}

#[test]
fn only_the_coordinator_gives_orders() {
    let points = Points { page: 0, pages: 1, points: heapless::Vec::new() };
    let orders = [
        Body::Prepare {
            group: GROUP,
            mode: Mode::Together,
            view: 0,
            name: Name::new(),
            options: Options::new(),
        },
        Body::Flip { group: GROUP },
        Body::SentHeard { group: GROUP, page: 0 },
        Body::Expect { group: GROUP, points },
        Body::Commit { group: GROUP, manifest: Digest::of(&[]), confirmed: true },
        Body::Abort { group: GROUP, why: why() },
        Body::Heard { group: GROUP, verdict: Verdict::Aborted { why: why() } },
        Body::Heard { group: GROUP, verdict: Verdict::Running { rank: 255 } },
        Body::Heard { group: GROUP, verdict: committed(true) },
        Body::Pull { group: GROUP, what: What::Part, offset: 0 },
    ];
    for step in [Bench::prepare, Bench::flip] {
        let mut bench = Bench::new();
        step(&mut bench);
        for order in &orders {
            bench.shrugs_off(PEER, order);
        }
        assert_eq!(bench.node.running(), Some(GROUP));
    }
}

#[test]
fn the_coordinator_gives_no_orders_before_their_time() {
    let mut bench = Bench::new();
    bench.prepare();
    bench.shrugs_off(BOSS, &Body::Flip { group: GROUP });
    let points = Points { page: 0, pages: 1, points: heapless::Vec::new() };
    bench.shrugs_off(BOSS, &Body::Expect { group: GROUP, points });
    bench.shrugs_off(BOSS, &Body::Commit { group: GROUP, manifest: Digest::of(&[]), confirmed: true });
    bench.shrugs_off(BOSS, &Body::Heard { group: GROUP, verdict: committed(true) });
    bench.shrugs_off(BOSS, &Body::Pull { group: GROUP, what: What::Part, offset: 0 });
}

#[test]
fn epochs_that_can_not_be_are_not_begun_with() {
    let mut bench = Bench::new();
    for epoch in [0, u32::MAX] {
        let group = GroupId { epoch, ..GROUP };
        let (name, options) = (Name::new(), Options::new());
        bench.shrugs_off(BOSS, &Body::Prepare { group, mode: Mode::Together, view: 0, name, options });
    }
}

#[test]
fn who_waits_for_the_coordinator_believes_nobody_else() {
    for verdict in [committed(true), Verdict::Aborted { why: why() }, Verdict::Locked] {
        let mut bench = Bench::new();
        bench.store();
        bench.outputs();
        bench.hear(PEER, &Body::Heard { group: GROUP, verdict }).unwrap();
        assert_eq!(bench.outputs(), []);
        assert_eq!(bench.node.running(), Some(GROUP));
    }
}

#[test]
fn who_is_locked_does_not_believe_the_coordinator_alone() {
    let mut bench = Bench::new();
    bench.node.local(0, Local::Ask { group: GROUP, members: &[BOSS, ME, PEER] });
    bench.outputs();
    let pulls = |bench: &mut Bench| bench.said().iter().any(|(_, body)| matches!(body, Body::Pull { .. }));
    bench.hear(BOSS, &Body::Heard { group: GROUP, verdict: committed(false) }).unwrap();
    assert!(!pulls(&mut bench));
    bench.hear(BOSS, &Body::Heard { group: GROUP, verdict: committed(true) }).unwrap();
    assert!(pulls(&mut bench));
    // A stranger to the group is not asked, and not believed.
    let mut bench = Bench::new();
    bench.node.local(0, Local::Ask { group: GROUP, members: &[BOSS, ME] });
    bench.outputs();
    bench.hear(PEER, &Body::Heard { group: GROUP, verdict: Verdict::Aborted { why: why() } }).unwrap();
    assert_eq!(bench.asked(), []);
}

#[test]
fn a_manifest_that_is_not_what_was_announced_is_pulled_again() {
    let mut bench = Bench::new();
    bench.store();
    bench.hear(BOSS, &Body::Heard { group: GROUP, verdict: committed(false) }).unwrap();
    bench.outputs();
    let piece = |octets: &[u8], offset| Body::Piece {
        group: GROUP,
        what: What::Manifest,
        offset,
        octets: heapless::Vec::from_slice(octets).unwrap(),
    };
    // Of someone else, too long, at another place, and of the right length but wrong.
    bench.hear(PEER, &piece(b"manifest", 0)).unwrap();
    bench.hear(BOSS, &piece(&[0; 1024], 0)).unwrap();
    bench.hear(BOSS, &piece(b"fest", 4)).unwrap();
    bench.hear(BOSS, &piece(b"MANIFEST", 0)).unwrap();
    assert_eq!(bench.asked(), []);
    bench
        .hear(BOSS, &Body::Commit { group: GROUP, manifest: Digest::of(b"manifest"), confirmed: false })
        .unwrap();
    bench.outputs();
    bench.hear(BOSS, &piece(b"manifest", 0)).unwrap();
    assert!(matches!(&bench.asked()[..], [Output::Commit { manifest, .. }] if manifest == b"manifest"));
}

#[test]
fn a_member_speaks_for_itself_only_and_in_its_time() {
    let mut bench = Bench::new();
    let group = bench.begin();
    bench.outputs();
    for phase in [Phase::Flipping, Phase::Flipped, Phase::Done(Digest::of(&[])), Phase::Committed] {
        bench.shrugs_off(PEER, &Body::Report { group, phase });
    }
    let points = Points { page: 0, pages: 1, points: heapless::Vec::new() };
    bench.shrugs_off(PEER, &Body::Sent { group, points });
    // It names somebody else: but it was the one who said so.
    let other = Why { member: BOSS, cause: Cause::Refused(text("no")) };
    bench.hear(PEER, &Body::Report { group, phase: Phase::Failed(other) }).unwrap();
    let ended = bench.asked();
    let named =
        |output: &Output| matches!(output, Output::Ended { result: Err(why), .. } if why.member == PEER);
    assert!(ended.iter().any(named), "{ended:?}");
}

/// A coordinator whose members have all stored; returns what it asks of them next.
fn all_stored(bench: &mut Bench, digest: Digest) -> GroupId {
    let group = bench.begin();
    bench.outputs();
    for phase in [Phase::Preparing, Phase::Prepared, Phase::Ready] {
        for peer in [BOSS, PEER] {
            bench.hear(peer, &Body::Report { group, phase: phase.clone() }).unwrap();
        }
    }
    bench.node.local(0, Local::Prepared { group, jobs: 0 });
    bench.node.local(0, Local::Ready { group });
    bench.outputs();
    bench.node.local(0, Local::Flipped { group, points: &[] });
    for peer in [BOSS, PEER] {
        let points = Points { page: 0, pages: 1, points: heapless::Vec::new() };
        bench.hear(peer, &Body::Sent { group, points }).unwrap();
    }
    bench.outputs();
    bench.node.local(0, Local::Drained { group });
    bench.node.local(0, Local::Stored { group, part: b"mine" });
    for peer in [BOSS, PEER] {
        let _ = bench.hear(peer, &Body::Report { group, phase: Phase::Done(digest) });
    }
    group
}

#[test]
fn a_part_that_is_too_long_or_not_what_was_promised_ends_it_and_is_named() {
    let huge = Digest { total: PART_MAX as u32 + 1, sha256: [0; 32] };
    let mut bench = Bench::new();
    all_stored(&mut bench, huge);
    let bad = |output: &Output| {
        matches!(output, Output::Ended { result: Err(Why { member: BOSS, cause: Cause::BadPart }), .. })
    };
    assert!(bench.asked().iter().any(bad));

    let mut bench = Bench::new();
    let group = all_stored(&mut bench, Digest::of(b"part"));
    bench.outputs();
    let octets = heapless::Vec::from_slice(b"trap").unwrap();
    bench.hear(BOSS, &Body::Piece { group, what: What::Part, offset: 0, octets }).unwrap();
    assert!(bench.asked().iter().any(bad));
}

#[test]
fn parts_that_are_right_become_a_manifest_in_the_order_of_the_switches() {
    let mut bench = Bench::new();
    let group = all_stored(&mut bench, Digest::of(b"part"));
    bench.outputs();
    for peer in [PEER, BOSS] {
        let octets = heapless::Vec::from_slice(b"part").unwrap();
        bench.hear(peer, &Body::Piece { group, what: What::Part, offset: 0, octets }).unwrap();
    }
    let wanted = vec![(BOSS, b"part".to_vec()), (ME, b"mine".to_vec()), (PEER, b"part".to_vec())];
    let asked = bench.asked();
    let manifest = asked.iter().find(|output| matches!(output, Output::Manifest { .. }));
    assert_eq!(manifest, Some(&Output::Manifest { group, parts: wanted }), "{asked:?}");
}

#[test]
fn one_mad_peer_does_not_use_up_the_epochs_at_once() {
    let mut bench = Bench::new();
    bench.hear(PEER, &Body::Sync { network: NET, epoch: u32::MAX, answer: false }).unwrap();
    assert!(bench.node.epoch(NET) < EPOCH_MAX / 200);
    bench.hear(PEER, &Body::Sync { network: NET, epoch: 5, answer: false }).unwrap();
    let before = bench.node.epoch(NET);
    bench.hear(PEER, &Body::Sync { network: NET, epoch: 0, answer: true }).unwrap();
    assert_eq!(bench.node.epoch(NET), before, "never back");
}

#[test]
fn strangers_and_earlier_lives_are_not_heard() {
    let mut bench = Bench::new();
    let sync = Body::Sync { network: NET, epoch: 5, answer: false };
    assert_eq!(bench.hear(99, &sync), Err(Dropped::Stranger));
    assert_eq!(bench.node.receive(0, PEER, &emit(0, &sync)), Err(Dropped::Stale));
    let other = Body::Sync { network: 8, epoch: 5, answer: false };
    assert_eq!(bench.hear(PEER, &other), Err(Dropped::Stranger));
    assert_eq!(bench.node.epoch(NET), 0);
}

#[test]
fn questions_about_groups_that_never_were_are_bounded() {
    let mut bench = Bench::new();
    for epoch in 1..1_000 {
        let group = GroupId { epoch, ..GROUP };
        let _ = bench.hear(PEER, &Body::Report { group, phase: Phase::Locked(Digest::of(&[])) });
        let commit = Body::Commit { group, manifest: Digest::of(&[]), confirmed: true };
        let _ = bench.hear(BOSS, &commit);
    }
    assert!(bench.asked().len() <= 16);
    // And whatever the shim answers, not more than some is remembered.
    for epoch in 1..1_000 {
        let group = GroupId { epoch, ..GROUP };
        bench.node.local(0, Local::Decision { group, manifest: None, members: &[] });
    }
    assert!(bench.node.decided.len() <= 32);
}

#[test]
fn more_hosts_or_longer_names_than_there_is_room_for_are_refused() {
    let mut bench = Bench::new();
    let peers: Vec<(u64, u64)> = (10..266).map(|id| (id, 1)).collect();
    bench.node.set_peers(0, NET, &peers);
    let begin = Begin { network: NET, mode: Mode::Together, name: "blue", options: &[] };
    assert_eq!(bench.node.begin(0, begin), Err(Refusal::TooMany(257)));
    let begin = Begin { name: &"x".repeat(65), ..begin };
    assert_eq!(bench.node.begin(0, begin), Err(Refusal::TooLong));
    let begin = Begin { name: "", options: &[0; 513], ..begin };
    assert_eq!(bench.node.begin(0, begin), Err(Refusal::TooLong));
    let mut bench = Bench::new();
    let group = bench.begin();
    bench.outputs();
    bench.node.local(0, Local::Prepared { group, jobs: 49 });
    let refused = |output: &Output| {
        matches!(output, Output::Ended { result: Err(Why { member: ME, cause: Cause::Refused(_) }), .. })
    };
    assert!(bench.asked().iter().any(refused));
}

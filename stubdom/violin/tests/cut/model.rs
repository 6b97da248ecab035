//! A cut against a model that is too simple to be wrong: lists, and one look at all of it for each
//! question.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use violin::cut::{Ahead, Count, Counts, Mode};
use violin::switch::DropReason;

use super::*;

const LIMITS: Limits = Limits { ports: 5, hold_frames: 4, hold_octets: 300, hold_ms: 50 };

#[derive(Clone, Debug)]
enum Step {
    Open { port: u16, red: bool, epoch: u32 },
    Close { port: u16 },
    Begin { red: bool, epoch: u32, drop: bool },
    Flip { port: u16 },
    Skip { port: u16 },
    Raise { red: bool, epoch: u32 },
    CloseChannel { peer: Option<u16> },
    Cancel { red: bool, epoch: u32 },
    CloseAll,
    Frame { port: u16, epoch: u32, peer: Option<u16>, octets: u32 },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let epoch = || 0u32..6;
    let peer = || proptest::option::of(0u16..3);
    let step = prop_oneof![
        2 => (0u16..6, any::<bool>(), epoch()).prop_map(|(port, red, epoch)| Step::Open { port, red, epoch }),
        1 => (0u16..6).prop_map(|port| Step::Close { port }),
        3 => (any::<bool>(), epoch(), any::<bool>())
            .prop_map(|(red, epoch, drop)| Step::Begin { red, epoch, drop }),
        4 => (0u16..6).prop_map(|port| Step::Flip { port }),
        1 => (0u16..6).prop_map(|port| Step::Skip { port }),
        2 => (any::<bool>(), epoch()).prop_map(|(red, epoch)| Step::Raise { red, epoch }),
        1 => peer().prop_map(|peer| Step::CloseChannel { peer }),
        1 => (any::<bool>(), epoch()).prop_map(|(red, epoch)| Step::Cancel { red, epoch }),
        1 => Just(Step::CloseAll),
        20 => (0u16..6, epoch(), peer(), 0u32..150)
            .prop_map(|(port, epoch, peer, octets)| Step::Frame { port, epoch, peer, octets }),
        3 => (0u64..40).prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 1..200)
}

fn network(red: bool) -> NetworkId {
    if red { RED } else { BLUE }
}

fn channel(peer: Option<u16>) -> Channel {
    peer.map_or(Channel::Local, |peer| Channel::Peer(PeerId(peer)))
}

struct Port {
    network: NetworkId,
    epoch: u32,
    captured_by: Option<u32>,
    held: Vec<Arrival>,
    counts: Counts,
}

#[derive(Default)]
struct Model {
    now: u64,
    ports: BTreeMap<u16, Port>,
    running: Option<(NetworkId, u32, bool)>,
    closed: Vec<Channel>,
    all_closed: bool,
    /// The highest epoch that was asked about.
    asked: BTreeMap<u32, u32>,
    questions: BTreeSet<(u32, u32)>,
}

fn count(count: &mut Count, frame: &Arrival) {
    count.frames += 1;
    count.octets += u64::from(frame.octets);
}

impl Model {
    fn judge(&mut self, id: u16, frame: &Arrival, again: bool) -> Verdict {
        let Some(port) = self.ports.get_mut(&id) else { return Verdict::Drop(DropReason::Closed) };
        let running = self.running.filter(|(network, ..)| *network == port.network);
        let epoch = frame.epoch.0;
        if epoch == port.epoch {
            return Verdict::Deliver;
        }
        if epoch < port.epoch {
            let open = !self.all_closed && !self.closed.contains(&frame.from);
            let captured = running.is_some_and(|(_, k, _)| port.captured_by == Some(k) && port.epoch == k);
            let recorded = captured && open;
            count(if recorded { &mut port.counts.recorded } else { &mut port.counts.late }, frame);
            return if recorded { Verdict::Record } else { Verdict::Deliver };
        }
        let known = running.filter(|(_, k, _)| epoch <= *k);
        if known.is_none() && self.asked.get(&port.network.0).is_none_or(|asked| *asked < epoch) {
            self.asked.insert(port.network.0, epoch);
            self.questions.retain(|(network, _)| *network != port.network.0);
            self.questions.insert((port.network.0, epoch));
        }
        let octets: u32 = port.held.iter().map(|held| held.octets).sum();
        let reason = if known.is_some_and(|(_, _, drop)| drop) {
            DropReason::AfterCut
        } else if self.now >= frame.at_ms + LIMITS.hold_ms {
            DropReason::HeldTooLong
        } else if port.held.len() == 4 || octets + frame.octets > LIMITS.hold_octets {
            DropReason::HeldFull
        } else {
            port.held.push(*frame);
            if !again {
                count(&mut port.counts.held, frame);
            }
            return Verdict::Hold;
        };
        count(&mut port.counts.dropped, frame);
        Verdict::Drop(reason)
    }

    fn raise(&mut self, network: NetworkId, epoch: u32) {
        self.ports
            .values_mut()
            .filter(|port| port.network == network)
            .for_each(|port| port.epoch = port.epoch.max(epoch));
        self.running = self.running.filter(|(of, k, _)| *of != network || *k > epoch);
        self.forget_questions(network, epoch);
    }

    fn forget_questions(&mut self, network: NetworkId, epoch: u32) {
        if self.asked.get(&network.0).is_some_and(|asked| *asked <= epoch) {
            self.asked.remove(&network.0);
            self.questions.retain(|(of, _)| *of != network.0);
        }
    }

    fn begin(&mut self, network: NetworkId, epoch: u32, drop: bool) -> bool {
        let ports = || self.ports.values().filter(|port| port.network == network);
        match self.running {
            Some((of, k, _)) => return (of, k) == (network, epoch),
            None if epoch == 0 || ports().any(|port| port.epoch >= epoch) => return false,
            None => {}
        }
        self.raise(network, epoch - 1);
        for port in self.ports.values_mut().filter(|port| port.network == network) {
            port.captured_by = None;
            port.counts = Counts::default();
        }
        self.running = Some((network, epoch, drop));
        self.closed.clear();
        self.all_closed = false;
        self.forget_questions(network, epoch);
        true
    }

    fn pass(&mut self, id: u16, capture: bool) -> bool {
        let (Some((network, k, _)), Some(port)) = (self.running, self.ports.get_mut(&id)) else {
            return false;
        };
        let possible = port.network == network && port.epoch < k;
        if possible {
            port.epoch = k;
            port.captured_by = capture.then_some(k);
        }
        possible
    }
}

/// Both do the same, and the driver's part of keeping what is held is done with the model's lists.
struct Both {
    cut: Cut,
    model: Model,
}

impl Both {
    fn step(&mut self, step: &Step) {
        let Self { cut, model } = self;
        match *step {
            Step::Open { port, red, epoch } => {
                cut.open(PortId(port), network(red), Epoch(epoch));
                let counts = Counts::default();
                let k = model.running.filter(|(of, ..)| *of == network(red)).map_or(1, |(_, k, _)| k);
                let epoch = epoch.max(k - 1);
                let fresh = Port { network: network(red), epoch, captured_by: None, held: vec![], counts };
                if port < 5 {
                    model.ports.insert(port, fresh);
                }
            }
            Step::Close { port } => {
                cut.close_port(PortId(port));
                model.ports.remove(&port);
            }
            Step::Begin { red, epoch, drop } => {
                let mode = if drop { Mode::Drop } else { Mode::Hold };
                let begun = cut.begin(network(red), Epoch(epoch), mode).is_ok();
                assert_eq!(begun, model.begin(network(red), epoch, drop));
            }
            Step::Flip { port } => assert_eq!(cut.flip(PortId(port)), model.pass(port, true)),
            Step::Skip { port } => assert_eq!(cut.skip(PortId(port)), model.pass(port, false)),
            Step::Raise { red, epoch } => {
                cut.raise(network(red), Epoch(epoch));
                model.raise(network(red), epoch);
            }
            Step::CloseChannel { peer } => {
                cut.close(channel(peer));
                model.closed.push(channel(peer));
            }
            Step::Cancel { red, epoch } => {
                let white = |port: &Port| port.network != network(red) || port.epoch < epoch;
                let possible = model.running.is_some_and(|(of, k, _)| (of, k) == (network(red), epoch))
                    && model.ports.values().all(white);
                model.running = model.running.filter(|_| !possible);
                assert_eq!(cut.cancel(network(red), Epoch(epoch)), possible);
            }
            Step::CloseAll => {
                cut.close_all();
                model.all_closed = true;
            }
            Step::Frame { port, epoch, peer, octets } => {
                let frame = Arrival { at_ms: model.now, epoch: Epoch(epoch), from: channel(peer), octets };
                let verdict = cut.judge(PortId(port), &frame);
                assert_eq!(verdict, model.judge(port, &frame, false));
                self.no_orphan(PortId(port), &frame, verdict);
            }
            Step::Wait { ms } => model.now += ms,
        }
        self.walk();
        self.compare();
    }

    fn no_orphan(&self, port: PortId, frame: &Arrival, verdict: Verdict) {
        if matches!(verdict, Verdict::Deliver | Verdict::Record) {
            assert!(Some(frame.epoch) <= self.cut.epoch(port), "an orphan");
        }
    }

    /// What the driver does with what is held.
    fn walk(&mut self) {
        while let Some(port) = self.cut.due(self.model.now) {
            let held = std::mem::take(&mut self.model.ports.get_mut(&port.0).unwrap().held);
            assert!(!held.is_empty());
            for frame in held {
                let verdict = self.cut.again(self.model.now, port, &frame);
                assert_eq!(verdict, self.model.judge(port.0, &frame, true));
                self.no_orphan(port, &frame, verdict);
            }
        }
    }

    fn compare(&mut self) {
        let Self { cut, model } = self;
        for n in 0..6 {
            let port = model.ports.get(&n);
            assert_eq!(cut.epoch(PortId(n)).map(|epoch| epoch.0), port.map(|port| port.epoch));
            assert_eq!(cut.counts(PortId(n)), port.map(|port| &port.counts));
            let held = port.map(|port| &port.held[..]).unwrap_or_default();
            let octets = held.iter().map(|frame| u64::from(frame.octets)).sum();
            assert_eq!(cut.held(PortId(n)), Count { frames: held.len() as u64, octets });
            // Nothing waits that could go, or should.
            for frame in held {
                assert!(frame.epoch.0 > port.unwrap().epoch && model.now < frame.at_ms + LIMITS.hold_ms);
            }
        }
        let oldest = model.ports.values().flat_map(|port| &port.held).map(|held| held.at_ms).min();
        assert_eq!(cut.poll_at(), oldest.map(|at| at + LIMITS.hold_ms));
        assert_eq!(cut.running(), model.running.map(|(network, k, _)| (network, Epoch(k))));
        let asked: BTreeSet<_> = std::iter::from_fn(|| cut.next_ahead())
            .map(|Ahead { network, epoch, .. }| (network.0, epoch.0))
            .collect();
        assert_eq!(asked, std::mem::take(&mut model.questions));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn a_cut_does_what_a_plain_model_does_and_no_orphan_is_delivered(steps in steps()) {
        let mut both = Both { cut: Cut::new(LIMITS), model: Model::default() };
        for step in &steps {
            both.step(step);
        }
    }
}

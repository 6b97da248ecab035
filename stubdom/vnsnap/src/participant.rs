//! This host's part of a group snapshot, from the coordinator's word to prepare until all is durable.
//!
//! It must never say more than its shim and its switch have said, nor believe anybody but the
//! coordinator.

use alloc::vec::Vec;

use crate::clock::Retry;
use crate::error::{Cause, Dropped, Why, text};
use crate::io::{Io, Output};
use crate::message::{Body, Phase, Points};
use crate::points::{Gathered, Heard};
use crate::{GroupId, JOBS_MAX, Mode, Point};

/// A group snapshot that this host takes part in.
pub(crate) struct Participant {
    pub(crate) group: GroupId,
    mode: Mode,
    /// All switches that take part, sorted.
    pub(crate) members: Vec<u64>,
    phase: Phase,
    /// The highest phase of which the coordinator has heard.
    heard: u8,
    report: Retry,
    /// When the coordinator was heard.
    pub(crate) heard_at: u64,
    sent: Vec<Point>,
    sent_heard: Heard,
    sent_retry: Retry,
    expect: Gathered,
    drain_at: Option<u64>,
}

impl Participant {
    pub(crate) fn new(io: &Io, group: GroupId, mode: Mode, members: Vec<u64>) -> Self {
        Self {
            group,
            mode,
            members,
            phase: Phase::Preparing,
            heard: 0,
            report: Retry::now(io.now),
            heard_at: io.now,
            sent: Vec::new(),
            sent_heard: Heard::default(),
            sent_retry: Retry::now(io.now),
            expect: Gathered::default(),
            drain_at: None,
        }
    }

    /// Whether someone may be after the cut: this host has said all that the coordinator waits for.
    pub(crate) fn may_be_flipped(&self) -> bool {
        let last = match self.mode {
            Mode::Together => Phase::Ready.rank(),
            Mode::Classic => Phase::Prepared.rank(),
        };
        self.phase.rank() >= last
    }

    /// Whether this host was told to flip.
    pub(crate) fn is_flipping(&self) -> bool {
        (Phase::Flipping.rank()..=Phase::Storing.rank()).contains(&self.phase.rank())
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed(_))
    }

    fn enter(&mut self, io: &Io, phase: Phase) {
        self.phase = phase;
        self.report = Retry::now(io.now);
    }

    /// The shim has begun its jobs.
    pub(crate) fn prepared(&mut self, io: &Io, jobs: u8) {
        if jobs > JOBS_MAX {
            self.failed(io, Cause::Refused(text("more than 48 guests of the network on this host")));
        } else if self.phase == Phase::Preparing {
            self.enter(io, Phase::Prepared);
        }
    }

    /// All jobs stand at the barrier.
    pub(crate) fn ready(&mut self, io: &Io) {
        let before = matches!(self.phase, Phase::Preparing | Phase::Prepared);
        if before && self.mode == Mode::Together {
            self.enter(io, Phase::Ready);
        }
    }

    /// The coordinator says: flip. Returns whether that is news.
    pub(crate) fn flip(&mut self, io: &mut Io) -> Result<bool, Dropped> {
        self.heard_at = io.now;
        if self.phase.rank() >= Phase::Flipping.rank() {
            return Ok(false);
        }
        if !self.may_be_flipped() {
            return Err(Dropped::NotItsWord);
        }
        self.enter(io, Phase::Flipping);
        io.tell(Output::Go { group: self.group });
        Ok(true)
    }

    /// The last guest is cut.
    pub(crate) fn flipped(&mut self, io: &Io, points: &[Point]) {
        if self.phase != Phase::Flipping {
            return;
        }
        self.sent =
            points.iter().filter(|(to, _)| *to != io.me && self.members.contains(to)).copied().collect();
        self.sent.sort_unstable_by_key(|(to, _)| *to);
        self.sent.dedup_by_key(|(to, _)| *to);
        self.sent_retry = Retry::now(io.now);
        self.enter(io, Phase::Flipped);
    }

    /// The coordinator has a page of what was sent.
    pub(crate) fn sent_heard(&mut self, io: &Io, page: u8) {
        self.heard_at = io.now;
        self.sent_heard.take(page);
    }

    /// A page of what to expect.
    pub(crate) fn expect(&mut self, io: &mut Io, points: &Points) -> Result<(), Dropped> {
        // What has failed here stays so, whatever the coordinator, which may not know, goes on with.
        if !matches!(self.phase, Phase::Flipped | Phase::Storing) {
            return Err(Dropped::NotItsWord);
        }
        self.heard_at = io.now;
        io.send(self.group.initiator, Body::ExpectHeard { group: self.group, page: points.page });
        let before = self.expect.is_complete();
        self.expect.take(points);
        if !before && self.expect.is_complete() {
            let members = &self.members;
            let known = self.expect.points().iter().filter(|(from, _)| members.contains(from));
            let points = known.copied().collect();
            self.drain_at = Some(io.now.saturating_add(io.config.drain_ms));
            io.tell(Output::Expect { group: self.group, points });
        }
        Ok(())
    }

    /// Nothing more is on its way, or is waited for.
    pub(crate) fn drained(&mut self, io: &mut Io) {
        if self.drain_at.take().is_some() {
            self.enter(io, Phase::Storing);
            io.tell(Output::Close { group: self.group });
        }
    }

    /// Whether the shim may say now that all is durable.
    pub(crate) fn is_storing(&self) -> bool {
        self.phase == Phase::Storing
    }

    /// It can't go on here.
    pub(crate) fn failed(&mut self, io: &Io, cause: Cause) {
        if !self.has_failed() {
            self.drain_at = None;
            self.enter(io, Phase::Failed(Why { member: io.me, cause }));
        }
    }

    /// The coordinator has heard of a phase.
    pub(crate) fn heard(&mut self, io: &Io, rank: u8) {
        self.heard_at = io.now;
        self.heard = self.heard.max(rank);
        if self.heard >= self.phase.rank() && !self.has_failed() {
            self.report.delay(io.now.saturating_add(io.config.sign_ms));
        }
    }

    /// Says again what was not acknowledged, and gives signs of life. Returns whether the coordinator is
    /// gone.
    pub(crate) fn tick(&mut self, io: &mut Io) -> bool {
        if io.now.saturating_sub(self.heard_at) > io.config.orphan_ms {
            return true;
        }
        if self.drain_at.is_some_and(|at| io.now >= at) {
            self.drained(io);
        }
        let (to, group) = (self.group.initiator, self.group);
        if io.due(&mut self.report) {
            io.send(to, Body::Report { group, phase: self.phase.clone() });
        }
        if self.has_sent_to_say() && io.due(&mut self.sent_retry) {
            for points in self.sent_heard.missing(&self.sent) {
                io.send(to, Body::Sent { group, points });
            }
        }
        false
    }

    fn has_sent_to_say(&self) -> bool {
        self.phase == Phase::Flipped && self.sent_heard.missing(&self.sent).next().is_some()
    }

    /// When [`Participant::tick`] has something to do next.
    pub(crate) fn wake(&self, io: &Io) -> u64 {
        let sent = if self.has_sent_to_say() { self.sent_retry.at } else { u64::MAX };
        let orphan = self.heard_at.saturating_add(io.config.orphan_ms).saturating_add(1);
        self.report.at.min(sent).min(self.drain_at.unwrap_or(u64::MAX)).min(orphan)
    }
}

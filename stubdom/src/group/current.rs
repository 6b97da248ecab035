//! The group snapshot that this host takes part in: how far its members and its channels are.

use alloc::rc::Rc;
use alloc::vec::Vec;

use handoff::{ChannelTally, GroupNews, Job};
use violin::session::{Missing, SeqPoint};
use vnsnap::{GroupId, Local, Mode, Node, Point};
use xen::time::Instant;

use super::meeting::{Meeting, Stage};
use super::orders::id_out;
use crate::net::Net;

/// News for the shim, with their bulk.
pub(super) type News = Vec<(GroupNews, Vec<u8>)>;

/// Where this host is in a group snapshot.
pub(super) struct Current {
    pub(super) group: GroupId,
    /// When it began here.
    pub(super) began: Instant,
    mode: Mode,
    /// Which jobs are members here, once the shim has said so.
    jobs: Option<Vec<Job>>,
    /// Those whose snapshot has begun, and whether the shim was told of their cut.
    members: Vec<(Rc<Meeting>, bool)>,
    /// For each peer: where its datagrams were when the cut began here.
    seen: Vec<(u64, SeqPoint)>,
    /// What each peer sent before its cut, once that is known.
    expected: Option<Vec<Point>>,
    ready: bool,
    go: bool,
    flipped: bool,
    drained: bool,
    closed: bool,
    told: bool,
}

impl Current {
    pub(super) fn new(group: GroupId, mode: Mode, began: Instant) -> Self {
        Self {
            group,
            began,
            mode,
            jobs: None,
            members: Vec::new(),
            seen: Vec::new(),
            expected: None,
            ready: false,
            go: false,
            flipped: false,
            drained: false,
            closed: false,
            told: false,
        }
    }

    /// A snapshot of the shim's begins.
    pub(super) fn join(&mut self, meeting: Rc<Meeting>) {
        self.members.push((meeting, false));
    }

    /// The shim: these are the members here.
    pub(super) fn prepared(&mut self, jobs: &[Job]) {
        self.jobs = Some(jobs.into());
    }

    /// Whether the shim has said who the members are.
    pub(super) fn is_prepared(&self) -> bool {
        self.jobs.is_some()
    }

    /// All are to be cut: now, or when their own policies say so.
    pub(super) fn go(&mut self, seen: Vec<(u64, SeqPoint)>) {
        if !self.go {
            (self.go, self.seen) = (true, seen);
        }
    }

    /// What peers sent before their cuts.
    pub(super) fn expect(&mut self, points: Vec<Point>) {
        self.expected = Some(points);
    }

    /// Nothing is recorded any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The group is over: snapshots that still go on end, and their guests run on.
    pub(super) fn end(&self) {
        self.members.iter().for_each(|(member, _)| member.give_up());
    }

    /// Whether something happens here that nobody tells of.
    pub(super) fn is_busy(&self) -> bool {
        let leaves = self.go && !self.flipped && self.slowest() >= Some(Stage::Cut);
        leaves || (self.expected.is_some() && !self.closed)
    }

    /// Looks how far all are, and says so.
    pub(super) fn advance(&mut self, net: &Net, node: &mut Node, news: &mut News, now: u64) {
        let (group, id) = (self.group, id_out(self.group));
        if self.go {
            self.members.iter().for_each(|(member, _)| member.let_go());
        }
        let slowest = self.slowest();
        if self.mode == Mode::Together && !self.ready && slowest >= Some(Stage::Waiting) {
            self.ready = true;
            node.local(now, Local::Ready { group });
        }
        if self.go
            && !self.flipped
            && slowest >= Some(Stage::Cut)
            && let Some(points) = net.sent_points(group.network, group.epoch)
        {
            self.flipped = true;
            net.skip_rest(group.network);
            let points: Vec<Point> = points.iter().map(|(peer, point)| (*peer, point_out(*point))).collect();
            node.local(now, Local::Flipped { group, points: &points });
        }
        if self.flipped && !self.drained && self.expected.is_some() && self.all_came(net) {
            self.drained = true;
            node.local(now, Local::Drained { group });
        }
        for (member, told) in &mut self.members {
            if !*told && member.stage() == Stage::Resumed {
                *told = true;
                news.push((GroupNews::Cut { group: id, job: member.job, times: member.times() }, Vec::new()));
            }
        }
        while let Some((count, bulk)) = net.take_channel() {
            news.push((GroupNews::Channel { group: id, count }, bulk));
        }
        if self.closed && !self.told && slowest == Some(Stage::Resumed) {
            self.told = true;
            news.push((GroupNews::Drained { group: id, tally: self.tally(net) }, Vec::new()));
        }
    }

    /// A member has come further: those who keep step with it look up.
    pub(super) fn stepped(&self) {
        self.members.iter().for_each(|(member, _)| member.look_up());
    }

    /// Whether a member that runs again is to wait for others of this host that don't: they have the CPU
    /// first. In classic mode each goes on alone.
    pub(super) fn is_ahead(&self) -> bool {
        self.mode == Mode::Together && self.slowest() < Some(Stage::Resumed)
    }

    /// How far the slowest member is; `None` while not all have begun.
    fn slowest(&self) -> Option<Stage> {
        let stages = self.jobs.as_ref()?.iter().map(|job| {
            let (member, _) = self.members.iter().find(|(member, _)| member.job == *job)?;
            Some(member.stage())
        });
        stages.min().unwrap_or(Some(Stage::Resumed))
    }

    /// Whether everything that peers sent before their cuts has come. Channels that are empty are closed.
    fn all_came(&self, net: &Net) -> bool {
        let Some(expected) = &self.expected else { return false };
        let open = expected.iter().filter(|point| {
            let over = self.missing(net, point).is_over();
            if over {
                net.close_channel(point.0);
            }
            !over
        });
        open.count() == 0
    }

    fn missing(&self, net: &Net, (peer, upto): &Point) -> Missing {
        let after = self.seen.iter().find(|(seen, _)| seen == peer).map(|(_, after)| *after);
        net.missing(*peer, after, SeqPoint { key: upto.key, counter: upto.counter })
    }

    fn tally(&self, net: &Net) -> ChannelTally {
        let mut tally = net.tally(self.group.network);
        for point in self.expected.iter().flatten() {
            match self.missing(net, point) {
                Missing::Known(lost) => tally.lost = tally.lost.saturating_add(lost),
                Missing::Past(_) | Missing::Unknown => tally.unknown = tally.unknown.saturating_add(1),
            }
        }
        tally
    }
}

fn point_out(point: SeqPoint) -> vnsnap::SeqPoint {
    vnsnap::SeqPoint { key: point.key, counter: point.counter }
}

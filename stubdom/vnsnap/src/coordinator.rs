//! The one that began it: hears how far each member is, and says when all go on.
//!
//! Every member reports its phase until it is acknowledged; the coordinator repeats an order until a
//! report shows that it was carried out. So each message may be lost, doubled, or late. The
//! coordinator takes part itself, by messages to itself.
//!
//! It must never commit what a member has not said to be durable, nor give up once its shim has been
//! handed the manifest: from there on only the shim knows.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::blob::{Digest, Got, Pulling, pieces};
use crate::clock::Retry;
use crate::error::{Cause, Dropped, Why};
use crate::io::{Io, Output};
use crate::message::{Body, Phase, Points, Verdict, What};
use crate::points::{Gathered, Heard};
use crate::{GroupId, MANIFEST_MAX, Mode, Name, Options, PART_MAX, Point};

/// How far the whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Members prepare, and wait at the barrier.
    Preparing,
    /// They were told to flip.
    Flipping,
    /// All are cut: channels are drained, everything is stored, parts are pulled.
    Storing,
    /// The shim writes the manifest.
    Writing,
}

/// What is known of a member.
struct Member {
    rank: u8,
    heard_at: u64,
    retry: Retry,
    sent: Gathered,
    expect: Vec<Point>,
    expect_heard: Heard,
    pulling: Option<Pulling>,
    part: Option<Vec<u8>>,
}

/// A group snapshot that this switch coordinates, until it is decided.
pub(crate) struct Coordinator {
    pub(crate) group: GroupId,
    mode: Mode,
    name: Name,
    options: Options,
    view: u64,
    members: BTreeMap<u64, Member>,
    stage: Stage,
    /// When the stage began, and the whole.
    since: u64,
    began: u64,
}

impl Coordinator {
    pub(crate) fn new(
        io: &Io,
        group: GroupId,
        mode: Mode,
        name: Name,
        options: Options,
        view: u64,
        members: &[u64],
    ) -> Self {
        let member = || Member {
            rank: 0,
            heard_at: io.now,
            retry: Retry::now(io.now),
            sent: Gathered::default(),
            expect: Vec::new(),
            expect_heard: Heard::default(),
            pulling: None,
            part: None,
        };
        let members = members.iter().map(|&id| (id, member())).collect();
        Self {
            group,
            mode,
            name,
            options,
            view,
            members,
            stage: Stage::Preparing,
            since: io.now,
            began: io.now,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = u64> {
        self.members.keys().copied()
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether the whole can do without this member from now on.
    pub(crate) fn is_spared(&self, id: u64) -> bool {
        self.members.get(&id).is_none_or(|member| member.part.is_some())
    }

    /// A member says how far it is; an error if that ends the whole.
    pub(crate) fn report(&mut self, io: &mut Io, from: u64, phase: &Phase) -> Result<Option<Why>, Dropped> {
        let stage = self.stage;
        let Some(member) = self.members.get_mut(&from) else { return Err(Dropped::NotItsWord) };
        let why = |cause| Ok(Some(Why { member: from, cause }));
        let last = match stage {
            Stage::Preparing => 3,
            Stage::Flipping => 5,
            Stage::Storing | Stage::Writing => 7,
        };
        member.heard_at = io.now;
        match phase {
            // From here on only the shim knows how it ends.
            Phase::Failed(_) | Phase::Locked(_) | Phase::Aborted if stage == Stage::Writing => {
                return Ok(None);
            }
            // Both were begun at once, and that one has the smaller name.
            Phase::Failed(Why { cause: Cause::Busy(other), .. })
                if stage == Stage::Preparing
                    && other.network == self.group.network
                    && *other < self.group =>
            {
                return why(Cause::Beaten(*other));
            }
            Phase::Failed(said) => return why(said.cause.clone()),
            Phase::Locked(_) | Phase::Aborted => return why(Cause::CutOff),
            Phase::Committed => return Err(Dropped::NotItsWord),
            _ if phase.rank() > last => return Err(Dropped::NotItsWord),
            Phase::Done(digest) => {
                if !digest.fits(PART_MAX) {
                    return why(Cause::BadPart);
                }
                if member.part.is_none() && member.pulling.is_none() {
                    member.pulling = Some(Pulling::new(from, *digest, io.now));
                }
            }
            _ => {}
        }
        if phase.rank() > member.rank {
            member.rank = phase.rank();
            member.retry = Retry::now(io.now);
        }
        let verdict = Verdict::Running { rank: phase.rank() };
        io.send(from, Body::Heard { group: self.group, verdict });
        Ok(None)
    }

    /// A member sees others than this switch does.
    pub(crate) fn view(&mut self, from: u64, seen: &[u64], count: u16) -> Option<Why> {
        let member = self.members.get(&from)?;
        if member.rank > 0 {
            return None;
        }
        let mut differ = crate::error::Ids::new();
        let unknown = seen.iter().filter(|id| !self.members.contains_key(id));
        let complete = seen.len() == usize::from(count);
        let unseen = self.members.keys().filter(|id| complete && !seen.contains(id));
        for &id in unknown.chain(unseen) {
            let _ = differ.push(id);
        }
        Some(Why { member: from, cause: Cause::View(differ) })
    }

    /// A page of what a member sent before its cut.
    pub(crate) fn sent(&mut self, io: &mut Io, from: u64, points: &Points) -> Result<(), Dropped> {
        let Some(member) = self.members.get_mut(&from) else { return Err(Dropped::NotItsWord) };
        if self.stage < Stage::Flipping {
            return Err(Dropped::NotItsWord);
        }
        member.heard_at = io.now;
        if self.stage == Stage::Flipping {
            member.sent.take(points);
        }
        io.send(from, Body::SentHeard { group: self.group, page: points.page });
        Ok(())
    }

    /// A member has a page of what to expect.
    pub(crate) fn expect_heard(&mut self, io: &Io, from: u64, page: u8) {
        if let Some(member) = self.members.get_mut(&from) {
            member.heard_at = io.now;
            member.expect_heard.take(page);
        }
    }

    /// A piece of a member's part.
    pub(crate) fn piece(&mut self, io: &mut Io, from: u64, offset: u32, octets: &[u8]) -> Option<Why> {
        let member = self.members.get_mut(&from)?;
        let pulling = member.pulling.as_mut()?;
        member.heard_at = io.now;
        match pulling.got(io, offset, octets) {
            Got::Nothing | Got::More => None,
            Got::All(part) => {
                member.pulling = None;
                member.part = Some(part);
                None
            }
            Got::Wrong => Some(Why { member: from, cause: Cause::BadPart }),
        }
    }

    /// Goes on as far as all members allow.
    pub(crate) fn go_on(&mut self, io: &mut Io) -> Option<Why> {
        let members = self.members.values();
        let ready = match self.mode {
            Mode::Together => Phase::Ready.rank(),
            Mode::Classic => Phase::Prepared.rank(),
        };
        match self.stage {
            Stage::Preparing if members.clone().all(|member| member.rank >= ready) => {
                self.enter(io, Stage::Flipping);
            }
            Stage::Flipping if members.clone().all(|member| member.sent.is_complete()) => {
                self.spread_points();
                self.enter(io, Stage::Storing);
            }
            Stage::Storing if members.clone().all(|member| member.part.is_some()) => {
                return self.write(io);
            }
            _ => {}
        }
        None
    }

    fn enter(&mut self, io: &Io, stage: Stage) {
        self.stage = stage;
        self.since = io.now;
        for member in self.members.values_mut() {
            member.retry = Retry::now(io.now);
        }
    }

    /// Turns what each sent into what each is to expect.
    fn spread_points(&mut self) {
        let mut expect: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
        for (&from, member) in &self.members {
            for &(to, point) in member.sent.points() {
                let list = expect.entry(to).or_default();
                // Each sender once, whatever it said.
                if to != from && list.last().is_none_or(|last| last.0 != from) {
                    list.push((from, point));
                }
            }
        }
        for (to, points) in expect {
            if let Some(member) = self.members.get_mut(&to) {
                member.expect = points;
            }
        }
    }

    fn write(&mut self, io: &mut Io) -> Option<Why> {
        let mut total = 0_usize;
        for (&id, member) in &self.members {
            total = total.saturating_add(member.part.as_ref().map_or(0, Vec::len)).saturating_add(12);
            if total > MANIFEST_MAX {
                return Some(Why { member: id, cause: Cause::BadPart });
            }
        }
        let parts = self.members.iter_mut();
        // The octets are not needed here any more, but that they came is.
        let parts = parts.map(|(&id, member)| (id, member.part.replace(Vec::new()).unwrap_or_default()));
        let parts = parts.collect();
        self.enter(io, Stage::Writing);
        io.tell(Output::Manifest { group: self.group, parts });
        None
    }

    /// Says again what was not answered; returns why it is given up, if a time is over.
    pub(crate) fn tick(&mut self, io: &mut Io) -> Option<Why> {
        if let Some(why) = self.overdue(io) {
            return Some(why);
        }
        let group = self.group;
        for (&id, member) in &mut self.members {
            if let Some(pulling) = &mut member.pulling
                && let Some(offset) = pulling.ask(io)
            {
                io.send(id, Body::Pull { group, what: What::Part, offset });
            }
            if !member.has_orders(self.stage) || !io.due(&mut member.retry) {
                continue;
            }
            match self.stage {
                Stage::Preparing => {
                    let (name, options) = (self.name.clone(), self.options.clone());
                    io.send(id, Body::Prepare { group, mode: self.mode, view: self.view, name, options });
                }
                Stage::Flipping => io.send(id, Body::Flip { group }),
                Stage::Storing => {
                    for points in member.expect_heard.missing(&member.expect) {
                        io.send(id, Body::Expect { group, points });
                    }
                }
                Stage::Writing => {}
            }
        }
        None
    }

    fn overdue(&self, io: &Io) -> Option<Why> {
        let config = &io.config;
        let (age, stage_age) = (io.now.saturating_sub(self.began), io.now.saturating_sub(self.since));
        let over = |limit: Option<u64>, age: u64| limit.is_some_and(|limit| age > limit);
        let classic = self.mode == Mode::Classic;
        for (&id, member) in &self.members {
            let silent = io.now.saturating_sub(member.heard_at) > config.silence_ms && member.part.is_none();
            let cut = member.sent.is_complete();
            let cause = match self.stage {
                Stage::Writing => return None,
                _ if silent && member.rank == 0 => Cause::NoAnswer,
                _ if silent => Cause::Silent,
                Stage::Preparing if member.rank < 2 && age > config.prepare_ms => Cause::NotPrepared,
                Stage::Preparing if member.rank < 3 && !classic && over(config.ready_ms, age) => {
                    Cause::NotReady
                }
                Stage::Flipping if !cut && classic && over(config.ready_ms, age) => Cause::NotReady,
                Stage::Flipping if !cut && !classic && stage_age > config.flip_ms => Cause::NotFlipped,
                Stage::Storing if member.part.is_none() && stage_age > config.store_ms => Cause::NotStored,
                _ => continue,
            };
            return Some(Why { member: id, cause });
        }
        None
    }

    /// When [`Coordinator::tick`] has something to do next.
    pub(crate) fn wake(&self, io: &Io) -> u64 {
        let members = self.members.values().flat_map(|member| {
            let pull = member.pulling.as_ref().map_or(u64::MAX, |pulling| pulling.retry.at);
            let order = if member.has_orders(self.stage) { member.retry.at } else { u64::MAX };
            [pull, order]
        });
        // Time-outs are looked at once a sign, as leaps of the clock are cut to that anyway.
        let look = io.now.saturating_add(io.config.sign_ms.min(io.config.flip_ms));
        members.min().unwrap_or(u64::MAX).min(look)
    }
}

impl Member {
    /// Whether it has still to be told what this stage is about.
    fn has_orders(&self, stage: Stage) -> bool {
        match stage {
            Stage::Preparing => self.rank == 0,
            Stage::Flipping => self.rank < Phase::Flipping.rank(),
            Stage::Storing => self.expect_heard.missing(&self.expect).next().is_some(),
            Stage::Writing => false,
        }
    }
}

/// Answers who pulls a blob.
pub(crate) fn serve(io: &mut Io, to: u64, group: GroupId, what: What, blob: &[u8], offset: u32) {
    for (offset, octets) in pieces(blob, offset) {
        io.send(to, Body::Piece { group, what, offset, octets });
    }
}

/// The hash of a set of members, sorted.
pub(crate) fn view_of(members: &[u64]) -> u64 {
    let octets: Vec<u8> = members.iter().flat_map(|id| id.to_le_bytes()).collect();
    let Digest { sha256, .. } = Digest::of(&octets);
    sha256.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

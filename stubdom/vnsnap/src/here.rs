//! What happens on this host.

use alloc::vec::Vec;

use crate::coordinator::Stage;
use crate::decided::{Decided, Outcome};
use crate::error::{Cause, Why, text};
use crate::io::{Local, Output};
use crate::message::{Body, Phase};
use crate::node::{Node, PENDING_MAX};
use crate::pending::Pending;
use crate::{GroupId, MANIFEST_MAX, PART_MAX};

impl Node {
    /// What happened on this host. What concerns a group that is over, or comes twice, does nothing.
    pub fn local(&mut self, now_ms: u64, local: Local<'_>) {
        self.io.now = self.io.clock.advance(now_ms);
        let group = local.group();
        match local {
            Local::Committed { manifest, .. } => self.committed(group, manifest),
            Local::Decision { manifest, members, .. } => self.decide(group, manifest, members),
            Local::Ask { members, .. } => self.ask(group, members),
            Local::Failed { why, .. } if self.is_writing(group) => {
                let cause = Cause::Failed(text(why));
                self.give_up(Why { member: self.io.me, cause });
            }
            Local::Failed { why, .. } if self.pending.iter().any(|pending| pending.group == group) => {
                self.fail_pending(group, Cause::Failed(text(why)));
            }
            Local::Cancel { .. } if self.is_writing(group) => {}
            Local::Cancel { .. } if self.coordinates(group) => {
                self.give_up(Why { member: self.io.me, cause: Cause::Cancelled });
            }
            Local::Stored { part, .. } => self.stored(group, part),
            other => self.participate(group, &other),
        }
        self.settle();
    }

    /// The shim is gone. What is not stored here yet ends, and what this switch coordinates. But what is
    /// stored may be committed elsewhere, and a manifest that was given out may have its name: only the
    /// shim knows, and is to be asked when it is back, by [`Output::Question`] of each of
    /// [`Node::undecided`].
    pub fn shim_lost(&mut self, now_ms: u64) {
        self.io.now = self.io.clock.advance(now_ms);
        let cause = Cause::Failed(text("its luthierd has gone"));
        if self.coordinator.as_ref().is_some_and(|own| own.stage() < Stage::Writing) {
            self.give_up(Why { member: self.io.me, cause });
        } else if let Some(part) = &mut self.participant {
            part.failed(&self.io, cause);
        }
        self.settle();
    }

    fn participate(&mut self, group: GroupId, local: &Local<'_>) {
        let Some(part) = self.participant.as_mut().filter(|part| part.group == group) else { return };
        let io = &mut self.io;
        match local {
            Local::Prepared { jobs, .. } => part.prepared(io, *jobs),
            Local::Ready { .. } => part.ready(io),
            Local::Flipped { points, .. } => part.flipped(io, points),
            Local::Drained { .. } => part.drained(io),
            Local::Refused { why, .. } => part.failed(io, Cause::Refused(text(why))),
            Local::Failed { why, .. } => part.failed(io, Cause::Failed(text(why))),
            Local::Cancel { .. } => part.failed(io, Cause::Cancelled),
            _ => {}
        }
    }

    fn coordinates(&self, group: GroupId) -> bool {
        self.coordinator.as_ref().is_some_and(|own| own.group == group)
    }

    fn is_writing(&self, group: GroupId) -> bool {
        let own = self.coordinator.as_ref().filter(|own| own.group == group);
        own.is_some_and(|own| own.stage() == Stage::Writing)
    }

    fn stored(&mut self, group: GroupId, octets: &[u8]) {
        let Some(part) = self.participant.as_mut().filter(|part| part.group == group) else { return };
        if !part.is_storing() {
            return;
        }
        if octets.len() > PART_MAX || self.pending.len() >= PENDING_MAX {
            part.failed(&self.io, Cause::BadPart);
            return;
        }
        let pending = Pending::new(&self.io, group, &part.members, octets, part.heard_at);
        // All have been cut, or this one would not have been told what to expect.
        let members = core::mem::take(&mut part.members);
        self.pending.push(pending);
        self.participant = None;
        self.net(group.network).all_at(&members, group.epoch);
    }

    /// What was complete here is so no more, or is not what was committed.
    fn fail_pending(&mut self, group: GroupId, cause: Cause) {
        let why = Why { member: self.io.me, cause };
        self.io.send(group.initiator, Body::Report { group, phase: Phase::Failed(why.clone()) });
        self.abort_pending(group, why);
    }

    fn committed(&mut self, group: GroupId, manifest: &[u8]) {
        if self.is_writing(group) {
            if manifest.is_empty() {
                self.io.tell(Output::Question { group });
            } else {
                self.decide(group, Some(manifest), &[]);
            }
        } else if let Some(pending) = self.pending.iter_mut().find(|pending| pending.group == group)
            && let Some(manifest) = pending.take_manifest()
        {
            self.commit_pending(group, manifest);
        }
    }

    /// What the shim has of a group.
    fn decide(&mut self, group: GroupId, manifest: Option<&[u8]>, members: &[u64]) {
        self.questions.retain(|(asked, _)| *asked != group);
        let me = self.io.me;
        let manifest = manifest.filter(|manifest| manifest.len() <= MANIFEST_MAX);
        let Some(manifest) = manifest else {
            let why = Why { member: me, cause: Cause::Lost };
            if self.is_writing(group) {
                self.give_up(why);
            } else if group.initiator == me {
                self.keep(Decided::heard(group, Outcome::Aborted { why }));
            } else if self.pending.iter().any(|pending| pending.group == group) {
                self.fail_pending(group, Cause::Failed(text("nothing of it is left on the disk")));
            } else {
                self.keep(Decided::heard(group, Outcome::Nothing));
            }
            return;
        };
        self.hear_of(group.network, group.epoch);
        if self.is_writing(group) {
            self.commit(manifest);
        } else if self.pending.iter().any(|pending| pending.group == group) {
            self.commit_pending(group, manifest.to_vec());
        } else if let Some(place) = self.decided.iter().position(|decided| decided.group == group) {
            // The last used are the last to be forgotten.
            if let Some(mut decided) = self.decided.remove(place) {
                decided.set_manifest(manifest);
                // A shim that was down when it was given up, and holds it still.
                if let (Phase::Aborted, Some(output)) = (decided.phase(), decided.output()) {
                    self.io.tell(output);
                }
                self.decided.push_back(decided);
            }
        } else if group.initiator == me {
            let outcome = Outcome::committed(manifest, false);
            let mut decided = self.tell_others(group, outcome, members);
            decided.may_be_revoked = !members.is_empty();
            decided.ends = true;
            self.keep(decided);
        } else {
            self.keep(Decided::heard(group, Outcome::committed(manifest, true)));
        }
    }

    /// The shim has something undecided of a group.
    fn ask(&mut self, group: GroupId, members: &[u64]) {
        self.questions.retain(|(asked, _)| *asked != group);
        self.hear_of(group.network, group.epoch);
        let cause = Cause::Failed(text("luthierd was started anew"));
        if self.is_writing(group) {
            // It has no manifest, or it would have said so.
            self.give_up(Why { member: self.io.me, cause });
        } else if let Some(part) = self.participant.as_mut().filter(|part| part.group == group) {
            part.failed(&self.io, cause);
        } else if let Some(pending) = self.pending.iter_mut().find(|pending| pending.group == group) {
            pending.ask_again(&mut self.io);
        } else if let Some(decided) = self.decided.iter().find(|decided| decided.group == group) {
            if let Some(output) = decided.output() {
                self.io.tell(output);
            } else {
                self.decided.retain(|decided| decided.group != group);
                self.find(group, members);
            }
        } else if group.initiator == self.io.me {
            // Without a manifest it was not committed, and will not be.
            let why = Why { member: self.io.me, cause: Cause::Lost };
            let outcome = Outcome::Aborted { why: why.clone() };
            let decided = self.tell_others(group, outcome, members);
            self.keep(decided);
            // That the ports go to its epoch was said above.
            self.io.tell(Output::Abort { group, why, settle: None });
        } else {
            self.find(group, members);
        }
    }

    /// To be told to these members, as soon as they are up; to all switches if not known.
    fn tell_others(&mut self, group: GroupId, outcome: Outcome, members: &[u64]) -> Decided {
        let me = self.io.me;
        let all: Vec<u64> = if members.is_empty() { self.switches.ids().collect() } else { members.to_vec() };
        let others = all.iter().copied().filter(|id| *id != me);
        let mut decided = Decided::to_tell(&self.io, group, outcome, others, false);
        for &id in all.iter().filter(|id| !self.switches.has(**id)) {
            decided.reach(&self.io, id, false);
        }
        decided
    }

    fn find(&mut self, group: GroupId, members: &[u64]) {
        if self.pending.len() < PENDING_MAX {
            self.pending.push(Pending::found(&self.io, group, members));
        }
    }
}

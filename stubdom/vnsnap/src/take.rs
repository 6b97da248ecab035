//! What peers say.
//!
//! They are known to be who they are (the driver opened the seal), and in the network; what they say
//! is an allegation all the same, and is believed only from whom it concerns.

use alloc::vec::Vec;

use crate::coordinator::{Stage, serve, view_of};
use crate::decided::Outcome;
use crate::error::{Cause, Dropped, Why};
use crate::io::Output;
use crate::message::{Body, Phase, Verdict, What};
use crate::net::EPOCH_MAX;
use crate::node::Node;
use crate::participant::Participant;
use crate::{GroupId, Mode, Name, Options};

/// What a coordinator asks for.
struct Ask {
    group: GroupId,
    mode: Mode,
    view: u64,
    name: Name,
    options: Options,
}

impl Node {
    /// A message of a peer, or of this switch to itself.
    pub(crate) fn take(&mut self, from: u64, body: Body) -> Result<(), Dropped> {
        match body {
            Body::Sync { network, epoch, answer } => self.take_sync(from, network, epoch, answer),
            Body::Prepare { group, mode, view, name, options } => {
                self.take_prepare(from, Ask { group, mode, view, name, options })
            }
            Body::Report { group, phase } => self.take_report(from, group, &phase),
            Body::View { group, seen, count } => {
                let own = self.coordinator.as_mut().filter(|own| own.group == group);
                if let Some(why) = own.and_then(|own| own.view(from, &seen, count)) {
                    self.give_up(why);
                }
                Ok(())
            }
            Body::Heard { group, verdict } => self.take_heard(from, group, verdict),
            Body::Flip { group } => self.take_flip(from, group),
            Body::Sent { group, points } => {
                let own = self.coordinator.as_mut().filter(|own| own.group == group);
                own.ok_or(Dropped::NotItsWord)?.sent(&mut self.io, from, &points)
            }
            Body::SentHeard { group, page } => {
                let part = part_of(&mut self.participant, from, group)?;
                part.sent_heard(&self.io, page);
                Ok(())
            }
            Body::Expect { group, points } => {
                // One that is stored already has it all.
                if from == group.initiator && self.pending.iter().any(|pending| pending.group == group) {
                    self.io.send(from, Body::ExpectHeard { group, page: points.page });
                    return Ok(());
                }
                part_of(&mut self.participant, from, group)?.expect(&mut self.io, &points)
            }
            Body::ExpectHeard { group, page } => {
                let own = self.coordinator.as_mut().filter(|own| own.group == group);
                own.ok_or(Dropped::NotItsWord)?.expect_heard(&self.io, from, page);
                Ok(())
            }
            Body::Pull { group, what, offset } => self.take_pull(from, group, what, offset),
            Body::Piece { group, what: What::Part, offset, octets } => {
                let own = self.coordinator.as_mut().filter(|own| own.group == group);
                let own = own.ok_or(Dropped::NotItsWord)?;
                if let Some(why) = own.piece(&mut self.io, from, offset, &octets) {
                    self.give_up(why);
                }
                Ok(())
            }
            Body::Piece { group, what: What::Manifest, offset, octets } => {
                let pending = self.pending.iter_mut().find(|pending| pending.group == group);
                pending.ok_or(Dropped::NotItsWord)?.piece(&mut self.io, from, offset, &octets);
                Ok(())
            }
            Body::Commit { group, manifest, confirmed } => {
                self.take_commit(from, group, Verdict::Committed { manifest, confirmed })
            }
            Body::Abort { group, why } => self.take_abort(from, group, why),
        }
    }

    fn take_sync(&mut self, from: u64, network: u32, epoch: u32, answer: bool) -> Result<(), Dropped> {
        let net = self.nets.get_mut(&network).ok_or(Dropped::Stranger)?;
        net.heard(from, epoch);
        if !answer {
            self.io.send(from, Body::Sync { network, epoch: net.epoch, answer: true });
        }
        if let Some(raised) = net.raised(epoch) {
            net.later = net.later.max(raised);
        }
        Ok(())
    }

    fn take_prepare(&mut self, from: u64, ask: Ask) -> Result<(), Dropped> {
        let group = ask.group;
        if from != group.initiator || group.epoch == 0 || group.epoch > EPOCH_MAX {
            return Err(Dropped::NotItsWord);
        }
        let known = self.participant.as_ref().is_some_and(|part| part.group == group);
        if known || self.pending.iter().any(|pending| pending.group == group) {
            return Ok(());
        }
        let used = self.decided.iter().any(|decided| decided.group == group);
        let epoch = self.epoch(group.network);
        if used || epoch >= group.epoch {
            self.refuse(group, Cause::Behind(epoch.max(group.epoch)));
            return Ok(());
        }
        if let Some(running) = self.running()
            && running != group
            && !self.withdraw(running, group)
        {
            self.refuse(group, Cause::Busy(running));
            return Ok(());
        }
        let me = self.io.me;
        let members = self.net(group.network).members(me);
        if view_of(&members) != ask.view {
            self.wait_for_view(group, &members);
            return Ok(());
        }
        self.view_wait = None;
        // All that runs here is at the epoch before the cut: the coordinator knows of one that is.
        self.reach_epoch(group.network, group.epoch.saturating_sub(1));
        let participant = Participant::new(&self.io, group, ask.mode, members.clone());
        self.participant = Some(participant);
        let Ask { mode, name, options, .. } = ask;
        self.io.tell(Output::Prepare { group, mode, name, options, members });
        Ok(())
    }

    fn refuse(&mut self, group: GroupId, cause: Cause) {
        let phase = Phase::Failed(Why { member: self.io.me, cause });
        self.io.send(group.initiator, Body::Report { group, phase });
    }

    /// Gives up what runs here for one that was begun at the same time and has the smaller name, if
    /// nobody can be after the cut yet. The winner's initiator never became ready for the loser, if
    /// it takes part in it.
    fn withdraw(&mut self, running: GroupId, winner: GroupId) -> bool {
        if running.network != winner.network || winner > running {
            return false;
        }
        let why = Why { member: winner.initiator, cause: Cause::Beaten(winner) };
        if let Some(own) = &self.coordinator {
            if own.stage() >= Stage::Flipping {
                return false;
            }
            self.give_up(why);
            return self.running().is_none();
        }
        let Some(part) = &self.participant else { return false };
        if part.is_flipping() || (part.may_be_flipped() && !part.members.contains(&winner.initiator)) {
            return false;
        }
        self.refuse(running, Cause::Busy(winner));
        self.abort_here(why);
        true
    }

    /// The membership may be behind on either side: a while later it is an error.
    fn wait_for_view(&mut self, group: GroupId, members: &[u64]) {
        let now = self.io.now;
        let since = match self.view_wait {
            Some((waiting, since)) if waiting == group => since,
            _ => {
                self.view_wait = Some((group, now));
                now
            }
        };
        if now.saturating_sub(since) >= self.io.config.view_ms {
            let count = u16::try_from(members.len()).unwrap_or(u16::MAX);
            let seen = members.iter().copied().take(64).collect::<heapless::Vec<_, 64>>();
            self.io.send(group.initiator, Body::View { group, seen, count });
        }
    }

    fn take_report(&mut self, from: u64, group: GroupId, phase: &Phase) -> Result<(), Dropped> {
        if let Some(own) = self.coordinator.as_mut().filter(|own| own.group == group) {
            if let Some(why) = own.report(&mut self.io, from, phase)? {
                self.give_up(why);
            }
            return Ok(());
        }
        if let Some(decided) = self.decided.iter_mut().find(|decided| decided.group == group) {
            if let Some(why) = decided.report(&mut self.io, from, phase) {
                self.revoke(group, why);
            }
            return Ok(());
        }
        let undecided = matches!(phase, Phase::Done(_) | Phase::Locked(_));
        let pending = self.pending.iter().find(|pending| pending.group == group);
        let part = self.participant.as_ref().filter(|part| part.group == group);
        let verdict = match (pending, part) {
            (Some(pending), _) if pending.locked => Verdict::Locked,
            (Some(_), _) | (_, Some(_)) => Verdict::Running { rank: 0 },
            _ if undecided => {
                self.question(group);
                return Ok(());
            }
            // This coordinator has forgotten it, and can't have committed it.
            _ if group.initiator == self.io.me
                && phase.rank() < Phase::Done(crate::Digest::of(&[])).rank() =>
            {
                let why = Why { member: self.io.me, cause: Cause::Lost };
                Verdict::Aborted { why }
            }
            _ => return Err(Dropped::NotItsWord),
        };
        self.io.send(from, Body::Heard { group, verdict });
        Ok(())
    }

    fn take_heard(&mut self, from: u64, group: GroupId, verdict: Verdict) -> Result<(), Dropped> {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.group == group) {
            if let Some(why) = pending.heard(&self.io, from, &verdict) {
                self.abort_pending(group, why);
            }
            return Ok(());
        }
        let part = part_of(&mut self.participant, from, group)?;
        match verdict {
            Verdict::Running { rank } => part.heard(&self.io, rank),
            Verdict::Aborted { why } => self.abort_here(why),
            Verdict::Locked | Verdict::Committed { .. } => return Err(Dropped::NotItsWord),
        }
        Ok(())
    }

    fn take_flip(&mut self, from: u64, group: GroupId) -> Result<(), Dropped> {
        if from == group.initiator
            && let Some(decided) = self.decided.iter().find(|decided| decided.group == group)
        {
            // Late, if it is not given up.
            if decided.phase() == Phase::Aborted {
                self.io.send(from, Body::Report { group, phase: Phase::Aborted });
            }
            return Ok(());
        }
        if part_of(&mut self.participant, from, group)?.flip(&mut self.io)? {
            self.reach_epoch(group.network, group.epoch);
        }
        Ok(())
    }

    fn take_pull(&mut self, from: u64, group: GroupId, what: What, offset: u32) -> Result<(), Dropped> {
        match what {
            What::Part => {
                let pending = self.pending.iter().find(|pending| pending.group == group);
                let pending = pending.filter(|_| from == group.initiator).ok_or(Dropped::NotItsWord)?;
                serve(&mut self.io, from, group, what, pending.part(), offset);
            }
            What::Manifest => {
                let decided = self.decided.iter().find(|decided| decided.group == group);
                match decided.map(|decided| &decided.outcome) {
                    Some(Outcome::Committed { manifest: Some(manifest), .. }) => {
                        serve(&mut self.io, from, group, what, manifest, offset);
                    }
                    Some(Outcome::Committed { .. }) => self.question(group),
                    _ => return Err(Dropped::NotItsWord),
                }
            }
        }
        Ok(())
    }

    fn take_commit(&mut self, from: u64, group: GroupId, verdict: Verdict) -> Result<(), Dropped> {
        if from != group.initiator {
            return Err(Dropped::NotItsWord);
        }
        if self.pending.iter().any(|pending| pending.group == group) {
            return self.take_heard(from, group, verdict);
        }
        if self.participant.as_ref().is_some_and(|part| part.group == group) {
            return Err(Dropped::NotItsWord);
        }
        match self.decided.iter().find(|decided| decided.group == group) {
            Some(decided) => {
                let phase = decided.phase();
                self.io.send(from, Body::Report { group, phase });
            }
            None => self.question(group),
        }
        Ok(())
    }

    fn take_abort(&mut self, from: u64, group: GroupId, why: Why) -> Result<(), Dropped> {
        if from != group.initiator {
            return Err(Dropped::NotItsWord);
        }
        self.end_here(group, why);
        let decided = self.decided.iter().find(|decided| decided.group == group);
        let phase = decided.map_or(Phase::Aborted, |decided| decided.phase());
        self.io.send(from, Body::Report { group, phase });
        Ok(())
    }

    /// All groups that this switch knows of and that are not decided; for the driver's own log.
    pub fn undecided(&self) -> Vec<GroupId> {
        self.pending.iter().map(|pending| pending.group).collect()
    }
}

/// The part that this host has in a group, if it is the coordinator who speaks of it.
fn part_of(
    participant: &mut Option<Participant>,
    from: u64,
    group: GroupId,
) -> Result<&mut Participant, Dropped> {
    let part = participant.as_mut().filter(|part| part.group == group && from == group.initiator);
    part.ok_or(Dropped::NotItsWord)
}

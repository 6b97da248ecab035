//! What a [`Node`] does by itself: because time has passed, and after each call.

use crate::GroupId;
use crate::error::{Cause, Why};
use crate::io::Output;
use crate::node::Node;

/// Decided groups that are remembered.
const DECIDED_MAX: usize = 32;

/// Manifests of decided groups that are kept; the shim has them all.
const MANIFESTS_MAX: u32 = 3;

/// Questions to the shim that are not answered yet.
const QUESTIONS_MAX: usize = 16;

impl Node {
    /// What is to be done because time has passed.
    pub(crate) fn tick(&mut self) {
        for (&network, net) in &mut self.nets {
            let own = self.coordinator.as_ref().is_some_and(|own| own.group.network == network);
            let part = self.participant.as_ref().is_some_and(|part| part.group.network == network);
            if !own && !part {
                net.tick(&mut self.io, network);
            }
        }
        if let Some(coordinator) = &mut self.coordinator
            && let Some(why) = coordinator.tick(&mut self.io)
        {
            self.give_up(why);
        }
        if let Some(participant) = &mut self.participant
            && participant.tick(&mut self.io)
        {
            let member = participant.group.initiator;
            self.abort_here(Why { member, cause: Cause::Orphan });
        }
        for place in (0..self.pending.len()).rev() {
            let Some(pending) = self.pending.get_mut(place) else { continue };
            if let Some(why) = pending.tick(&mut self.io, self.switches.ids()) {
                let group = pending.group;
                self.abort_pending(group, why);
            }
        }
        for decided in &mut self.decided {
            decided.tick(&mut self.io);
        }
    }

    /// Hears what this switch said to itself, goes on as far as possible, and finds out when to wake.
    pub(crate) fn settle(&mut self) {
        loop {
            self.hear_own();
            if let Some(coordinator) = &mut self.coordinator
                && let Some(why) = coordinator.go_on(&mut self.io)
            {
                self.give_up(why);
            }
            if self.io.own.is_empty() {
                break;
            }
        }
        self.catch_up();
        self.forget();
        self.wake = self.next_wake();
    }

    pub(crate) fn hear_own(&mut self) {
        while let Some(body) = self.io.own.pop_front() {
            // What this switch may not say to itself does nothing either.
            let _ = self.take(self.io.me, body);
        }
    }

    /// Takes over epochs that were heard of while a snapshot ran.
    fn catch_up(&mut self) {
        let own = self.coordinator.as_ref().map(|own| own.group.network);
        let part = self.participant.as_ref().map(|part| part.group.network);
        for (&network, net) in &mut self.nets {
            if net.later > net.epoch && own != Some(network) && part != Some(network) {
                net.epoch = net.later;
                self.io.tell(Output::Settle { network, epoch: net.epoch });
            }
        }
    }

    /// Keeps within bounds what is only remembered.
    fn forget(&mut self) {
        while self.decided.len() > DECIDED_MAX {
            // Rather one that nobody has to be told of.
            let told = self.decided.iter().position(|decided| !decided.has_to_tell());
            self.decided.remove(told.unwrap_or(0));
        }
        let mut kept = 0;
        for decided in self.decided.iter_mut().rev() {
            kept += u32::from(decided.has_manifest());
            if kept > MANIFESTS_MAX {
                decided.forget_manifest();
            }
        }
    }

    fn next_wake(&self) -> u64 {
        let io = &self.io;
        let idle = |network: &u32| !self.is_busy_with(*network);
        let nets = self.nets.iter().filter(|(network, _)| idle(network)).map(|(_, net)| net.wake());
        let own = self.coordinator.iter().map(|coordinator| coordinator.wake(io));
        let part = self.participant.iter().map(|participant| participant.wake(io));
        let pending = self.pending.iter().map(|pending| pending.wake(io));
        let decided = self.decided.iter().map(|decided| decided.wake(io));
        nets.chain(own).chain(part).chain(pending).chain(decided).min().unwrap_or(u64::MAX)
    }

    /// Asks the shim what it has of a group, unless it was just asked: it may have been down then.
    pub(crate) fn question(&mut self, group: GroupId) {
        let (now, patience) = (self.io.now, self.io.config.silence_ms);
        self.questions.retain(|(_, asked)| now.saturating_sub(*asked) <= patience);
        let asked = self.questions.iter().any(|(known, _)| *known == group);
        if !asked && self.questions.len() < QUESTIONS_MAX {
            self.questions.push((group, self.io.now));
            self.io.tell(Output::Question { group });
        }
    }
}

//! How a group snapshot ends on this switch.

use alloc::vec::Vec;

use crate::GroupId;
use crate::blob::Digest;
use crate::coordinator::Stage;
use crate::decided::{Decided, Outcome};
use crate::error::{Cause, Why};
use crate::io::Output;
use crate::message::{Body, Phase};
use crate::node::Node;

impl Node {
    /// A switch is gone, or has forgotten everything.
    pub(crate) fn lose(&mut self, peer: u64) {
        if let Some(group) = self.coordinator.as_ref().map(|own| own.group) {
            self.lose_from(peer, group.network);
        }
        if let Some(part) = &self.participant
            && part.group.initiator == peer
        {
            self.abort_here(Why { member: peer, cause: Cause::Lost });
        }
        for pending in &mut self.pending {
            pending.lost(&self.io, peer);
        }
        for decided in &mut self.decided {
            decided.reach(&self.io, peer, false);
        }
    }

    /// A switch has no ports in a network any more.
    pub(crate) fn lose_from(&mut self, peer: u64, network: u32) {
        if let Some(own) = &self.coordinator
            && own.group.network == network
            && own.has(peer)
            && !own.is_spared(peer)
            && own.stage() < Stage::Writing
        {
            self.give_up(Why { member: peer, cause: Cause::Lost });
        }
    }

    /// A switch is there, maybe again.
    pub(crate) fn come(&mut self, peer: u64) {
        for decided in &mut self.decided {
            decided.reach(&self.io, peer, true);
        }
    }

    /// The coordinator gives it up, and tells all, itself included.
    pub(crate) fn give_up(&mut self, why: Why) {
        let Some(own) = self.coordinator.take() else { return };
        if let Cause::Behind(epoch) = why.cause {
            let raised = self.net(own.group.network).raised(epoch);
            self.hear_of(own.group.network, raised.unwrap_or(0));
        }
        let (group, me) = (own.group, self.io.me);
        let members: Vec<u64> = own.members().filter(|id| *id != me).collect();
        let outcome = Outcome::Aborted { why: why.clone() };
        self.keep(Decided::to_tell(&self.io, group, outcome, members.into_iter(), false));
        self.io.tell(Output::Ended { group, result: Err(why.clone()) });
        self.end_here(group, why);
    }

    /// What is here of a group that is given up ends.
    pub(crate) fn end_here(&mut self, group: GroupId, why: Why) {
        if self.participant.as_ref().is_some_and(|part| part.group == group) {
            self.abort_here(why);
        } else {
            self.abort_pending(group, why);
        }
    }

    /// This host gives up what it takes part in, and goes to the epoch all the same, as someone may be after
    /// the cut (abort-forward). But not for another that was begun at once: the loser can't have been
    /// cut anywhere, and the winner may use the same epoch.
    pub(crate) fn abort_here(&mut self, why: Why) {
        let Some(part) = self.participant.take() else { return };
        let group = part.group;
        let settles = part.is_flipping() || !matches!(why.cause, Cause::Beaten(_));
        if settles {
            self.reach_epoch(group.network, group.epoch);
        }
        let settle = settles.then_some(group.epoch);
        self.io.tell(Output::Abort { group, why: why.clone(), settle });
        self.keep(Decided::heard(group, Outcome::Aborted { why }));
    }

    /// What is complete here is given up.
    pub(crate) fn abort_pending(&mut self, group: GroupId, why: Why) {
        let Some(place) = self.pending.iter().position(|pending| pending.group == group) else { return };
        self.pending.swap_remove(place);
        self.io.tell(Output::Abort { group, why: why.clone(), settle: Some(group.epoch) });
        self.keep(Decided::heard(group, Outcome::Aborted { why }));
    }

    /// The coordinator's shim has the manifest: it is committed.
    pub(crate) fn commit(&mut self, manifest: &[u8]) {
        let Some(own) = self.coordinator.take() else { return };
        let (group, me) = (own.group, self.io.me);
        let members: Vec<u64> = own.members().collect();
        self.pending.retain(|pending| pending.group != group);
        let outcome = Outcome::committed(manifest, false);
        let others = members.into_iter().filter(|id| *id != me);
        self.keep(Decided::to_tell(&self.io, group, outcome, others, true));
    }

    /// This host's shim has committed what was complete here.
    pub(crate) fn commit_pending(&mut self, group: GroupId, manifest: Vec<u8>) {
        self.pending.retain(|pending| pending.group != group);
        self.keep(Decided::heard(group, Outcome::committed(&manifest, true)));
        self.io.send(group.initiator, Body::Report { group, phase: Phase::Committed });
    }

    /// The coordinator's manifest goes, as all others have given up.
    pub(crate) fn revoke(&mut self, group: GroupId, why: Why) {
        let Some(decided) = self.decided.iter_mut().find(|decided| decided.group == group) else { return };
        decided.revoke(&why);
        self.io.tell(Output::Abort { group, why: why.clone(), settle: Some(group.epoch) });
        self.io.tell(Output::Ended { group, result: Err(why) });
    }

    /// Remembers how a group ended, unless that is known.
    pub(crate) fn keep(&mut self, decided: Decided) {
        if !self.decided.iter().any(|known| known.group == decided.group) {
            self.decided.push_back(decided);
        }
    }

    /// The ports of a network get this epoch.
    pub(crate) fn reach_epoch(&mut self, network: u32, epoch: u32) {
        let net = self.net(network);
        net.epoch = net.epoch.max(epoch);
    }
}

impl Outcome {
    /// With this manifest.
    pub(crate) fn committed(manifest: &[u8], confirmed: bool) -> Self {
        Self::Committed { digest: Digest::of(manifest), manifest: Some(manifest.to_vec()), confirmed }
    }
}

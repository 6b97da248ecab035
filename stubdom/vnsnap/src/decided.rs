//! How groups ended: remembered for those that ask, and at the coordinator told until all have heard.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::GroupId;
use crate::blob::Digest;
use crate::clock::Retry;
use crate::error::{Cause, Why};
use crate::io::{Io, Output};
use crate::message::{Body, Phase, Verdict};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Committed. The octets may be forgotten, the shim has them.
    Committed { digest: Digest, manifest: Option<Vec<u8>>, confirmed: bool },
    /// Given up.
    Aborted { why: Why },
    /// This host has nothing of it, and will never commit it.
    Nothing,
}

/// A member that has not said that it has heard.
#[derive(Clone, Copy, Debug)]
struct Untold {
    retry: Retry,
    /// It has given up what is committed.
    aborted: bool,
    /// It can't be reached; it will ask when it is back.
    gone: bool,
}

/// A group that is decided.
pub(crate) struct Decided {
    pub(crate) group: GroupId,
    pub(crate) outcome: Outcome,
    untold: BTreeMap<u64, Untold>,
    /// The driver has still to be told that it ended.
    pub(crate) ends: bool,
    /// Whether all members are known, so that what all of them have given up can be given up here.
    pub(crate) may_be_revoked: bool,
}

impl Decided {
    /// Nobody has to be told: this switch did not coordinate it.
    pub(crate) fn heard(group: GroupId, outcome: Outcome) -> Self {
        Self { group, outcome, untold: BTreeMap::new(), ends: false, may_be_revoked: false }
    }

    /// To be told to all of these. `ends`: the driver is told of the end then.
    pub(crate) fn to_tell(
        io: &Io,
        group: GroupId,
        outcome: Outcome,
        members: impl Iterator<Item = u64>,
        ends: bool,
    ) -> Self {
        let untold = Untold { retry: Retry::now(io.now), aborted: false, gone: false };
        let untold = members.map(|id| (id, untold)).collect();
        Self { group, outcome, untold, ends, may_be_revoked: true }
    }

    /// What to answer who asks.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.outcome {
            Outcome::Committed { digest, confirmed, .. } => {
                Verdict::Committed { manifest: *digest, confirmed: *confirmed }
            }
            Outcome::Aborted { why } => Verdict::Aborted { why: why.clone() },
            Outcome::Nothing => Verdict::Locked,
        }
    }

    /// What to answer a coordinator that says how it ended.
    pub(crate) fn phase(&self) -> Phase {
        match &self.outcome {
            Outcome::Committed { .. } => Phase::Committed,
            Outcome::Aborted { .. } | Outcome::Nothing => Phase::Aborted,
        }
    }

    /// What to tell a shim that still has something undecided of it; none if that has to be asked for.
    pub(crate) fn output(&self) -> Option<Output> {
        let group = self.group;
        match &self.outcome {
            Outcome::Committed { manifest, .. } => {
                manifest.clone().map(|manifest| Output::Commit { group, manifest })
            }
            Outcome::Aborted { why, .. } => Some(Output::Abort { group, why: why.clone(), settle: None }),
            Outcome::Nothing => None,
        }
    }

    /// It is given up after all.
    pub(crate) fn revoke(&mut self, why: &Why) {
        self.outcome = Outcome::Aborted { why: why.clone() };
        self.untold.clear();
        self.ends = false;
    }

    /// Whether somebody has still to hear of it.
    pub(crate) fn has_to_tell(&self) -> bool {
        !self.untold.is_empty()
    }

    pub(crate) fn has_manifest(&self) -> bool {
        matches!(self.outcome, Outcome::Committed { manifest: Some(_), .. })
    }

    /// The shim has it, if it is asked for again.
    pub(crate) fn forget_manifest(&mut self) {
        if let Outcome::Committed { manifest, .. } = &mut self.outcome {
            *manifest = None;
        }
    }

    /// What the shim has; nothing else than what was committed.
    pub(crate) fn set_manifest(&mut self, octets: &[u8]) {
        if let Outcome::Committed { manifest, digest, .. } = &mut self.outcome
            && *digest == Digest::of(octets)
        {
            *manifest = Some(octets.to_vec());
        }
    }

    /// A report of a member. Returns why, if the whole is to be revoked.
    pub(crate) fn report(&mut self, io: &mut Io, from: u64, phase: &Phase) -> Option<Why> {
        match (phase, &mut self.outcome) {
            (Phase::Committed, Outcome::Committed { confirmed, .. }) => {
                self.untold.remove(&from);
                if !core::mem::replace(confirmed, true) {
                    // Those that are locked wait for this.
                    for untold in self.untold.values_mut() {
                        untold.retry = Retry::now(io.now);
                    }
                }
                None
            }
            (
                Phase::Aborted,
                Outcome::Committed { confirmed: true, .. } | Outcome::Aborted { .. } | Outcome::Nothing,
            ) => {
                self.untold.remove(&from);
                None
            }
            (Phase::Aborted, Outcome::Committed { .. }) => {
                if let Some(untold) = self.untold.get_mut(&from) {
                    untold.aborted = true;
                }
                let all = !self.untold.is_empty() && self.untold.values().all(|untold| untold.aborted);
                (all && self.may_be_revoked).then_some(Why { member: io.me, cause: Cause::Revoked })
            }
            (Phase::Committed, _) => None,
            _ => {
                io.send(from, Body::Heard { group: self.group, verdict: self.verdict() });
                None
            }
        }
    }

    /// A peer came or went.
    pub(crate) fn reach(&mut self, io: &Io, peer: u64, is_there: bool) {
        if let Some(untold) = self.untold.get_mut(&peer) {
            untold.gone = !is_there;
            untold.retry = Retry::now(io.now);
        }
    }

    /// Tells those that have not heard.
    pub(crate) fn tick(&mut self, io: &mut Io) {
        let group = self.group;
        for (&id, untold) in &mut self.untold {
            if untold.gone || untold.aborted || !io.due(&mut untold.retry) {
                continue;
            }
            let body = match &self.outcome {
                Outcome::Committed { digest, confirmed, .. } => {
                    Body::Commit { group, manifest: *digest, confirmed: *confirmed }
                }
                Outcome::Aborted { why } => Body::Abort { group, why: why.clone() },
                Outcome::Nothing => continue,
            };
            io.send(id, body);
        }
        if self.is_over() {
            self.ends = false;
            let result = match &self.outcome {
                Outcome::Committed { .. } => Ok(self.untold.keys().copied().collect()),
                Outcome::Aborted { why, .. } => Err(why.clone()),
                Outcome::Nothing => return,
            };
            io.tell(Output::Ended { group, result });
        }
    }

    /// Whether the driver is to be told of the end: all have heard. Those that can't be reached may be left out
    /// once somebody has confirmed it, as it can't be revoked then.
    fn is_over(&self) -> bool {
        let confirmed = matches!(self.outcome, Outcome::Committed { confirmed: true, .. });
        self.ends && self.untold.values().all(|untold| untold.gone && confirmed)
    }

    /// When [`Decided::tick`] has something to do next.
    pub(crate) fn wake(&self, io: &Io) -> u64 {
        let waiting = self.untold.values().filter(|untold| !untold.gone && !untold.aborted);
        let end = if self.is_over() { io.now } else { u64::MAX };
        waiting.map(|untold| untold.retry.at).min().unwrap_or(u64::MAX).min(end)
    }
}

//! Complete here, but not decided: from the shim's word that all is durable until it is committed or
//! given up.
//!
//! As long as the coordinator is heard, it decides. Who has not heard it for `orphan_ms`, or was
//! started anew meanwhile, *locks*: it promises not to commit on the coordinator's word alone any more,
//! and asks everybody.
//! * Someone who is not the coordinator has it committed, or the coordinator knows of one: commit.
//! * Someone has given it up: give it up.
//! * All members but the coordinator are locked: nobody of them has committed, and nobody will: give it
//!   up. (A coordinator that comes back with the manifest asks, too, and deletes it.)
//! * Otherwise: wait. That costs nothing but the disk; the guests run.
//!
//! It must never guess: two hosts that decide differently are the one thing that can't be mended.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::blob::{Digest, Got, Pulling};
use crate::clock::Retry;
use crate::error::{Cause, Why};
use crate::io::{Io, Output};
use crate::message::{Body, Phase, Verdict, What};
use crate::{GroupId, MANIFEST_MAX};

/// A group snapshot that is complete here and undecided.
pub(crate) struct Pending {
    pub(crate) group: GroupId,
    /// Members that are neither the coordinator nor this switch; none if not known.
    others: Option<Vec<u64>>,
    part: Vec<u8>,
    digest: Digest,
    pub(crate) locked: bool,
    /// Not given up by the locks of all before then: the coordinator may be back.
    patience: u64,
    /// When the coordinator was heard.
    heard_at: u64,
    report: Retry,
    locks: BTreeSet<u64>,
    pulling: Option<Pulling>,
    pulled_at: u64,
    manifest: Option<Vec<u8>>,
}

impl Pending {
    /// All is durable here, and the coordinator is waited for.
    pub(crate) fn new(io: &Io, group: GroupId, members: &[u64], part: &[u8], heard_at: u64) -> Self {
        let digest = Digest::of(part);
        Self { digest, part: part.to_vec(), locked: false, heard_at, ..Self::found(io, group, members) }
    }

    /// Found on the disk after a restart.
    pub(crate) fn found(io: &Io, group: GroupId, members: &[u64]) -> Self {
        let others = members.iter().copied().filter(|&id| id != io.me && id != group.initiator).collect();
        Self {
            group,
            others: (!members.is_empty()).then_some(others),
            part: Vec::new(),
            digest: Digest::of(&[]),
            locked: true,
            patience: io.now.saturating_add(io.config.orphan_ms),
            heard_at: io.now,
            report: Retry::now(io.now),
            locks: BTreeSet::new(),
            pulling: None,
            pulled_at: io.now,
            manifest: None,
        }
    }

    /// The part, for the coordinator.
    pub(crate) fn part(&self) -> &[u8] {
        &self.part
    }

    /// What the coordinator's shim wrote, once it was given to this host's shim.
    pub(crate) fn take_manifest(&mut self) -> Option<Vec<u8>> {
        self.manifest.take()
    }

    /// The shim asks again: it was started anew.
    pub(crate) fn ask_again(&mut self, io: &mut Io) {
        if let Some(manifest) = self.manifest.clone() {
            io.tell(Output::Commit { group: self.group, manifest });
        }
        self.report = Retry::now(io.now);
    }

    fn is_other(&self, id: u64) -> bool {
        self.others.as_ref().is_none_or(|others| others.contains(&id))
    }

    /// What someone of the network knows. Returns why it is given up, if that ends it.
    pub(crate) fn heard(&mut self, io: &Io, from: u64, verdict: &Verdict) -> Option<Why> {
        let coordinator = from == self.group.initiator;
        if coordinator {
            self.heard_at = io.now;
        } else if !self.locked || !self.is_other(from) {
            // It was not asked.
            return None;
        }
        match verdict {
            Verdict::Running { .. } => self.report.delay(io.now.saturating_add(io.config.sign_ms)),
            Verdict::Locked if !coordinator => {
                self.locks.insert(from);
            }
            Verdict::Locked => {}
            Verdict::Committed { manifest, confirmed } => {
                // With nobody else to have promised anything, the coordinator's word is enough.
                let alone = self.others.as_ref().is_none_or(Vec::is_empty);
                let believed = !coordinator || *confirmed || !self.locked || alone;
                if believed
                    && self.manifest.is_none()
                    && self.pulling.is_none()
                    && manifest.fits(MANIFEST_MAX)
                {
                    self.pulling = Some(Pulling::new(from, *manifest, io.now));
                    self.pulled_at = io.now;
                }
            }
            Verdict::Aborted { why, .. } => return Some(why.clone()),
        }
        None
    }

    /// A piece of the manifest.
    pub(crate) fn piece(&mut self, io: &mut Io, from: u64, offset: u32, octets: &[u8]) {
        let Some(pulling) = self.pulling.as_mut().filter(|pulling| pulling.from == from) else { return };
        match pulling.got(io, offset, octets) {
            Got::Nothing => {}
            Got::More => self.pulled_at = io.now,
            Got::All(manifest) => {
                self.pulling = None;
                self.manifest = Some(manifest.clone());
                io.tell(Output::Commit { group: self.group, manifest });
            }
            Got::Wrong => self.pulling = None,
        }
        if from == self.group.initiator {
            self.heard_at = io.now;
        }
    }

    /// A coordinator that started anew, or a peer that is gone: what it was asked for must be asked again.
    pub(crate) fn lost(&mut self, io: &Io, peer: u64) {
        self.locks.remove(&peer);
        if self.pulling.as_ref().is_some_and(|pulling| pulling.from == peer) {
            self.pulling = None;
        }
        self.report = Retry::now(io.now);
    }

    /// Reports, asks, pulls; `peers` are those of the network. Returns why it is given up,
    /// if it is.
    pub(crate) fn tick(&mut self, io: &mut Io, peers: impl Iterator<Item = u64>) -> Option<Why> {
        if self.manifest.is_some() {
            return None;
        }
        let group = self.group;
        if let Some(pulling) = &mut self.pulling {
            if io.now.saturating_sub(self.pulled_at) > io.config.silence_ms {
                self.pulling = None;
                self.report = Retry::now(io.now);
            } else {
                if let Some(offset) = pulling.ask(io) {
                    io.send(pulling.from, Body::Pull { group, what: What::Manifest, offset });
                }
                return None;
            }
        }
        if !self.locked && io.now.saturating_sub(self.heard_at) > io.config.orphan_ms {
            self.locked = true;
            self.patience = io.now;
            self.report = Retry::now(io.now);
        }
        let all_locked =
            self.others.as_ref().is_some_and(|others| others.iter().all(|id| self.locks.contains(id)));
        if self.locked && all_locked && io.now >= self.patience && self.is_left_alone(io) {
            return Some(Why { member: group.initiator, cause: Cause::Orphan });
        }
        if io.due(&mut self.report) {
            let phase = if self.locked { Phase::Locked(self.digest) } else { Phase::Done(self.digest) };
            io.send(group.initiator, Body::Report { group, phase: phase.clone() });
            if self.locked {
                let asked = |id: &u64| *id != group.initiator && *id != io.me && self.is_other(*id);
                for id in peers.filter(asked).collect::<Vec<_>>() {
                    io.send(id, Body::Report { group, phase: phase.clone() });
                }
            }
        }
        None
    }

    /// Whether the coordinator's word can be done without. With no other member, nobody knows of this
    /// one's lock, so it can still follow the coordinator as long as that is heard.
    fn is_left_alone(&self, io: &Io) -> bool {
        let silent = io.now.saturating_sub(self.heard_at) > io.config.orphan_ms;
        silent || self.others.as_ref().is_some_and(|others| !others.is_empty())
    }

    /// When [`Pending::tick`] has something to do next.
    pub(crate) fn wake(&self, io: &Io) -> u64 {
        if self.manifest.is_some() {
            return u64::MAX;
        }
        let look = io.now.saturating_add(io.config.sign_ms);
        self.pulling.as_ref().map_or(self.report.at, |pulling| pulling.retry.at).min(look)
    }
}

//! How a group snapshot ends on this host: committed, given up, or found out after a crash.

use std::time::Instant;

use handoff::{GroupId, GroupOrder};

use super::folders::{Left, is_other};
use super::participant::Participant;
use super::pieces::{parts, split};
use super::running::{Active, State};
use super::summary::summary;
use crate::api::Event;
use crate::daemon::fault;
use crate::error::Error;

impl Participant {
    /// A piece of all hosts' parts: this host coordinates, and its manifest is the commit.
    pub(super) fn manifest_piece(
        &mut self,
        group: GroupId,
        first: u32,
        total: u32,
        piece: &[u8],
        now: Instant,
    ) {
        let Some(active) = self.current(group).filter(|a| matches!(a.state, State::Sealed)) else { return };
        let about = active.about.clone();
        let whole = match active.pieces.add(first, total, piece) {
            Ok(None) => return,
            Ok(Some(whole)) => whole,
            Err(why) => return self.fail(why, now),
        };
        fault::at("group-manifest");
        let committed = parts(&whole).and_then(|parts| {
            let manifest = self.folders.manifest(&about, &parts)?;
            Ok(self.folders.commit(&about.name, &manifest)?)
        });
        match committed {
            Ok(manifest) => {
                self.active = None;
                self.left.push(Left::new(group, &about.name, &about.switches, true));
                self.send(GroupOrder::Committed { group }, &[]);
                fault::at("group-committed");
                tracing::info!(group = about.name, "group snapshot committed");
                if let Some(asker) = self.asker.take_if(|a| a.group == Some(group)) {
                    let _ = asker.client.send(Event::Done { result: summary(&manifest) });
                }
            }
            // Nothing has its name yet.
            Err(why) => self.fail(why, now),
        }
    }

    /// A piece of the manifest of a group that was committed elsewhere.
    pub(super) fn commit_piece(
        &mut self,
        group: GroupId,
        first: u32,
        total: u32,
        piece: &[u8],
        now: Instant,
    ) {
        let (name, pieces) = match self.active.as_mut().filter(|a| a.about.group == group) {
            Some(active) => (active.about.name.clone(), &mut active.pieces),
            None => match self.left.iter_mut().find(|l| l.group == group) {
                Some(left) => (left.name.clone(), &mut left.pieces),
                // Once more, as after a crash between the two.
                None if self.folders.committed(group).is_some() => {
                    return self.send(GroupOrder::Committed { group }, &[]);
                }
                None => return tracing::warn!(?group, "a group of which nothing is here was committed"),
            },
        };
        let whole = match pieces.add(first, total, piece) {
            Ok(None) => return,
            Ok(Some(whole)) => whole,
            Err(why) => return tracing::error!(error = %why.message, "a group's manifest"),
        };
        if self.left.iter().any(|l| l.group == group && l.committed) {
            return self.ended(group);
        }
        match self.folders.commit(&name, &whole) {
            Ok(manifest) => {
                self.send(GroupOrder::Committed { group }, &[]);
                self.folders.prune(&manifest);
                fault::at("group-committed");
                tracing::info!(group = name, "group snapshot committed");
                self.left.retain(|l| l.group != group);
                self.active.take_if(|a| a.about.group == group);
            }
            Err(why) => {
                if let Some(active) = self.active.take_if(|a| a.about.group == group) {
                    self.left.push(Left::new(group, &name, &active.about.switches, false));
                }
                let other = is_other(&why);
                let why = Error::from(why);
                tracing::error!(group = name, error = %why.message, "a group is committed, but not here");
                // Else it is only not done yet, and asked about again.
                if other {
                    self.send(GroupOrder::Failed { group, why: self.detail(&why) }, &[]);
                }
            }
        }
        self.tick(now);
    }

    /// It was given up.
    pub(super) fn give_up(&mut self, group: GroupId, why: &str) {
        if let Some(at) = self.left.iter().position(|l| l.group == group) {
            let left = self.left.swap_remove(at);
            tracing::warn!(group = left.name, why, "an interrupted group snapshot was given up");
            if let Err(e) = self.folders.discard(group, &left.name) {
                tracing::error!(group = left.name, error = %e.message, "removing what is left of it");
            }
        }
        let reason = || {
            Error::new(why)
                .hint("Every guest runs on; nothing of the group was kept. `luthier net peers` says which host is which")
        };
        match self.current(group) {
            Some(active) if matches!(active.state, State::GivenUp(_)) => {}
            Some(active) => {
                let why = active.why.take().unwrap_or_else(reason);
                active.cancel();
                active.state = State::GivenUp(why);
                self.clear_if_given_up();
            }
            None => self.refuse(group, reason()),
        }
    }

    /// When the last member of a group that was given up has ended: removes what was stored.
    pub(super) fn clear_if_given_up(&mut self) {
        let ended = |a: &mut Active| matches!(a.state, State::GivenUp(_)) && !a.is_busy();
        let Some(active) = self.active.take_if(ended) else { return };
        let State::GivenUp(why) = active.state else { return };
        tracing::warn!(group = active.about.name, why = %why.message, "group snapshot given up");
        for taken in active.seats.iter().filter_map(|s| s.taken.as_ref()) {
            if let Err(e) = self.folders.discard_image(taken) {
                tracing::error!(image = taken.image, error = %e.message, "removing a pending image");
            }
        }
        if let Err(e) = self.folders.discard(active.about.group, &active.about.name) {
            tracing::error!(group = active.about.name, error = %e.message, "removing what is left of it");
        }
        fault::at("group-aborted");
        self.refuse(active.about.group, why);
    }

    /// Tells the client that it gets none.
    fn refuse(&mut self, group: GroupId, why: Error) {
        if let Some(asker) = self.asker.take_if(|a| a.group == Some(group)) {
            let _ = asker.client.send(Event::Failed { error: why });
        }
    }

    /// The stub asks what there is of a group: for another host, or because it knows of it itself, and
    /// this daemon is new. What is complete here and undecided must not be denied, or it would be lost.
    pub(super) fn answer(&mut self, group: GroupId) {
        if let Some(left) = self.left.iter().find(|l| l.group == group) {
            return self.ask_about(left);
        }
        if self.current(group).is_some_and(|a| matches!(a.state, State::Sealed) && !a.coordinator) {
            return; // It was told.
        }
        self.decision(group);
    }

    /// Tells the stub whether this host has a group committed, with its manifest.
    fn decision(&self, group: GroupId) {
        let manifest = self.folders.committed(group).unwrap_or_default();
        let (total, committed) = (manifest.len() as u32, !manifest.is_empty());
        if !committed {
            return self.send(GroupOrder::Decision { group, committed, first: 0, total }, &[]);
        }
        for (first, piece) in split(&manifest) {
            self.send(GroupOrder::Decision { group, committed, first, total }, piece);
        }
    }

    /// Asks the stub what became of a group that this host can't know the end of by itself. A manifest
    /// of its own goes with the question: the others may have given up, and never ask for it.
    pub(super) fn ask_about(&self, left: &Left) {
        let order = GroupOrder::Ask { group: left.group, committed: left.committed };
        let switches: Vec<u8> = left.switches.iter().flat_map(|switch| switch.to_le_bytes()).collect();
        self.send(order, &switches);
        if left.committed {
            self.decision(left.group);
        }
    }

    /// Every member knows how it ended: nobody has to be asked any more.
    pub(super) fn ended(&mut self, group: GroupId) {
        if let Some(at) = self.left.iter().position(|l| l.group == group && l.committed) {
            let left = self.left.swap_remove(at);
            if let Err(e) = self.folders.confirm(&left.name) {
                tracing::error!(group = left.name, error = %e.message, "noting that all hosts have it");
            }
        }
    }
}

//! What the shim says of group snapshots, and the words in which it is told of them.

use alloc::rc::Rc;
use alloc::vec::Vec;

use handoff::{GroupMode, GroupNews, GroupOrder, Job, MAX_GROUP_MANIFEST, word};
use vnsnap::{Begin, GroupId, Local, Mode, Refusal};
use xen::DomId;
use xen::time::now;

use super::{Groups, Meeting, State};
use crate::net::now_ms;

impl Groups {
    /// A snapshot begins that is one of a group's.
    pub(crate) fn join(&self, job: Job, guest: DomId) -> Rc<Meeting> {
        let mut state = self.state.borrow_mut();
        let began = state.current.as_ref().map_or_else(now, |current| current.began);
        let meeting = Rc::new(Meeting::new(job, guest, began));
        match &mut state.current {
            Some(current) => current.join(Rc::clone(&meeting)),
            // The group is over already: the shim will cancel this one, too.
            None => meeting.give_up(),
        }
        meeting
    }

    /// Carries out an order of the shim. `false`: it makes no sense.
    pub(crate) fn order(&self, order: GroupOrder, bulk: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let now = now_ms();
        let mut good = true;
        match order {
            GroupOrder::Begin { network, mode, name, options } => {
                let begin = Begin { network, mode: mode_in(mode), name: &name, options: &options };
                let answer = match state.node.begin(now, begin) {
                    Ok(group) => GroupNews::Begun { group: id_out(group) },
                    Err(why) => {
                        let group = if let Refusal::Busy(group) = why { Some(id_out(group)) } else { None };
                        let why = match why {
                            Refusal::Member(why) => self.told(&why),
                            why => alloc::format!("{why}"),
                        };
                        GroupNews::Refused { group, why: word(&why) }
                    }
                };
                state.news.push((answer, Vec::new()));
            }
            GroupOrder::Prepared { group, jobs } => {
                let group = id_in(group);
                if let Some(current) = state.current_of(group) {
                    current.prepared(&jobs);
                    state.node.local(now, Local::Prepared { group, jobs: jobs.len() as u8 });
                }
            }
            GroupOrder::Stored { group } => {
                state.node.local(now, Local::Stored { group: id_in(group), part: bulk });
            }
            GroupOrder::Committed { group } => {
                state.node.local(now, Local::Committed { group: id_in(group), manifest: &[] });
            }
            GroupOrder::Failed { group, why } => {
                let (group, why) = (id_in(group), why.as_str());
                let begun = state.current.as_ref().is_none_or(|current| current.is_prepared());
                let local = if begun { Local::Failed { group, why } } else { Local::Refused { group, why } };
                state.node.local(now, local);
            }
            GroupOrder::Cancel { group } => state.node.local(now, Local::Cancel { group: id_in(group) }),
            GroupOrder::Ask { group, committed } => {
                let members: Vec<u64> =
                    bulk.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
                let group = id_in(group);
                if committed {
                    // Its manifest comes next.
                    state.members = members;
                } else {
                    state.node.local(now, Local::Ask { group, members: &members });
                }
            }
            GroupOrder::Decision { group, committed, first, total } => {
                good = state.decision(id_in(group), committed, (first, total), bulk, now);
            }
            GroupOrder::Raise { network, epoch } => {
                state.node.raise_epoch(now, network, epoch);
                self.net.settle(network, epoch);
            }
            GroupOrder::Inject { count, .. } => {
                let refused = self.net.inject(bulk, count);
                if refused > 0 {
                    log::warn!("{refused} frames of a group's image found no room: they are lost");
                }
            }
        }
        self.wake.signal(());
        good
    }
}

impl State {
    /// A piece of a manifest.
    fn decision(
        &mut self,
        group: GroupId,
        committed: bool,
        (first, total): (u32, u32),
        piece: &[u8],
        now: u64,
    ) -> bool {
        if first == 0 {
            self.manifest.clear();
        }
        let fits = self.manifest.len() == first as usize
            && self.manifest.len() + piece.len() <= total as usize
            && total as usize <= MAX_GROUP_MANIFEST;
        if !fits {
            return false;
        }
        self.manifest.extend_from_slice(piece);
        if self.manifest.len() == total as usize {
            let manifest = core::mem::take(&mut self.manifest);
            let members = core::mem::take(&mut self.members);
            let manifest = committed.then_some(manifest.as_slice());
            self.node.local(now, Local::Decision { group, manifest, members: &members });
        }
        true
    }
}

/// All parts in one: each after its switch and its length.
pub(super) fn join(parts: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut joined = Vec::new();
    for (switch, part) in parts {
        joined.extend_from_slice(&switch.to_le_bytes());
        joined.extend_from_slice(&(part.len() as u32).to_le_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

pub(super) fn id_out(group: GroupId) -> handoff::GroupId {
    handoff::GroupId { network: group.network, epoch: group.epoch, initiator: group.initiator }
}

fn id_in(group: handoff::GroupId) -> GroupId {
    GroupId { network: group.network, epoch: group.epoch, initiator: group.initiator }
}

pub(super) fn mode_out(mode: Mode) -> GroupMode {
    match mode {
        Mode::Together => GroupMode::Together,
        Mode::Classic => GroupMode::Classic,
    }
}

fn mode_in(mode: GroupMode) -> Mode {
    match mode {
        GroupMode::Together => Mode::Together,
        GroupMode::Classic => Mode::Classic,
    }
}

//! A simulated shim: it checks, starts the jobs, and keeps what it was given on a disk, one durable step
//! after the other. All that it knows otherwise is gone when it is killed.

use vnsnap::{GroupId, Local};

use super::disk::{Part, parts};
use super::fault::{Mutant, Step};
use super::host::{GroupHost, host_of};
use super::jobs::{Job, State};
use super::oracle::{FrameNo, Vif};
use super::shared::Answer;

/// A shim's memory.
#[derive(Debug, Default)]
pub struct Shim {
    tasks: Vec<(u64, Task)>,
    /// The channel's frames of the snapshot that runs, once its channels are closed.
    channel: Option<(GroupId, Vec<(Vif, FrameNo)>)>,
}

/// What it does next.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Checks its guests and starts jobs.
    Check(GroupId),
    /// Makes the channel's frames durable.
    Channel(GroupId),
    /// Makes the part durable.
    Part(GroupId),
    /// Writes the manifest.
    Write(GroupId, Vec<u8>),
    /// Renames: the commit point.
    Rename(GroupId),
    /// Writes the manifest that another made, and renames.
    Take(GroupId, Vec<u8>),
    /// Looks what it has of a group.
    Look(GroupId),
}

impl Task {
    fn group(&self) -> GroupId {
        match self {
            Self::Check(group)
            | Self::Channel(group)
            | Self::Part(group)
            | Self::Write(group, _)
            | Self::Rename(group)
            | Self::Take(group, _)
            | Self::Look(group) => *group,
        }
    }

    /// Whether it is done even if the stub is gone.
    fn is_deciding(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Rename(_) | Self::Take(..))
    }
}

impl Shim {
    /// When it does something next; `u64::MAX` if nothing is to be done.
    pub fn next(&self) -> u64 {
        self.tasks.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX)
    }
}

impl GroupHost {
    /// Puts something on the shim's list.
    pub(super) fn task(&mut self, at: u64, task: Task) {
        if let Some(shim) = &mut self.shim {
            shim.tasks.push((at, task));
        }
    }

    /// After a small thing on the disk.
    pub(super) fn soon(&mut self, now_ms: u64) -> u64 {
        let (least, most) = self.shared.borrow().pace.sync;
        now_ms + least + self.rng.below(most - least + 1)
    }

    pub(super) fn shim_due(&mut self, now_ms: u64) {
        let Some(shim) = &mut self.shim else { return };
        let Some(at) = shim.tasks.iter().position(|(at, _)| *at <= now_ms) else { return };
        let (_, task) = shim.tasks.remove(at);
        let _ = match task {
            Task::Check(group) => self.start_jobs(now_ms, group),
            Task::Channel(group) => self.store_channel(now_ms, group),
            Task::Part(group) => self.store_part(now_ms, group),
            Task::Write(group, manifest) => self.write_manifest(now_ms, group, manifest),
            Task::Rename(group) => self.rename(now_ms, group),
            Task::Take(group, manifest) => self.take_manifest(now_ms, group, manifest),
            Task::Look(group) => {
                self.look(now_ms, group);
                Some(())
            }
        };
    }

    fn start_jobs(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        let (refuse, pace) = {
            let shared = self.shared.borrow();
            (shared.refuse, shared.pace)
        };
        if self.rng.chance(refuse) {
            self.tell_node(now_ms, Local::Refused { group, why: "no space for the image of guest 7" });
            return Some(());
        }
        self.running(group)?;
        for guest in &self.guests {
            if guest.ports.iter().any(|port| port.network == group.network) {
                let (least, most) = pace.copy;
                let at = now_ms + least + self.rng.below(most - least + 1);
                self.jobs.push(Job { guest: guest.number, group, state: State::Copying, at });
            }
        }
        self.step(now_ms, Step::Prepared, group)?;
        let jobs = self.jobs.len() as u8;
        self.running(group)?.prepared = true;
        self.tell_node(now_ms, Local::Prepared { group, jobs });
        self.check_ready(now_ms)
    }

    /// The stub has closed all channels.
    pub(super) fn take_channel(&mut self, now_ms: u64, group: GroupId, recorded: Vec<(Vif, FrameNo)>) {
        if let Some(shim) = &mut self.shim {
            shim.channel = Some((group, recorded));
        }
        let at = self.soon(now_ms);
        self.task(at, Task::Channel(group));
    }

    fn store_channel(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        let (of, frames) = self.shim.as_mut()?.channel.take()?;
        if of != group {
            return None;
        }
        self.disk.folders.entry(group).or_default().channel = Some(frames);
        self.step(now_ms, Step::ChannelStored, group)?;
        self.check_stored(now_ms, group);
        Some(())
    }

    /// Goes on to the part when images and channel are durable.
    pub(super) fn check_stored(&mut self, now_ms: u64, group: GroupId) {
        let channel = self.disk.folders.get(&group).is_some_and(|folder| folder.channel.is_some());
        if channel && self.all_stored() {
            let at = self.soon(now_ms);
            self.task(at, Task::Part(group));
        }
    }

    fn store_part(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        self.step(now_ms, Step::PartStoring, group)?;
        // A job may have failed at this very step.
        let guests: Vec<u32> = self.jobs.iter().map(|job| job.guest).collect();
        let members = self.guests.iter().filter(|guest| guests.contains(&guest.number));
        let ports = members.flat_map(|guest| &guest.ports).filter(|port| port.network == group.network);
        let vifs = ports.map(|port| port.vif).collect();
        let folder = self.disk.folders.get_mut(&group)?;
        let recorded = folder.channel.as_ref()?.len() as u32;
        let part = Part { host: self.at as u32, guests, vifs, recorded }.emit();
        folder.part = Some(part.clone());
        self.step(now_ms, Step::PartStored, group)?;
        self.jobs.clear();
        self.running(group)?.stored = true;
        self.tell_node(now_ms, Local::Stored { group, part: &part });
        Some(())
    }

    fn write_manifest(&mut self, now_ms: u64, group: GroupId, manifest: Vec<u8>) -> Option<()> {
        self.disk.folders.get_mut(&group)?.manifest = Some(manifest.clone());
        self.step(now_ms, Step::ManifestStored, group)?;
        let mut at = self.soon(now_ms);
        if self.mutant == Mutant::CommitWithoutRename {
            self.tell_node(now_ms, Local::Committed { group, manifest: &manifest });
            at += 100;
        }
        self.task(at, Task::Rename(group));
        Some(())
    }

    fn rename(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        let folder = self.disk.folders.get_mut(&group)?;
        let manifest = folder.manifest.clone()?;
        folder.committed = true;
        folder.unconfirmed = true;
        self.shared.borrow_mut().committed.insert(group, now_ms);
        self.step(now_ms, Step::Renamed, group)?;
        self.answer(now_ms, group, Answer::Committed);
        self.tell_node(now_ms, Local::Committed { group, manifest: &manifest });
        self.step(now_ms, Step::Committed, group)
    }

    fn take_manifest(&mut self, now_ms: u64, group: GroupId, manifest: Vec<u8>) -> Option<()> {
        self.step(now_ms, Step::Committing, group)?;
        let own = parts(&manifest).into_iter().find(|part| part.host as usize == self.at);
        match self.disk.folders.get_mut(&group) {
            Some(folder) if folder.part.is_some() => {
                if own.map(|part| part.emit()) != folder.part {
                    // Another group of this name, of a life that nobody remembers.
                    self.fail(now_ms, group, "what is stored is not what the manifest says");
                    return None;
                }
                folder.manifest = Some(manifest.clone());
                folder.committed = true;
            }
            _ => {
                self.fail(now_ms, group, "nothing of it is here");
                return None;
            }
        }
        self.step(now_ms, Step::CommittedToo, group)?;
        self.tell_node(now_ms, Local::Committed { group, manifest: &manifest });
        Some(())
    }

    /// Deletes what is here of a group, and lets its guests run.
    pub(super) fn give_up(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        self.step(now_ms, Step::Aborting, group)?;
        let jobs: Vec<Job> = self.jobs.extract_if(.., |job| job.group == group).collect();
        if self.mutant != Mutant::AbortLeavesSuspended {
            jobs.iter().for_each(|job| self.let_run(now_ms, job.guest));
        }
        // A shim that is down does nothing; it will ask when it is back.
        let shim = self.shim.as_mut()?;
        shim.tasks.retain(|(_, task)| task.group() != group);
        shim.channel.take_if(|(of, _)| *of == group);
        if let Some(folder) = self.disk.folders.remove(&group) {
            let mut shared = self.shared.borrow_mut();
            if folder.committed {
                shared.revoked.insert(group, now_ms);
            } else if folder.part.is_some() {
                shared.gave_up.insert((group, self.at), now_ms);
            }
        }
        self.step(now_ms, Step::Aborted, group)
    }

    /// Says what is here of a group.
    fn look(&mut self, now_ms: u64, group: GroupId) {
        match self.disk.folders.get(&group).cloned() {
            Some(folder) if folder.committed => {
                let (manifest, members) = (folder.manifest.as_deref(), &folder.members);
                self.tell_node(now_ms, Local::Decision { group, manifest, members });
            }
            Some(folder) if folder.part.is_some() => {
                self.tell_node(now_ms, Local::Ask { group, members: &folder.members });
            }
            _ => self.tell_node(now_ms, Local::Decision { group, manifest: None, members: &[] }),
        }
    }

    /// The shim starts, and looks at what it finds.
    pub(super) fn start_shim(&mut self, now_ms: u64) {
        self.shim = Some(Shim::default());
        for number in self.guests.iter().map(|guest| guest.number).collect::<Vec<_>>() {
            self.let_run(now_ms, number);
        }
        // What is not complete is nobody's.
        self.disk.folders.retain(|_, folder| folder.committed || folder.part.is_some());
        self.attach(now_ms);
    }

    /// Shim and stub find each other: the shim asks what became of what it has undecided.
    pub(super) fn attach(&mut self, now_ms: u64) {
        if self.shim.is_none() || self.stub.is_none() {
            return;
        }
        // Epochs of all images are used up.
        for group in self.disk.folders.keys() {
            if let Some(stub) = &mut self.stub {
                stub.node.raise_epoch(now_ms, group.network, group.epoch);
            }
        }
        let open = self.disk.folders.iter().filter(|(_, folder)| !folder.committed || folder.unconfirmed);
        let mut open: Vec<GroupId> = open.map(|(group, _)| *group).collect();
        // And what the stub waits for.
        open.extend(self.stub.as_ref().map(|stub| stub.node.undecided()).unwrap_or_default());
        open.sort_unstable();
        open.dedup();
        for group in open {
            self.look(now_ms, group);
        }
    }

    /// The shim sees that its stub is gone.
    pub(super) fn stub_is_gone(&mut self, now_ms: u64) {
        self.answer_all(now_ms, &Answer::Gone);
        for job in std::mem::take(&mut self.jobs) {
            self.let_run(now_ms, job.guest);
        }
        let Some(shim) = &mut self.shim else { return };
        shim.channel = None;
        shim.tasks.retain(|(_, task)| task.is_deciding());
        self.disk.folders.retain(|_, folder| folder.committed || folder.part.is_some());
    }

    /// Answers the client that waits for a group.
    pub(super) fn answer(&mut self, now_ms: u64, group: GroupId, answer: Answer) {
        if host_of(group.initiator) != self.at {
            return;
        }
        let mut shared = self.shared.borrow_mut();
        let waiting = shared
            .requests
            .iter_mut()
            .find(|request| request.group == Some(group) && request.answer.is_none());
        if let Some(request) = waiting {
            request.answer = Some((now_ms, answer));
        }
    }
}

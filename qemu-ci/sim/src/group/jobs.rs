//! One guest's snapshot as part of a group's: pre-copy, the barrier, the cut, storing.
//!
//! What matters here is the order around the cut: the guest is asked to suspend, stands still, what it
//! sent is taken with the old epoch, its ports are flipped, what it has not taken and its backlog are recorded, it is
//! resumed.

use violin::session::SeqPoint as Place;
use vnsnap::{GroupId, Local, Mode, Point, SeqPoint};

use super::fault::{Mutant, Step};
use super::host::{GroupHost, id_of};
use super::oracle::{FrameNo, Vif};
use super::shared::name;

/// A guest's part of a group snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) guest: u32,
    pub(super) group: GroupId,
    pub(super) state: State,
    /// When the state ends of itself.
    pub(super) at: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Copied while it runs.
    Copying,
    /// At the barrier.
    Ready,
    /// Asked to suspend.
    Asked {
        /// How much of the pre-copy was left: it is to be copied while the guest stands still.
        left: u64,
    },
    /// Standing still.
    Standing,
    /// Running again; what was copied becomes durable.
    Storing,
    /// Durable.
    Stored,
}

impl GroupHost {
    /// A job's state has ended.
    pub(super) fn job_due(&mut self, now_ms: u64, at: usize) {
        let job = self.jobs[at];
        self.jobs[at].at = u64::MAX;
        // None: something crashed meanwhile, and took the job with it.
        let _ = match job.state {
            State::Copying => self.copied(now_ms, at),
            State::Asked { left } => self.stands(now_ms, at, left),
            State::Standing => self.resumes(now_ms, at),
            State::Storing => self.image_stored(now_ms, at),
            State::Ready | State::Stored => Some(()),
        };
    }

    fn copied(&mut self, now_ms: u64, at: usize) -> Option<()> {
        self.jobs[at].state = State::Ready;
        let running = self.running(self.jobs[at].group)?;
        if running.mode == Mode::Classic && running.go {
            self.ask(now_ms, at);
        }
        self.check_ready(now_ms)
    }

    /// Says that the host is ready, when all its guests are.
    pub(super) fn check_ready(&mut self, now_ms: u64) -> Option<()> {
        let group = self.local_group()?;
        let all = self.jobs.iter().all(|job| job.state != State::Copying);
        let all = all || self.mutant == Mutant::ReadyWithoutBarrier;
        let running = self.running(group)?;
        if running.mode == Mode::Together && running.prepared && !running.ready && all {
            running.ready = true;
            self.step(now_ms, Step::Ready, group)?;
            self.tell_node(now_ms, Local::Ready { group });
        }
        Some(())
    }

    /// The word to flip.
    pub(super) fn go(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        self.running(group)?.go = true;
        self.step(now_ms, Step::Flipping, group)?;
        self.mark(group);
        let classic = self.running(group)?.mode == Mode::Classic;
        for at in 0..self.jobs.len() {
            // In classic mode each when its own pre-copy ends, but none before this.
            if !classic || self.jobs[at].state == State::Ready {
                self.ask(now_ms, at);
            }
        }
        self.check_flipped(now_ms, group)
    }

    /// Notes where each peer's sequence is, once.
    fn mark(&mut self, group: GroupId) -> Option<()> {
        let stub = self.stub.as_mut()?;
        let running = stub.local.as_mut().filter(|running| running.group == group)?;
        if running.after.is_none() {
            let sessions = stub.sessions.iter().enumerate();
            let seen = sessions.filter_map(|(host, session)| Some((host, session.seen_point(stub.life)?)));
            running.after = Some(seen.collect());
        }
        Some(())
    }

    /// Asks a guest to suspend.
    fn ask(&mut self, now_ms: u64, at: usize) {
        let Job { group, state, at: due, .. } = self.jobs[at];
        let left = if state == State::Copying { due.saturating_sub(now_ms) } else { 0 };
        self.mark(group);
        let (least, most) = self.shared.borrow().pace.suspend;
        self.jobs[at].state = State::Asked { left };
        self.jobs[at].at = now_ms + least + self.rng.below(most - least + 1);
    }

    /// A guest stands still: its cut.
    fn stands(&mut self, now_ms: u64, at: usize, left: u64) -> Option<()> {
        let Job { guest: number, group, .. } = self.jobs[at];
        let guest = self.guests.iter().position(|guest| guest.number == number)?;
        // One that was left so by mistake stands still since then.
        self.guests[guest].suspended.get_or_insert(now_ms);
        self.step(now_ms, Step::Standing, group)?;
        // Maybe it is this job that has failed.
        self.job_of(number)?;
        let vifs: Vec<_> = self.guests[guest]
            .ports
            .iter()
            .filter(|port| port.network == group.network)
            .map(|port| port.vif)
            .collect();
        for &vif in &vifs {
            self.shared.borrow_mut().oracle.cut(name(group), vif, now_ms * 1000);
        }
        if self.mutant != Mutant::RingAfterFlip {
            self.collect(now_ms, guest, Some(group.network));
        }
        self.flip(now_ms, guest, group.network)?;
        self.collect(now_ms, guest, Some(group.network));
        let (least, most) = self.shared.borrow().pace.stand;
        let until = now_ms + least + self.rng.below(most - least + 1) + left;
        let job = self.job_of(number)?;
        (job.state, job.at) = (State::Standing, until);
        self.check_flipped(now_ms, group)
    }

    fn job_of(&mut self, guest: u32) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.guest == guest)
    }

    /// Flips a guest's ports, and records what it has not taken and their backlogs.
    fn flip(&mut self, now_ms: u64, guest: usize, network: u32) -> Option<()> {
        let mutant = self.mutant;
        let stub = self.stub.as_mut()?;
        let mut backlog: Vec<(Vif, FrameNo)> = Vec::new();
        for port in self.guests[guest].ports.iter().filter(|port| port.network == network) {
            stub.cut.flip(port.id);
            let given = port.given.iter().filter(|_| mutant != Mutant::ForgetGiven);
            backlog.extend(given.map(|frame| (port.vif, *frame)));
            backlog.extend(port.queue.iter().map(|queued| (port.vif, queued.frame)));
        }
        if mutant == Mutant::EpochPerHost {
            for port in self.guests.iter().flat_map(|guest| &guest.ports) {
                stub.cut.flip(port.id);
            }
        }
        self.shared.borrow().say(now_ms, self.at, || format!("backlog {backlog:?}"));
        if mutant != Mutant::ForgetBacklog {
            stub.local.as_mut()?.recorded.append(&mut backlog);
        }
        self.note_epochs();
        self.release(now_ms);
        Some(())
    }

    /// Says that the host is cut, when all its guests are.
    fn check_flipped(&mut self, now_ms: u64, group: GroupId) -> Option<()> {
        let cut = |state| matches!(state, State::Standing | State::Storing | State::Stored);
        let all = self.jobs.iter().all(|job| cut(job.state));
        let running = self.running(group)?;
        if !all || !running.go || running.flipped {
            return Some(());
        }
        running.flipped = true;
        self.step(now_ms, Step::Flipped, group)?;
        let stub = self.stub.as_mut()?;
        let sessions = stub.sessions.iter().enumerate();
        let points: Vec<Point> = sessions
            .filter_map(|(host, session)| Some((id_of(host), say(session.sent_point(stub.life)?))))
            .collect();
        stub.node.local(now_ms, Local::Flipped { group, points: &points });
        Some(())
    }

    fn resumes(&mut self, now_ms: u64, at: usize) -> Option<()> {
        let Job { guest, group, .. } = self.jobs[at];
        let (least, most) = self.shared.borrow().pace.store;
        self.jobs[at].state = State::Storing;
        self.jobs[at].at = now_ms + least + self.rng.below(most - least + 1);
        self.let_run(now_ms, guest);
        self.step(now_ms, Step::Resumed, group)
    }

    fn image_stored(&mut self, now_ms: u64, at: usize) -> Option<()> {
        let Job { guest, group, .. } = self.jobs[at];
        self.step(now_ms, Step::Storing, group)?;
        self.job_of(guest)?.state = State::Stored;
        self.disk.folders.entry(group).or_default().images.insert(guest);
        self.check_stored(now_ms, group);
        Some(())
    }

    /// Whether all images of this host are durable.
    pub(super) fn all_stored(&self) -> bool {
        self.jobs.iter().all(|job| job.state == State::Stored)
    }
}

/// A point in the protocol's words.
pub(super) fn say(point: Place) -> SeqPoint {
    SeqPoint { key: point.key, counter: point.counter }
}

/// A point in the session's words.
pub(super) fn hear(point: SeqPoint) -> Place {
    Place { key: point.key, counter: point.counter }
}

//! The members of the group that runs: from their start to what is sealed.

use std::sync::Arc;
use std::time::Instant;

use handoff::{ChannelTally, CutTimes, GroupId, GroupOrder, Job, Why};
use heapless::Vec as ShortVec;
use serde_json::json;

use super::About;
use super::inbox::Said;
use super::keeping::{Stop, call_off};
use super::member::{Seat, part};
use super::participant::Participant;
use super::pieces::Pieces;
use crate::api::{Event, SnapshotOptions};
use crate::daemon::fault;
use crate::error::Error;

/// How far the group is here.
#[derive(Debug)]
pub(super) enum State {
    /// Members run, or wait for the others.
    Running,
    /// All is sealed, as this part, and goes to the host that keeps it.
    Sending(Vec<u8>),
    /// All is sealed, and the stub was told.
    Sealed,
    /// It failed here; the stub is to give it up.
    Failed(Instant),
    /// It was given up; members may still be ending.
    GivenUp(Error),
}

/// The group snapshot that runs.
pub(super) struct Active {
    pub(super) about: About,
    /// Whether it was asked for here.
    pub(super) coordinator: bool,
    pub(super) seats: Vec<Seat>,
    pub(super) state: State,
    pub(super) pieces: Pieces,
    switch: u64,
    /// How members are taken.
    pub(super) options: SnapshotOptions,
    /// Who is to keep the images, if not this host; and its switch, once that is known.
    pub(super) to: Option<String>,
    pub(super) kept_on: Option<String>,
    /// What is being done beside the members.
    pub(super) errand: Option<Stop>,
    pub(super) tally: Option<ChannelTally>,
    prepared: bool,
    /// Why it failed, in more words than the stub's.
    pub(super) why: Option<Error>,
}

impl Participant {
    /// Takes the snapshots of all members, each in a thread of its own.
    pub(super) fn start_members(&mut self) {
        let seats = self.active.as_ref().map_or(0, |a| a.seats.len());
        (0..seats).for_each(|seat| self.start(seat));
        self.prepared();
    }

    fn start(&mut self, number: usize) {
        let Some(active) = &mut self.active else { return };
        let (about, options) = (active.about.clone(), active.options.clone());
        let Some(seat) = active.seats.get_mut(number) else { return };
        seat.busy = true;
        let member = seat.member.clone();
        let (host, inbox) = (Arc::clone(&self.host), self.inbox.clone());
        std::thread::spawn(move || {
            let (seat, group) = (number, about.group);
            let taken = host
                .take(&member, &about, &options, &mut |said| inbox.member(group, seat, said))
                .map_err(|e| {
                    // Most say which guest it was.
                    if e.message.contains(&member.guest) {
                        return e;
                    }
                    Error { message: format!("`{}`: {}", member.guest, e.message), hint: e.hint }
                });
            fault::at("group-pending");
            inbox.member(group, seat, Said::Ended(taken));
        });
    }

    pub(super) fn member(&mut self, group: GroupId, seat: usize, said: Said, now: Instant) {
        let Some(active) = self.active.as_mut().filter(|a| a.about.group == group) else { return };
        let running = matches!(active.state, State::Running);
        let Some(seat) = active.seats.get_mut(seat) else { return };
        match said {
            Said::Begun(cancel) => {
                if !running {
                    cancel();
                }
                seat.cancel = Some(cancel);
            }
            Said::Enlisted(job) => {
                seat.job = Some(job);
                self.prepared();
            }
            Said::Tell(event) => {
                let guest = seat.member.guest.clone();
                if let Some(asker) = self.asker.as_ref().filter(|a| a.group == Some(group)) {
                    let _ = asker.client.send(Event::Member { guest, told: Box::new(event) });
                }
            }
            Said::Ended(ended) => {
                seat.busy = false;
                match ended {
                    Ok(taken) => seat.taken = Some(taken),
                    Err(why) => self.fail(why, now),
                }
                self.seal_if_whole(now);
                self.clear_if_given_up();
            }
        }
    }

    /// Tells the stub of the members' jobs when all have one.
    pub(super) fn prepared(&mut self) {
        let Some(active) = self.active.as_mut() else { return };
        let jobs: Option<ShortVec<Job, { handoff::MAX_GROUP_JOBS }>> =
            active.seats.iter().map(|s| s.job).collect();
        if let Some(jobs) = jobs.filter(|_| !active.prepared && matches!(active.state, State::Running)) {
            active.prepared = true;
            let group = active.about.group;
            fault::at("group-prepared");
            self.send(GroupOrder::Prepared { group, jobs }, &[]);
            self.phase(group, "prepared");
        }
    }

    /// Stores frames of the channel state.
    pub(super) fn channel(&mut self, group: GroupId, count: u16, bulk: &[u8], now: Instant) {
        let Some(active) = self.active.as_mut().filter(|a| a.about.group == group) else { return };
        if !matches!(active.state, State::Running) {
            return;
        }
        if let Err(why) = self.folders.record(count, bulk) {
            self.fail(why, now);
        }
    }

    /// When all images are pending and the channels are closed: seals everything, and tells the stub.
    pub(super) fn seal_if_whole(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        let (State::Running, Some(tally)) = (&active.state, active.tally) else { return };
        if active.seats.iter().any(|s| s.busy || s.taken.is_none()) {
            return;
        }
        let (keep, kept_on) = (active.about.keep, active.kept_on.clone());
        let part = part(self.host.host(), active.switch, &active.seats, &tally, keep, kept_on);
        match part.and_then(|part| self.folders.seal(part)) {
            Ok(part) => self.sealed(part),
            Err(why) => self.fail(why, now),
        }
    }

    /// It can't go on here.
    pub(super) fn fail(&mut self, why: Error, now: Instant) {
        let detail = self.detail(&why);
        let Some(active) = self
            .active
            .as_mut()
            .filter(|a| matches!(a.state, State::Running | State::Sending(_) | State::Sealed))
        else {
            return;
        };
        // What is sealed is decided by all.
        if matches!(active.state, State::Sealed) && !active.coordinator {
            return;
        }
        tracing::warn!(group = active.about.name, error = %why.message, "group snapshot failed here");
        active.state = State::Failed(now);
        active.why = Some(why);
        let group = active.about.group;
        active.cancel();
        self.send(GroupOrder::Failed { group, why: detail }, &[]);
    }

    /// An error as the other hosts hear of it.
    pub(super) fn detail(&self, why: &Error) -> Why {
        let hint = why.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        handoff::word(&format!("{}: {}{hint}", self.host.host(), why.message))
    }

    pub(super) fn cut(&mut self, group: GroupId, job: Job, times: CutTimes) {
        let Some(active) = self.active.as_mut().filter(|a| a.about.group == group) else { return };
        let Some(seat) = active.seats.iter_mut().find(|s| s.job == Some(job)) else { return };
        seat.cut = Some(times);
        let ms = |us: u64| us as f64 / 1e3;
        let times = json!({
            "ready_ms": ms(times.ready_us), "suspend_ms": ms(times.asked_us),
            "cut_ms": ms(times.cut_us), "resume_ms": ms(times.resumed_us),
        });
        if let Some(asker) = self.asker.as_ref().filter(|a| a.group == Some(group)) {
            let _ = asker.client.send(Event::Cut { guest: seat.member.guest.clone(), times });
        }
    }
}

impl Active {
    pub(super) fn new(about: About, coordinator: bool, switch: u64, seats: Vec<Seat>) -> Self {
        Self {
            about,
            coordinator,
            seats,
            state: State::Running,
            pieces: Pieces::default(),
            switch,
            options: SnapshotOptions::default(),
            to: None,
            kept_on: None,
            errand: None,
            tally: None,
            prepared: false,
            why: None,
        }
    }

    /// This host's switch, as parts name it.
    pub(super) fn switch_text(&self) -> String {
        store::group::switch_text(self.switch)
    }

    /// Whether threads still work for it.
    pub(super) fn is_busy(&self) -> bool {
        self.errand.is_some() || self.seats.iter().any(|s| s.busy)
    }

    /// Calls off whatever is being done for it.
    pub(super) fn cancel(&self) {
        call_off(self.errand.as_ref());
        for cancel in self.seats.iter().filter(|s| s.busy).filter_map(|s| s.cancel.as_ref()) {
            cancel();
        }
    }
}

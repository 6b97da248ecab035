//! What goes wrong on a host, and how it comes back.

use vnsnap::{GroupId, Local};

use super::fault::{Role, Step, Victim};
use super::host::GroupHost;
use super::shared::Answer;

impl GroupHost {
    /// Whether a step is to go wrong here; none if what runs this code is gone now.
    pub(super) fn step(&mut self, now_ms: u64, step: Step, group: GroupId) -> Option<()> {
        let fault = {
            let mut shared = self.shared.borrow_mut();
            if step != Step::Took && step != Step::Said {
                shared.say(now_ms, self.at, || format!("{step:?} {group}"));
            }
            let role = if group.initiator == self.id() { Role::Coordinator } else { Role::Participant };
            let mut found = None;
            for (at, fault) in shared.faults.iter_mut().enumerate() {
                if fault.step == step && fault.role == role {
                    if fault.skip == 0 {
                        found = Some(at);
                        break;
                    }
                    fault.skip -= 1;
                }
            }
            found.map(|at| shared.faults.remove(at))
        };
        let Some(fault) = fault else { return Some(()) };
        self.strike(now_ms, fault.victim, fault.back_ms);
        match fault.victim {
            Victim::Shim | Victim::Stub | Victim::Host => None,
            Victim::Cable | Victim::Job | Victim::Operator => Some(()),
        }
    }

    /// Something goes wrong.
    pub fn strike(&mut self, now_ms: u64, victim: Victim, back_ms: u64) {
        {
            let mut shared = self.shared.borrow_mut();
            let words = format!("{now_ms} ms: {victim:?} of host {} for {back_ms} ms", self.at);
            shared.say(now_ms, self.at, || format!("*** {words}"));
            shared.struck.push(words);
        }
        match victim {
            Victim::Shim => self.kill_shim(now_ms, back_ms),
            Victim::Stub => self.kill_stub(now_ms, back_ms),
            Victim::Host => {
                self.kill_stub(now_ms, back_ms);
                self.kill_shim(now_ms, back_ms);
                self.powered = false;
                let mut shared = self.shared.borrow_mut();
                self.booted = self
                    .guests
                    .iter()
                    .map(|guest| guest.ports.iter().map(|port| port.network).collect())
                    .collect();
                for guest in self.guests.drain(..) {
                    for port in guest.ports {
                        shared.oracle.died(port.vif);
                        shared.mates.entry(port.network).or_default().retain(|vif| *vif != port.vif);
                    }
                }
            }
            Victim::Cable => self.cable_at = now_ms + back_ms,
            Victim::Job => {
                if !self.jobs.is_empty() {
                    let job = self.rng.index(self.jobs.len());
                    let job = self.jobs.remove(job);
                    self.let_run(now_ms, job.guest);
                    self.fail(now_ms, job.group, "no space left for its image");
                }
            }
            Victim::Operator => {
                if let Some(group) = self.local_group() {
                    self.tell_node(now_ms, Local::Cancel { group });
                }
            }
        }
    }

    fn kill_shim(&mut self, now_ms: u64, back_ms: u64) {
        if self.shim.take().is_none() {
            return;
        }
        self.shim_at = now_ms + back_ms;
        self.crashed_at = Some(now_ms);
        self.answer_all(now_ms, &Answer::Gone);
        self.jobs.clear();
        // The stub sees it.
        if let Some(stub) = &mut self.stub {
            stub.node.shim_lost(now_ms);
        }
    }

    fn kill_stub(&mut self, now_ms: u64, back_ms: u64) {
        if self.stub.take().is_none() {
            return;
        }
        self.stub_at = now_ms + back_ms;
        self.crashed_at = Some(now_ms);
        let mut shared = self.shared.borrow_mut();
        for port in self.guests.iter_mut().flat_map(|guest| &mut guest.ports) {
            // A guest connects anew: what was in its rings is lost.
            port.tx.drain(..).for_each(|frame| shared.oracle.vanished(frame, None));
            let waiting = port.queue.drain(..).chain(port.held.drain(..)).map(|queued| queued.frame);
            let lost = port.given.drain(..).chain(waiting);
            lost.for_each(|frame| shared.oracle.vanished(frame, Some(port.vif)));
        }
        drop(shared);
        self.stub_is_gone(now_ms);
    }

    pub(super) fn come_back(&mut self, now_ms: u64) {
        let power = !self.powered && now_ms >= self.stub_at && now_ms >= self.shim_at;
        if self.powered || power {
            self.powered = true;
            if now_ms >= self.shim_at {
                self.shim_at = u64::MAX;
                self.start_shim(now_ms);
            }
            if now_ms >= self.stub_at {
                self.start_stub(now_ms);
            }
            if power {
                // Its guests start again by themselves, or not.
                let networks = std::mem::take(&mut self.booted);
                for networks in networks.into_iter().filter(|_| self.rng.chance(500_000)).collect::<Vec<_>>()
                {
                    self.add_guest(now_ms, &networks);
                }
            }
        }
    }

    /// Whether nothing is under way here: no snapshot, no frame that waits, all guests running.
    ///
    /// # Errors
    /// What is.
    pub fn is_idle(&self, now_ms: u64) -> Result<(), String> {
        let busy = |what: String| Err(format!("host {}: {what}", self.at));
        if now_ms < self.cable_at {
            return busy("its cable is out".into());
        }
        if self.stub.is_none() || self.shim.is_none() {
            return busy("something of it is down".into());
        }
        if let Some(group) = self.local_group() {
            return busy(format!("snapshot {group} still runs"));
        }
        for guest in &self.guests {
            if guest.is_suspended() {
                return busy(format!("guest {} is suspended", guest.number));
            }
            if let Some(port) = guest.ports.iter().find(|port| !port.held.is_empty()) {
                return busy(format!("{} frames are held for vif {}", port.held.len(), port.vif));
            }
            if let Some(port) =
                guest.ports.iter().find(|port| !port.given.is_empty() || !port.queue.is_empty())
            {
                return busy(format!("vif {} gets nothing", port.vif));
            }
        }
        if let Some((group, _)) = self.disk.folders.iter().find(|(_, folder)| !folder.committed) {
            return busy(format!("{group} is undecided on the disk"));
        }
        if !self.jobs.is_empty() {
            return busy("jobs run".into());
        }
        Ok(())
    }
}

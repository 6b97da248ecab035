//! Does what the protocol asks for.

use std::collections::BTreeSet;

use violin::cut::{Channel, Mode as Holding};
use violin::id::{Epoch, NetworkId, PeerId};
use violin::session::Missing;
use vnsnap::{Local, Mode, Output};

use super::disk::Folder;
use super::fault::{Mutant, Step};
use super::host::{GroupHost, Running, host_of};
use super::jobs::hear;
use super::oracle::Closed;
use super::shared::{Answer, name};
use super::shim::Task;
use crate::node::Kind;

impl GroupHost {
    /// Does what the protocol asks for; whether it asked for anything but to send.
    pub(super) fn outputs(&mut self, now_ms: u64) -> bool {
        let mut any = false;
        while let Some(output) = self.stub.as_mut().and_then(|stub| stub.node.poll(now_ms)) {
            any |= !matches!(output, Output::Send { .. });
            // None: something crashed meanwhile.
            let _ = self.output(now_ms, output);
        }
        any
    }

    fn output(&mut self, now_ms: u64, output: Output) -> Option<()> {
        match output {
            Output::Send { to, octets } => self.send(now_ms, to, &octets),
            Output::Prepare { group, mode, members, .. } => self.prepare(now_ms, group, mode, members),
            Output::Go { group } => self.go(now_ms, group),
            Output::Expect { group, points } => {
                let upto = points.iter().map(|&(id, point)| (host_of(id), hear(point))).collect();
                self.running(group)?.upto = Some(upto);
                self.step(now_ms, Step::Expecting, group)?;
                self.check_drained(now_ms);
                Some(())
            }
            Output::Close { group } => self.close(now_ms, group),
            Output::Manifest { group, parts } => {
                let mut manifest = Vec::new();
                for (id, part) in parts {
                    manifest.extend_from_slice(&id.to_le_bytes());
                    manifest.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    manifest.extend_from_slice(&part);
                }
                self.step(now_ms, Step::Manifest, group)?;
                let at = self.soon(now_ms);
                self.task(at, Task::Write(group, manifest));
                Some(())
            }
            Output::Commit { group, manifest } => {
                self.end(group);
                let at = self.soon(now_ms);
                self.task(at, Task::Take(group, manifest));
                Some(())
            }
            Output::Abort { group, why, settle } => {
                let words = format!("{why}");
                self.shared.borrow().say(now_ms, self.at, || format!("abort {group}: {words} ({settle:?})"));
                self.end(group);
                self.answer(now_ms, group, Answer::Refused(words));
                match settle {
                    Some(epoch) => self.settle(now_ms, group.network, epoch),
                    None => self.cancel(group),
                }
                self.give_up(now_ms, group)
            }
            Output::Settle { network, epoch } => {
                self.settle(now_ms, network, epoch);
                Some(())
            }
            Output::Question { group } => {
                self.shared.borrow().say(now_ms, self.at, || format!("is asked what it has of {group}"));
                let at = self.soon(now_ms);
                self.task(at, Task::Look(group));
                Some(())
            }
            Output::Ended { group, result } => {
                self.shared.borrow().say(now_ms, self.at, || format!("ended {group}: {result:?}"));
                self.end(group);
                {
                    let mut shared = self.shared.borrow_mut();
                    let messages = shared.messages;
                    shared.ended.insert(group, (now_ms, messages));
                }
                match result {
                    Ok(unreached) => {
                        if unreached.is_empty()
                            && let Some(folder) = self.disk.folders.get_mut(&group)
                        {
                            folder.unconfirmed = false;
                        }
                    }
                    Err(why) => self.answer(now_ms, group, Answer::Refused(why.to_string())),
                }
                self.step(now_ms, Step::Ended, group)
            }
        }
    }

    fn send(&mut self, now_ms: u64, to: u64, octets: &[u8]) -> Option<()> {
        let host = host_of(to);
        let stub = self.stub.as_mut()?;
        let head = stub.sessions[host].seal(stub.life)?;
        let mut datagram = Vec::with_capacity(16 + octets.len());
        datagram.extend_from_slice(&head.emit());
        datagram.extend_from_slice(octets);
        self.out.push((host, Kind::Control, datagram.into()));
        {
            let mut shared = self.shared.borrow_mut();
            shared.messages.0 += 1;
            shared.messages.1 += octets.len() as u64;
        }
        match self.local_group() {
            Some(group) => self.step(now_ms, Step::Said, group),
            None => Some(()),
        }
    }

    fn prepare(&mut self, now_ms: u64, group: vnsnap::GroupId, mode: Mode, members: Vec<u64>) -> Option<()> {
        let stub = self.stub.as_mut()?;
        stub.local = Some(Running {
            group,
            mode,
            after: None,
            upto: None,
            recorded: Vec::new(),
            prepared: false,
            ready: false,
            go: false,
            flipped: false,
            drained: false,
            stored: false,
        });
        let holding = if mode == Mode::Classic { Holding::Drop } else { Holding::Hold };
        let begun = stub.cut.begin(NetworkId(group.network), Epoch(group.epoch), holding);
        {
            let mut shared = self.shared.borrow_mut();
            shared.oracle.prepared(name(group), self.at);
            if let Err(why) = begun {
                shared.oracle.complain(|| format!("host {}: the cut of {group} can't begin: {why}", self.at));
            }
        }
        self.note_epochs();
        self.step(now_ms, Step::Preparing, group)?;
        if self.shim.is_none() {
            self.fail(now_ms, group, "its shim is gone");
            return Some(());
        }
        self.disk.folders.insert(group, Folder { members, ..Folder::default() });
        let (least, most) = self.shared.borrow().pace.check;
        let at = now_ms + least + self.rng.below(most - least + 1);
        self.task(at, Task::Check(group));
        Some(())
    }

    /// Says that all is drained, when all that was expected has come.
    pub(super) fn check_drained(&mut self, now_ms: u64) {
        let mutant = self.mutant;
        let Some(stub) = &mut self.stub else { return };
        let Some(running) = &mut stub.local else { return };
        let (Some(upto), Some(after)) = (&running.upto, &running.after) else { return };
        if running.drained {
            return;
        }
        let mut over = true;
        for &(host, upto) in upto {
            let missing = match after.iter().find(|(other, _)| *other == host) {
                Some(&(_, after)) => stub.sessions[host].missing(stub.life, after, upto),
                None => Missing::Unknown,
            };
            if missing.is_over() {
                stub.cut.close(Channel::Peer(PeerId(host as u16)));
            }
            over &= missing.is_over() || mutant == Mutant::NoDrain;
        }
        if over {
            running.drained = true;
            let group = running.group;
            if running.mode == Mode::Together {
                stub.node.local(now_ms, Local::Drained { group });
            }
        }
    }

    /// All channels are closed: what is missing now is lost.
    fn close(&mut self, now_ms: u64, group: vnsnap::GroupId) -> Option<()> {
        let stub = self.stub.as_mut()?;
        let running = stub.local.as_mut().filter(|running| running.group == group)?;
        let after = running.after.take().unwrap_or_default();
        let upto = running.upto.take().unwrap_or_default();
        let recorded = std::mem::take(&mut running.recorded);
        let mut closed = Vec::new();
        for (host, session) in stub.sessions.iter().enumerate() {
            let start = after.iter().find(|(other, _)| *other == host).map(|(_, point)| *point);
            let end = upto.iter().find(|(other, _)| *other == host).map(|(_, point)| *point);
            let Some(start) = start else {
                closed.push(Closed { key: (host, self.at, 0), after: 0, missing: None });
                continue;
            };
            let known = end.filter(|end| session.missing(stub.life, start, *end) != Missing::Unknown);
            let missing: Option<BTreeSet<u64>> = known.map(|end| session.missing_set(start, end));
            closed.push(Closed { key: (host, self.at, start.key), after: start.counter, missing });
        }
        stub.cut.close_all();
        // Every port everywhere is after the cut, or is no member.
        self.settle(now_ms, group.network, group.epoch);
        self.shared.borrow_mut().oracle.closed(name(group), self.at, closed);
        self.step(now_ms, Step::Drained, group)?;
        self.take_channel(now_ms, group, recorded);
        Some(())
    }

    /// The network is at this epoch here.
    fn settle(&mut self, now_ms: u64, network: u32, epoch: u32) {
        let back = self.mutant == Mutant::AbortGoesBack;
        let Some(stub) = &mut self.stub else { return };
        let running = stub.cut.running().is_some();
        stub.cut.raise(NetworkId(network), Epoch(epoch));
        if back && running && stub.local.is_none() {
            // The snapshot was given up: as if nothing had been.
            for port in
                self.guests.iter().flat_map(|guest| &guest.ports).filter(|port| port.network == network)
            {
                stub.cut.open(port.id, NetworkId(network), Epoch(epoch - 1));
            }
        }
        self.note_epochs();
        self.release(now_ms);
    }

    /// Nobody has been cut: as if it had not begun.
    fn cancel(&mut self, group: vnsnap::GroupId) {
        if let Some(stub) = &mut self.stub {
            stub.cut.cancel(NetworkId(group.network), Epoch(group.epoch));
        }
    }

    /// No snapshot of this name runs in the stub any more.
    fn end(&mut self, group: vnsnap::GroupId) {
        if let Some(stub) = &mut self.stub {
            stub.local.take_if(|running| running.group == group);
        }
    }
}

//! The data's way on a simulated host: from a guest's ring through the cut to another's.

use violin::cut::{Arrival, Channel, Verdict};
use violin::id::{Epoch, PeerId, PortId};

use super::fault::Mutant;
use super::guest::{Port, Queued};
use super::host::{GroupHost, HOLD_MS};
use super::oracle::{FrameNo, Vif};
use super::session::key;
use crate::node::{Host, Kind};

/// Octets of each frame.
const FRAME_LEN: u32 = 100;

/// The epoch of a wire that has one bit for it, as a receiver of epoch `own` reads it.
fn one_bit(own: u32, wire: u32) -> u32 {
    if own & 1 == wire & 1 { own } else { own + 1 }
}

impl GroupHost {
    /// A guest puts a frame into the ring of one of its vifs.
    pub(super) fn guest_sends(&mut self, now_ms: u64, at: usize) {
        let mean = self.shared.borrow().frame_every_ms(now_ms);
        let guest = &mut self.guests[at];
        guest.send_at = mean.map_or(u64::MAX, |mean| now_ms + 1 + self.rng.below(2 * mean));
        if mean.is_none() {
            return;
        }
        let port = self.rng.index(guest.ports.len());
        let port = &mut guest.ports[port];
        let shared = &mut *self.shared.borrow_mut();
        let mates = shared.mates(port.network);
        let to = if self.rng.chance(shared.broadcast) {
            None
        } else {
            let to = mates[self.rng.index(mates.len())];
            if to == port.vif {
                return;
            }
            Some(to)
        };
        port.tx.push_back(shared.oracle.sent(port.vif, to));
        guest.wake(now_ms, &mut self.rng);
    }

    /// Takes what the guests have sent, and puts into their rings what waits for them.
    pub(super) fn rings(&mut self, now_ms: u64, at: usize) {
        self.guests[at].rings_at = u64::MAX;
        self.collect(now_ms, at, None);
        let shared = &mut *self.shared.borrow_mut();
        if self.stub.is_none() || self.guests[at].is_suspended() {
            return;
        }
        // It may have something else to do yet.
        let takes = self.rng.chance(700_000);
        for port in &mut self.guests[at].ports {
            port.given.extend(port.queue.drain(..).map(|queued| queued.frame));
            if takes {
                port.given.drain(..).for_each(|frame| shared.oracle.delivered(frame, port.vif));
            }
        }
        if !takes {
            self.guests[at].wake(now_ms, &mut self.rng);
        }
    }

    /// Takes what a guest has sent, in one network or all.
    pub(super) fn collect(&mut self, now_ms: u64, at: usize, network: Option<u32>) {
        if self.stub.is_none() {
            return;
        }
        for port in 0..self.guests[at].ports.len() {
            if network.is_some_and(|network| network != self.guests[at].ports[port].network) {
                continue;
            }
            while let Some(frame) = self.guests[at].ports[port].tx.pop_front() {
                self.forward(now_ms, frame, at, port);
            }
        }
    }

    /// A frame of a guest of this host goes to all whom it is for.
    fn forward(&mut self, now_ms: u64, frame: FrameNo, at: usize, port: usize) {
        let Some(stub) = &mut self.stub else { return };
        let port = &self.guests[at].ports[port];
        let (from, network) = (port.vif, port.network);
        let epoch = stub.cut.epoch(port.id).map_or(0, |epoch| epoch.0);
        let (to, mates) = {
            let shared = self.shared.borrow();
            let to = shared.oracle.frames[frame as usize].to;
            (to, to.map_or_else(|| shared.mates(network).to_vec(), |to| vec![to]))
        };
        let mut hosts: Vec<Host> = Vec::new();
        for vif in mates {
            let (host, lives) = {
                let shared = self.shared.borrow();
                (shared.oracle.vifs[vif as usize].host, shared.oracle.lives(vif))
            };
            match () {
                () if vif == from || hosts.contains(&host) => (),
                () if !lives => self.shared.borrow_mut().oracle.vanished(frame, Some(vif)),
                () if host == self.at => self.arrive(now_ms, frame, vif, epoch, None),
                () => {
                    hosts.push(host);
                    self.send_frame(frame, to, host, network, epoch);
                }
            }
        }
    }

    fn send_frame(&mut self, frame: FrameNo, to: Option<Vif>, host: Host, network: u32, epoch: u32) {
        let Some(stub) = &mut self.stub else { return };
        let up = stub.peers.contains(&host);
        let Some(head) = up.then(|| stub.sessions[host].seal(stub.life)).flatten() else {
            // No peer: it goes nowhere.
            let mut shared = self.shared.borrow_mut();
            let oracle = &mut shared.oracle;
            let on_host = |vif: &Vif| oracle.vifs[*vif as usize].host == host;
            let lost: Vec<Vif> = (0..oracle.vifs.len() as Vif)
                .filter(|vif| to.is_none_or(|to| to == *vif))
                .filter(on_host)
                .collect();
            lost.into_iter().for_each(|vif| oracle.unsent(frame, vif));
            return;
        };
        let epoch = if self.mutant == Mutant::OneBitEpoch { epoch & 1 } else { epoch };
        let mut datagram = Vec::with_capacity(28);
        datagram.extend_from_slice(&head.emit());
        for word in [network, epoch, frame] {
            datagram.extend_from_slice(&word.to_le_bytes());
        }
        let key = (self.at, host, key(head.from_life, head.to_life));
        self.shared.borrow_mut().oracle.left(frame, key, head.counter);
        self.out.push((host, Kind::Frame, datagram.into()));
    }

    /// A frame that another stub sent.
    pub(super) fn on_frame(&mut self, now_ms: u64, from: Host, payload: &[u8]) {
        let Some((words, [])) = payload.split_first_chunk::<12>() else { return };
        let mut words = words.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
        let (Some(network), Some(epoch), Some(frame)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        if let Some(stub) = &mut self.stub
            && epoch > stub.node.epoch(network)
            && self.mutant != Mutant::OneBitEpoch
        {
            stub.node.ahead(now_ms, network, from as u64 + 1);
        }
        let to = self.shared.borrow().oracle.frames[frame as usize].to;
        let vifs: Vec<Vif> = self
            .guests
            .iter()
            .flat_map(|guest| &guest.ports)
            .filter(|port| port.network == network && to.is_none_or(|to| to == port.vif))
            .map(|port| port.vif)
            .collect();
        for vif in vifs {
            self.arrive(now_ms, frame, vif, epoch, Some(from));
        }
    }

    /// A frame is here for a vif of this host.
    fn arrive(&mut self, now_ms: u64, frame: FrameNo, vif: Vif, epoch: u32, from: Option<Host>) {
        let Some((guest, port)) = self.find(vif) else { return };
        let Some(stub) = &mut self.stub else { return };
        let id = self.guests[guest].ports[port].id;
        let epoch = match self.mutant {
            Mutant::OneBitEpoch => one_bit(stub.cut.epoch(id).map_or(0, |own| own.0), epoch),
            _ => epoch,
        };
        let from = from.map_or(Channel::Local, |host| Channel::Peer(PeerId(host as u16)));
        let arrival = Arrival { at_ms: now_ms, epoch: Epoch(epoch), from, octets: FRAME_LEN };
        let verdict = stub.cut.judge(id, &arrival);
        self.place(now_ms, (guest, port), Queued { frame, arrival }, verdict);
    }

    /// Does with a frame what the cut says.
    fn place(&mut self, now_ms: u64, (guest, port): (usize, usize), queued: Queued, verdict: Verdict) {
        let verdict = match (verdict, self.mutant) {
            (Verdict::Hold, Mutant::DeliverEarly) | (Verdict::Record, Mutant::NoRecord) => Verdict::Deliver,
            (verdict, _) => verdict,
        };
        let guest = &mut self.guests[guest];
        let port = &mut guest.ports[port];
        match verdict {
            Verdict::Drop(why) => {
                let frame = queued.frame;
                self.shared
                    .borrow()
                    .say(now_ms, self.at, || format!("drops frame {frame} for vif {}: {why:?}", port.vif));
                self.shared.borrow_mut().oracle.vanished(frame, Some(port.vif));
            }
            Verdict::Hold => port.held.push_back(queued),
            Verdict::Deliver | Verdict::Record => {
                let vif = port.vif;
                port.queue.push_back(queued);
                guest.wake(now_ms, &mut self.rng);
                if verdict == Verdict::Record {
                    self.record(vif, queued.frame);
                }
            }
        }
    }

    /// Judges again what was held, where the cut says so.
    pub(super) fn release(&mut self, now_ms: u64) {
        if self.mutant == Mutant::NeverRelease {
            return;
        }
        while let Some(id) = self.stub.as_mut().and_then(|stub| stub.cut.due(now_ms)) {
            let Some(at) = self.place_of(id) else { return };
            let held = std::mem::take(&mut self.guests[at.0].ports[at.1].held);
            for queued in held {
                let Some(stub) = &mut self.stub else { return };
                let verdict = stub.cut.again(now_ms, id, &queued.arrival);
                let age_ms = now_ms - queued.arrival.at_ms;
                if age_ms > HOLD_MS + 1 {
                    let frame = queued.frame;
                    self.shared
                        .borrow_mut()
                        .oracle
                        .complain(|| format!("frame {frame} was held for {age_ms} ms"));
                }
                self.place(now_ms, at, queued, verdict);
            }
        }
    }

    fn find(&self, vif: Vif) -> Option<(usize, usize)> {
        self.position(|port| port.vif == vif)
    }

    fn place_of(&self, id: PortId) -> Option<(usize, usize)> {
        self.position(|port| port.id == id)
    }

    fn position(&self, which: impl Fn(&Port) -> bool) -> Option<(usize, usize)> {
        let mut guests = self.guests.iter().enumerate();
        guests.find_map(|(at, guest)| Some((at, guest.ports.iter().position(&which)?)))
    }

    /// A frame is part of the channel state.
    pub(super) fn record(&mut self, vif: Vif, frame: FrameNo) {
        self.shared.borrow().say(0, self.at, || format!("records frame {frame} for vif {vif}"));
        if let Some(local) = self.stub.as_mut().and_then(|stub| stub.local.as_mut()) {
            local.recorded.push((vif, frame));
        }
    }
}

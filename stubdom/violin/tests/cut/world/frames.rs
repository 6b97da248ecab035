//! The way of a frame: from its sender's host by the network that does what it likes to its receivers, who obey
//! what their host's cut says of it.

use super::*;

impl World {
    /// A guest says something to another one, or to all.
    pub(super) fn send(&mut self, by: usize) {
        let id = self.sent.len();
        self.event += 1;
        self.sent.push(Sent { by, event: self.event });
        let tag = self.hosts[host_of(by)].cut.epoch(port_of(by)).unwrap();
        let to: Vec<usize> = if self.dice.percent(15) {
            (0..GUESTS).filter(|guest| *guest != by).collect()
        } else {
            vec![self.dice.below(GUESTS as u64) as usize].into_iter().filter(|guest| *guest != by).collect()
        };
        for host in 0..HOSTS {
            let guests: Vec<usize> = to.iter().copied().filter(|guest| host_of(*guest) == host).collect();
            if host == host_of(by) {
                for guest in guests {
                    self.judge(guest, id, tag, Channel::Local);
                }
            } else if !guests.is_empty() {
                self.hosts[host_of(by)].uplink.push((host, tag, id, guests));
            }
        }
    }

    /// What waits for the uplink of a host is sent.
    pub(super) fn uplink(&mut self, from: usize) {
        for (to, tag, id, guests) in std::mem::take(&mut self.hosts[from].uplink) {
            let number = self.hosts[from].next[to];
            self.hosts[from].next[to] += 1;
            let tag = match self.mutant {
                Mutant::TagLate => self.hosts[from].cut.epoch(port_of(self.sent[id].by)).unwrap(),
                Mutant::OneBit => Epoch(tag.0 % 2),
                _ => tag,
            };
            let copies = if self.dice.percent(5) { 0 } else { 1 + u64::from(self.dice.percent(5)) };
            for _ in 0..copies {
                // Some are late by a whole snapshot, or two.
                let most = if self.dice.percent(3) { 400 } else { 30 };
                let at = self.now + 1 + self.dice.below(most);
                self.posted += 1;
                let datagram = Datagram { from, to, number, tag, id, guests: guests.clone() };
                self.way.insert((at, self.posted), datagram);
            }
        }
    }

    pub(super) fn arrive(&mut self, datagram: Datagram) {
        let Datagram { from, to, number, tag, id, guests } = datagram;
        if !self.hosts[to].seen.insert((from, number)) && self.mutant != Mutant::Doubles {
            return;
        }
        for guest in guests {
            let mut tag = tag;
            if self.mutant == Mutant::OneBit {
                // As good as it gets with one bit: another colour at a port that the cut that runs has flipped is
                // white, else it is red.
                let port = self.hosts[to].cut.epoch(port_of(guest)).unwrap();
                let flipped = self.hosts[to].cut.running() == Some((BLUE, port));
                tag = match (tag.0 == port.0 % 2, flipped) {
                    (true, _) => port,
                    (false, true) => Epoch(port.0 - 1),
                    (false, false) => Epoch(port.0 + 1),
                };
            }
            self.judge(guest, id, tag, Channel::Peer(PeerId(from as u16)));
        }
    }

    fn judge(&mut self, guest: usize, id: Id, epoch: Epoch, from: Channel) {
        self.event += 1;
        self.arrived.entry((guest, id)).or_insert(self.event);
        let frame = Arrival { at_ms: self.now, epoch, from, octets: 100 };
        let verdict = self.hosts[host_of(guest)].cut.judge(port_of(guest), &frame);
        self.obey(guest, id, frame, verdict);
    }

    fn obey(&mut self, guest: usize, id: Id, frame: Arrival, verdict: Verdict) {
        match verdict {
            Verdict::Hold if self.mutant == Mutant::DeliverEarly => {
                self.hosts[host_of(guest)].cut.forget(port_of(guest), &frame);
                self.put(guest, id);
            }
            Verdict::Hold => {
                self.orphans_avoided += 1;
                self.hosts[host_of(guest)].held.entry(guest).or_default().push((id, frame));
            }
            Verdict::Record => {
                self.records += 1;
                *self.recorded.entry((self.k, guest, id)).or_default() += 1;
                self.put(guest, id);
            }
            Verdict::Deliver => self.put(guest, id),
            Verdict::Drop(_) => {
                self.orphans_avoided += 1;
                self.dropped.insert((guest, id));
            }
        }
    }

    /// Into the guest's queue.
    fn put(&mut self, guest: usize, id: Id) {
        if self.guests[guest].suspended {
            self.guests[guest].queue.push(id);
        } else {
            self.receive(guest, id);
        }
    }

    pub(super) fn receive(&mut self, guest: usize, id: Id) {
        self.event += 1;
        if self.guests[guest].received.insert(id, self.event).is_some() {
            self.guests[guest].doubled += 1;
        }
    }

    pub(super) fn let_go(&mut self, host: usize) {
        while let Some(port) = self.hosts[host].cut.due(self.now) {
            let guest = usize::from(port.0) * HOSTS + host;
            for (id, frame) in self.hosts[host].held.remove(&guest).unwrap_or_default() {
                let verdict = self.hosts[host].cut.again(self.now, port, &frame);
                self.obey(guest, id, frame, verdict);
            }
        }
    }
}

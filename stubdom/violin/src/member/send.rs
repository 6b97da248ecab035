//! What is sent.

use core::ops::Bound::{Excluded, Unbounded};

use super::message::{Emit, HINTS_MAX, Header, Hint, Kind, Record};
use super::record::{Destination, State, Why};
use super::table::{Entry, mix};
use super::{Life, Membership, WAITING_MAX};
use crate::id::SwitchId;

/// Goodbyes to a member that does not answer.
const GOODBYES: u32 = 4;

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: Destination,
    /// How many octets of the buffer it takes.
    pub len: usize,
}

/// An answer that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This switch's record, and if asked for, the members by name from the one after this.
    Ack {
        list: Option<Option<SwitchId>>,
    },
    /// A question rather: which members do you see?
    Pull,
    Leave,
    LeaveAck,
}

impl Membership {
    /// The next message to send, written into `out`, which must hold [`MESSAGE_MAX`](super::MESSAGE_MAX)
    /// octets (none is sent otherwise). Ask until none. Stopping before that, as when a ring is full, loses
    /// nothing.
    pub fn poll(&mut self, now_ms: u64, out: &mut [u8]) -> Option<Outgoing> {
        self.advance(now_ms);
        while let Some((to, answer)) = self.answers.pop_front() {
            if let Some(sent) = self.send_answer(to, answer, out) {
                return Some(sent);
            }
        }
        while let Some(id) = self.next_due() {
            let kind = self.attend(id);
            self.schedule(id);
            if let Some(sent) = kind.and_then(|kind| self.send(id, kind, out)) {
                return Some(sent);
            }
        }
        None
    }

    /// When to call [`Membership::poll`] again, in the driver's time, if nothing arrives before; none while there
    /// is nobody to talk to.
    pub fn poll_at(&self) -> Option<u64> {
        let wait = if self.pass.is_some() || !self.answers.is_empty() {
            0
        } else if self.wake == u64::MAX {
            return None;
        } else {
            // Not longer than what counts of a leap, so that no time is lost.
            self.wake.saturating_sub(self.clock).min(self.config.heartbeat_ms)
        };
        Some(self.last_now.unwrap_or(0).saturating_add(wait))
    }

    /// Owes an answer, unless too many are owed already: then the other asks again.
    pub(super) fn answer(&mut self, to: SwitchId, answer: Answer) {
        if self.answers.len() < WAITING_MAX {
            self.answers.push_back((to, answer));
        }
    }

    fn send_answer(&mut self, to: SwitchId, answer: Answer, out: &mut [u8]) -> Option<Outgoing> {
        match answer {
            Answer::Ack { list: None } => self.send(to, Kind::Ack, out),
            Answer::Ack { list: Some(after) } => self.send_list(to, after, out),
            Answer::Pull => self.send(to, Kind::Announce { list: true }, out),
            Answer::Leave => self.send(to, Kind::Leave, out),
            Answer::LeaveAck => self.send(to, Kind::LeaveAck, out),
        }
    }

    fn header(&self, to: &Entry, kind: Kind) -> Header {
        let every_ms = u16::try_from(self.every_at_most()).unwrap_or(u16::MAX);
        let held = to.member.stamp();
        // Who left must come back with something newer.
        let you = if to.state == State::Left { held.next() } else { held };
        Header { stamp: self.me.stamp(), you, every_ms, view: self.view, kind }
    }

    fn send(&self, to: SwitchId, kind: Kind, out: &mut [u8]) -> Option<Outgoing> {
        let entry = self.entries.get(&to)?;
        let mut emit = Emit::new(out);
        emit.put(&self.header(entry, kind))?;
        if matches!(kind, Kind::Announce { .. } | Kind::Ack) {
            emit.put(&Record::of(&self.me))?;
        }
        Some(Outgoing { to: entry.destination(), len: emit.len() })
    }

    fn send_list(&mut self, to: SwitchId, after: Option<SwitchId>, out: &mut [u8]) -> Option<Outgoing> {
        let entry = self.entries.get(&to)?;
        let to_whom = entry.destination();
        let mut emit = Emit::new(out);
        emit.put(&self.header(entry, Kind::Ack))?;
        emit.put(&Record::of(&self.me))?;
        let from = after.map_or(Unbounded, Excluded);
        let seen = self
            .entries
            .range((from, Unbounded))
            .filter(|(id, entry)| entry.state == State::Up && **id != to);
        let mut last = None;
        for (count, (&id, entry)) in seen.enumerate() {
            if count == HINTS_MAX {
                // There is more: the next message goes on from here.
                self.answers.push_front((to, Answer::Ack { list: Some(last) }));
                break;
            }
            emit.put(&Hint { key: entry.member.key, at: entry.member.at })?;
            last = Some(id);
        }
        Some(Outgoing { to: to_whom, len: emit.len() })
    }

    /// The next entry that wants attention now. Goes through all, from where it was interrupted,
    /// and sets `wake` for the pass after.
    fn next_due(&mut self) -> Option<SwitchId> {
        let from = match self.pass {
            Some(last) => Excluded(last),
            None if self.clock < self.wake => return None,
            None => {
                self.wake = u64::MAX;
                Unbounded
            }
        };
        for (&id, entry) in self.entries.range((from, Unbounded)) {
            if entry.next <= self.clock {
                self.pass = Some(id);
                return Some(id);
            }
            self.wake = self.wake.min(entry.next);
        }
        self.pass = None;
        None
    }

    /// Does what time asks for with an entry: the message to send it, if any.
    fn attend(&mut self, id: SwitchId) -> Option<Kind> {
        if self.life == Life::Left {
            return self.attend_leaving(id);
        }
        let (clock, mine, config) = (self.clock, self.me.stamp(), self.config);
        let (busy, next_beat) = (self.is_busy(), self.next_beat(id));
        let (pause, patience) = (self.pause(id), self.patience());
        let entry = self.entries.get_mut(&id)?;
        match entry.state {
            State::Up if clock >= entry.fails_at(patience) && !busy => {
                self.set_down(id, State::Failed, Why::Failed);
                None
            }
            State::Up if entry.acked < mine && clock >= entry.retry_at => {
                entry.tries = entry.tries.saturating_add(1);
                entry.retry_at = clock.saturating_add(pause.min(config.heartbeat_ms.saturating_mul(4)));
                Some(Kind::Announce { list: false })
            }
            State::Up if clock >= entry.beat_at => {
                entry.beat_at = next_beat;
                Some(Kind::Heartbeat)
            }
            State::Up => None,
            State::Left if !entry.seed && clock.saturating_sub(entry.since) >= config.tombstone_ms => {
                self.entries.remove(&id);
                None
            }
            State::Left => {
                // A seed, or one that somebody sees: it may be back.
                entry.retry_at = clock.saturating_add(config.probe_max_ms);
                Some(Kind::Announce { list: entry.seed })
            }
            State::Calling | State::Failed => {
                if !entry.seed && clock.saturating_sub(entry.since) > config.forget_ms {
                    self.entries.remove(&id);
                    return None;
                }
                entry.tries = entry.tries.saturating_add(1);
                entry.retry_at = clock.saturating_add(pause);
                Some(Kind::Announce { list: entry.seed })
            }
        }
    }

    /// After leaving: goodbyes to those that have not heard.
    fn attend_leaving(&mut self, id: SwitchId) -> Option<Kind> {
        let again = self.clock.saturating_add(self.config.heartbeat_ms / 4);
        let entry = self.entries.get_mut(&id)?;
        if entry.state != State::Up {
            return None;
        }
        if entry.tries >= GOODBYES {
            self.set_down(id, State::Failed, Why::Left);
            return None;
        }
        entry.tries = entry.tries.saturating_add(1);
        entry.retry_at = again;
        Some(Kind::Leave)
    }

    /// Sets when an entry wants attention next.
    pub(super) fn schedule(&mut self, id: SwitchId) {
        let (mine, config, left) = (self.me.stamp(), self.config, self.life == Life::Left);
        let patience = self.patience();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let next = match entry.state {
            State::Up if left => entry.retry_at,
            _ if left => u64::MAX,
            State::Up => {
                let retry_at = if entry.acked < mine { entry.retry_at } else { u64::MAX };
                retry_at.min(entry.beat_at).min(entry.fails_at(patience))
            }
            State::Left if !entry.seed => entry.since.saturating_add(config.tombstone_ms),
            State::Left | State::Calling | State::Failed => entry.retry_at,
        };
        // Rounded up, so that many entries share one pass.
        let grain = config.heartbeat_ms / 32;
        let next = next.max(self.clock.saturating_add(1));
        entry.next = next.checked_next_multiple_of(grain).unwrap_or(u64::MAX);
        self.wake = self.wake.min(entry.next);
    }

    /// Milliseconds between this switch's heartbeats to one member.
    fn every(&self) -> u64 {
        let rounds = self.up.div_ceil(self.config.beats_per_second).max(1);
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
        self.config.heartbeat_ms.saturating_mul(rounds).min(60_000)
    }

    /// The same with what a slow machine adds: what the others are told.
    fn every_at_most(&self) -> u64 {
        (self.every().saturating_mul(self.config.slow_percent) / 100).min(60_000)
    }

    /// How many heartbeats may be missed, and how long one is waited for at least, whatever its sender says.
    fn patience(&self) -> (u64, u64) {
        let at_least = if self.config.slow_percent > 100 { self.every_at_most() } else { 0 };
        (self.config.missed, at_least)
    }

    /// When a member's next heartbeat is due. The members are spread over an interval in eight parts, so
    /// that a ring need not take all heartbeats at once and no pass is for one of them alone.
    pub(super) fn next_beat(&self, id: SwitchId) -> u64 {
        let every = self.every();
        let part = (every / 8).saturating_mul(mix(id.0) % 8);
        let phase = (self.phase % every).saturating_add(part) % every;
        let rounds = self.clock.saturating_add(phase) / every;
        rounds.saturating_add(1).saturating_mul(every).saturating_sub(phase)
    }

    /// How long to wait for an answer before calling again: twice as long after each call.
    fn pause(&mut self, id: SwitchId) -> u64 {
        let tries = self.entries.get(&id).map_or(0, |entry| entry.tries.min(20));
        let pause = (self.config.heartbeat_ms / 4).saturating_mul(1 << tries).min(self.config.probe_max_ms);
        pause.saturating_add(self.random() % (pause / 4).max(1))
    }
}

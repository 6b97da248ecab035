//! What arrives.

use super::message::{Body, Header, Hints, Record, parse};
use super::record::{Event, Stamp, State, Why};
use super::send::Answer;
use super::{Life, Membership};
use crate::id::SwitchId;

/// Why a message was ignored: one counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Cut, too long, unknown, or with an address that can't be sent to.
    Malformed,
    /// It came from this switch itself.
    Own,
    /// Its sender has said something newer before, or has left.
    Stale,
    /// Its sender is not known and did not announce itself.
    Unknown,
    /// It holds a record that is not its sender's.
    NotItsOwn,
    /// No room for another member: give the switch a larger bound.
    Full,
    /// Too many events wait for the driver.
    Busy,
    /// This switch has left.
    Left,
}

impl Membership {
    /// Takes a control message that `from` sealed.
    ///
    /// # Errors
    /// The reason why nothing came of it; nothing but to count it needs to be done.
    pub fn receive(&mut self, now_ms: u64, from: SwitchId, message: &[u8]) -> Result<(), Dropped> {
        self.advance(now_ms);
        let (header, body) = parse(message).ok_or(Dropped::Malformed)?;
        if from == self.me.id {
            return Err(Dropped::Own);
        }
        if self.is_busy() {
            return Err(Dropped::Busy);
        }
        if self.life == Life::Left {
            return self.receive_after_leaving(from, &body);
        }
        match body {
            Body::Announce { record, list } => {
                let heard = self.receive_record(from, &header, record);
                if heard != Err(Dropped::NotItsOwn) {
                    // The stale are answered, too: perhaps it is a switch that came back with a
                    // lower incarnation and must learn so.
                    self.answer(from, Answer::Ack { list: list.then_some(None) });
                }
                heard
            }
            Body::Ack { record, hints } => {
                self.receive_record(from, &header, record)?;
                self.receive_hints(hints);
                Ok(())
            }
            Body::Heartbeat => {
                self.receive_sign(from, &header)?;
                if header.view != self.view && self.clock >= self.next_pull {
                    self.next_pull = self.clock.saturating_add(self.pull_gap);
                    let longest = self.config.heartbeat_ms.saturating_mul(32);
                    self.pull_gap = self.pull_gap.saturating_mul(2).min(longest);
                    self.answer(from, Answer::Pull);
                }
                Ok(())
            }
            Body::Leave => self.receive_leave(from, &header),
            Body::LeaveAck => Err(Dropped::Stale),
        }
    }

    /// A message with its sender's own record.
    fn receive_record(&mut self, from: SwitchId, header: &Header, record: Record) -> Result<(), Dropped> {
        if (self.id_of)(&record.key) != from {
            return Err(Dropped::NotItsOwn);
        }
        self.learn_of_me(header.you);
        if !self.entries.contains_key(&from) && !self.add(from, record.key, record.at, true) {
            return Err(Dropped::Full);
        }
        let entry = self.entries.get_mut(&from).ok_or(Dropped::Full)?;
        let held = entry.member.stamp();
        if is_stale(header.stamp, held, entry.state) {
            return Err(Dropped::Stale);
        }
        let first = entry.state == State::Calling;
        if header.stamp.incarnation != held.incarnation {
            entry.acked = Stamp::default();
            if entry.state == State::Up {
                self.set_down(from, State::Failed, Why::Restarted);
            }
        }
        let entry = self.entries.get_mut(&from).ok_or(Dropped::Full)?;
        if first || header.stamp > held {
            entry.member = record.into_member(from, header.stamp);
            if entry.state == State::Up {
                self.events.push_back(Event::Changed(entry.member.clone()));
            }
        }
        self.heard(from, header);
        Ok(())
    }

    /// A message without a record: a sign of life of a member whose record is held.
    fn receive_sign(&mut self, from: SwitchId, header: &Header) -> Result<(), Dropped> {
        self.learn_of_me(header.you);
        let entry = self.entries.get(&from).ok_or(Dropped::Unknown)?;
        let held = entry.member.stamp();
        if is_stale(header.stamp, held, entry.state) {
            return Err(Dropped::Stale);
        }
        // Of a new life nothing counts before its record. A newer record of the same life comes by
        // itself, as the sender sees from our heartbeats that we don't hold it.
        let new_life = header.stamp.incarnation != held.incarnation;
        if new_life || matches!(entry.state, State::Calling | State::Left) {
            return Err(Dropped::Unknown);
        }
        self.heard(from, header);
        Ok(())
    }

    fn receive_leave(&mut self, from: SwitchId, header: &Header) -> Result<(), Dropped> {
        let entry = self.entries.get_mut(&from).ok_or(Dropped::Unknown)?;
        let held = entry.member.stamp();
        if header.stamp < held {
            return Err(Dropped::Stale);
        }
        if entry.state != State::Left {
            entry.member.set_stamp(header.stamp);
            self.set_down(from, State::Left, Why::Left);
            self.schedule(from);
        }
        self.answer(from, Answer::LeaveAck);
        Ok(())
    }

    fn receive_hints(&mut self, hints: Hints<'_>) {
        for hint in hints {
            let id = (self.id_of)(&hint.key);
            if id == self.me.id {
                continue;
            }
            let Some(entry) = self.entries.get_mut(&id) else {
                if self.add(id, hint.key, hint.at, false) {
                    self.call_by(id, self.clock);
                }
                continue;
            };
            if entry.state != State::Up {
                entry.member.at = hint.at;
                // Someone sees it: don't wait for long. Who left may be back; if not, calling it
                // does no harm, as only something newer than its goodbye counts.
                self.call_by(id, self.clock.saturating_add(self.config.heartbeat_ms));
            }
        }
    }

    /// After leaving, all that remains is to say so.
    fn receive_after_leaving(&mut self, from: SwitchId, body: &Body<'_>) -> Result<(), Dropped> {
        match body {
            Body::LeaveAck => {
                self.set_down(from, State::Failed, Why::Left);
                Ok(())
            }
            Body::Leave => {
                self.answer(from, Answer::LeaveAck);
                self.set_down(from, State::Failed, Why::Left);
                Ok(())
            }
            Body::Announce { .. } | Body::Heartbeat | Body::Ack { .. } => {
                self.answer(from, Answer::Leave);
                Err(Dropped::Left)
            }
        }
    }

    /// A peer that holds a newer record of this switch than this switch itself knew it from a life
    /// that had a higher incarnation: go beyond that.
    fn learn_of_me(&mut self, held: Stamp) {
        if held > self.me.stamp() {
            self.raise(held.next_life());
        }
    }

    /// A valid message of a member whose record is held.
    fn heard(&mut self, from: SwitchId, header: &Header) {
        let next_beat = self.next_beat(from);
        let Some(entry) = self.entries.get_mut(&from) else { return };
        entry.heard = Some(self.clock);
        entry.every = u64::from(header.every_ms).clamp(32, 60_000);
        entry.acked = entry.acked.max(header.you);
        if entry.state != State::Up {
            // It was told of us, or will tell us with its next heartbeat that it was not.
            entry.retry_at = self.clock.saturating_add(self.config.heartbeat_ms.saturating_mul(2));
            entry.beat_at = next_beat;
            self.set_up(from);
            self.schedule(from);
        }
    }
}

/// Whether a message was sent before one that was received already. After leaving, the
/// same stamp is stale as well.
fn is_stale(stamp: Stamp, held: Stamp, state: State) -> bool {
    if state == State::Left { stamp <= held } else { stamp < held }
}

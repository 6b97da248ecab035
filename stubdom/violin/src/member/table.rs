//! The entries: one for each switch that is known, and the sum of those that are there.

use core::net::SocketAddr;

use super::record::{Destination, Event, Member, Networks, Seed, Stamp, State, Why};
use super::{Life, Membership, WAITING_MAX};
use crate::id::SwitchId;

/// What is known of one switch. Times are this switch's `clock`.
pub(super) struct Entry {
    /// Its record; with a zero stamp until it has spoken for itself.
    pub(super) member: Member,
    pub(super) state: State,
    pub(super) seed: bool,
    /// The newest of this switch's records that it has said to hold.
    pub(super) acked: Stamp,
    pub(super) heard: Option<u64>,
    /// When it came into its state.
    pub(super) since: u64,
    /// The interval of its heartbeats, as it says.
    pub(super) every: u64,
    /// Calls without an answer.
    pub(super) tries: u32,
    /// When to announce again, while it holds an old record.
    pub(super) retry_at: u64,
    /// When to send the next heartbeat.
    pub(super) beat_at: u64,
    /// When it wants attention next: what the pass over all entries looks at.
    pub(super) next: u64,
}

impl Entry {
    pub(super) fn destination(&self) -> Destination {
        Destination { id: self.member.id, key: self.member.key, at: self.member.at }
    }

    /// When it counts as failed if not heard until then; of [`Membership::patience`].
    pub(super) fn fails_at(&self, (missed, at_least): (u64, u64)) -> u64 {
        let every = self.every.max(at_least);
        let patience = every.saturating_mul(missed).saturating_add(every / 2);
        self.heard.unwrap_or(self.since).saturating_add(patience)
    }
}

/// Scrambles a number so that sums of such don't cancel out (SplitMix64's last step).
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Membership {
    /// Adds a member to join through, or marks a known one as such.
    pub(super) fn add_seed(&mut self, seed: Seed) {
        let id = (self.id_of)(&seed.key);
        if id == self.me.id {
            return;
        }
        let clock = self.clock;
        if !self.entries.contains_key(&id) && !self.add(id, seed.key, seed.at, true) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.seed = true;
            if entry.state != State::Up {
                entry.member.at = seed.at;
                entry.state = if entry.state == State::Left { State::Calling } else { entry.state };
                entry.tries = 0;
                self.call_by(id, clock);
            }
        }
    }

    /// Sees to it that an entry gets attention at this time, or earlier.
    pub(super) fn call_by(&mut self, id: SwitchId, time: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.next = entry.next.min(time);
            self.wake = self.wake.min(time);
        }
    }

    /// Makes room for a new entry and adds it, with nothing to do yet. A real member (`pushes`)
    /// takes the place of one that is not there; a hint only that of one that left. False when
    /// there is no room.
    pub(super) fn add(&mut self, id: SwitchId, key: [u8; 32], at: SocketAddr, pushes: bool) -> bool {
        if self.entries.len() >= self.config.members && !self.evict(pushes) {
            return false;
        }
        let networks = Networks::new();
        let entry = Entry {
            member: Member { id, key, at, incarnation: 0, version: 0, networks },
            state: State::Calling,
            seed: false,
            acked: Stamp::default(),
            heard: None,
            since: self.clock,
            every: self.config.heartbeat_ms,
            tries: 0,
            retry_at: 0,
            beat_at: 0,
            next: u64::MAX,
        };
        self.entries.insert(id, entry);
        true
    }

    fn evict(&mut self, pushes: bool) -> bool {
        let rank = |state| match state {
            State::Left => Some(0),
            State::Calling if pushes => Some(1),
            State::Failed if pushes => Some(2),
            _ => None,
        };
        let victim = self
            .entries
            .values()
            .filter(|entry| !entry.seed)
            .filter_map(|entry| Some((rank(entry.state)?, entry.since, entry.member.id)))
            .min();
        victim.is_some_and(|(_, _, id)| self.entries.remove(&id).is_some())
    }

    /// Marks a member as being there, and says so.
    pub(super) fn set_up(&mut self, id: SwitchId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.state != State::Up
        {
            entry.state = State::Up;
            entry.since = self.clock;
            entry.tries = 0;
            self.up = self.up.saturating_add(1);
            self.events.push_back(Event::Up(entry.member.clone()));
            self.view_changed(id, true);
        }
    }

    /// Marks a member as not being there (`state`), and says why if it was.
    pub(super) fn set_down(&mut self, id: SwitchId, state: State, why: Why) {
        if let Some(entry) = self.entries.get_mut(&id) {
            let was_up = entry.state == State::Up;
            entry.state = state;
            entry.since = self.clock;
            entry.tries = 0;
            entry.retry_at = self.clock.saturating_add(self.config.heartbeat_ms);
            if was_up {
                self.up = self.up.saturating_sub(1);
                if self.life == Life::Active {
                    self.events.push_back(Event::Down(id, why));
                }
                self.view_changed(id, false);
            }
        }
    }

    fn view_changed(&mut self, id: SwitchId, came: bool) {
        let part = mix(id.0);
        self.view = if came { self.view.wrapping_add(part) } else { self.view.wrapping_sub(part) };
        self.pull_gap = self.config.heartbeat_ms;
        self.next_pull = self.next_pull.min(self.clock.saturating_add(self.pull_gap));
    }

    /// Has all that are there told of this switch's new record, or that it leaves.
    pub(super) fn tell_all(&mut self) {
        let clock = self.clock;
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Up) {
            entry.tries = 0;
            entry.retry_at = clock;
            entry.next = clock;
        }
        self.wake = clock;
    }

    /// Calls everyone known again, as after a time away.
    pub(super) fn call_all(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.state != State::Left {
                entry.state = State::Calling;
            }
            entry.tries = 0;
            entry.next = self.clock;
        }
        self.up = 0;
        self.view = mix(self.me.id.0);
        self.wake = self.clock;
    }

    /// Whether events wait that the driver should see before more happens.
    pub(super) fn is_busy(&self) -> bool {
        self.events.len() >= WAITING_MAX
    }
}

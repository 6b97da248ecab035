//! Which switches there are.
//!
//! [`Membership`] joins the mesh through any one member, keeps the list of all, tells who comes
//! and who goes. It does no I/O: the driver hands in the time and what arrived, asks
//! [`Membership::poll`] what to send, and acts upon [`Event`]s. Messages may be lost, doubled,
//! late and out of order; they come sealed, so the driver knows for sure who sent one.
//!
//! # How it works
//! * **Everyone speaks for itself.** A record counts only when its owner sent it. What others say
//!   of a member is a hint whom to call, so nobody can lie about another, and a dead switch is not
//!   brought back by hearsay.
//! * **Joining.** The joiner announces itself to a member it was given, which answers with its own
//!   record and all it sees. The joiner announces itself to each of these: 1 + (N-1) requests for N
//!   members.
//! * **Acknowledgement.** Each message says which record of the receiver the sender holds. Who
//!   holds an old one (or a lost announcement) is told again, until it holds the newest.
//! * **Gossip.** Each heartbeat carries a hash of the names that the sender sees. Who sees others
//!   asks for the list, at most once a heartbeat. So switches that joined through different
//!   members at once meet, and the halves of a healed partition merge as soon as two have met.
//! * **Failure.** Each watches each. Who missed three heartbeats has failed for this switch, for no
//!   other: one broken link takes nobody else's peers. A failed member is called again, ever less often.
//!   A slow machine sends heartbeats as often as any, but late at times, and hears them late: it says
//!   that they come less often, and takes those of others so, too. Two fast ones wait as ever.
//! * **Leaving** is told to each until it says that it heard. The name and its last record are
//!   remembered, so that late messages don't bring the member back.
//! * **A new life.** A switch that restarts has a higher incarnation, and its record replaces the
//!   old one at once. One that came back with a lower one learns so from the first answer, and
//!   raises its own.
//!
//! # What it costs
//! A switch sends and receives N-1 heartbeats a second, of about 30 octets before the seal. From 257 members
//! on, the interval grows with their number (1,000 members: 4 s), so a switch never sends more
//! than 256 a second, and a failure is seen later: after 14 s instead of 3.5 s.
//!
//! It must never trust a record that is not its sender's own, forget that time can leap (a leap
//! counts as one heartbeat), or grow beyond its bounds.

mod config;
mod message;
mod receive;
mod record;
mod send;
mod table;

use alloc::collections::{BTreeMap, VecDeque};
use core::net::SocketAddr;

use crate::id::{NetworkId, SwitchId};

pub use config::Config;
pub use message::MESSAGE_MAX;
pub use receive::Dropped;
pub use record::{Destination, Event, IdOf, Member, NETWORKS_MAX, Networks, Peer, Seed, State, Why};
pub use send::Outgoing;

use record::Stamp;
use send::Answer;
use table::Entry;

/// Events and answers that wait for the driver; beyond, messages are dropped and come again.
const WAITING_MAX: usize = 1024;

/// More networks than [`NETWORKS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNetworks;

/// Whether this switch is a member itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Active,
    /// It said goodbye, and answers nothing else.
    Left,
}

/// This switch's view of all switches.
pub struct Membership {
    me: Member,
    id_of: IdOf,
    config: Config,
    random: u64,
    /// When within an interval this switch sends its heartbeats.
    phase: u64,
    life: Life,
    /// Milliseconds that count: those of the driver without its leaps.
    clock: u64,
    /// The driver's time at the last call.
    last_now: Option<u64>,
    entries: BTreeMap<SwitchId, Entry>,
    /// How many entries are `Up`.
    up: usize,
    /// The hash of the names that are `Up`, and this switch's.
    view: u64,
    /// When the next entry wants attention, at the earliest.
    wake: u64,
    /// Where a pass over the entries was interrupted to send.
    pass: Option<SwitchId>,
    /// When this switch may ask for a list again, and how long it waits after that.
    next_pull: u64,
    pull_gap: u64,
    answers: VecDeque<(SwitchId, Answer)>,
    events: VecDeque<Event>,
}

impl Membership {
    /// A switch that is alone. `id_of` is the session module's; `seed` is any number that differs
    /// between switches (it spreads their heartbeats).
    pub fn new(me: Member, id_of: IdOf, config: Config, seed: u64) -> Self {
        let config = config.bounded();
        Self {
            view: table::mix(me.id.0),
            me,
            id_of,
            config,
            random: seed,
            phase: table::mix(seed),
            life: Life::Active,
            clock: 0,
            last_now: None,
            entries: BTreeMap::new(),
            up: 0,
            wake: u64::MAX,
            pass: None,
            next_pull: 0,
            pull_gap: config.heartbeat_ms,
            answers: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// This switch's own record.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Says which networks this switch has ports in: told to all.
    ///
    /// # Errors
    /// More than [`NETWORKS_MAX`] different ones; nothing is changed then.
    pub fn set_networks(&mut self, now_ms: u64, networks: &[NetworkId]) -> Result<(), TooManyNetworks> {
        let mut sorted = Networks::new();
        for &network in networks {
            if let Err(place) = sorted.binary_search(&network) {
                sorted.insert(place, network).map_err(|_| TooManyNetworks)?;
            }
        }
        self.advance(now_ms);
        if self.me.networks != sorted {
            self.me.networks = sorted;
            self.raise(self.me.stamp().next());
        }
        Ok(())
    }

    /// Says where this switch listens now: told to all.
    pub fn set_address(&mut self, now_ms: u64, at: SocketAddr) {
        self.advance(now_ms);
        if self.me.at != at {
            self.me.at = at;
            self.raise(self.me.stamp().next());
        }
    }

    /// Says how slow this machine is, in percent ([`Config::slow_percent`]): told with each message.
    pub fn set_slow_percent(&mut self, percent: u64) {
        self.config = Config { slow_percent: percent, ..self.config }.bounded();
    }

    /// Joins through this member, as soon as it answers; it is called until then, and never
    /// forgotten. May be called for several members, and after [`Membership::leave`].
    pub fn join(&mut self, now_ms: u64, seed: Seed) {
        self.advance(now_ms);
        self.next_pull = self.next_pull.max(self.clock.saturating_add(self.config.heartbeat_ms));
        if self.life == Life::Left {
            self.life = Life::Active;
            self.me.set_stamp(self.me.stamp().next());
            self.call_all();
        }
        self.add_seed(seed);
    }

    /// Says goodbye to all. Poll on until [`Membership::is_gone`], or for a second at most.
    pub fn leave(&mut self, now_ms: u64) {
        self.advance(now_ms);
        if self.life == Life::Active {
            self.life = Life::Left;
            self.raise(self.me.stamp().next());
            self.answers.clear();
        }
    }

    /// After [`Membership::leave`]: whether all that are there have heard, or don't answer.
    pub fn is_gone(&self) -> bool {
        self.life == Life::Left && self.up == 0
    }

    /// The next thing to act upon. Ask until none after each `receive` and `poll`.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All that are known, by name.
    pub fn members(&self) -> impl Iterator<Item = Peer<'_>> {
        self.entries.values().map(|entry| Peer {
            member: &entry.member,
            state: entry.state,
            heard_ms_ago: entry.heard.map(|heard| self.clock.saturating_sub(heard)),
            seed: entry.seed,
        })
    }

    /// Whether there is a reason to talk with this switch, now or later: what the driver keeps for any
    /// other, such as a session, it may drop.
    pub fn knows(&self, id: SwitchId) -> bool {
        self.entries.contains_key(&id)
    }

    /// How many others are there.
    pub fn up(&self) -> usize {
        self.up
    }

    /// Moves this switch's clock on. A leap (the host was suspended, the driver was busy) counts as
    /// one heartbeat, so that nobody is declared failed for what could not be heard.
    fn advance(&mut self, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.last_now.unwrap_or(now_ms));
        self.clock = self.clock.saturating_add(elapsed.min(self.config.heartbeat_ms));
        self.last_now = Some(now_ms);
    }

    /// Takes a newer stamp for this switch's record, and tells all.
    fn raise(&mut self, stamp: Stamp) {
        self.me.set_stamp(stamp);
        self.tell_all();
    }

    /// The next random number (SplitMix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        table::mix(self.random)
    }
}

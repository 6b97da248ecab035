//! One host's part in group snapshots: who asked, what the stub says, and which group runs.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use handoff::{GroupId, GroupMode, GroupName, GroupNews, GroupOrder};

use super::epochs::Epochs;
use super::folders::{Folders, Left};
use super::inbox::{Inbox, Letter, Wish};
use super::member::Seat;
use super::running::{Active, State};
use super::{About, BUSY, Host, told};
use crate::api::Event;
use crate::daemon::fault;
use crate::error::Error;

/// How long the stub may take to say whether a group has begun.
const BEGIN: Duration = Duration::from_secs(20);

/// How long a group that has failed here waits for the stub's `Abort`.
const ABORT: Duration = Duration::from_secs(60);

/// How often the stub is asked again what became of a group.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// Whoever asked for a group snapshot here.
pub(super) struct Asker {
    pub(super) name: String,
    pub(super) client: Sender<Event>,
    /// Known when the stub has begun it.
    pub(super) group: Option<GroupId>,
    cancelled: bool,
    asked: Instant,
}

/// A `Prepare` that came while the former group was still ending.
struct Waiting {
    group: GroupId,
    mode: GroupMode,
    name: String,
    options: Vec<u8>,
    /// The switches that take part.
    switches: Vec<u64>,
}

/// This host's part in group snapshots.
pub(super) struct Participant {
    pub(super) host: Arc<dyn Host>,
    pub(super) folders: Folders,
    epochs: Epochs,
    pub(super) inbox: Inbox,
    pub(super) asker: Option<Asker>,
    pub(super) active: Option<Active>,
    waiting: Option<Waiting>,
    /// Groups whose end is not known for sure.
    pub(super) left: Vec<Left>,
    asked: Option<Instant>,
}

impl Participant {
    /// One with nothing to do.
    pub(super) fn new(host: Arc<dyn Host>, folders: Folders, epochs: Epochs, inbox: Inbox) -> Self {
        let (asker, active, waiting) = (None, None, None);
        Self { host, folders, epochs, inbox, asker, active, waiting, left: Vec::new(), asked: None }
    }

    /// Takes up what an earlier daemon left.
    pub(super) fn recover(&mut self) {
        match self.folders.recover() {
            Ok(left) => self.left = left,
            Err(e) => tracing::error!(error = %e.message, "group snapshots of before are not looked at"),
        }
    }

    /// Does what a letter asks for.
    pub(super) fn receive(&mut self, letter: Letter, now: Instant) {
        match letter {
            Letter::News(news, bulk) => self.news(news, &bulk, now),
            Letter::Overrun => self.fail(
                Error::new("the disk is too slow for the frames of the cut").hint("Is it busy, or full?"),
                now,
            ),
            Letter::Lost => self.lost(),
            Letter::Connected => {
                for (network, epoch) in self.epochs.all() {
                    self.send(GroupOrder::Raise { network, epoch }, &[]);
                }
                self.ask(now);
            }
            Letter::Begin(wish) => self.begin(wish, now),
            Letter::Cancel(name) => self.cancel(&name),
            Letter::Member(group, seat, said) => self.member(group, seat, said, now),
            Letter::Errand(group, done) => self.errand(group, done, now),
        }
        self.tick(now);
    }

    /// Does what time asks for.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Some(asker) = self.asker.take_if(|a| a.group.is_none() && now > a.asked + BEGIN) {
            let why = Error::new("the stub domain does not begin the group snapshot");
            let _ = asker.client.send(Event::Failed { error: why.hint("Its console may say why") });
        }
        let late = |a: &Active| matches!(a.state, State::Failed(since) if now > since + ABORT);
        if let Some(active) = self.active.as_ref().filter(|a| late(a)) {
            let group = active.about.group;
            self.give_up(group, "the stub domain did not answer");
        }
        if !self.left.is_empty() && self.asked.is_none_or(|asked| now > asked + ASK_EVERY) {
            self.ask(now);
        }
        if self.active.is_none()
            && let Some(w) = self.waiting.take()
        {
            self.prepare(w, now);
        }
    }

    /// Tells the stub; that it is gone shows elsewhere.
    pub(super) fn send(&self, order: GroupOrder, bulk: &[u8]) {
        if let Err(e) = self.host.send(order, bulk) {
            tracing::warn!(error = %e.message, "telling the stub domain of a group snapshot");
        }
    }

    /// The running group, if it is this one.
    pub(super) fn current(&mut self, group: GroupId) -> Option<&mut Active> {
        self.active.as_mut().filter(|a| a.about.group == group)
    }

    fn begin(&mut self, wish: Wish, now: Instant) {
        let Wish { network, mode, name, keep, options, client } = wish;
        let refuse = |why: Error| drop(client.send(Event::Failed { error: why }));
        if self.asker.is_some() || self.active.is_some() || self.waiting.is_some() {
            return refuse(Error::new(BUSY).hint("Wait until it has ended: luthier status"));
        }
        let order = told::encode(&options, keep).and_then(|options| {
            let name = GroupName::try_from(name.as_str()).map_err(|_| Error::new("the name is too long"))?;
            Ok(GroupOrder::Begin { network, mode, name, options })
        });
        if let Err(e) = order.and_then(|order| self.host.send(order, &[])) {
            return refuse(e);
        }
        self.asker = Some(Asker { name, client, group: None, cancelled: false, asked: now });
    }

    fn cancel(&mut self, name: &str) {
        let Some(asker) = self.asker.as_mut().filter(|a| a.name == name) else { return };
        asker.cancelled = true;
        if let Some(group) = asker.group {
            self.send(GroupOrder::Cancel { group }, &[]);
        }
    }

    fn news(&mut self, news: GroupNews, bulk: &[u8], now: Instant) {
        match news {
            GroupNews::Begun { group } => self.begun(group),
            GroupNews::Refused { group, why } => {
                if let Some(asker) = self.asker.take_if(|a| a.group.is_none()) {
                    let _ = asker.client.send(Event::Failed { error: refused(&why, group.is_some()) });
                }
            }
            GroupNews::Prepare { group, mode, name, options } => {
                let (name, options) = (name.as_str().to_owned(), options.to_vec());
                let switches = switches(bulk);
                self.prepare(Waiting { group, mode, name, options, switches }, now);
            }
            GroupNews::Cut { group, job, times } => self.cut(group, job, times),
            GroupNews::Channel { group, count } => self.channel(group, count, bulk, now),
            GroupNews::Drained { group, tally } => {
                if let Some(active) = self.current(group) {
                    active.tally = Some(tally);
                    fault::at("group-drained");
                    self.phase(group, "drained");
                    self.seal_if_whole(now);
                }
            }
            GroupNews::Manifest { group, first, total } => {
                self.manifest_piece(group, first, total, bulk, now)
            }
            GroupNews::Commit { group, first, total } => self.commit_piece(group, first, total, bulk, now),
            GroupNews::Abort { group, why } => self.give_up(group, why.as_str()),
            GroupNews::Question { group } => self.answer(group),
            GroupNews::Ended { group } => self.ended(group),
        }
    }

    fn begun(&mut self, group: GroupId) {
        match self.asker.as_mut().filter(|a| a.group.is_none()) {
            Some(asker) if !asker.cancelled => {
                asker.group = Some(group);
                self.phase(group, "begun");
            }
            asker => {
                // Nobody wants it any more.
                if let Some(asker) = asker {
                    asker.group = Some(group);
                }
                self.send(GroupOrder::Cancel { group }, &[]);
            }
        }
    }

    /// Tells the client, if it is its group.
    pub(super) fn phase(&self, group: GroupId, phase: &str) {
        if let Some(asker) = self.asker.as_ref().filter(|a| a.group == Some(group)) {
            let _ = asker.client.send(Event::Phase { phase: phase.to_owned() });
        }
    }

    fn prepare(&mut self, wanted: Waiting, now: Instant) {
        let Waiting { group, mode, ref name, ref options, ref switches } = wanted;
        match &self.active {
            None => {}
            Some(active) if active.about.group == group => return,
            Some(active) if matches!(active.state, State::GivenUp(_)) => {
                self.waiting = Some(wanted);
                return;
            }
            Some(_) => {
                let why = Error::new("another group snapshot is in progress");
                return self.send(GroupOrder::Failed { group, why: self.detail(&why) }, &[]);
            }
        }
        let coordinator = self.asker.as_ref().is_some_and(|a| a.group == Some(group));
        let told = told::decode(options);
        let keep = told.as_ref().ok().and_then(|(_, keep)| *keep);
        let about = About { group, name: name.clone(), mode, keep, switches: switches.clone() };
        // Where nothing connects this host to others, its switch has no key to be known by.
        let switch = if coordinator { Ok(group.initiator) } else { self.host.switch() };
        let ready = told.and_then(|(options, _)| {
            let members = self.host.members(group.network)?;
            if members.len() > handoff::MAX_GROUP_JOBS {
                return Err(Error::new(format!(
                    "{} guests are on the network here, more than {}",
                    members.len(),
                    handoff::MAX_GROUP_JOBS
                )));
            }
            let switch = switch?;
            self.epochs.raise(group.network, group.epoch)?;
            self.folders.begin(&about, switch)?;
            Ok((options, members, switch))
        });
        let (options, members, switch) = match ready {
            Ok(ready) => ready,
            Err(why) => {
                self.active = Some(Active::new(about, coordinator, 0, Vec::new()));
                return self.fail(why, now);
            }
        };
        tracing::info!(group = name, members = members.len(), "group snapshot begins");
        let seats = members.iter().cloned().map(Seat::new).collect();
        // What has no members has nothing to send, and what is to be kept here stays.
        let to = options.to.clone().filter(|to| !members.is_empty() && *to != self.host.host());
        let mut active = Active::new(about, coordinator, switch, seats);
        (active.options, active.to) = (options, to);
        let far = active.to.is_some();
        self.active = Some(active);
        match far {
            true => self.reach(),
            false => self.start_members(),
        }
    }

    /// The stub is gone, and with it whoever could decide, but for what is sealed.
    fn lost(&mut self) {
        self.waiting = None;
        let gone = "the stub domain went away during the group snapshot";
        if let Some(active) = &self.active {
            let (group, coordinator) = (active.about.group, active.coordinator);
            match active.state {
                State::Sealed if !coordinator => {
                    let About { name, switches, .. } = &active.about;
                    tracing::warn!(
                        group = name,
                        "the stub domain went away: it will be asked how this ended"
                    );
                    self.left.push(Left::new(group, name, switches, false));
                    self.active = None;
                }
                _ => self.give_up(group, gone),
            }
        }
        if let Some(asker) = self.asker.take() {
            let why = Error::new(gone).hint("Every guest runs on. Start the stub again: luthier up");
            let _ = asker.client.send(Event::Failed { error: why });
        }
    }

    /// Asks the stub what became of the groups whose end is not known.
    fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
        self.left.iter().for_each(|left| self.ask_about(left));
    }
}

/// The switches of a bulk.
fn switches(bulk: &[u8]) -> Vec<u64> {
    let (switches, _) = bulk.as_chunks::<8>();
    switches.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

/// Why the stub does not begin one. It says what to do behind a semicolon.
fn refused(why: &str, is_busy: bool) -> Error {
    let split = why.rsplit_once("; ").and_then(|(why, next)| {
        let mut next = next.chars();
        let first = next.next()?.to_uppercase();
        Some((why, first.chain(next).collect::<String>()))
    });
    match split {
        _ if is_busy => Error::new(why).hint("Wait until that one has ended"),
        Some((why, next)) => Error::new(why).hint(next),
        None => {
            Error::new(why).hint("`luthier net show` and `luthier net peers` show the network and the hosts")
        }
    }
}

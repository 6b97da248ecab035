//! Drives one pre-copy: the engine says what to do next, this does it with verbs of the shim and
//! copies from the guest's grants, and tells the engine what came of it.

mod plan;
mod read;
mod sender;
mod source;
mod tell;
mod verbs;

use alloc::vec::Vec;
use core::time::Duration;

use handoff::{Failure, Job, Plan, Verb, VerbError, WINDOW_SLOTS};
use livesave::{Action, AnyPolicy, Event, Precopy, Why};
use xen::executor::yield_now;
use xen::grant::Gref;
use xen::page::PoolPage;
use xen::time::{Instant, now};

use self::sender::Sender;
use self::source::Source;
use crate::group::Meeting;
use crate::link::Link;
use crate::mailbox::Mailbox;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Pages copied, then sent, in one go: as many as a message has.
const CHUNK: usize = handoff::PAGES_PER_MESSAGE;

/// What the shim asked for.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) job: Job,
    pub(crate) guest: u16,
    pub(crate) pages: u32,
    pub(crate) plan: Plan,
}

/// Takes a snapshot. However it ends, the engine has asked for the guest to go on.
pub(crate) async fn run(link: &Link, mailbox: &Mailbox, start: Start) -> Result<handoff::Report, Failure> {
    let staging = source::take(link.pool(), CHUNK).ok_or(Failure::NoMemory)?;
    let sender = Sender::new(link, start.job, start.pages, start.plan.codecs)?;
    let config = plan::config(&start, link.pool().free());
    let engine = Precopy::new(config, plan::policy(start.plan.policy)).map_err(|_| Failure::NoMemory)?;
    let mut kept = Vec::new();
    kept.try_reserve_exact(config.pool_pages.min(start.pages) as usize).map_err(|_| Failure::NoMemory)?;
    let (mut batch, mut mapped) = (Vec::new(), Vec::new());
    batch.try_reserve_exact(WINDOW_SLOTS).map_err(|_| Failure::NoMemory)?;
    mapped.try_reserve_exact(WINDOW_SLOTS).map_err(|_| Failure::NoMemory)?;
    let mut driver = Driver {
        link,
        mailbox,
        member: mailbox.meeting.as_deref(),
        source: Source::new(start.guest, start.plan.copy_batch.into())?,
        sender,
        staging,
        batch,
        mapped,
        kept,
        spilled: 0,
        prepared: 0,
        prepared_us: 0,
        seq: 0,
        ahead: None,
        logs: false,
        half: 0,
        rounds_told: 0,
        told: now(),
        failure: None,
    };
    driver.drive(engine).await
}

/// One snapshot's means.
struct Driver<'a> {
    link: &'a Link,
    mailbox: &'a Mailbox,
    /// Its place in a group, if it is of one.
    member: Option<&'a Meeting>,
    source: Source,
    sender: Sender<'a>,
    /// Pages that a batch is copied into before it is sent.
    staging: Vec<PoolPage>,
    /// The slots at hand and the grants by which they are read.
    batch: Vec<(u32, Gref)>,
    /// Those of the slots at hand whose pages are mapped.
    mapped: Vec<u32>,
    /// Pages of the last round, to be sent when the guest runs again. Room for as many as the plan
    /// allows.
    kept: Vec<(u32, PoolPage)>,
    /// Pages that should have been kept and found no room.
    spilled: u32,
    /// Pages of the last round that were read by mappings made before.
    prepared: u32,
    /// Microseconds that reading these took.
    prepared_us: u64,
    seq: u16,
    /// A verb that was asked for before its turn, and its number: the shim does it as soon as it is done
    /// with the one before.
    ahead: Option<(Verb, u16)>,
    /// The guest's writes are logged.
    logs: bool,
    half: u8,
    rounds_told: usize,
    told: Instant,
    /// The first thing that went wrong.
    failure: Option<Failure>,
}

impl Driver<'_> {
    async fn drive(&mut self, mut engine: Precopy<AnyPolicy>) -> Result<handoff::Report, Failure> {
        let outcome = loop {
            let over = self.member.is_some_and(Meeting::is_over);
            if (over || self.mailbox.cancelled.get()) && self.failure.is_none() {
                self.failure = Some(Failure::Cancelled);
                engine.on(Event::Cancelled, now().as_micros());
            }
            if self.member.is_some_and(Meeting::may_go) {
                engine.hurry();
            }
            let done = match engine.next(now().as_micros()) {
                Action::LogDirty(true) => {
                    let done = self.verb(Verb::LogDirty(true), &[]).await.map(drop);
                    self.logs = done.is_ok();
                    done
                }
                Action::LogDirty(false) => {
                    // From here on there is time: guests of others stand still.
                    self.wait_until_others_run().await;
                    self.verb(Verb::LogDirty(false), &[]).await.map(drop)
                }
                Action::Throttle(percent) => self.verb(Verb::Throttle { percent }, &[]).await.map(drop),
                Action::Barrier => {
                    let event = if self.wait_for_others(engine.dirtied()).await {
                        Event::Done
                    } else {
                        Event::NotYet
                    };
                    engine.on(event, now().as_micros());
                    self.tell(&engine).await;
                    continue;
                }
                Action::Suspend => self.suspend().await,
                Action::State => self.state().await,
                Action::Resume => self.resume().await,
                Action::Clean { last } => {
                    self.sender.next_round();
                    let cleaned = self.verb(Verb::Clean { last }, &[]).await.map(drop);
                    if cleaned.is_ok() {
                        self.mailbox.with_bitmap(|bitmap| engine.dirty_chunk(0, bitmap));
                    }
                    cleaned
                }
                Action::Prepare { slots } => {
                    // What can't be prepared is copied later: no reason to give up.
                    let prepared = self.prepare(slots).await;
                    engine.on(if prepared { Event::Done } else { Event::Failed(0) }, now().as_micros());
                    continue;
                }
                Action::Read { batch, how } => {
                    self.batch.clear();
                    self.batch.extend(batch.iter().map(|slot| (*slot, Gref(0))));
                    match self.read(how).await {
                        Ok(done) => {
                            engine.on(Event::Read(done), now().as_micros());
                            self.tell(&engine).await;
                            continue;
                        }
                        Err(why) => Err(why),
                    }
                }
                Action::WriteOut => match self.write_out().await {
                    Ok(zero) => {
                        engine.on(Event::Written { zero }, now().as_micros());
                        continue;
                    }
                    Err(why) => Err(why),
                },
                Action::Finish(outcome) => break outcome,
            };
            let event = match &done {
                Ok(()) => Event::Done,
                // That something else holds log-dirty is known for certain; nothing else is.
                Err(Failure::Verb(VerbError { kind: handoff::VerbErrorKind::LogDirty, .. })) => {
                    Event::Refused(0)
                }
                Err(_) => Event::Failed(0),
            };
            engine.on(event, now().as_micros());
            if let Err(why) = done {
                self.failure.get_or_insert(why);
            }
            self.tell(&engine).await;
        };
        self.kept.clear();
        self.source.end();
        // Nothing is read any more; the shim takes back what the guest had granted.
        let revoked = self.verb(Verb::Revoke, &[]).await;
        self.tell_rounds(&engine, true).await;
        match outcome {
            // What failed on the way was not needed.
            livesave::Outcome::Commit => revoked.and_then(|_| plan::report(&engine.report(), self)),
            livesave::Outcome::Abort { why: Why::Target { estimate_us }, .. } => {
                Err(Failure::Target { estimate_us })
            }
            livesave::Outcome::Abort { .. } => Err(self.failure.take().unwrap_or(Failure::Protocol)),
        }
    }

    /// Waits a while for the other members of the group. Whether the guest may be suspended.
    async fn wait_for_others(&mut self, dirtied: u32) -> bool {
        match self.member {
            Some(member) => self.link.groups().wait(member, dirtied).await,
            None => true,
        }
    }

    /// Leaves the CPU to the others of the group on this host, whose guests stand still yet.
    async fn wait_until_others_run(&self) {
        if let Some(member) = self.member {
            self.link.groups().wait_until_others_run(member).await;
        }
    }

    /// Has the guest suspended, and its vifs cut if it is a member of a group.
    async fn suspend(&mut self) -> Result<(), Failure> {
        let groups = self.link.groups();
        self.member.inspect(|member| groups.suspends(member));
        // The last bitmap follows at once: a guest that stands still does not wait for another way to the
        // shim and back.
        let last = Verb::Clean { last: true };
        self.verb_before(Verb::Suspend, self.logs.then_some(last)).await?;
        self.member.inspect(|member| groups.stands(member));
        Ok(())
    }

    /// Has what is not memory recorded. The guest goes on then whatever came of it, so the shim is told of both.
    async fn state(&mut self) -> Result<(), Failure> {
        self.verb_before(Verb::State, Some(Verb::Resume)).await.map(drop)
    }

    /// Lets the guest go on, and its vifs.
    async fn resume(&mut self) -> Result<(), Failure> {
        let resumed = self.verb(Verb::Resume, &[]).await.map(drop);
        self.member.inspect(|member| self.link.groups().runs(member));
        resumed
    }

    /// Has pages granted and maps them, for the last round. `false`: not all of them.
    async fn prepare(&mut self, slots: &[u32]) -> bool {
        if !self.source.begin_view(slots.len()) {
            return false;
        }
        let mut at = 0;
        for chunk in slots.chunks(WINDOW_SLOTS) {
            let count = chunk.len() as u16;
            let asked = self.ask_grants(Verb::Prepare { at, count }, chunk.iter().copied()).await;
            let Ok(seq) = asked else { break };
            match self.granted(seq).await {
                Ok(first) => self.source.map(chunk, first),
                Err(_) => break,
            }
            at += u32::from(count);
            // The guest runs: the link's reader and other snapshots want their turn.
            yield_now().await;
        }
        self.source.end_view();
        at as usize == slots.len()
    }

    /// Pages that may still be kept.
    fn pool_left(&self) -> u32 {
        self.link.pool().free().min(self.kept.capacity() - self.kept.len()) as u32
    }

    /// Sends what was kept, giving each page back to the pool as it goes.
    async fn write_out(&mut self) -> Result<u32, Failure> {
        let mut zeros = 0;
        let mut kept = core::mem::take(&mut self.kept);
        while !kept.is_empty() {
            let rest = kept.len().saturating_sub(CHUNK);
            let pages = kept.get(rest..).unwrap_or_default().iter().map(|(slot, page)| (*slot, page));
            zeros += self.sender.send(pages).await?;
            kept.truncate(rest);
            if self.mailbox.cancelled.get() {
                return Err(Failure::Cancelled);
            }
        }
        self.link.drained().await.map_err(|_| Failure::Cancelled)?;
        Ok(zeros)
    }
}

//! Drives one pre-copy: the engine says what to do next, this does it with verbs of the shim and
//! copies from the guest's grants, and tells the engine what came of it.

mod plan;
mod sender;
mod source;
mod tell;

use alloc::vec::Vec;
use core::time::Duration;

use handoff::{Failure, Job, Outcome, Plan, ToShim, Verb, VerbError, WINDOW_SLOTS};
use livesave::{Action, AnyPolicy, Event, How, Precopy, ReadDone, Why};
use xen::executor::yield_now;
use xen::grant::Gref;
use xen::page::PoolPage;
use xen::time::{Instant, now};

use self::sender::Sender;
use self::source::Source;
use crate::group::Meeting;
use crate::link::Link;
use crate::mailbox::{Answer, Mailbox};

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
    let mut batch = Vec::new();
    batch.try_reserve_exact(WINDOW_SLOTS).map_err(|_| Failure::NoMemory)?;
    let mut driver = Driver {
        link,
        mailbox,
        member: mailbox.meeting.as_deref(),
        source: Source::new(start.guest, start.plan.copy_batch.into())?,
        sender,
        staging,
        batch,
        kept,
        spilled: 0,
        prepared: 0,
        prepared_us: 0,
        seq: 0,
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
                Action::LogDirty(true) => self.verb(Verb::LogDirty(true), &[]).await.map(drop),
                Action::LogDirty(false) => {
                    // From here on there is time: guests of others stand still.
                    self.wait_until_others_run().await;
                    self.verb(Verb::LogDirty(false), &[]).await.map(drop)
                }
                Action::Throttle(percent) => self.verb(Verb::Throttle { percent }, &[]).await.map(drop),
                Action::Barrier => {
                    let event = if self.wait_for_others().await { Event::Done } else { Event::NotYet };
                    engine.on(event, now().as_micros());
                    self.tell(&engine).await;
                    continue;
                }
                Action::Suspend => self.suspend().await,
                Action::State => self.verb(Verb::State, &[]).await.map(drop),
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
    async fn wait_for_others(&mut self) -> bool {
        match self.member {
            Some(member) => self.link.groups().wait(member).await,
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
        if let Some(member) = self.member {
            groups.suspends(member).await;
        }
        self.verb(Verb::Suspend, &[]).await?;
        self.member.inspect(|member| groups.stands(member));
        Ok(())
    }

    /// Lets the guest go on, and its vifs.
    async fn resume(&mut self) -> Result<(), Failure> {
        let resumed = self.verb(Verb::Resume, &[]).await.map(drop);
        self.member.inspect(|member| self.link.groups().runs(member));
        resumed
    }

    /// Asks the shim for a verb and waits for its answer.
    async fn verb(&mut self, verb: Verb, bulk: &[&[u8]]) -> Result<Outcome, Failure> {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        if self.mailbox.lost.get() {
            return Err(Failure::Cancelled);
        }
        self.mailbox.answer.reset();
        let message = ToShim::Verb { job: self.mailbox.job, seq, verb };
        self.link.send(&message, bulk).await.map_err(|_| Failure::Cancelled)?;
        match self.mailbox.answer.wait().await {
            Answer::Reply(to, result) if to == seq => result.map_err(Failure::Verb),
            Answer::Reply(..) => Err(Failure::Protocol),
            Answer::Lost => Err(Failure::Cancelled),
        }
    }

    /// As [`Driver::verb`], for verbs whose bulk is slots and whose answer is where their grants
    /// begin.
    async fn grant(&mut self, verb: Verb, slots: impl Iterator<Item = u32>) -> Result<Gref, Failure> {
        let mut bulk = [0u8; WINDOW_SLOTS * 4];
        let mut len = 0;
        for (slot, bytes) in slots.zip(bulk.as_chunks_mut().0) {
            *bytes = slot.to_le_bytes();
            len += bytes.len();
        }
        match self.verb(verb, &[bulk.get(..len).unwrap_or_default()]).await? {
            Outcome::Window { first_ref } => Ok(Gref(first_ref)),
            _ => Err(Failure::Protocol),
        }
    }

    /// Has pages granted and maps them, for the last round. `false`: not all of them.
    async fn prepare(&mut self, slots: &[u32]) -> bool {
        if !self.source.begin_view(slots.len()) {
            return false;
        }
        let mut at = 0;
        for chunk in slots.chunks(WINDOW_SLOTS) {
            let count = chunk.len() as u16;
            match self.grant(Verb::Prepare { at, count }, chunk.iter().copied()).await {
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

    /// Reads the batch: what is mapped, then the rest by a window.
    async fn read(&mut self, how: How) -> Result<ReadDone<'static>, Failure> {
        let copied_us = self.source.micros;
        let mut window_us = 0;
        let mut done = ReadDone::default();
        if how == How::Keep {
            done.sent += self.keep_prepared();
        }
        if !self.batch.is_empty() {
            let began = now();
            self.open_window(how == How::SendUnlessDirty, &mut done).await?;
            window_us = began.elapsed().as_micros() as u64;
            self.read_window(how, &mut done).await?;
        }
        done.pool_left = self.pool_left();
        done.copy_us = window_us + self.source.micros.saturating_sub(copied_us);
        Ok(done)
    }

    /// Copies what is mapped of the batch into the pool, and takes it off the batch. Returns how
    /// many.
    fn keep_prepared(&mut self) -> u32 {
        let Self { link, source, batch, kept, .. } = self;
        let began = now();
        let before = batch.len();
        batch.retain(|(slot, _)| {
            if kept.len() == kept.capacity() || !source.is_prepared(*slot) {
                return true;
            }
            let Some(mut page) = link.pool().take() else { return true };
            let read = source.read(*slot, &mut page);
            if read {
                kept.push((*slot, page));
            }
            !read
        });
        let kept = (before - batch.len()) as u32;
        let micros = began.elapsed().as_micros() as u64;
        source.micros += micros;
        self.prepared += kept;
        self.prepared_us += micros;
        kept
    }

    /// Copies the batch, on which the window is open, and sends or keeps it.
    async fn read_window(&mut self, how: How, done: &mut ReadDone<'_>) -> Result<(), Failure> {
        let mut at = 0;
        while at < self.batch.len() {
            let count = (self.batch.len() - at).min(CHUNK);
            if how == How::Keep && self.keep(at, count)? {
                done.sent += count as u32;
            } else {
                if how == How::Keep {
                    self.spilled += count as u32;
                }
                let zeros = self.forward(at, count).await?;
                done.sent += count as u32 - zeros;
                done.zero += zeros;
            }
            at += count;
            // The link's reader and other snapshots want their turn.
            yield_now().await;
        }
        Ok(())
    }

    /// Has the shim grant the batch; slots left out drop from it.
    async fn open_window(&mut self, skip_dirty: bool, done: &mut ReadDone<'_>) -> Result<(), Failure> {
        let asked = self.batch.len();
        self.half ^= 1;
        let verb = Verb::Window { half: self.half, skip_dirty, count: self.batch.len() as u16 };
        let mut batch = core::mem::take(&mut self.batch);
        let first = self.grant(verb, batch.iter().map(|(slot, _)| *slot)).await;
        for ((_, gref), i) in batch.iter_mut().zip(0..) {
            *gref = Gref(first.as_ref().map_or(0, |first| first.0.wrapping_add(i)));
        }
        self.batch = batch;
        first?;
        let mut i = 0;
        self.batch.retain(|_| {
            i += 1;
            !self.mailbox.is_left_out(i - 1)
        });
        done.skipped = (asked - self.batch.len()) as u32;
        Ok(())
    }

    /// Copies a part of the batch into the pool. `false`: there is no room for it.
    fn keep(&mut self, at: usize, count: usize) -> Result<bool, Failure> {
        let from = self.batch.get(at..at + count).unwrap_or_default();
        if self.kept.capacity() - self.kept.len() < count {
            return Ok(false);
        }
        let Some(mut into) = source::take(self.link.pool(), count) else { return Ok(false) };
        self.source.copy(from, &mut into)?;
        self.kept.extend(from.iter().map(|(slot, _)| *slot).zip(into));
        Ok(true)
    }

    /// Copies a part of the batch and sends it. Returns how many pages were zero.
    async fn forward(&mut self, at: usize, count: usize) -> Result<u32, Failure> {
        let from = self.batch.get(at..at + count).unwrap_or_default();
        self.source.copy(from, &mut self.staging)?;
        let pages = from.iter().map(|(slot, _)| *slot).zip(&self.staging);
        self.sender.send(pages).await
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

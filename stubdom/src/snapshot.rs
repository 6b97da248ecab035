//! Drives one pre-copy: the engine says what to do next, this does it with verbs of the shim and
//! copies from the guest's grants, and tells the engine what came of it.

use alloc::vec::Vec;
use core::time::Duration;

use handoff::{Failure, Job, Outcome, Plan, Policy, Tally, ToShim, Verb, VerbError, WINDOW_SLOTS};
use livesave::{Action, AnyPolicy, Event, How, LiveSave, PoolFit, Precopy, ReadDone, XenSave};
use xen::executor::yield_now;
use xen::grant::Gref;
use xen::page::PoolPage;
use xen::time::{Instant, now};

use crate::link::Link;
use crate::mailbox::{Answer, Mailbox};
use crate::pages::{self, COPY_BATCH, CopyError, Source};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

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
    let policy = match start.plan.policy {
        Policy::PoolFit => AnyPolicy::PoolFit(PoolFit::default()),
        Policy::XenSave => AnyPolicy::XenSave(XenSave),
        _ => AnyPolicy::LiveSave(LiveSave::default()),
    };
    let staging = pages::take(link.pool(), COPY_BATCH).ok_or(Failure::NoMemory)?;
    let config = livesave::Config {
        pages: start.pages,
        pool_pages: link.pool().free() as u32,
        batch: WINDOW_SLOTS as u32,
    };
    let engine = Precopy::new(config, policy).map_err(|_| Failure::NoMemory)?;
    let mut kept = Vec::new();
    kept.try_reserve_exact(link.pool().total().min(start.pages as usize)).map_err(|_| Failure::NoMemory)?;
    let source = Source::new(start.guest);
    let mut batch = Vec::new();
    batch.try_reserve_exact(WINDOW_SLOTS).map_err(|_| Failure::NoMemory)?;
    let mut driver = Driver {
        link,
        mailbox,
        source,
        staging,
        batch,
        kept,
        spilled: 0,
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
    source: Source,
    /// Pages that a batch is copied into before it is sent.
    staging: Vec<PoolPage>,
    /// The slots at hand and the grants by which they are read.
    batch: Vec<(u32, Gref)>,
    /// Pages of the last round, to be sent when the guest runs again.
    kept: Vec<(u32, PoolPage)>,
    /// Pages that should have been kept and found no room.
    spilled: u32,
    seq: u16,
    half: u8,
    rounds_told: usize,
    told: Instant,
    /// The first thing that went wrong.
    failure: Option<Failure>,
}

impl Driver<'_> {
    async fn drive(&mut self, mut engine: Precopy<AnyPolicy>) -> Result<handoff::Report, Failure> {
        loop {
            if self.mailbox.cancelled.get() && self.failure.is_none() {
                self.failure = Some(Failure::Cancelled);
                engine.on(Event::Cancelled, now().as_micros());
            }
            let done = match engine.next(now().as_micros()) {
                Action::LogDirty(on) => self.verb(Verb::LogDirty(on), &[]).await.map(drop),
                Action::Suspend => self.verb(Verb::Suspend, &[]).await.map(drop),
                Action::State => self.verb(Verb::State, &[]).await.map(drop),
                Action::Resume => self.verb(Verb::Resume, &[]).await.map(drop),
                Action::Clean { last } => {
                    let cleaned = self.verb(Verb::Clean { last }, &[]).await.map(drop);
                    if cleaned.is_ok() {
                        self.mailbox.with_bitmap(|bitmap| engine.dirty_chunk(0, bitmap));
                    }
                    cleaned
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
                Action::Finish(_) => break,
            };
            let event = match done {
                Ok(()) => Event::Done,
                // That something else holds log-dirty is known for certain; nothing else is.
                Err(Failure::Verb(VerbError { kind: handoff::VerbErrorKind::LogDirty, .. })) => {
                    Event::Refused(0)
                }
                Err(_) => Event::Failed(0),
            };
            if let Err(why) = done {
                self.failure.get_or_insert(why);
            }
            engine.on(event, now().as_micros());
            self.tell(&engine).await;
        }
        self.kept.clear();
        // Nothing is read any more; the shim takes back what the guest had granted.
        let revoked = self.verb(Verb::Revoke, &[]).await;
        self.tell_rounds(&engine, true).await;
        match (self.failure.take(), revoked) {
            (Some(why), _) | (None, Err(why)) => Err(why),
            (None, Ok(_)) => self.report(&engine),
        }
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

    /// Opens a window on the batch, copies it and sends or keeps it.
    async fn read(&mut self, how: How) -> Result<ReadDone<'static>, Failure> {
        let asked = self.batch.len();
        self.open_window(how == How::SendUnlessDirty).await?;
        let mut done = ReadDone { skipped: (asked - self.batch.len()) as u32, ..ReadDone::default() };
        let mut at = 0;
        while at < self.batch.len() {
            let count = (self.batch.len() - at).min(COPY_BATCH);
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
        done.pool_left = self.link.pool().free() as u32;
        Ok(done)
    }

    /// Has the shim grant the batch; slots left out drop from it.
    async fn open_window(&mut self, skip_dirty: bool) -> Result<(), Failure> {
        let count = self.batch.len() as u16;
        let mut slots = [0u8; WINDOW_SLOTS * 4];
        for ((slot, _), bytes) in self.batch.iter().zip(slots.as_chunks_mut().0) {
            *bytes = slot.to_le_bytes();
        }
        self.half ^= 1;
        let verb = Verb::Window { half: self.half, skip_dirty, count };
        let slots = slots.get(..self.batch.len() * 4).unwrap_or_default();
        let Outcome::Window { first_ref } = self.verb(verb, &[slots]).await? else {
            return Err(Failure::Protocol);
        };
        for ((_, gref), i) in self.batch.iter_mut().zip(0..) {
            *gref = Gref(first_ref.wrapping_add(i));
        }
        let mut i = 0;
        self.batch.retain(|_| {
            i += 1;
            !self.mailbox.is_left_out(i - 1)
        });
        Ok(())
    }

    /// Copies a part of the batch into the pool. `false`: the pool has no room for it.
    fn keep(&mut self, at: usize, count: usize) -> Result<bool, Failure> {
        let from = self.batch.get(at..at + count).unwrap_or_default();
        if self.kept.capacity() - self.kept.len() < count {
            return Ok(false);
        }
        let Some(mut into) = pages::take(self.link.pool(), count) else { return Ok(false) };
        self.source.copy(from, &mut into).map_err(copy_failure)?;
        self.kept.extend(from.iter().map(|(slot, _)| *slot).zip(into));
        Ok(true)
    }

    /// Copies a part of the batch and sends it. Returns how many pages were zero.
    async fn forward(&mut self, at: usize, count: usize) -> Result<u32, Failure> {
        let from = self.batch.get(at..at + count).unwrap_or_default();
        self.source.copy(from, &mut self.staging).map_err(copy_failure)?;
        let pages = from.iter().map(|(slot, _)| *slot).zip(&self.staging);
        pages::send(self.link, self.mailbox.job, pages).await.map_err(|_| Failure::Cancelled)
    }

    /// Sends what was kept, giving each page back to the pool as it goes.
    async fn write_out(&mut self) -> Result<u32, Failure> {
        let mut zeros = 0;
        let job = self.mailbox.job;
        let mut kept = core::mem::take(&mut self.kept);
        while !kept.is_empty() {
            let rest = kept.len().saturating_sub(handoff::PAGES_PER_MESSAGE);
            let pages = kept.get(rest..).unwrap_or_default().iter().map(|(slot, page)| (*slot, page));
            zeros += pages::send(self.link, job, pages).await.map_err(|_| Failure::Cancelled)?;
            kept.truncate(rest);
            if self.mailbox.cancelled.get() {
                return Err(Failure::Cancelled);
            }
        }
        self.link.drained().await.map_err(|_| Failure::Cancelled)?;
        Ok(zeros)
    }

    /// Tells the shim how far it is, now and then, and of rounds that have ended. What is not
    /// heard is no harm.
    async fn tell(&mut self, engine: &Precopy<AnyPolicy>) {
        self.tell_rounds(engine, false).await;
        if self.told.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told = now();
        let p = engine.progress();
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let progress = handoff::Progress {
            round: p.round as u16,
            remaining: p.left,
            sent: p.copied,
            dirty_rate: small(p.dirty_rate),
            copy_rate: small(p.copy_rate),
        };
        let _ = self.link.send(&ToShim::Progress { job: self.mailbox.job, progress }, &[]).await;
    }

    /// A round is told when the next has begun: only then is known what was dirtied in it.
    async fn tell_rounds(&mut self, engine: &Precopy<AnyPolicy>, all: bool) {
        let rounds = engine.report().rounds;
        let ended = if all { rounds.len() } else { rounds.len().saturating_sub(1) };
        for r in rounds.get(self.rounds_told..ended).unwrap_or_default() {
            let round = handoff::Round {
                round: r.number as u16,
                live: !r.last,
                asked: r.asked,
                sent: r.copied(),
                zero: r.zero,
                skipped: r.skipped,
                dirtied: r.dirtied,
                micros: r.time_us,
            };
            let _ = self.link.send(&ToShim::Round { job: self.mailbox.job, round }, &[]).await;
        }
        self.rounds_told = self.rounds_told.max(ended);
    }

    fn report(&self, engine: &Precopy<AnyPolicy>) -> Result<handoff::Report, Failure> {
        let r = engine.report();
        let stop = match r.stop {
            Some(livesave::Stop::NotLive) => handoff::Stop::NotLive,
            Some(livesave::Stop::FewDirty) => handoff::Stop::FewDirty,
            Some(livesave::Stop::TooManyRounds | livesave::Stop::RoundBound) => handoff::Stop::TooManyRounds,
            Some(livesave::Stop::TooMuchSent) => handoff::Stop::TooMuchSent,
            Some(livesave::Stop::FitsPool) => handoff::Stop::FitsPool,
            Some(livesave::Stop::NotShrinking) => handoff::Stop::NotShrinking,
            // A reason that the handoff has no word for yet.
            Some(_) | None => return Err(Failure::Protocol),
        };
        Ok(handoff::Report {
            rounds: r.rounds.len() as u16,
            stop,
            sent: r.sent + r.zero,
            zero: r.zero,
            skipped: r.skipped,
            kept: r.kept,
            overflow: r.overflow.saturating_add(self.spilled),
            prepared: 0,
            estimate_us: 0,
            throttle: 100,
            copy_hypercalls: self.source.hypercalls(),
            copy_micros: self.source.micros,
            codec_micros: 0,
            raw: Tally::default(),
            lz4: Tally::default(),
            delta: Tally::default(),
            blocks: Tally::default(),
        })
    }
}

fn copy_failure(e: CopyError) -> Failure {
    match e {
        CopyError::Page { slot, status } => Failure::Copy { slot, status },
        CopyError::Call => Failure::Copy { slot: u32::MAX, status: 0 },
    }
}

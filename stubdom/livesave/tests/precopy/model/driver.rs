//! Runs the engine in virtual time, and can be told to fail.

use std::collections::HashMap;

use livesave::{AnyPolicy, Event, Outcome, Policy, Precopy, ReadDone};

use super::{Asked, Fault, Guest, Mutant, Run, Scenario, ask};

/// What things cost.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Pages sent a second while copying.
    pub pages_per_second: f64,
    /// Pages copied to the pool a second.
    pub pool_pages_per_second: f64,
    /// The same for prepared pages.
    pub prepared_pages_per_second: f64,
    /// Fetching the dirty bitmap.
    pub scan_us: u64,
    /// Any other verb.
    pub verb_us: u64,
}

impl Default for Speed {
    /// 117 MB/s to the sink, 1.2 GB/s to the pool, as in the design notes' reference table.
    fn default() -> Self {
        Self {
            pages_per_second: 28_646.0,
            pool_pages_per_second: 300_000.0,
            prepared_pages_per_second: 600_000.0,
            scan_us: 20_000,
            verb_us: 200,
        }
    }
}

/// Looks at the engine after each event.
type Watch<P> = dyn FnMut(&Precopy<P>);

pub struct Driver<P = AnyPolicy> {
    pub(super) engine: Precopy<P>,
    pub guest: Guest,
    pub scenario: Scenario,
    pub mutant: Mutant,
    /// The action (counted from 0) at which something goes wrong.
    pub fault: Option<(usize, Fault)>,
    /// From the fault on, every verb of this kind fails before it is done.
    pub broken: Option<Asked>,
    /// Someone else has log-dirty mode: ours is refused.
    pub log_dirty_taken: bool,
    /// Called with the engine after each event.
    pub watch: Box<Watch<P>>,
    /// Seconds that others take to get ready after this one is, as far as they are not over.
    pub others_take: f64,
    /// When the engine is told that they are ready, if it is.
    pub hurried_at: Option<f64>,
    pub(super) now: f64,
    pub(super) image: Vec<Option<u64>>,
    pub(super) pool: Vec<(u32, u64)>,
    /// Prepared slots, with what was in them then.
    pub(super) prepared: HashMap<u32, u64>,
    pub(super) prepared_read: u32,
    pub(super) cut: Option<Guest>,
    trace: Vec<Asked>,
    pub(super) dirty: Vec<Vec<u8>>,
    pub(super) copied: Vec<(u32, u32)>,
    pub(super) skipped: Vec<(u32, u32)>,
    pub(super) suspended_at: f64,
    pub(super) suspended_us: u64,
    pub(super) pool_overrun: u64,
}

/// The answer, with what it would borrow.
pub(super) enum Answer {
    Done,
    NotYet,
    Refused,
    Read { done: ReadDone<'static>, missing: Vec<u32> },
    Written,
}

impl<P: Policy> Driver<P> {
    pub fn new(scenario: &Scenario, policy: P) -> Self {
        Self {
            engine: Precopy::new(scenario.config, policy).unwrap(),
            guest: Guest::new(scenario),
            scenario: scenario.clone(),
            mutant: Mutant::None,
            fault: None,
            broken: None,
            log_dirty_taken: false,
            watch: Box::new(|_| ()),
            others_take: scenario.others_take,
            hurried_at: None,
            now: 0.0,
            image: vec![None; scenario.config.pages as usize],
            pool: Vec::new(),
            prepared: HashMap::new(),
            prepared_read: 0,
            cut: None,
            trace: Vec::new(),
            dirty: Vec::new(),
            copied: Vec::new(),
            skipped: Vec::new(),
            suspended_at: 0.0,
            suspended_us: 0,
            pool_overrun: 0,
        }
    }

    fn us(&self) -> u64 {
        (self.now * 1e6) as u64
    }

    pub(super) fn pass(&mut self, seconds: f64) {
        self.guest.advance(seconds);
        self.now += seconds;
    }

    pub fn run(mut self) -> Run<P> {
        loop {
            let now = self.us();
            if self.hurried_at.is_some_and(|at| self.now >= at) {
                self.engine.hurry();
            }
            let asked = match ask(&mut self.engine, now) {
                Ok(asked) => asked,
                Err(outcome) => return self.end(outcome),
            };
            let batch = self.engine.batch().to_vec();
            assert!(self.trace.len() < 100_000, "no end");
            let step = self.trace.len();
            self.trace.push(asked);
            let fault = self.fault.filter(|(at, _)| *at == step).map(|(_, fault)| fault);
            self.answer(asked, &batch, fault);
            (self.watch)(&self.engine);
        }
    }

    fn answer(&mut self, asked: Asked, batch: &[u32], fault: Option<Fault>) {
        let taken = self.log_dirty_taken && asked == Asked::LogDirty(true);
        if taken || fault == Some(Fault::Refused) {
            return self.engine.on(Event::Refused(16), self.us());
        }
        let broken = self.broken == Some(asked) && self.fault.is_some_and(|(at, _)| self.trace.len() > at);
        if broken || fault == Some(Fault::FailedBefore) {
            return self.engine.on(Event::Failed(5), self.us());
        }
        if fault == Some(Fault::CancelledBefore) {
            return self.engine.on(Event::Cancelled, self.us());
        }
        let answer = self.carry_out(asked, batch);
        let now = self.us();
        let missing;
        let event = match answer {
            Answer::Done => Event::Done,
            Answer::NotYet => Event::NotYet,
            Answer::Refused => Event::Refused(16),
            Answer::Written => Event::Written { zero: 0 },
            Answer::Read { done, missing: slots } => {
                missing = slots;
                Event::Read(ReadDone { missing: &missing, ..done })
            }
        };
        match fault {
            Some(Fault::FailedAfter) => self.engine.on(Event::Failed(5), now),
            Some(Fault::CancelledAfter) => self.engine.on(Event::Cancelled, now),
            Some(Fault::NoAnswer) => {}
            Some(Fault::WrongAnswer) => self.engine.on(
                match event {
                    Event::Done => Event::Written { zero: 0 },
                    Event::Read(done) => Event::Read(ReadDone { sent: done.sent + 1, ..done }),
                    _ => Event::Done,
                },
                now,
            ),
            Some(Fault::TwoAnswers) => {
                self.engine.on(event, now);
                self.engine.on(event, now);
            }
            Some(Fault::CancelledBetween) => {
                self.engine.on(event, now);
                self.engine.on(Event::Cancelled, now);
            }
            _ => self.engine.on(event, now),
        }
    }

    fn end(self, outcome: Outcome) -> Run<P> {
        Run {
            outcome,
            trace: self.trace,
            engine: self.engine,
            guest: self.guest,
            cut: self.cut,
            image: self.image,
            suspended_us: self.suspended_us,
            pool: self.pool.len(),
            prepared: self.prepared.len() as u32,
            prepared_read: self.prepared_read,
            dirty: self.dirty,
            copied: self.copied,
            skipped: self.skipped,
            pool_overrun: self.pool_overrun,
        }
    }
}

impl Driver {
    /// The next snapshot of the same guest, on top of the image that `earlier` left. The guest
    /// runs for so many seconds in between.
    pub fn on_top_of(scenario: &Scenario, earlier: Run, seconds: f64) -> Self {
        let mut driver =
            Self { guest: earlier.guest, image: earlier.image, ..Self::new(scenario, scenario.policy) };
        driver.guest.advance(seconds);
        driver
    }
}

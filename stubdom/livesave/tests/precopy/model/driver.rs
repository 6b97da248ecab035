//! Does what the engine asks, in virtual time, and can be told to fail.

use livesave::{Action, AnyPolicy, Event, How, Outcome, Policy, Precopy, ReadDone, Report, Round};

use super::{Guest, Scenario};

/// What things cost.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Pages sent a second while copying.
    pub pages_per_second: f64,
    /// Pages copied to the pool a second.
    pub pool_pages_per_second: f64,
    /// Fetching the dirty bitmap.
    pub scan_us: u64,
    /// Any other verb.
    pub verb_us: u64,
}

impl Default for Speed {
    /// 117 MB/s to the sink, 1.2 GB/s to the pool, as in the design notes' reference table.
    fn default() -> Self {
        Self { pages_per_second: 28_646.0, pool_pages_per_second: 300_000.0, scan_us: 20_000, verb_us: 200 }
    }
}

/// A way in which the model is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// PEEK clears the bitmap, as a literal reading of the paper has it.
    PeekClears,
    /// The last CLEAN returns nothing.
    LastCleanEmpty,
    /// The last CLEAN comes before the guest stands still.
    SuspendsLate,
}

/// What goes wrong at an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not done, and said so.
    Refused,
    /// Not done, outcome unknown.
    FailedBefore,
    /// Done, outcome unknown.
    FailedAfter,
    /// The operator cancels in place of an answer; not done.
    CancelledBefore,
    /// The operator cancels in place of an answer; done.
    CancelledAfter,
    /// Done and answered, then cancelled.
    CancelledBetween,
    /// Done, but the answer is to some other question.
    WrongAnswer,
    /// Done, never answered.
    NoAnswer,
    /// Done and answered twice.
    TwoAnswers,
}

impl Fault {
    pub const ALL: [Fault; 9] = [
        Fault::Refused,
        Fault::FailedBefore,
        Fault::FailedAfter,
        Fault::CancelledBefore,
        Fault::CancelledAfter,
        Fault::CancelledBetween,
        Fault::WrongAnswer,
        Fault::NoAnswer,
        Fault::TwoAnswers,
    ];
}

/// An action, without what it borrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    LogDirty(bool),
    Clean { last: bool },
    Read { pages: u32, how: How },
    Throttle(u8),
    Prepare { pages: u32 },
    Suspend,
    State,
    Resume,
    WriteOut,
}

/// The engine's next action, or how it ended.
pub fn ask<P: Policy>(engine: &mut Precopy<P>, now_us: u64) -> Result<Asked, Outcome> {
    Ok(match engine.next(now_us) {
        Action::LogDirty(on) => Asked::LogDirty(on),
        Action::Clean { last } => Asked::Clean { last },
        Action::Read { batch, how } => Asked::Read { pages: batch.len() as u32, how },
        Action::Throttle(percent) => Asked::Throttle(percent),
        Action::Prepare { slots } => Asked::Prepare { pages: slots.len() as u32 },
        Action::Suspend => Asked::Suspend,
        Action::State => Asked::State,
        Action::Resume => Asked::Resume,
        Action::WriteOut => Asked::WriteOut,
        Action::Finish(outcome) => return Err(outcome),
    })
}

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    pub outcome: Outcome,
    pub trace: Vec<Asked>,
    pub engine: Precopy<AnyPolicy>,
    pub guest: Guest,
    /// Memory when the state was recorded.
    pub cut: Option<Guest>,
    pub image: Vec<Option<u64>>,
    /// When the guest was seen to stand still and run again.
    pub suspended_us: u64,
    /// Kept pages not written out.
    pub pool: usize,
    /// What each CLEAN returned.
    pub dirty: Vec<Vec<u8>>,
    /// Slots sent or found zero, and skipped, each with the round's number.
    pub copied: Vec<(u32, u32)>,
    pub skipped: Vec<(u32, u32)>,
    /// Pages that were copied to the pool without room for them. Must be 0.
    pub pool_overrun: u64,
}

impl Run {
    /// The first slot in which the image is not the guest at the cut.
    pub fn difference(&self) -> Option<u32> {
        let cut = self.cut.as_ref().expect("no cut");
        (0..self.image.len() as u32).find(|&slot| {
            !cut.is_absent(slot) && self.image[slot as usize] != Some(cut.memory[slot as usize])
        })
    }

    pub fn report(&self) -> Report<'_> {
        self.engine.report()
    }

    pub fn rounds(&self) -> &[Round] {
        self.report().rounds
    }
}

/// Page contents that were read while the guest wrote to them.
const TORN: u64 = u64::MAX - 1;

/// Looks at the engine after each event.
type Watch = dyn FnMut(&Precopy<AnyPolicy>);

pub struct Driver {
    engine: Precopy<AnyPolicy>,
    pub guest: Guest,
    speed: Speed,
    chunk: usize,
    pool_pages: u32,
    pub mutant: Mutant,
    /// The action (counted from 0) at which something goes wrong.
    pub fault: Option<(usize, Fault)>,
    /// From the fault on, every verb of this kind fails before it is done.
    pub broken: Option<Asked>,
    /// Someone else has log-dirty mode: ours is refused.
    pub log_dirty_taken: bool,
    /// Called with the engine after each event.
    pub watch: Box<Watch>,
    now: f64,
    image: Vec<Option<u64>>,
    pool: Vec<(u32, u64)>,
    cut: Option<Guest>,
    trace: Vec<Asked>,
    dirty: Vec<Vec<u8>>,
    copied: Vec<(u32, u32)>,
    skipped: Vec<(u32, u32)>,
    suspended_at: f64,
    suspended_us: u64,
    pool_overrun: u64,
}

/// The answer, with what it would borrow.
enum Answer {
    Done,
    Read { sent: u32, zero: u32, skipped: u32, missing: Vec<u32>, pool_left: u32, copy_us: u64 },
    Written,
}

impl Driver {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            engine: Precopy::new(scenario.config, scenario.policy).unwrap(),
            guest: Guest::new(scenario),
            speed: scenario.speed,
            chunk: scenario.chunk,
            pool_pages: scenario.config.pool_pages,
            mutant: Mutant::None,
            fault: None,
            broken: None,
            log_dirty_taken: false,
            watch: Box::new(|_| ()),
            now: 0.0,
            image: vec![None; scenario.config.pages as usize],
            pool: Vec::new(),
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

    fn pass(&mut self, seconds: f64) {
        self.guest.advance(seconds);
        self.now += seconds;
    }

    pub fn run(mut self) -> Run {
        loop {
            let now = self.us();
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
            Answer::Written => Event::Written { zero: 0 },
            Answer::Read { sent, zero, skipped, missing: slots, pool_left, copy_us } => {
                missing = slots;
                Event::Read(ReadDone { sent, zero, skipped, missing: &missing, pool_left, copy_us })
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

    fn carry_out(&mut self, asked: Asked, batch: &[u32]) -> Answer {
        match asked {
            Asked::Clean { .. } | Asked::Read { .. } | Asked::WriteOut => {}
            _ => self.pass(self.speed.verb_us as f64 / 1e6),
        }
        match asked {
            Asked::LogDirty(on) => self.guest.set_log_dirty(on),
            Asked::Clean { last } => self.clean(last),
            Asked::Read { how, .. } => return self.read(batch, how),
            Asked::Throttle(percent) => self.guest.share = f64::from(percent) / 100.0,
            Asked::Prepare { .. } => {}
            Asked::Suspend => {
                self.guest.running = self.mutant == Mutant::SuspendsLate;
                self.suspended_at = self.now;
            }
            Asked::State => self.cut = Some(self.guest.clone()),
            Asked::Resume => {
                self.guest.running = true;
                self.suspended_us = ((self.now - self.suspended_at) * 1e6) as u64;
            }
            Asked::WriteOut => {
                for (slot, contents) in std::mem::take(&mut self.pool) {
                    self.pass(1.0 / self.speed.pages_per_second);
                    self.image[slot as usize] = Some(contents);
                }
                return Answer::Written;
            }
        }
        Answer::Done
    }

    fn clean(&mut self, last: bool) {
        let mut bytes = self.guest.clean();
        self.pass(self.speed.scan_us as f64 / 1e6);
        if last {
            self.guest.running = false;
            if self.mutant == Mutant::LastCleanEmpty {
                bytes.fill(0);
            }
        }
        bytes.truncate(self.image.len().div_ceil(8));
        for (number, piece) in bytes.chunks(self.chunk).enumerate() {
            self.engine.dirty_chunk((number * self.chunk * 8) as u32, piece);
        }
        self.dirty.push(bytes);
    }

    fn read(&mut self, batch: &[u32], how: How) -> Answer {
        let round = self.engine.progress().round;
        let peeked: Vec<bool> =
            batch.iter().map(|&slot| how == How::SendUnlessDirty && self.guest.peek(slot)).collect();
        if how == How::SendUnlessDirty && self.mutant == Mutant::PeekClears {
            self.guest.clean();
        }
        let (mut sent, mut zero, mut skipped, mut missing) = (0, 0, 0, Vec::new());
        for (&slot, skip) in batch.iter().zip(peeked) {
            if skip {
                skipped += 1;
                self.skipped.push((round, slot));
                continue;
            }
            if self.guest.is_absent(slot) {
                missing.push(slot);
                self.image[slot as usize] = None;
                continue;
            }
            let before = self.guest.memory[slot as usize];
            self.pass(
                1.0 / if how == How::Keep {
                    self.speed.pool_pages_per_second
                } else {
                    self.speed.pages_per_second
                },
            );
            let after = self.guest.memory[slot as usize];
            let contents = if before == after { before } else { TORN };
            self.copied.push((round, slot));
            if contents == 0 {
                zero += 1;
                self.image[slot as usize] = Some(0);
            } else {
                sent += 1;
                if how == How::Keep {
                    self.pool.push((slot, contents));
                } else {
                    self.image[slot as usize] = Some(contents);
                }
            }
        }
        self.pool_overrun += (self.pool.len() as u64).saturating_sub(self.pool_pages.into());
        let pool_left = self.pool_pages.saturating_sub(self.pool.len() as u32);
        let copy_us = (f64::from(sent + zero) * 1e6 / self.speed.pool_pages_per_second) as u64;
        Answer::Read { sent, zero, skipped, missing, pool_left, copy_us }
    }

    fn end(self, outcome: Outcome) -> Run {
        Run {
            outcome,
            trace: self.trace,
            engine: self.engine,
            guest: self.guest,
            cut: self.cut,
            image: self.image,
            suspended_us: self.suspended_us,
            pool: self.pool.len(),
            dirty: self.dirty,
            copied: self.copied,
            skipped: self.skipped,
            pool_overrun: self.pool_overrun,
        }
    }
}

//! What the engine asks for, and what can go wrong with it.

use livesave::{Action, How, Outcome, Policy, Precopy};

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
    /// A log that was kept on is turned off and on again, which empties it.
    LogStartsAnew,
    /// Prepared pages are read when they are prepared.
    PreparedStale,
    /// The guest is not given its CPU time back.
    NeverUnthrottled,
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
    Barrier,
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
        Action::Barrier => Asked::Barrier,
        Action::Prepare { slots } => Asked::Prepare { pages: slots.len() as u32 },
        Action::Suspend => Asked::Suspend,
        Action::State => Asked::State,
        Action::Resume => Asked::Resume,
        Action::WriteOut => Asked::WriteOut,
        Action::Finish(outcome) => return Err(outcome),
    })
}

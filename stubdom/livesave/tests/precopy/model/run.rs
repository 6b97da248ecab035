//! What a run left behind.

use livesave::{AnyPolicy, Outcome, Policy, Precopy, Report, Round};

use super::{Asked, Guest};

/// The end of a run.
#[derive(Debug)]
pub struct Run<P = AnyPolicy> {
    pub outcome: Outcome,
    pub trace: Vec<Asked>,
    pub engine: Precopy<P>,
    pub guest: Guest,
    /// Memory when the state was recorded.
    pub cut: Option<Guest>,
    pub image: Vec<Option<u64>>,
    /// When the guest was seen to stand still and run again.
    pub suspended_us: u64,
    /// Kept pages not written out.
    pub pool: usize,
    /// Pages that were prepared, and those of them that the last round read.
    pub prepared: u32,
    pub prepared_read: u32,
    /// What each CLEAN returned.
    pub dirty: Vec<Vec<u8>>,
    /// Slots sent or found zero, and skipped, each with the round's number.
    pub copied: Vec<(u32, u32)>,
    pub skipped: Vec<(u32, u32)>,
    /// Pages that were copied to the pool without room for them. Must be 0.
    pub pool_overrun: u64,
}

impl<P: Policy> Run<P> {
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

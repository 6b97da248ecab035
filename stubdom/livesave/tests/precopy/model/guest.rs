//! A guest that writes to its memory, and the hypervisor's log of it.

use super::{Rng, Scenario};

/// Which pages the guest writes to.
#[derive(Debug, Clone, Copy)]
pub enum Pattern {
    /// Each page of the working set alike.
    Uniform,
    /// So many percent of the writes go to the first `pages` of the working set.
    Hot { pages: u32, percent: u64 },
}

/// How the guest writes.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// Page writes a second.
    pub rate: f64,
    /// Writes go to slots below this.
    pub working_set: u32,
    pub pattern: Pattern,
}

/// Contents of a slot that is ballooned out.
const ABSENT: u64 = u64::MAX;

#[derive(Debug, Clone)]
pub struct Guest {
    /// What is in each page: 0 for a zero page, else the number of the write.
    pub memory: Vec<u64>,
    pub running: bool,
    pub log_dirty: bool,
    /// Of its CPU time.
    pub share: f64,
    dirty: Vec<u64>,
    writer: Writer,
    writes: u64,
    write_credit: f64,
    balloon_rate: f64,
    balloon_credit: f64,
    zero_one_in: u64,
    rng: Rng,
}

impl Guest {
    pub fn new(scenario: &Scenario) -> Self {
        let pages = scenario.config.pages as usize;
        let mut rng = Rng::new(scenario.seed ^ 0xabcd);
        let memory = (1..=pages as u64)
            .map(|number| if rng.below(scenario.zero_one_in) == 0 { 0 } else { number })
            .collect();
        Self {
            memory,
            running: true,
            log_dirty: false,
            share: 1.0,
            dirty: vec![0; pages.div_ceil(64)],
            writer: scenario.writer,
            writes: pages as u64,
            write_credit: 0.0,
            balloon_rate: scenario.balloon_rate,
            balloon_credit: 0.0,
            zero_one_in: scenario.zero_one_in,
            rng,
        }
    }

    /// Lets the guest do `seconds` of work, if it runs.
    pub fn advance(&mut self, seconds: f64) {
        if !self.running {
            return;
        }
        self.write_credit += self.writer.rate * self.share * seconds;
        while self.write_credit >= 1.0 {
            self.write_credit -= 1.0;
            self.write();
        }
        self.balloon_credit += self.balloon_rate * seconds;
        while self.balloon_credit >= 1.0 {
            self.balloon_credit -= 1.0;
            self.balloon();
        }
    }

    fn write(&mut self) {
        let range = match self.writer.pattern {
            Pattern::Hot { pages, percent } if self.rng.below(100) < percent => pages,
            _ => self.writer.working_set,
        };
        let slot = self.rng.below(range.into()) as usize;
        if self.memory[slot] == ABSENT {
            return;
        }
        self.writes += 1;
        let zero = self.zero_one_in != u64::MAX && self.rng.below(self.zero_one_in) == 0;
        self.memory[slot] = if zero { 0 } else { self.writes };
        self.mark(slot);
    }

    /// Writes to a page, now.
    pub fn write_to(&mut self, slot: u32) {
        self.writes += 1;
        self.memory[slot as usize] = self.writes;
        self.mark(slot as usize);
    }

    /// A page goes out, unnoticed by log-dirty, or comes in as a zero page, which is noticed.
    fn balloon(&mut self) {
        let slot = self.rng.below(self.memory.len() as u64) as usize;
        if self.memory[slot] == ABSENT {
            self.memory[slot] = 0;
            self.mark(slot);
        } else {
            self.memory[slot] = ABSENT;
        }
    }

    fn mark(&mut self, slot: usize) {
        if self.log_dirty {
            self.dirty[slot / 64] |= 1 << (slot % 64);
        }
    }

    /// Runs at full speed, and nobody logs what it writes.
    pub fn is_as_before(&self) -> bool {
        self.running && self.share == 1.0 && !self.log_dirty
    }

    pub fn is_absent(&self, slot: u32) -> bool {
        self.memory[slot as usize] == ABSENT
    }

    pub fn set_log_dirty(&mut self, on: bool) {
        self.log_dirty = on;
        self.dirty.fill(0);
    }

    /// CLEAN: the bitmap, which is then empty.
    pub fn clean(&mut self) -> Vec<u8> {
        let bytes = self.dirty.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.dirty.fill(0);
        bytes
    }

    /// PEEK: whether a page is dirty. Changes nothing.
    pub fn peek(&self, slot: u32) -> bool {
        self.dirty[slot as usize / 64] >> (slot % 64) & 1 == 1
    }
}

//! Does what the engine asks.

use livesave::{Base, How, Policy, ReadDone};

use super::driver::{Answer, Driver};
use super::{Asked, Mutant};

/// Page contents that were read while the guest wrote to them.
const TORN: u64 = u64::MAX - 1;

impl<P: Policy> Driver<P> {
    pub(super) fn carry_out(&mut self, asked: Asked, batch: &[u32]) -> Answer {
        match asked {
            Asked::Clean { .. } | Asked::Read { .. } | Asked::WriteOut => {}
            _ => self.pass(self.scenario.speed.verb_us as f64 / 1e6),
        }
        match asked {
            Asked::LogDirty(true) if self.scenario.config.base == Base::Log => {
                if !self.guest.log_dirty {
                    return Answer::Refused;
                }
                if self.mutant == Mutant::LogStartsAnew {
                    self.guest.set_log_dirty(true);
                }
            }
            Asked::LogDirty(on) => self.guest.set_log_dirty(on),
            Asked::Clean { last } => self.clean(last),
            Asked::Read { how, .. } => return self.read(batch, how),
            Asked::Throttle(100) if self.mutant == Mutant::NeverUnthrottled => {}
            Asked::Throttle(percent) => self.guest.share = f64::from(percent) / 100.0,
            Asked::Prepare { .. } => {
                for &slot in batch {
                    let twice = self.prepared.insert(slot, self.guest.memory[slot as usize]);
                    assert_eq!(twice, None, "slot {slot} is named twice");
                }
                self.pass(batch.len() as f64 / 1e6);
            }
            Asked::Barrier => {
                if self.others_take > 0.05 {
                    self.others_take -= 0.1;
                    self.pass(0.1);
                    return Answer::NotYet;
                }
            }
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
                    self.pass(1.0 / self.scenario.speed.pages_per_second);
                    self.image[slot as usize] = Some(contents);
                }
                return Answer::Written;
            }
        }
        Answer::Done
    }

    fn clean(&mut self, last: bool) {
        let mut bytes = self.guest.clean();
        self.pass(self.scenario.speed.scan_us as f64 / 1e6);
        if last {
            self.guest.running = false;
            if self.mutant == Mutant::LastCleanEmpty {
                bytes.fill(0);
            }
        }
        bytes.truncate(self.image.len().div_ceil(8));
        for (number, piece) in bytes.chunks(self.scenario.chunk).enumerate() {
            self.engine.dirty_chunk((number * self.scenario.chunk * 8) as u32, piece);
        }
        let dirty: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(self.engine.dirtied(), dirty);
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
            let prepared = if how == How::Keep { self.prepared.get(&slot).copied() } else { None };
            self.prepared_read += u32::from(prepared.is_some());
            let pages_per_second = match how {
                How::Keep if prepared.is_some() => self.scenario.speed.prepared_pages_per_second,
                How::Keep => self.scenario.speed.pool_pages_per_second,
                How::Send | How::SendUnlessDirty => self.scenario.speed.pages_per_second,
            };
            self.pass(1.0 / pages_per_second);
            let after = self.guest.memory[slot as usize];
            let contents = match prepared {
                Some(stale) if self.mutant == Mutant::PreparedStale => stale,
                _ if before == after => before,
                _ => TORN,
            };
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
        let pool_pages = self.scenario.config.pool_pages;
        self.pool_overrun += (self.pool.len() as u64).saturating_sub(pool_pages.into());
        let pool_left = pool_pages.saturating_sub(self.pool.len() as u32);
        let copying = f64::from(u8::from(self.scenario.report_copying));
        let copy_us =
            (copying * f64::from(sent + zero) * 1e6 / self.scenario.speed.pool_pages_per_second) as u64;
        let done = ReadDone { sent, zero, skipped, missing: &[], pool_left, copy_us };
        Answer::Read { done, missing }
    }
}

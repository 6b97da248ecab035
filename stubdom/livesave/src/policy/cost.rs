//! What things cost, as measured so far: from it the suspended time is foretold.

use crate::report::rate;

/// Half of what is known is forgotten each time this many pages were added: 32 MiB.
const WINDOW: u64 = 8192;

/// What copying or sending a page takes as long as nothing is known, in microseconds: long, so
/// that nobody relies on it.
const UNKNOWN_US: u64 = 100;

/// A mean over the last pages, each alike: older ones fade out. Batches of a few pages, which
/// take hardly a microsecond, thus weigh little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    pages: u64,
    us: u64,
}

impl Pace {
    /// So many pages took so long. Nothing is learnt from pages that took no time at all.
    pub fn add(&mut self, pages: u32, us: u64) {
        if us == 0 {
            return;
        }
        self.pages = self.pages.saturating_add(pages.into());
        self.us = self.us.saturating_add(us);
        while self.pages > 2 * WINDOW {
            self.pages /= 2;
            self.us /= 2;
        }
    }

    /// How long so many pages will take, in microseconds. `None`: not measured yet.
    pub fn us(&self, pages: u64) -> Option<u64> {
        pages.saturating_mul(self.us).checked_div(self.pages)
    }

    /// Pages a second, 0 if nothing is known.
    pub fn rate(&self) -> u64 {
        rate(self.pages, self.us)
    }
}

/// What a suspended time is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Everything but the bitmap and the pages, from earlier snapshots.
    pub fixed_us: u64,
    /// Fetching the dirty bitmap, the last time.
    pub fetch_us: u64,
    /// Pages that can be kept; the others are sent while the guest is suspended.
    pub pool_pages: u32,
    /// Pages that will be made ready, of those that can be kept.
    pub prepare: u32,
    /// What reading one of these takes, in nanoseconds, from earlier snapshots.
    pub prepared_ns: u32,
    /// Copying out of the guest.
    pub copy: Pace,
    /// Copying and sending.
    pub send: Pace,
}

impl Cost {
    /// The suspended time if `left` pages have to be read.
    pub fn suspended_us(&self, left: u64) -> u64 {
        let kept = left.min(self.pool_pages.into());
        let send = |pages: u64| self.send.us(pages).unwrap_or(pages.saturating_mul(UNKNOWN_US));
        let ready = kept.min(self.prepare.into());
        let reading = ready.saturating_mul(self.prepared_ns.into()) / 1000;
        let copying = self.copy.us(kept - ready).unwrap_or_else(|| send(kept - ready));
        let sending = send(left - kept);
        [self.fetch_us, reading, copying, sending]
            .iter()
            .fold(self.fixed_us, |sum, us| sum.saturating_add(*us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost() -> Cost {
        let mut cost = Cost { fixed_us: 1000, fetch_us: 200, pool_pages: 100, ..Cost::default() };
        cost.send.add(1000, 40_000);
        cost
    }

    #[test]
    fn what_exceeds_the_pool_takes_as_long_as_sending() {
        let mut cost = cost();
        // Without a pace of its own, copying counts as sending.
        assert_eq!(cost.suspended_us(100), 1200 + 100 * 40);
        cost.copy.add(1000, 3000);
        assert_eq!(cost.suspended_us(0), 1200);
        assert_eq!(cost.suspended_us(100), 1200 + 100 * 3);
        assert_eq!(cost.suspended_us(150), 1200 + 100 * 3 + 50 * 40);
        // And without any, a page takes long.
        assert_eq!(Cost::default().suspended_us(7), 700);
        assert_eq!(Cost::default().suspended_us(u64::MAX), u64::MAX);
    }

    #[test]
    fn pages_that_are_made_ready_take_what_they_took_before() {
        let mut cost = Cost { prepare: 60, prepared_ns: 500, ..cost() };
        cost.copy.add(1000, 3000);
        assert_eq!(cost.suspended_us(40), 1200 + 40 / 2);
        assert_eq!(cost.suspended_us(100), 1200 + 60 / 2 + 40 * 3);
        assert_eq!(cost.suspended_us(150), 1200 + 60 / 2 + 40 * 3 + 50 * 40);
    }

    #[test]
    fn a_pace_follows_what_it_sees() {
        let mut pace = Pace::default();
        assert_eq!((pace.us(5), pace.rate()), (None, 0));
        for _ in 0..100 {
            pace.add(1024, 1024 * 10);
        }
        assert_eq!(pace.us(1000), Some(10_000));
        assert!(pace.rate().abs_diff(100_000) < 100);
        for _ in 0..64 {
            pace.add(1024, 1024 * 30);
        }
        assert!(pace.us(1000).unwrap() > 29_000);
        pace.add(u32::MAX, u64::MAX);
        assert!(pace.us(u64::MAX).is_some());
    }
}

//! How many handshakes a second are worth the processor's time.

/// A bucket of tokens: `rate` a second, at most `rate` saved up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: u64,
    /// Thousandths of a token: each millisecond brings `rate` of them.
    level: u64,
    filled_at: u64,
}

impl Bucket {
    /// Full. `rate` is a number of tokens a second.
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate: rate as u64, level: rate as u64 * 1000, filled_at: 0 }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.filled_at);
        self.filled_at = now;
        self.level = passed.saturating_mul(self.rate).saturating_add(self.level).min(self.rate * 1000);
        match self.level.checked_sub(1000) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_allows_the_rate_and_no_more() {
        let mut bucket = Bucket::new(5);
        let allowed = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(allowed(&mut bucket, 1_000_000), 5);
        assert_eq!(allowed(&mut bucket, 1_000_199), 0);
        assert_eq!(allowed(&mut bucket, 1_000_200), 1);
        assert_eq!(allowed(&mut bucket, 1_000_600), 2);
        assert_eq!(allowed(&mut bucket, u64::MAX), 5);
    }
}

//! When the members of one host are asked to suspend themselves: a little apart, or as soon as the one before stands
//! still.
//!
//! A guest works to stand still, for longer than it stands still then, and on CPUs that it may share with others. If
//! all are asked at once, all come to stand still at the same moment and for each other's sake, as one stub and one
//! shim copy them. What turns cost is the spread of the cuts, and so how long frames are held: all are asked
//! within a time, however long the ones before take.

use core::time::Duration;

/// From the first member of a host that is asked to the last one, at most, on a fast machine. Measured with two
/// guests on a host that was two to three times as slow: each works 10 to 20 ms to stand still, and then stands
/// still for 2 to 4 ms. So they hardly do so at the same time, and the cuts are little further apart.
const APART: Duration = Duration::from_millis(6);

/// The turns of one host's members in one group. Times are since any one moment.
#[derive(Debug, Default)]
pub struct Turns {
    /// When the last one was asked, unless one has come to stand still since.
    asked: Option<Duration>,
}

impl Turns {
    /// A member is to be asked `now`, one of so many on this host. `percent`: time-outs of this machine, of those of
    /// a fast one.
    ///
    /// # Errors
    /// It is not its turn: until then, unless another one stands still before.
    pub fn take(&mut self, now: Duration, members: usize, percent: u32) -> Result<(), Duration> {
        let share = APART * percent / 100 / u32::try_from(members.max(1)).unwrap_or(u32::MAX);
        match self.asked.map(|asked| asked + share) {
            Some(next) if next > now => Err(next),
            _ => {
                self.asked = Some(now);
                Ok(())
            }
        }
    }

    /// A member stands still.
    pub fn stands(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_is_asked_when_the_one_before_stands_still() {
        let mut turns = Turns::default();
        assert_eq!(turns.take(ms(100), 2, 100), Ok(()));
        assert_eq!(turns.take(ms(100), 2, 100), Err(ms(103)));
        assert_eq!(turns.take(ms(101), 2, 100), Err(ms(103)));
        turns.stands();
        assert_eq!(turns.take(ms(102), 2, 100), Ok(()));
    }

    #[test]
    fn nobody_waits_long_for_one_that_does_not_stand_still() {
        for (members, percent) in [(1, 100), (2, 100), (7, 300), (48, 1000)] {
            let mut turns = Turns::default();
            let mut now = ms(3);
            for _ in 0..members {
                while let Err(until) = turns.take(now, members, percent) {
                    assert!(until > now);
                    now = until;
                }
            }
            assert!(now <= ms(3) + APART * percent / 100, "{members}: {now:?}");
        }
    }
}

//! When the members of one host are asked to suspend themselves: a little apart.
//!
//! One stub and one shim copy whatever stands still on a host. Two guests that begin to stand still at the same
//! moment do so for each other's sake, up to twice as long; one after the other, each does for its own only, and the
//! last one runs again hardly later. What that costs is the spread of the cuts, and so how long frames are held.

use core::time::Duration;

/// From the first member of a host that is asked to the last one, at most, on a fast machine: a third of the time
/// for which the switch holds a frame.
const APART: Duration = Duration::from_millis(50);

/// The turns of one host's members in one group. Times are since any one moment.
#[derive(Debug, Default)]
pub struct Turns {
    next: Duration,
}

impl Turns {
    /// When a member may be asked that asks for its turn `now`, one of so many on this host, whose guest is expected to
    /// stand still for the time `stands`. `percent`: time-outs of this machine, of those of a fast one.
    pub fn take(&mut self, now: Duration, stands: Duration, members: usize, percent: u32) -> Duration {
        let turn = self.next.max(now);
        let share = APART * percent / 100 / u32::try_from(members.max(1)).unwrap_or(u32::MAX);
        self.next = turn + stands.min(share);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_after_the_one_before_has_stood_still() {
        let mut turns = Turns::default();
        assert_eq!(turns.take(ms(100), ms(5), 3, 100), ms(100));
        assert_eq!(turns.take(ms(100), ms(7), 3, 100), ms(105));
        assert_eq!(turns.take(ms(101), ms(1), 3, 100), ms(112));
        // Who comes when the others run again waits for nobody.
        assert_eq!(turns.take(ms(200), ms(5), 3, 100), ms(200));
    }

    #[test]
    fn all_are_asked_within_a_time_however_many_and_slow_they_are() {
        for members in [1, 2, 7, 48] {
            let mut turns = Turns::default();
            let asked = (0..members).map(|_| turns.take(ms(3), ms(900), members, 300)).max();
            assert!(asked.is_some_and(|last| last <= ms(3) + APART * 3), "{members}: {asked:?}");
        }
    }
}

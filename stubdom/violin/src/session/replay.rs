//! Which numbers of a key have been seen: a sliding bit map as in RFC 6479.
//!
//! It must be asked only after a datagram has proved genuine: else anybody could push the window
//! forward and make the peer's datagrams look old.

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = 32;

/// How far behind the highest number a datagram may come and still be taken: 31 words of 64. The
/// word that the highest number is in is not yet full, so one of 32 does not count.
pub(super) const WINDOW: u64 = WORD_BITS * (WORDS as u64 - 1);

/// Numbers seen under one key.
pub(super) struct Window {
    /// The highest number seen, plus one; 0 when none was.
    end: u64,
    /// A bit for each number, at `number % (WORDS * 64)`.
    words: [u64; WORDS],
    /// How many numbers were seen in all.
    accepted: u64,
}

/// What [`Window::missing`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// Numbers of the range that were not seen and would still be taken.
    pub(super) awaited: u64,
    /// Whether the range begins before the window, and some number there was never seen: nobody knows
    /// whether one of the range, and none of them would be taken any more.
    pub(super) past: bool,
}

/// What [`Window::accept`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Higher than all before.
    Newest,
    /// New, but out of order.
    Late,
    /// Seen before, or so old that nobody knows.
    Replay,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { end: 0, words: [0; WORDS], accepted: 0 }
    }

    /// Notes `number`, and says whether it was new.
    pub(super) fn accept(&mut self, number: u64) -> Seen {
        let newest = number >= self.end;
        if newest {
            // Each word between the old and the new highest number begins a new life.
            let (old, new) = (self.end.saturating_sub(1) / WORD_BITS, number / WORD_BITS);
            let passed = new.saturating_sub(old).min(WORDS as u64);
            for step in 0..passed {
                if let Some(word) = self.words.get_mut((new.wrapping_sub(step) % WORDS as u64) as usize) {
                    *word = 0;
                }
            }
            self.end = number.saturating_add(1);
        } else if self.end - number > WINDOW {
            return Seen::Replay;
        }
        let bit = 1 << (number % WORD_BITS);
        let Some(word) = self.words.get_mut((number / WORD_BITS % WORDS as u64) as usize) else {
            return Seen::Replay;
        };
        if *word & bit != 0 {
            return Seen::Replay;
        }
        *word |= bit;
        self.accepted = self.accepted.saturating_add(1);
        if newest { Seen::Newest } else { Seen::Late }
    }

    /// The highest number seen, plus one; 0 when none was.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// What is missing of the numbers from `first` on and below `end`.
    pub(super) fn missing(&self, first: u64, end: u64) -> Gap {
        let floor = self.end.saturating_sub(WINDOW);
        // Nothing is known of one number before the window, but how many came of all of them is.
        let all_came = self.accepted.saturating_sub(self.seen(floor, self.end)) == floor;
        let past = first < floor && first < end && !all_came;
        let first = first.max(floor);
        let seen = self.seen(first, end.min(self.end));
        Gap { awaited: end.saturating_sub(first).saturating_sub(seen), past }
    }

    /// How many numbers were seen from `first` on and below `end`, both within the window.
    fn seen(&self, first: u64, end: u64) -> u64 {
        let Some(last) = end.checked_sub(1).filter(|last| first <= *last) else { return 0 };
        let words = first / WORD_BITS..=last / WORD_BITS;
        let seen = words.map(|word| {
            let begin = word * WORD_BITS;
            let low = u64::MAX << first.saturating_sub(begin);
            let high = u64::MAX >> (begin + (WORD_BITS - 1)).saturating_sub(last);
            let bits = self.words.get((word % WORDS as u64) as usize).copied().unwrap_or(0);
            u64::from((bits & low & high).count_ones())
        });
        seen.sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_is_taken_once_in_any_order_within_the_window() {
        let mut window = Window::new();
        assert_eq!(window.accept(WINDOW - 1), Seen::Newest);
        for number in (0..WINDOW - 1).rev() {
            assert_eq!(window.accept(number), Seen::Late, "{number}");
        }
        for number in 0..WINDOW {
            assert_eq!(window.accept(number), Seen::Replay, "{number}");
        }
    }

    #[test]
    fn what_fell_out_of_the_window_is_a_replay_even_when_never_seen() {
        let mut window = Window::new();
        assert_eq!(window.accept(WINDOW), Seen::Newest);
        assert_eq!(window.accept(0), Seen::Replay);
        assert_eq!(window.accept(1), Seen::Late);
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_all_of_it() {
        let mut window = Window::new();
        for number in 0..5000 {
            assert_eq!(window.accept(number), Seen::Newest);
        }
        assert_eq!(window.accept(1 << 40), Seen::Newest);
        assert_eq!(window.accept((1 << 40) - 1), Seen::Late);
        assert_eq!(window.accept(4999), Seen::Replay);
    }

    #[test]
    fn the_highest_number_does_not_overflow() {
        let mut window = Window::new();
        assert_eq!(window.accept(u64::MAX - 1), Seen::Newest);
        assert_eq!(window.accept(u64::MAX - 1), Seen::Replay);
        assert_eq!(window.accept(u64::MAX), Seen::Newest);
        assert_eq!(window.accept(u64::MAX), Seen::Replay);
    }

    #[test]
    fn what_is_missing_is_told_from_what_nobody_knows() {
        let mut window = Window::new();
        assert_eq!(window.missing(0, 0), Gap { awaited: 0, past: false });
        assert_eq!(window.missing(0, 5), Gap { awaited: 5, past: false });
        assert_eq!(window.missing(9, 5), Gap { awaited: 0, past: false });
        for number in [0, 1, 3, 64, 65] {
            window.accept(number);
        }
        assert_eq!(window.missing(0, 4), Gap { awaited: 1, past: false });
        assert_eq!(window.missing(3, 4), Gap { awaited: 0, past: false });
        assert_eq!(window.missing(2, 3), Gap { awaited: 1, past: false });
        assert_eq!(window.missing(60, 70), Gap { awaited: 8, past: false });
        assert_eq!(window.missing(0, u64::MAX), Gap { awaited: u64::MAX - 5, past: false });
        window.accept(WINDOW + 1);
        assert_eq!(window.missing(0, 4), Gap { awaited: 1, past: false }, "0 and 1 had come");
        window.accept(WINDOW + 2);
        assert_eq!(window.missing(0, 4), Gap { awaited: 0, past: true }, "2 had not");
        assert_eq!(window.missing(3, 4), Gap { awaited: 0, past: false });
        window.accept(u64::MAX);
        assert_eq!(window.missing(0, 66), Gap { awaited: 0, past: true });
        assert_eq!(window.missing(u64::MAX - 1, u64::MAX), Gap { awaited: 1, past: false });
    }

    proptest! {
        /// A set that remembers everything is the model of what is missing, too.
        #[test]
        fn counts_what_is_missing_as_a_set_does(
            straight in 0u64..2500,
            numbers in prop_oneof![
                prop::collection::vec(0u64..2600, 0..3),
                prop::collection::vec(0u64..5000, 0..1500),
            ],
            first in 0u64..5500,
            len in 0u64..3000,
        ) {
            let (mut window, mut set) = (Window::new(), BTreeSet::new());
            for number in (0..straight).chain(numbers) {
                if window.accept(number) != Seen::Replay {
                    set.insert(number);
                }
            }
            let floor = set.last().map_or(0, |last| (last + 1).saturating_sub(WINDOW));
            let end = first + len;
            let awaited = (first.max(floor)..end).filter(|number| !set.contains(number)).count() as u64;
            let lost = (0..floor).any(|number| !set.contains(&number));
            let past = lost && first < floor && first < end;
            prop_assert_eq!(window.missing(first, end), Gap { awaited, past });
        }

        /// A set that remembers everything is the model.
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec((0u64..6000, 0u64..3), 1..600)) {
            let (mut window, mut set, mut base) = (Window::new(), BTreeSet::new(), 0u64);
            for (near, leap) in steps {
                base += leap * 700;
                let number = (base + near).saturating_sub(3000);
                let highest = set.last().copied();
                let expected = match highest {
                    Some(highest) if number > highest => Seen::Newest,
                    Some(highest) if highest + 1 - number > WINDOW || set.contains(&number) => Seen::Replay,
                    Some(_) => Seen::Late,
                    None => Seen::Newest,
                };
                prop_assert_eq!(window.accept(number), expected);
                if expected != Seen::Replay {
                    set.insert(number);
                }
            }
        }
    }
}

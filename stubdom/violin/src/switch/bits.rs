//! Fixed sets of small numbers.

/// A set of numbers below `64 * W`, by value: a flood is told with two of them, so that the driver
/// walks its targets without borrowing the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits<const W: usize>([u64; W]);

impl<const W: usize> Bits<W> {
    /// The empty set.
    pub const EMPTY: Self = Self([0; W]);

    /// Puts `n` in; a number out of range is left out.
    pub const fn insert(&mut self, n: u16) {
        let word = n as usize / 64;
        if word < W {
            self.0[word] |= 1 << (n % 64);
        }
    }

    /// Takes `n` out.
    pub const fn remove(&mut self, n: u16) {
        let word = n as usize / 64;
        if word < W {
            self.0[word] &= !(1 << (n % 64));
        }
    }

    /// Whether `n` is in.
    pub const fn contains(&self, n: u16) -> bool {
        let word = n as usize / 64;
        word < W && self.0[word] >> (n % 64) & 1 == 1
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The numbers, from the smallest on.
    pub fn iter(self) -> impl Iterator<Item = u16> + Clone {
        self.0.into_iter().zip(0u16..).flat_map(|(word, at)| {
            let rest = core::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            rest.take_while(|word| *word != 0).map(move |word| at * 64 + word.trailing_zeros() as u16)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn what_is_put_in_comes_out_in_order_and_once() {
        let mut bits = Bits::<2>::EMPTY;
        for n in [127, 0, 63, 64, 0, 128, 9999] {
            bits.insert(n);
        }
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 127]);
        assert_eq!(bits.len(), 4);
        bits.remove(63);
        bits.remove(500);
        assert!(!bits.contains(63) && bits.contains(64) && !bits.contains(128));
        assert!(Bits::<2>::EMPTY.is_empty() && !bits.is_empty());
    }
}

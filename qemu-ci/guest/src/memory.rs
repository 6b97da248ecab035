//! Memory that the guest checks by itself: every page holds data made from its index and the
//! generation that was last written to it. A page of an older generation, of another index or
//! half of each, as a wrong image would bring back, is noticed at the next visit.

/// Words of 8 bytes in a page.
const WORDS: usize = 512;
/// Pages in a MiB.
pub(crate) const PAGES_PER_MIB: u64 = 256;

/// A page frame's worth of memory, aligned like one.
#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u64; WORDS]);

/// SplitMix64: cheap, and its output does not compress.
pub(crate) struct Generator(u64);

impl Generator {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn of_page(index: u64, generation: u64) -> Self {
        let mut mixed = Self(index);
        let seed = mixed.next() ^ generation.rotate_left(32);
        Self(seed)
    }
}

/// A page that did not hold what was written to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupt {
    /// Index of the page, counted over all regions of the guest.
    pub(crate) page: u64,
    /// Generation that was written last.
    pub(crate) generation: u64,
    /// First wrong word in the page, what it should be and what it is.
    pub(crate) word: usize,
    pub(crate) expected: u64,
    pub(crate) found: u64,
}

/// Some pages with one owner: rewritten, or filled once and checked.
pub(crate) struct Region {
    first: u64,
    pages: Vec<Page>,
    generations: Vec<u64>,
    order: Vec<usize>,
    position: usize,
    shuffle: Option<Generator>,
    /// Visits of every page that have been completed.
    pub(crate) sweeps: u64,
}

impl Region {
    /// `count` pages filled with generation 0, whose indices start at `first`. Pages are
    /// visited in an order that changes with every sweep, or by index when `cyclic`.
    pub(crate) fn new(first: u64, count: usize, cyclic: bool) -> Self {
        let mut region = Self {
            first,
            pages: vec![Page([0; WORDS]); count],
            generations: vec![0; count],
            order: (0..count).collect(),
            position: 0,
            shuffle: (!cyclic).then_some(Generator(first)),
            sweeps: 0,
        };
        for at in 0..count {
            region.write(at, 0);
        }
        region.reorder();
        region
    }

    /// Checks the next page in turn and, when `rewrite`, writes its next generation.
    /// A corrupt page is written anew, so each is reported once.
    pub(crate) fn visit(&mut self, rewrite: bool) -> Result<(), Corrupt> {
        let Some(&at) = self.order.get(self.position) else {
            return Ok(()); // an empty region
        };
        self.position += 1;
        if self.position == self.order.len() {
            self.position = 0;
            self.sweeps += 1;
            self.reorder();
        }
        let outcome = self.check(at);
        let generation = self.generations[at].wrapping_add(u64::from(rewrite));
        if rewrite || outcome.is_err() {
            self.write(at, generation);
        }
        outcome
    }

    fn check(&self, at: usize) -> Result<(), Corrupt> {
        let (page, generation) = (self.first + at as u64, self.generations[at]);
        let mut generator = Generator::of_page(page, generation);
        for (word, &found) in self.pages[at].0.iter().enumerate() {
            let expected = generator.next();
            if found != expected {
                return Err(Corrupt { page, generation, word, expected, found });
            }
        }
        Ok(())
    }

    fn write(&mut self, at: usize, generation: u64) {
        self.generations[at] = generation;
        let mut generator = Generator::of_page(self.first + at as u64, generation);
        self.pages[at].0.iter_mut().for_each(|word| *word = generator.next());
    }

    /// A new order for the next sweep (Fisher and Yates).
    fn reorder(&mut self) {
        let Some(generator) = &mut self.shuffle else { return };
        for last in (1..self.order.len()).rev() {
            let other = generator.next() % (last as u64 + 1);
            self.order.swap(last, other as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewritten_pages_stay_right_over_many_sweeps() {
        for cyclic in [false, true] {
            let mut region = Region::new(7, 16, cyclic);
            for _ in 0..16 * 5 {
                assert_eq!(region.visit(true), Ok(()));
            }
            assert_eq!(region.sweeps, 5);
            assert!(region.generations.iter().all(|&generation| generation == 5));
        }
    }

    #[test]
    fn a_page_of_an_older_generation_is_found_within_one_sweep_and_reported_once() {
        let mut region = Region::new(0, 16, false);
        let old = region.pages[3].clone();
        for _ in 0..16 {
            region.visit(true).unwrap();
        }
        region.pages[3] = old;
        let found: Vec<_> = (0..32).filter_map(|_| region.visit(false).err()).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].page, found[0].generation), (3, 1));
    }

    #[test]
    fn swapped_pages_are_corrupt() {
        let mut region = Region::new(0, 4, true);
        region.pages.swap(0, 1);
        let wrong = (0..4).filter(|_| region.visit(false).is_err()).count();
        assert_eq!(wrong, 2);
    }

    #[test]
    fn an_empty_region_is_visited_in_peace() {
        assert_eq!(Region::new(0, 0, false).visit(true), Ok(()));
    }
}

//! Memory that is overwritten as fast as pages can be: pages of a region drawn at random, each
//! overwritten as a whole with words that don't compress. Unlike [`crate::memory`] it checks
//! nothing, which leaves five times as much of the CPU for writing. It is for benches.

use crate::memory::PAGES_PER_MIB;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How often a thread with a rate looks how much it has to do. Each look costs an exit to Xen or two.
const TICK: Duration = Duration::from_millis(25);

/// Words of 8 bytes in a page.
const WORDS: usize = 512;

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u64; WORDS]);

static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Pages overwritten so far.
pub(crate) fn written() -> u64 {
    WRITTEN.load(Relaxed)
}

/// Begins to overwrite `mib` MiB, `rate` pages a second (`None`: without a pause; 0: they are only
/// filled, once).
pub(crate) fn start(mib: u64, rate: Option<u64>) {
    if mib > 0 {
        thread::spawn(move || write(mib, rate));
    }
}

fn write(mib: u64, rate: Option<u64>) {
    let mut pages = vec![Page([0; WORDS]); (mib * PAGES_PER_MIB) as usize];
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    pages.iter_mut().for_each(|page| random.fill(page));
    println!("dirty filled");
    if rate == Some(0) {
        pages.leak();
        return;
    }
    let (mut last, mut due) = (Instant::now(), 0.0);
    loop {
        let visits = match rate {
            None => 256,
            Some(rate) => {
                thread::sleep(TICK);
                // A guest that stood still for long has no debt to work off.
                due += last.elapsed().min(TICK * 10).as_secs_f64() * rate as f64;
                last = Instant::now();
                let whole = due as u64;
                due -= whole as f64;
                whole
            }
        };
        for _ in 0..visits {
            let at = random.next() as usize % pages.len();
            random.fill(&mut pages[at]);
        }
        WRITTEN.fetch_add(visits, Relaxed);
    }
}

/// Marsaglia's generator of 64 bits.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, page: &mut Page) {
        page.0.iter_mut().for_each(|word| *word = self.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_overwritten_as_a_whole_and_without_repeats() {
        let mut page = Page([0; WORDS]);
        let mut random = Xorshift(1);
        random.fill(&mut page);
        let before = page.clone();
        random.fill(&mut page);
        let mut words: Vec<u64> = before.0.iter().chain(&page.0).copied().collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 2 * WORDS);
    }
}

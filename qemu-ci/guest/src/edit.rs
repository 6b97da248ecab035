//! Memory that is edited: pages of text, of which some lines are the same in many pages, and in which
//! a few words change at a time. It is what codecs of pages are for: such pages compress, resemble
//! what they were before, and have parts in common. Nothing is checked here: a test that looks at the
//! guest's memory from outside does.

use crate::memory::{Generator, PAGES_PER_MIB};
use std::thread;
use std::time::Duration;

/// How often the thread edits.
const TICK: Duration = Duration::from_millis(25);
/// Bytes of a page, of a line of text, and of a word that is changed.
const PAGE: usize = 4096;
const LINE: usize = 128;
const WORD: usize = 8;
/// Lines that pages have in common.
const COMMON: u64 = 64;
/// Words of a page that one edit changes, at most.
const CHANGED: u64 = 12;

/// Begins to edit `rate` pages a second of `mib` MiB.
pub(crate) fn start(mib: u64, rate: u64) {
    if mib > 0 {
        thread::spawn(move || edit(mib, rate));
    }
}

fn edit(mib: u64, rate: u64) -> ! {
    let mut random = Generator::of_page(mib, rate);
    let mut text = vec![0; (mib * PAGES_PER_MIB) as usize * PAGE];
    // An aligned start is not needed: edits fall where they fall.
    for line in text.chunks_exact_mut(LINE) {
        // Three lines in four are of the common ones.
        let seed = random.next();
        write_line(line, if seed.is_multiple_of(4) { seed } else { seed % COMMON });
    }
    println!("text written");
    loop {
        thread::sleep(TICK);
        for _ in 0..(rate * TICK.as_millis() as u64 / 1000).max(1) {
            let at = random.next() as usize % (text.len() / PAGE) * PAGE;
            change(&mut text[at..at + PAGE], &mut random);
        }
    }
}

/// A line of decimal words: each byte has one of eleven values.
fn write_line(line: &mut [u8], seed: u64) {
    let mut random = Generator::of_page(seed, 0);
    for word in line.chunks_exact_mut(WORD) {
        let digits = format!("{:07} ", random.next() % 10_000_000);
        word.copy_from_slice(digits.as_bytes());
    }
}

fn change(page: &mut [u8], random: &mut Generator) {
    for _ in 0..=random.next() % CHANGED {
        let at = random.next() as usize % (PAGE / WORD) * WORD;
        page[at..at + WORD].copy_from_slice(format!("{:07} ", random.next() % 10_000_000).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_a_few_words_of_text() {
        let (mut page, mut random) = ([0; PAGE], Generator::of_page(1, 2));
        page.chunks_exact_mut(LINE).for_each(|line| write_line(line, 3));
        assert!(page.iter().all(|byte| byte.is_ascii_digit() || *byte == b' '));
        let before = page;
        change(&mut page, &mut random);
        let changed = before.chunks(WORD).zip(page.chunks(WORD)).filter(|(a, b)| a != b).count() as u64;
        assert!((1..=CHANGED).contains(&changed));
    }
}

//! Why the bases of deltas are not in the FIFO: pre-copy visits the dirty pages in the same order
//! in each round. With a cache of a quarter or half of what is dirty in a round, the FIFO never has
//! what is asked for.

use livesave::codec::{CodecConfig, Encoded, Page, Xxh3};

use crate::guest::Ends;
use crate::paper::Paper;
use crate::rng::Rng;

/// Pages that are written to.
const DIRTY: u32 = 1024;
const ROUNDS: u64 = 20;

/// The share of pages sent again of which there was a base, in percent: in the paper's cache, and in
/// the store, both with memory for so many pages. Of the dirty pages `written` percent, taken at
/// random, are written to in each round.
fn hits(cached: u32, written: u64) -> (u64, u64) {
    let config = CodecConfig { delta: true, delta_pages: cached, ..CodecConfig::raw(DIRTY) };
    let mut ends = Ends::<Xxh3>::new(config);
    let mut paper = Paper::new(cached as usize * 4);
    let mut rng = Rng::new(9);
    let mut pages: Vec<Page> = (0..DIRTY).map(|_| std::array::from_fn(|_| rng.next() as u8)).collect();
    for round in 0..ROUNDS {
        ends.encoder.next_round();
        for (slot, page) in (0..).zip(&mut pages) {
            if round > 0 && rng.below(100) >= written {
                continue;
            }
            // In each block a little.
            page.iter_mut().step_by(500).for_each(|byte| *byte = rng.next() as u8);
            let encoded = ends.check(slot, page).unwrap();
            assert!(matches!(encoded, Encoded::Raw) || encoded.len() < 200);
            paper.encode(slot, page);
        }
    }
    let stats = ends.encoder.stats();
    (paper.bases * 100 / paper.again, stats.bases * 100 / stats.again)
}

#[test]
fn a_fifo_smaller_than_what_is_dirty_never_hits_and_the_store_does() {
    // All are dirty in every round: the store has as many bases as it has places.
    let (fifo, store) = hits(DIRTY / 4, 100);
    assert!(fifo == 0 && (23..=25).contains(&store), "{fifo} {store}");
    let (fifo, store) = hits(DIRTY / 2, 100);
    assert!(fifo == 0 && (47..=50).contains(&store), "{fifo} {store}");
    let (fifo, store) = hits(DIRTY, 100);
    assert!(fifo > 90 && store == 100, "{fifo} {store}");
}

#[test]
fn the_store_has_its_share_when_few_are_written_to() {
    // The FIFO then reaches back over more than one round and hits a little, too.
    let (fifo, store) = hits(DIRTY / 4, 60);
    assert!(fifo < 5 && store >= 20, "{fifo} {store}");
    let (fifo, store) = hits(DIRTY / 2, 60);
    assert!(fifo < store / 2 && store >= 42, "{fifo} {store}");
}

#[test]
fn pages_sent_once_give_way_to_pages_sent_again() {
    // The whole guest is sent first; then a part of it, as large as the store, again and again.
    let config = CodecConfig { delta: true, delta_pages: 64, ..CodecConfig::raw(DIRTY) };
    let mut ends = Ends::<Xxh3>::new(config);
    let mut page = [7; 4096];
    for slot in 0..DIRTY {
        ends.check(slot, &page).unwrap();
    }
    for round in 1..5 {
        ends.encoder.next_round();
        for slot in 500..564 {
            page[1] = round;
            let len = ends.check(slot, &page).unwrap().len();
            assert!(round == 1 || len < 10, "round {round}, slot {slot}: {len}");
        }
    }
}

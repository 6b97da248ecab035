//! Image equality: for every combination of codecs the image is what was sent last.

use livesave::codec::{CodecConfig, Coding, Encoded, Encoder, HeapPage};

use crate::guest::{Ends, Guest};

const PAGES: u32 = 16;

/// Every combination, chosen or automatic, with caches that are seldom large enough.
pub(crate) fn combinations() -> impl Iterator<Item = CodecConfig> {
    (0..16).map(|bits| {
        let on = |bit: u8| bits >> bit & 1 == 1;
        let (lz4, delta, blocks, auto) = (on(0), on(1), on(2), on(3));
        CodecConfig { pages: PAGES, lz4, delta, blocks, auto, block_cache: 24, delta_pages: 9 }
    })
}

fn run(config: CodecConfig, seed: u64) -> Result<[u64; 5], String> {
    let mut guest = Guest::new(PAGES as usize, seed);
    let mut ends = Ends::<livesave::codec::Xxh3>::new(config);
    let mut counts = [0; 5];
    for round in 0..4 {
        ends.encoder.next_round();
        if config.auto {
            // At times the sink is slow, at times it costs nothing.
            ends.encoder.sink(4096, guest.rng.below(3) * 100);
        }
        for slot in 0..PAGES {
            if round > 0 && guest.rng.below(3) == 0 {
                continue;
            }
            let page = guest.pages[slot as usize];
            let kind = match ends.check(slot, &page).map_err(|e| format!("seed {seed}, {config:?}: {e}"))? {
                Encoded::Zero => 0,
                Encoded::Raw => 1,
                Encoded::Coded(Coding::Lz4, _) => 2,
                Encoded::Coded(Coding::Delta, _) => 3,
                Encoded::Coded(Coding::Blocks, _) => 4,
            };
            counts[kind] += 1;
            // The guest writes to its pages all the while, also to this one.
            for _ in 0..2 {
                let slot = guest.rng.below(u64::from(PAGES)) as usize;
                guest.write(slot);
            }
        }
        if guest.rng.below(10) == 0 {
            // The connection was lost: both ends begin anew, the image is still there.
            ends.encoder.reset();
            ends.decoder.reset();
        }
    }
    let stats = ends.encoder.stats();
    assert_eq!(stats.zero.pages, counts[0]);
    assert_eq!(stats.raw.pages + stats.lz4.pages, counts[1] + counts[2]);
    assert!(stats.bytes() <= stats.raw_bytes());
    Ok(counts)
}

/// The combinations with these two, each with and without blocks, chosen and automatic.
fn every_seed(lz4: bool, delta: bool) {
    for config in combinations().filter(|config| (config.lz4, config.delta) == (lz4, delta)) {
        let mut counts = [0; 5];
        for seed in 0..1000 {
            let run = run(config, seed).unwrap();
            counts.iter_mut().zip(run).for_each(|(all, run)| *all += run);
        }
        // What is chosen is used, and nothing else is.
        let [zero, raw, lz4, delta, blocks] = counts.map(|count| count > 0);
        assert!(zero && delta == config.delta && blocks == config.blocks, "{config:?} {counts:?}");
        assert_eq!((raw, lz4), (!config.blocks, config.lz4 && !config.blocks), "{config:?} {counts:?}");
    }
}

#[test]
fn the_image_is_what_was_sent() {
    every_seed(false, false);
}

#[test]
fn the_image_is_what_was_sent_with_lz4() {
    every_seed(true, false);
}

#[test]
fn the_image_is_what_was_sent_with_deltas() {
    every_seed(false, true);
}

#[test]
fn the_image_is_what_was_sent_with_lz4_and_deltas() {
    every_seed(true, true);
}

#[test]
fn a_page_that_was_zero_meanwhile_has_no_base() {
    for config in combinations() {
        let mut ends = Ends::<livesave::codec::Xxh3>::new(config);
        let mut page = [0; 4096];
        page[..1024].fill(1);
        for version in 0..4 {
            page[version] = 9;
            ends.check(3, &page).unwrap();
            ends.check(3, &[0; 4096]).unwrap();
        }
        assert_eq!(ends.encoder.stats().delta.pages, 0);
    }
}

#[test]
fn slots_beyond_the_guest_are_sent_all_the_same() {
    for config in combinations() {
        let mut encoder = Encoder::<HeapPage>::new(config, HeapPage::take).unwrap();
        let (page, mut out) = ([7; 4096], [0; 4096]);
        for slot in [PAGES, u32::MAX, u32::MAX - 1, u32::MAX] {
            let encoded = encoder.encode(slot, &page, &mut out, || 0);
            assert!(
                !matches!(encoded, Encoded::Zero | Encoded::Coded(Coding::Delta, _)),
                "{slot}: {encoded:?}"
            );
        }
    }
}

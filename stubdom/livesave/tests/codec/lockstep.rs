//! T6: both ends remember the same blocks under the same numbers, with hashes that collide, with
//! caches of any size, and after a new beginning.

use livesave::codec::{Block, BlockHash, CodecConfig, Coding, Encoded, Page, Xxh3};

use crate::guest::{Ends, Guest};
use crate::rng::Rng;

/// 12 bits of a hash, as in the model that the design was tried with.
struct TwelveBits;

impl BlockHash for TwelveBits {
    fn hash(block: &Block) -> u64 {
        Xxh3::hash(block) & 0xfff
    }
}

/// All blocks are alike to it: a guest that floods the index.
struct Constant;

impl BlockHash for Constant {
    fn hash(_: &Block) -> u64 {
        7
    }
}

const CAPACITIES: [u32; 6] = [1, 2, 3, 8, 64, 4096];
const PAGES: u32 = 32;

fn config(block_cache: u32) -> CodecConfig {
    CodecConfig { blocks: true, block_cache, ..CodecConfig::raw(PAGES) }
}

/// Sends rounds of pages. Returns how many blocks were looked for, and found.
fn stream<H: BlockHash>(config: CodecConfig, seed: u64, restarts: bool) -> (u64, u64) {
    let mut guest = Guest::new(PAGES as usize, seed);
    let mut ends = Ends::<H>::new(config);
    for _ in 0..4 {
        for slot in 0..PAGES {
            guest.write(slot as usize);
            let page = guest.pages[slot as usize];
            let sent = ends.check(slot, &page);
            assert!(sent.is_ok(), "seed {seed}, {} blocks: {sent:?}", config.block_cache);
            if restarts && guest.rng.below(20) == 0 {
                ends.encoder.reset();
                ends.decoder.reset();
            }
        }
    }
    (ends.encoder.stats().looked_for, ends.encoder.stats().found)
}

#[test]
fn the_ends_agree_for_every_size_of_cache_although_hashes_collide() {
    for capacity in CAPACITIES {
        for restarts in [false, true] {
            for seed in 0..20 {
                let plain = config(capacity);
                let all = CodecConfig { lz4: true, delta: true, delta_pages: 20, ..plain };
                stream::<TwelveBits>(plain, seed, restarts);
                stream::<Constant>(plain, seed, restarts);
                stream::<TwelveBits>(all, seed, restarts);
                stream::<Constant>(all, seed, restarts);
            }
        }
    }
}

#[test]
fn collisions_cost_hits_and_nothing_else() {
    let (_, found) = stream::<Xxh3>(config(4096), 1, false);
    let (_, flooded) = stream::<Constant>(config(4096), 1, false);
    assert!(found > 50 && flooded < found, "{found} {flooded}");
}

#[test]
fn a_larger_cache_finds_more() {
    let found = CAPACITIES.map(|capacity| stream::<Xxh3>(config(capacity), 2, false).1);
    assert!(found.is_sorted() && found[0] < found[5] / 2, "{found:?}");
}

#[test]
fn a_new_beginning_at_one_end_only_is_noticed() {
    let mut noticed = 0;
    for seed in 0..50 {
        let mut guest = Guest::new(PAGES as usize, seed);
        let mut ends = Ends::<Xxh3>::new(config(64));
        for slot in 0..PAGES {
            ends.check(slot, &guest.pages[slot as usize]).unwrap();
        }
        match seed % 2 {
            0 => ends.encoder.reset(),
            _ => ends.decoder.reset(),
        }
        let mut differs = |slot| {
            guest.write(slot as usize);
            ends.check(slot, &guest.pages[slot as usize]).is_err()
        };
        noticed += usize::from((0..PAGES).any(&mut differs));
    }
    assert!(noticed >= 48, "{noticed}");
}

#[test]
fn a_known_block_costs_its_number() {
    let mut rng = Rng::new(5);
    let page: Page = std::array::from_fn(|_| rng.next() as u8);
    let mut turned = page;
    turned.rotate_left(1024);
    turned[3072..].fill(0);
    let mut ends = Ends::<Xxh3>::new(config(4));
    assert_eq!(ends.check(0, &page), Ok(Encoded::Coded(Coding::Blocks, 4096)));
    // Four numbers of 32 bits; then three, and a block of zeroes.
    assert_eq!(ends.check(1, &page), Ok(Encoded::Coded(Coding::Blocks, 1 + 16)));
    assert_eq!(ends.check(2, &turned), Ok(Encoded::Coded(Coding::Blocks, 1 + 12)));
    // Four equal blocks: one new, and three times its number.
    let mut same = page;
    (1..4).for_each(|at| same.copy_within(..1024, at * 1024));
    let mut ends = Ends::<Xxh3>::new(config(1));
    assert_eq!(ends.check(3, &same), Ok(Encoded::Coded(Coding::Blocks, 1 + 1024 + 12)));
}

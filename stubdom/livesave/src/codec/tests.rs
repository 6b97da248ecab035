//! The mutants of the lock step (T6): each breaks one rule on purpose, and what arrives must then
//! differ from what was sent, or be refused. So the tests in `tests/codec` see what they are for.

use super::cache::Mutant;
use super::*;

/// A hash that tells hardly anything apart.
struct Weak;

impl BlockHash for Weak {
    fn hash(block: &Block) -> u64 {
        Xxh3::hash(block) & 3
    }
}

const SLOTS: u32 = 6;

struct Ends {
    encoder: Encoder<HeapPage, Weak>,
    decoder: Decoder<HeapPage>,
    image: [Page; SLOTS as usize],
}

impl Ends {
    fn new() -> Self {
        let config = CodecConfig {
            lz4: true,
            delta: true,
            blocks: true,
            block_cache: 8,
            delta_pages: 8,
            ..CodecConfig::raw(SLOTS)
        };
        Self {
            encoder: Encoder::new(config, HeapPage::take).unwrap(),
            decoder: Decoder::new(&config, HeapPage::take).unwrap(),
            image: [[0; PAGE_SIZE]; SLOTS as usize],
        }
    }

    /// Whether 200 pages arrive as they were sent.
    fn agree(&mut self, seed: u64) -> bool {
        let mut state = seed;
        let mut random = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut pages = self.image;
        for _ in 0..200 {
            let slot = random(u64::from(SLOTS));
            let page = &mut pages[slot as usize];
            // Blocks of few kinds, or some bytes changed.
            if random(2) == 0 {
                page.as_chunks_mut::<BLOCK_SIZE>()
                    .0
                    .iter_mut()
                    .for_each(|block| block.fill(random(12) as u8));
            } else {
                page[random(PAGE_SIZE as u64) as usize] = random(256) as u8;
            }
            let mut out = [0; PAGE_SIZE];
            let mine = &mut self.image[slot as usize];
            let base = *mine;
            match self.encoder.encode(slot as u32, page, &mut out, || 0) {
                Encoded::Zero => *mine = [0; PAGE_SIZE],
                Encoded::Raw => *mine = *page,
                Encoded::Coded(coding, len) => {
                    let base = |into: &mut Page| {
                        *into = base;
                        Ok::<_, CodecError>(())
                    };
                    if self.decoder.decode(coding, &out[..len], base, mine).is_err() {
                        return false;
                    }
                }
            }
            if mine != page {
                return false;
            }
        }
        true
    }
}

/// How many of 100 seeds agree, with ends that are broken in some way.
fn agree(break_them: impl Fn(&mut Ends)) -> usize {
    let ends = |seed| {
        let mut ends = Ends::new();
        break_them(&mut ends);
        ends.agree(seed)
    };
    (0..100).filter(|seed| ends(*seed)).count()
}

#[test]
fn ends_that_are_not_broken_agree() {
    assert_eq!(agree(|_| ()), 100);
}

#[test]
fn a_sender_that_trusts_the_hash_is_noticed() {
    assert_eq!(agree(|ends| ends.encoder.mutate(Mutant::NoVerify)), 0);
}

#[test]
fn a_hit_that_promotes_at_one_end_only_is_noticed() {
    assert_eq!(agree(|ends| ends.encoder.mutate(Mutant::HitPromotes)), 0);
    assert_eq!(agree(|ends| ends.decoder.mutate(Mutant::HitPromotes)), 0);
}

#[test]
fn a_base_that_is_not_updated_is_noticed() {
    // At times no page is sent twice as a delta within 200.
    assert!(agree(|ends| ends.encoder.keep_stale_bases()) < 10);
}

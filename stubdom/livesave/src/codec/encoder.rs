//! The stub's end.

use alloc::vec::Vec;

use super::auto::{Auto, Codec};
use super::cache::{BlockHash, Cache, Index, Xxh3};
use super::config::{CodecConfig, HeapPage, NoMemory, PageMemory, zeroes};
use super::lz4::Lz4;
use super::store::Store;
use super::{BLOCK_SIZE, BLOCKS, Block, Class, Coding, Encoded, Page, Stats, delta};
use crate::{PAGE_SIZE, is_zero};

/// Runs shorter than this are not packed: LZ4 takes its time and saves next to nothing.
const PACKED_FROM: usize = 512;

/// Makes pages small. One for each guest and stream: nothing of one guest is ever found in
/// another's (CN17).
pub struct Encoder<P, H = Xxh3> {
    config: CodecConfig,
    auto: Auto,
    /// Slots that were sent.
    sent: Sent,
    store: Store<P>,
    blocks: Blocks<P, H>,
    lz4: Lz4,
    work: HeapPage,
    stats: Stats,
}

impl<P: PageMemory, H: BlockHash> Encoder<P, H> {
    /// Takes all memory that it will ever use: [`CodecConfig::encoder_pages`] from `pages`, and at
    /// most [`CodecConfig::encoder_heap`] bytes.
    ///
    /// # Errors
    /// [`NoMemory`]; everything is given back.
    pub fn new(config: CodecConfig, mut pages: impl FnMut() -> Option<P>) -> Result<Self, NoMemory> {
        Ok(Self {
            config,
            auto: Auto::new(config.auto, config.pages),
            sent: Sent(zeroes(config.pages.div_ceil(64) as usize)?),
            store: Store::new(config.bases(), &mut pages)?,
            blocks: Blocks {
                cache: Cache::new(config.cached_blocks(), &mut pages)?,
                index: Index::new(config.cached_blocks())?,
                hash: core::marker::PhantomData,
            },
            lz4: Lz4::new()?,
            work: HeapPage::take().ok_or(NoMemory)?,
            stats: Stats::default(),
        })
    }

    /// A new stream begins: nothing is known of the receiver. Statistics go on.
    pub fn reset(&mut self) {
        self.sent.0.fill(0);
        self.store.reset();
        self.blocks.cache.reset();
        self.blocks.index.reset();
    }

    /// A round of pre-copy begins: what was dirty so far comes again, in the same order.
    pub fn next_round(&mut self) {
        self.store.next_round();
    }

    /// Sending so many bytes took so many ticks. Of use only with [`CodecConfig::auto`].
    pub fn sink(&mut self, bytes: u64, ticks: u64) {
        self.auto.sink(bytes, ticks);
    }

    /// What was done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Encodes the next page of the stream. It must then be sent: the receiver's memory is taken to
    /// be as if it were.
    ///
    /// `page` is the caller's own copy. A page that the guest can still write to must not be given:
    /// what is remembered has to be what is sent. `now` is a clock in ticks of any length, read
    /// only with [`CodecConfig::auto`].
    pub fn encode(&mut self, slot: u32, page: &Page, out: &mut Page, now: impl FnMut() -> u64) -> Encoded {
        let class = if self.sent.insert(slot) { Class::First } else { Class::Again };
        let encoded = if is_zero(page) {
            self.store.forget(slot);
            Encoded::Zero
        } else {
            self.encode_content(slot, page, class, out, Laps::new(self.auto.measures(), now))
        };
        self.stats.note(encoded);
        encoded
    }

    #[cfg(test)]
    pub(super) fn mutate(&mut self, mutant: super::cache::Mutant) {
        self.blocks.cache.mutant = mutant;
    }

    #[cfg(test)]
    pub(super) fn keep_stale_bases(&mut self) {
        self.store.stale = true;
    }

    fn encode_content(
        &mut self,
        slot: u32,
        page: &Page,
        class: Class,
        out: &mut Page,
        mut laps: Laps<impl FnMut() -> u64>,
    ) -> Encoded {
        // Bases are kept while deltas are in use. They are of use only for pages sent again.
        let keeps = self.config.delta
            && match class {
                Class::First => self.auto.uses(Codec::Delta, Class::Again),
                Class::Again => self.auto.wants(Codec::Delta, Class::Again),
            };
        if keeps && class == Class::Again {
            laps.begin();
        }
        let found = if keeps && class == Class::Again { self.runs(slot, page) } else { None };
        if !keeps {
            self.store.forget(slot);
        } else {
            self.store.put(slot, page, class);
            if class == Class::Again {
                let saved = found.map(|found| found.map_or(0, |(len, _)| PAGE_SIZE - len));
                self.auto.note(Codec::Delta, class, saved, laps.lap());
            }
        }
        if let Some(Some((len, touched))) = found {
            return self.send_delta(page, class, len, touched, out, &mut laps);
        }
        if self.config.blocks && self.auto.wants(Codec::Blocks, class) {
            return self.send_blocks(page, class, out, &mut laps);
        }
        if self.config.lz4 && self.auto.wants(Codec::Lz4, class) {
            laps.begin();
            let packed = self.lz4.compress(page, worth_packing(PAGE_SIZE));
            let saved = packed.map_or(0, |packed| PAGE_SIZE - packed.len());
            self.auto.note(Codec::Lz4, class, Some(saved), laps.lap());
            if let Some(packed) = packed {
                let len = append(out, 0, packed);
                return Encoded::Coded(Coding::Lz4, len);
            }
        }
        Encoded::Raw
    }

    /// Runs against the base in `work`. `None`: there is no base; `Some(None)`: too long.
    fn runs(&mut self, slot: u32, page: &Page) -> Option<Option<(usize, delta::Touched)>> {
        self.stats.again += 1;
        let base = self.store.get(slot)?;
        self.stats.bases += 1;
        Some(delta::runs(base, page, &mut self.work))
    }

    fn send_delta(
        &mut self,
        page: &Page,
        class: Class,
        len: usize,
        touched: delta::Touched,
        out: &mut Page,
        laps: &mut Laps<impl FnMut() -> u64>,
    ) -> Encoded {
        let mut flags = 0;
        let mut body = self.work.get(..len).unwrap_or_default();
        if self.config.lz4 && len >= PACKED_FROM && self.auto.wants(Codec::Lz4, class) {
            let packed = self.lz4.compress(body, worth_packing(len));
            let saved = packed.map_or(0, |packed| len - packed.len());
            self.auto.note(Codec::Lz4, class, Some(saved), laps.lap());
            if let Some(packed) = packed {
                (flags, body) = (delta::PACKED, packed);
            }
        }
        if self.config.blocks && self.auto.uses(Codec::Blocks, class) {
            flags |= delta::LEARN;
            for (at, block) in page.as_chunks().0.iter().enumerate() {
                if touched.has(at) && !is_zero_block(block) {
                    self.blocks.put(H::hash(block), block);
                }
            }
            self.auto.note(Codec::Blocks, class, None, laps.lap());
        }
        let end = append(out, 0, &[flags]);
        Encoded::Coded(Coding::Delta, append(out, end, body))
    }

    fn send_blocks(
        &mut self,
        page: &Page,
        class: Class,
        out: &mut Page,
        laps: &mut Laps<impl FnMut() -> u64>,
    ) -> Encoded {
        laps.begin();
        let (mut kinds, mut end, mut new) = (0, 1, 0);
        for (at, block) in page.as_chunks::<BLOCK_SIZE>().0.iter().enumerate() {
            let kind = if is_zero_block(block) {
                KIND_ZERO
            } else {
                self.stats.looked_for += 1;
                if let Some(number) = self.blocks.find_or_put(block) {
                    self.stats.found += 1;
                    end = append(out, end, &number.to_le_bytes());
                    KIND_KNOWN
                } else {
                    append(&mut self.work, new, block);
                    new += BLOCK_SIZE;
                    KIND_NEW
                }
            };
            kinds |= kind << (2 * at);
        }
        self.auto.note(Codec::Blocks, class, Some(PAGE_SIZE.saturating_sub(end + new)), laps.lap());
        let mut body = self.work.get(..new).unwrap_or_default();
        if self.config.lz4 && new > 0 && self.auto.wants(Codec::Lz4, class) {
            let packed = self.lz4.compress(body, worth_packing(new));
            let saved = packed.map_or(0, |packed| new - packed.len());
            self.auto.note(Codec::Lz4, class, Some(saved), laps.lap());
            if let Some(packed) = packed {
                // Kind 2, new, becomes kind 3, new and packed; 0 and 1 stay.
                kinds |= kinds >> 1 & 0b0101_0101;
                body = packed;
            }
        }
        if body.len() == PAGE_SIZE {
            append(out, 0, page);
            return Encoded::Coded(Coding::Blocks, PAGE_SIZE);
        }
        append(out, 0, &[kinds]);
        Encoded::Coded(Coding::Blocks, append(out, end, body))
    }
}

pub(super) const KIND_ZERO: u8 = 0;
pub(super) const KIND_KNOWN: u8 = 1;
pub(super) const KIND_NEW: u8 = 2;

/// Slots, a bit each.
struct Sent(Vec<u64>);

impl Sent {
    /// Puts a slot in. Whether it was not there; one beyond the guest's pages never is.
    fn insert(&mut self, slot: u32) -> bool {
        let Some(word) = self.0.get_mut(slot as usize / 64) else { return true };
        let before = core::mem::replace(word, *word | 1 << (slot % 64));
        before != *word
    }
}

/// The sender's cache of blocks.
struct Blocks<P, H> {
    cache: Cache<P>,
    index: Index,
    hash: core::marker::PhantomData<H>,
}

impl<P: PageMemory, H: BlockHash> Blocks<P, H> {
    /// The number of an equal block. If there is none this one is put in, as the receiver will.
    fn find_or_put(&mut self, block: &Block) -> Option<u32> {
        let hash = H::hash(block);
        let found = self.index.find(hash, block, &self.cache);
        match found {
            Some(number) => self.cache.hit(number),
            None => self.put(hash, block),
        }
        found
    }

    fn put(&mut self, hash: u64, block: &Block) {
        let number = self.cache.put(block);
        self.index.note(hash, number);
    }
}

/// The packed form must be shorter than this: by a sixteenth at least, for unpacking takes time too.
const fn worth_packing(len: usize) -> usize {
    len - len / 16
}

pub(super) fn is_zero_block(block: &Block) -> bool {
    block.as_chunks::<8>().0.iter().all(|word| u64::from_ne_bytes(*word) == 0)
}

/// Copies `bytes` to `at`. Returns where they end. What is appended always fits.
fn append(out: &mut Page, at: usize, bytes: &[u8]) -> usize {
    let end = at + bytes.len();
    debug_assert!(end <= PAGE_SIZE);
    if let Some(place) = out.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
    end
}

/// A clock that is read only if it is needed.
struct Laps<F> {
    on: bool,
    now: F,
    last: Option<u64>,
}

impl<F: FnMut() -> u64> Laps<F> {
    fn new(on: bool, now: F) -> Self {
        Self { on, now, last: None }
    }

    /// Something begins whose time is of interest.
    fn begin(&mut self) {
        if self.on && self.last.is_none() {
            self.last = Some((self.now)());
        }
    }

    /// Ticks since the last lap, or since the beginning.
    fn lap(&mut self) -> u64 {
        let Some(last) = self.last else { return 0 };
        let now = (self.now)();
        self.last = Some(now);
        now.saturating_sub(last)
    }
}

const _: () = assert!(BLOCKS == 4, "two bits for each block of a page make a byte");

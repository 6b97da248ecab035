//! Which codecs, and the memory that they take.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut};

use super::Page;
use crate::PAGE_SIZE;

/// Which codecs are used, and how much they may remember. Both ends must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecConfig {
    /// Pages of the guest: slots are below this.
    pub pages: u32,
    /// LZ4.
    pub lz4: bool,
    /// Deltas to what was sent last for the slot.
    pub delta: bool,
    /// Blocks that were sent before.
    pub blocks: bool,
    /// Each of them only where it gains time, see [`Encoder::sink`](super::Encoder::sink).
    pub auto: bool,
    /// Blocks of 1 KiB that both ends remember.
    pub block_cache: u32,
    /// Pages that the sender remembers as bases of deltas.
    pub delta_pages: u32,
}

impl CodecConfig {
    /// Nothing but zero pages.
    pub fn raw(pages: u32) -> Self {
        let (lz4, delta, blocks, auto) = (false, false, false, false);
        Self { pages, lz4, delta, blocks, auto, block_cache: 0, delta_pages: 0 }
    }

    /// Every codec where it gains time: a cache of at most 8 MiB and bases for a quarter of the
    /// guest, at most 64 MiB.
    pub fn auto(pages: u32) -> Self {
        let (lz4, delta, blocks, auto) = (true, true, true, true);
        let delta_pages = (pages / 4).min(16 << 10);
        Self { pages, lz4, delta, blocks, auto, block_cache: pages.min(8 << 10), delta_pages }
    }

    /// Blocks that are really remembered: whole pages of them.
    pub(super) fn cached_blocks(&self) -> u32 {
        if self.blocks { self.block_cache } else { 0 }
    }

    /// Bases that are really kept.
    pub(super) fn bases(&self) -> u32 {
        if self.delta { self.delta_pages } else { 0 }
    }

    /// Pages that an encoder takes from its [`PageMemory`].
    pub fn encoder_pages(&self) -> usize {
        self.decoder_pages() + self.bases() as usize
    }

    /// Pages that a decoder takes from its [`PageMemory`].
    pub fn decoder_pages(&self) -> usize {
        (self.cached_blocks() as usize).div_ceil(super::BLOCKS)
    }

    /// Bytes that an encoder takes from the heap besides, at most.
    pub fn encoder_heap(&self) -> usize {
        use super::{cache::Cache, lz4::Lz4, store::Store};
        let handles = self.encoder_pages() * size_of::<usize>() * 2;
        handles
            + (self.pages as usize).div_ceil(64) * 8
            + Cache::<HeapPage>::index_bytes(self.cached_blocks())
            + Store::<HeapPage>::heap_bytes(self.bases())
            + Lz4::BYTES
            + PAGE_SIZE
    }

    /// Bytes that a decoder takes from the heap besides, at most.
    pub fn decoder_heap(&self) -> usize {
        self.decoder_pages() * size_of::<usize>() * 2 + 2 * PAGE_SIZE
    }
}

/// A page of memory for good: what a page pool hands out.
pub trait PageMemory: DerefMut<Target: DerefMut<Target = Page>> {}

impl<P: DerefMut<Target: DerefMut<Target = Page>>> PageMemory for P {}

/// A page from the heap, where there is no pool.
#[derive(Debug)]
pub struct HeapPage(Box<Page>);

impl HeapPage {
    /// A page, or `None` if memory is short.
    pub fn take() -> Option<Self> {
        let bytes = zeroes(PAGE_SIZE).ok()?;
        bytes.into_boxed_slice().try_into().ok().map(Self)
    }
}

impl Deref for HeapPage {
    type Target = Box<Page>;
    fn deref(&self) -> &Box<Page> {
        &self.0
    }
}

impl DerefMut for HeapPage {
    fn deref_mut(&mut self) -> &mut Box<Page> {
        &mut self.0
    }
}

/// Memory for the codecs can't be had; what would be needed is in [`CodecConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for the page codecs: choose smaller caches, or send pages raw")
    }
}

impl core::error::Error for NoMemory {}

/// So many zeroes of some type.
pub(super) fn zeroes<T: Clone + Default>(count: usize) -> Result<Vec<T>, NoMemory> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count).map_err(|_| NoMemory)?;
    vec.resize(count, T::default());
    Ok(vec)
}

/// So many pages of a pool.
pub(super) fn take<P>(count: usize, mut from: impl FnMut() -> Option<P>) -> Result<Vec<P>, NoMemory> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count).map_err(|_| NoMemory)?;
    while vec.len() < count {
        vec.push(from().ok_or(NoMemory)?);
    }
    Ok(vec)
}

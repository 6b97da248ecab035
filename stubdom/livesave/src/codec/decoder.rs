//! The shim's end. What it decodes comes from a domain that is not trusted.

use core::fmt;

use super::cache::Cache;
use super::config::{CodecConfig, HeapPage, NoMemory, PageMemory};
use super::encoder::{KIND_KNOWN, KIND_NEW, KIND_ZERO, is_zero_block};
use super::{BLOCK_SIZE, BLOCKS, Coding, Page, delta, lz4};
use crate::PAGE_SIZE;

/// Why a page can't be decoded. The stream can't go on then: the snapshot is to be given up, or the
/// guest sent anew after [`Decoder::reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// A page has 1 to 4096 bytes here; this had so many.
    Length(usize),
    /// Not an LZ4 block, or one of another length than it must have.
    Lz4,
    /// Runs that don't add up to changes of one page, or unknown flags.
    Delta,
    /// Blocks that don't add up to a page.
    Blocks,
    /// There is no block of this number.
    UnknownBlock(u32),
    /// An earlier page of this stream could not be decoded.
    Broken,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a coded page can't be decoded: ")?;
        match self {
            Self::Length(len) => write!(f, "it has {len} bytes, not 1 to {PAGE_SIZE}")?,
            Self::Lz4 => f.write_str("its LZ4 block is damaged or not of a page")?,
            Self::Delta => f.write_str("its runs go beyond a page or stop short")?,
            Self::Blocks => f.write_str("its blocks are not those of one page")?,
            Self::UnknownBlock(number) => write!(f, "block {number} was never sent")?,
            Self::Broken => f.write_str("neither could one before it")?,
        }
        f.write_str("; take the snapshot anew, with codecs off if it happens again")
    }
}

impl core::error::Error for CodecError {}

/// Makes pages whole again.
pub struct Decoder<P> {
    cache: Cache<P>,
    work: HeapPage,
    broken: bool,
}

impl<P: PageMemory> Decoder<P> {
    /// Takes all memory that it will ever use: [`CodecConfig::decoder_pages`] from `pages`, and at
    /// most [`CodecConfig::decoder_heap`] bytes.
    ///
    /// # Errors
    /// [`NoMemory`]; everything is given back.
    pub fn new(config: &CodecConfig, pages: impl FnMut() -> Option<P>) -> Result<Self, NoMemory> {
        let cache = Cache::new(config.cached_blocks(), pages)?;
        Ok(Self { cache, work: HeapPage::take().ok_or(NoMemory)?, broken: false })
    }

    /// A new stream begins.
    pub fn reset(&mut self) {
        self.cache.reset();
        self.broken = false;
    }

    #[cfg(test)]
    pub(super) fn mutate(&mut self, mutant: super::cache::Mutant) {
        self.cache.mutant = mutant;
    }

    /// Decodes the next coded page of the stream into `out`. `base` writes what the receiver has
    /// in the page's slot now: what came last for it.
    ///
    /// # Errors
    /// A [`CodecError`], or what `base` ended with. Then `out` is of no use, and everything but
    /// [`reset`](Self::reset) is refused.
    pub fn decode<E: From<CodecError>>(
        &mut self,
        coding: Coding,
        bytes: &[u8],
        base: impl FnOnce(&mut Page) -> Result<(), E>,
        out: &mut Page,
    ) -> Result<(), E> {
        if core::mem::replace(&mut self.broken, true) {
            return Err(CodecError::Broken.into());
        }
        if bytes.is_empty() || bytes.len() > PAGE_SIZE {
            return Err(CodecError::Length(bytes.len()).into());
        }
        match coding {
            Coding::Lz4 => lz4::decompress_page(bytes, out)?,
            Coding::Delta => {
                base(out)?;
                self.delta(bytes, out)?;
            }
            Coding::Blocks => self.blocks(bytes, out)?,
        }
        self.broken = false;
        Ok(())
    }

    fn delta(&mut self, bytes: &[u8], out: &mut Page) -> Result<(), CodecError> {
        let [flags, runs @ ..] = bytes else { return Err(CodecError::Delta) };
        let touched = match flags & !delta::LEARN {
            0 => delta::apply(runs, out)?,
            delta::PACKED => {
                let len = lz4::decompress_up_to(runs, &mut self.work)?;
                delta::apply(self.work.get(..len).unwrap_or_default(), out)?
            }
            _ => return Err(CodecError::Delta),
        };
        if flags & delta::LEARN != 0 {
            for (at, block) in out.as_chunks().0.iter().enumerate() {
                if touched.has(at) && !is_zero_block(block) {
                    self.cache.put(block);
                }
            }
        }
        Ok(())
    }

    fn blocks(&mut self, bytes: &[u8], out: &mut Page) -> Result<(), CodecError> {
        if let Ok(page) = <&Page>::try_from(bytes) {
            out.copy_from_slice(page);
            for block in out.as_chunks().0 {
                self.cache.put(block);
            }
            return Ok(());
        }
        let (kinds, bytes) = bytes.split_first().ok_or(CodecError::Blocks)?;
        let kinds: [u8; BLOCKS] = core::array::from_fn(|at| kinds >> (2 * at) & 3);
        let count = |kind| kinds.iter().filter(|each| **each == kind).count();
        let (numbers, bytes) = bytes.split_at_checked(4 * count(KIND_KNOWN)).ok_or(CodecError::Blocks)?;
        let new = BLOCK_SIZE * count(KIND_NEW);
        let (new, packed) = bytes.split_at_checked(new).ok_or(CodecError::Blocks)?;
        let unpacked = self.work.get_mut(..BLOCK_SIZE * count(3)).ok_or(CodecError::Blocks)?;
        match (unpacked.is_empty(), packed.is_empty()) {
            (true, true) => {}
            (false, false) => lz4::decompress(packed, unpacked)?,
            _ => return Err(CodecError::Blocks),
        }
        let mut numbers = numbers.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
        let mut new = new.as_chunks::<BLOCK_SIZE>().0.iter();
        let mut unpacked = unpacked.as_chunks::<BLOCK_SIZE>().0.iter();
        // In order: a block may be known because it was new in this very page.
        for (block, kind) in out.as_chunks_mut::<BLOCK_SIZE>().0.iter_mut().zip(kinds) {
            *block = match kind {
                KIND_ZERO => [0; BLOCK_SIZE],
                KIND_KNOWN => {
                    let number = numbers.next().ok_or(CodecError::Blocks)?;
                    let block = *self.cache.get(number).ok_or(CodecError::UnknownBlock(number))?;
                    self.cache.hit(number);
                    block
                }
                KIND_NEW => *new.next().ok_or(CodecError::Blocks)?,
                _ => *unpacked.next().ok_or(CodecError::Blocks)?,
            };
            if kind >= KIND_NEW {
                self.cache.put(block);
            }
        }
        Ok(())
    }
}

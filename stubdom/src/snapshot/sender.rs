//! From our copies of pages to the shim: zero or not, coded or not, with a checksum, many in one
//! message.
//!
//! Pages are coded in the order in which they are sent: the other end's decoder depends on it.

use alloc::vec::Vec;

use handoff::{
    BLOCK_CACHE, Codecs, Content, Failure, Job, PAGE_ENTRY_LEN, PAGES_PER_MESSAGE, PageEntry, ToShim,
};
use livesave::checksum;
use livesave::codec::{CodecConfig, Coding, Encoded, Encoder, Stats};
use xen::page::{PagePool, PoolPage};
use xen::time::now;

use super::source;
use crate::link::Link;

/// Pages that are remembered as they were sent, for differences: 16 MiB.
const DELTA_PAGES: u32 = 4096;

/// Of the pool, at most a so-manieth part goes to what is remembered.
const SHARE: usize = 4;

/// Sends the pages of one snapshot.
pub(super) struct Sender<'a> {
    link: &'a Link,
    job: Job,
    encoder: Encoder<PoolPage>,
    /// Where coded pages wait for their message.
    coded: Vec<PoolPage>,
    /// Microseconds spent coding.
    pub(super) codec_micros: u64,
}

impl<'a> Sender<'a> {
    /// Takes memory for the codecs from the pool, if there is enough: codecs give way to the pages
    /// of the last round.
    pub(super) fn new(link: &'a Link, job: Job, pages: u32, codecs: Codecs) -> Result<Self, Failure> {
        let pool: &'static PagePool = link.pool();
        let mut config = match codecs {
            Codecs::Raw => CodecConfig::raw(pages),
            // The others gain nothing in the image, and cost the shim more than they save here.
            Codecs::Auto => CodecConfig { lz4: true, auto: true, ..CodecConfig::raw(pages) },
            Codecs::Chosen { lz4, delta, blocks } => {
                CodecConfig { lz4, delta, blocks, ..CodecConfig::raw(pages) }
            }
        };
        // The other end has this cache, too. What does not fit here is not used: that end then
        // meets no such coding.
        let share = pool.free() / SHARE;
        config.block_cache = BLOCK_CACHE;
        config.blocks &= config.decoder_pages() <= share;
        config.delta_pages = DELTA_PAGES.min(share as u32);
        let encoder = Encoder::new(config, || pool.take()).map_err(|_| Failure::NoMemory)?;
        // Pages as they are need no place of their own, but the encoder sees and counts them, too.
        let places = if codecs == Codecs::Raw { 1 } else { PAGES_PER_MESSAGE };
        let coded = source::take(pool, places).ok_or(Failure::NoMemory)?;
        Ok(Self { link, job, encoder, coded, codec_micros: 0 })
    }

    /// What was sent how.
    pub(super) fn stats(&self) -> &Stats {
        self.encoder.stats()
    }

    /// A live round has ended.
    pub(super) fn next_round(&mut self) {
        self.encoder.next_round();
    }

    /// Sends pages, as many messages as it takes. Returns how many were zero.
    pub(super) async fn send(
        &mut self,
        pages: impl IntoIterator<Item = (u32, &PoolPage)>,
    ) -> Result<u32, Failure> {
        let mut pages = pages.into_iter();
        let mut zeros = 0;
        loop {
            let mut entries = [0; PAGES_PER_MESSAGE * PAGE_ENTRY_LEN];
            let mut batch: heapless::Vec<(&PoolPage, Content), PAGES_PER_MESSAGE> = heapless::Vec::new();
            let began = now();
            for ((slot, page), entry) in pages.by_ref().take(PAGES_PER_MESSAGE).zip(entries.as_chunks_mut().0)
            {
                let content = self.encode(slot, page, batch.len());
                let checksum = if content == Content::Zero { 0 } else { checksum(&page.0) };
                *entry = PageEntry { slot, content, checksum }.emit();
                // As many places as pages are taken.
                let _ = batch.push((page, content));
            }
            if batch.is_empty() {
                return Ok(zeros);
            }
            let sending = now();
            self.codec_micros += sending.as_micros().saturating_sub(began.as_micros());
            let mut bulk: heapless::Vec<&[u8], { PAGES_PER_MESSAGE + 1 }> = heapless::Vec::new();
            let _ = bulk.push(entries.get(..batch.len() * PAGE_ENTRY_LEN).unwrap_or_default());
            for (i, (page, content)) in batch.iter().enumerate() {
                let bytes = match content {
                    Content::Zero => continue,
                    Content::Raw => page.0.get(..),
                    Content::Coded { len, .. } => {
                        self.coded.get(i).and_then(|p| p.0.get(..usize::from(*len)))
                    }
                };
                let _ = bulk.push(bytes.unwrap_or_default());
            }
            zeros += batch.iter().filter(|(_, content)| *content == Content::Zero).count() as u32;
            let bytes: usize = bulk.iter().map(|piece| piece.len()).sum();
            let message = ToShim::Pages { job: self.job, count: batch.len() as u16 };
            self.link.send(&message, &bulk).await.map_err(|_| Failure::Cancelled)?;
            drop(bulk);
            self.encoder.sink(bytes as u64, sending.elapsed().as_micros() as u64);
        }
    }

    /// Codes a page, the `i`-th of its message.
    fn encode(&mut self, slot: u32, page: &PoolPage, i: usize) -> Content {
        let place = i.min(self.coded.len().saturating_sub(1));
        let Some(out) = self.coded.get_mut(place) else { return Content::Raw };
        let encoded = self.encoder.encode(slot, &page.0, &mut out.0, || now().as_micros());
        let coded = |coding, len| Content::Coded { coding, len: len as u16 };
        match encoded {
            Encoded::Zero => Content::Zero,
            Encoded::Raw => Content::Raw,
            Encoded::Coded(Coding::Lz4, len) => coded(handoff::Coding::Lz4, len),
            Encoded::Coded(Coding::Delta, len) => coded(handoff::Coding::Delta, len),
            Encoded::Coded(Coding::Blocks, len) => coded(handoff::Coding::Blocks, len),
        }
    }
}

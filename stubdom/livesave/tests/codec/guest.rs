//! A guest whose pages look like pages, and a pair of ends.

use livesave::codec::{BlockHash, CodecConfig, CodecError, Decoder, Encoded, Encoder, HeapPage, Page, Xxh3};
use livesave::{PAGE_SIZE, is_zero};

use crate::rng::Rng;

/// A stub's and a shim's end, and the image at the shim.
pub(crate) struct Ends<H = Xxh3> {
    pub(crate) encoder: Encoder<HeapPage, H>,
    pub(crate) decoder: Decoder<HeapPage>,
    pub(crate) image: Vec<Page>,
    pub(crate) ticks: u64,
}

impl<H: BlockHash> Ends<H> {
    pub(crate) fn new(config: CodecConfig) -> Self {
        let encoder = Encoder::new(config, HeapPage::take).unwrap();
        let decoder = Decoder::new(&config, HeapPage::take).unwrap();
        Self { encoder, decoder, image: vec![[0; PAGE_SIZE]; config.pages as usize], ticks: 0 }
    }

    /// One page from end to end. The image has whatever was decoded.
    pub(crate) fn send(&mut self, slot: u32, page: &Page) -> Result<Encoded, CodecError> {
        let mut out = [0xa5; PAGE_SIZE];
        let ticks = &mut self.ticks;
        let encoded = self.encoder.encode(slot, page, &mut out, || {
            *ticks += 1;
            *ticks
        });
        let mine = &mut self.image[slot as usize];
        let base = *mine;
        match encoded {
            Encoded::Zero => *mine = [0; PAGE_SIZE],
            Encoded::Raw => *mine = *page,
            Encoded::Coded(coding, len) => {
                let base = |into: &mut Page| {
                    *into = base;
                    Ok(())
                };
                self.decoder.decode(coding, &out[..len], base, mine)?;
            }
        }
        Ok(encoded)
    }

    /// Sends a page and says so if something else arrives.
    pub(crate) fn check(&mut self, slot: u32, page: &Page) -> Result<Encoded, String> {
        let encoded = self.send(slot, page).map_err(|e| e.to_string())?;
        assert!(encoded.len() <= PAGE_SIZE);
        assert_eq!(encoded == Encoded::Zero, is_zero(page));
        if self.image[slot as usize] != *page {
            return Err(format!("slot {slot} differs after {encoded:?}"));
        }
        Ok(encoded)
    }
}

/// Pages that change as a guest's do.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) pages: Vec<Page>,
    pub(crate) rng: Rng,
}

impl Guest {
    pub(crate) fn new(pages: usize, seed: u64) -> Self {
        let mut guest = Self { pages: vec![[0; PAGE_SIZE]; pages], rng: Rng::new(seed) };
        for slot in 0..pages {
            guest.fill(slot);
        }
        guest
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn noise(&mut self, slot: usize, from: usize, to: usize) {
        for byte in &mut self.pages[slot][from..to] {
            *byte = self.rng.next() as u8;
        }
    }

    /// New contents.
    pub(crate) fn fill(&mut self, slot: usize) {
        match self.below(6) {
            0 => self.pages[slot].fill(0),
            1 => self.noise(slot, 0, PAGE_SIZE),
            2 => {
                let word = self.rng.next().to_le_bytes();
                self.pages[slot].as_chunks_mut::<8>().0.fill(word);
            }
            3 => {
                // Sentences of few words.
                for chunk in self.pages[slot].as_chunks_mut::<8>().0 {
                    *chunk = (self.rng.below(50) * 0x0101_0307_0b0d_1113).to_le_bytes();
                }
            }
            4 => {
                let other = self.below(self.pages.len());
                self.pages[slot] = self.pages[other];
            }
            // Blocks of other pages, zeroes and noise.
            _ => {
                for at in (0..PAGE_SIZE).step_by(1024) {
                    let other = self.below(self.pages.len());
                    let block = self.below(4) * 1024;
                    match self.below(4) {
                        0 => self.noise(slot, at, at + 1024),
                        1 => self.pages[slot][at..at + 1024].fill(0),
                        _ => {
                            let bytes = self.pages[other];
                            self.pages[slot][at..at + 1024].copy_from_slice(&bytes[block..block + 1024]);
                        }
                    }
                }
            }
        }
    }

    /// Writes a little, a lot, or everything.
    pub(crate) fn write(&mut self, slot: usize) {
        match self.below(5) {
            0 => self.fill(slot),
            1 => {
                let from = self.below(PAGE_SIZE);
                let to = (from + self.below(2000)).min(PAGE_SIZE);
                self.noise(slot, from, to);
            }
            _ => {
                for _ in 0..=self.below(20) {
                    let at = self.below(PAGE_SIZE);
                    self.pages[slot][at] = self.rng.next() as u8;
                }
            }
        }
    }
}

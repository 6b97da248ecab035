//! What the bench and the replayer measure: bytes and nanoseconds of one way to send pages.

use std::fmt;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};
use livesave::codec::{CodecConfig, CodecError, Decoder, Encoded, Encoder, HeapPage, Page};
use livesave::{PAGE_SIZE, is_zero};

/// One page of a stream, or the beginning of a round.
pub enum Item<'a> {
    /// A page is sent.
    Page(u32, &'a Page),
    /// A round begins.
    Round,
}

/// What came of it.
#[derive(Default)]
pub struct Figures {
    /// How the pages were sent.
    pub name: String,
    /// Pages, and those of them that were zero.
    pub pages: u64,
    /// See `pages`.
    pub zero: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Time to encode and to decode.
    pub encode: Duration,
    /// See `encode`.
    pub decode: Duration,
    /// More, as members of a JSON object.
    pub more: String,
}

impl Figures {
    fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Nanoseconds of encoding for each byte of pages that are not zero.
    pub fn ns_per_byte(&self) -> f64 {
        self.encode.as_nanos() as f64 / self.content() as f64
    }

    /// Bytes of pages that are not zero.
    pub fn content(&self) -> u64 {
        (self.pages - self.zero) * PAGE_SIZE as u64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pages, zero, bytes, decode, more, .. } = self;
        let content = self.content().max(1) as f64;
        write!(
            f,
            "{{\"codecs\":\"{name}\",\"pages\":{pages},\"zero\":{zero},\"content_bytes\":{},\"bytes\":{bytes},\
             \"fewer_percent\":{:.2},\"encode_ns_per_byte\":{:.4},\"decode_ns_per_byte\":{:.4}{more}}}",
            self.content(),
            100.0 - *bytes as f64 * 100.0 / content,
            self.ns_per_byte(),
            decode.as_nanos() as f64 / content,
        )
    }
}

/// Sends a stream by these codecs and decodes it again. Panics if something else arrives.
///
/// With `auto` the sink is told to take so many nanoseconds a byte.
pub fn codecs(
    name: &str,
    config: CodecConfig,
    sink: u64,
    mut stream: impl FnMut(&mut dyn FnMut(Item<'_>)),
) -> Figures {
    let mut encoder: Encoder<HeapPage> = Encoder::new(config, HeapPage::take).expect("memory");
    let mut decoder = Decoder::new(&config, HeapPage::take).expect("memory");
    let mut image = vec![None::<Box<Page>>; config.pages as usize];
    let mut figures = Figures::new(name);
    let (mut out, mut arrived) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
    let start = Instant::now();
    stream(&mut |item| {
        let (slot, page) = match item {
            Item::Page(slot, page) => (slot, page),
            Item::Round => {
                encoder.next_round();
                encoder.sink(1000, 1000 * sink);
                return;
            }
        };
        let before = Instant::now();
        let encoded = encoder.encode(slot, page, &mut out, || start.elapsed().as_nanos() as u64);
        figures.encode += before.elapsed();
        let mine = image[slot as usize].get_or_insert_with(|| Box::new([0; PAGE_SIZE]));
        let before = Instant::now();
        match encoded {
            Encoded::Zero => arrived = [0; PAGE_SIZE],
            Encoded::Raw => arrived = *page,
            Encoded::Coded(coding, len) => {
                let base = |base: &mut Page| {
                    *base = **mine;
                    Ok::<_, CodecError>(())
                };
                decoder.decode(coding, &out[..len], base, &mut arrived).expect("what was encoded");
            }
        }
        figures.decode += before.elapsed();
        assert!(arrived == *page, "slot {slot} differs");
        **mine = arrived;
    });
    let stats = encoder.stats();
    figures.zero = stats.zero.pages;
    figures.pages = stats.raw_bytes() / PAGE_SIZE as u64;
    figures.bytes = stats.bytes();
    figures.more = format!(
        ",\"raw\":{},\"lz4\":{},\"delta\":{},\"blocks\":{},\"again\":{},\"bases\":{},\"looked_for\":{},\"found\":{}",
        stats.raw.pages,
        stats.lz4.pages,
        stats.delta.pages,
        stats.blocks.pages,
        stats.again,
        stats.bases,
        stats.looked_for,
        stats.found,
    );
    figures
}

/// The same with some other codec, that says how many bytes a page that is not zero takes.
pub fn other(
    name: &str,
    mut encode: impl FnMut(u32, &Page) -> usize,
    mut stream: impl FnMut(&mut dyn FnMut(Item<'_>)),
) -> Figures {
    let mut figures = Figures::new(name);
    stream(&mut |item| {
        let Item::Page(slot, page) = item else { return };
        figures.pages += 1;
        if is_zero(page) {
            figures.zero += 1;
            return;
        }
        let before = Instant::now();
        let len = encode(slot, page);
        figures.encode += before.elapsed();
        figures.bytes += len.min(PAGE_SIZE) as u64;
    });
    figures
}

/// zlib at level 1, each page on its own, by zlib-rs.
pub fn zlib() -> impl FnMut(u32, &Page) -> usize {
    let mut zlib = Compress::new(Compression::fast(), true);
    let mut out = vec![0; 2 * PAGE_SIZE];
    move |_, page| {
        zlib.reset();
        let status = zlib.compress(page, &mut out, FlushCompress::Finish);
        assert_eq!(status.expect("room for all"), flate2::Status::StreamEnd);
        zlib.total_out() as usize
    }
}

/// The combinations of codecs, by name.
pub fn combinations(raw: CodecConfig) -> impl Iterator<Item = (String, CodecConfig)> {
    (0..9).map(move |bits| {
        let (auto, all) = (bits == 8, bits == 8);
        let (lz4, delta, blocks) = (all || bits & 1 != 0, all || bits & 2 != 0, all || bits & 4 != 0);
        let names = [("delta", delta), ("blocks", blocks), ("lz4", lz4)];
        let names: Vec<_> = names.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let name = match names.is_empty() {
            _ if auto => "auto".into(),
            true => "raw".into(),
            false => names.join("+"),
        };
        (name, CodecConfig { lz4, delta, blocks, auto, ..raw })
    })
}

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
    let mut sent = vec![(Encoded::Zero, [0; PAGE_SIZE]); BATCH];
    let mut arrived = [0; PAGE_SIZE];
    let start = Instant::now();
    batches(&mut stream, |batch, round| {
        if round {
            encoder.next_round();
        }
        let before = cpu_time();
        for ((slot, page), (encoded, out)) in batch.iter().zip(&mut sent) {
            *encoded = encoder.encode(*slot, page, out, || start.elapsed().as_nanos() as u64);
        }
        figures.encode += cpu_time() - before;
        let bytes = sent.iter().take(batch.len()).map(|(encoded, _)| encoded.len() as u64).sum();
        encoder.sink(bytes, bytes * sink);
        let before = cpu_time();
        for ((slot, page), (encoded, bytes)) in batch.iter().zip(&sent) {
            let mine = image[*slot as usize].get_or_insert_with(|| Box::new([0; PAGE_SIZE]));
            match *encoded {
                Encoded::Zero => arrived = [0; PAGE_SIZE],
                Encoded::Raw => arrived = *page,
                Encoded::Coded(coding, len) => {
                    let base = |base: &mut Page| {
                        *base = **mine;
                        Ok::<_, CodecError>(())
                    };
                    decoder.decode(coding, &bytes[..len], base, &mut arrived).expect("what was encoded");
                }
            }
            assert!(arrived == *page, "slot {slot} differs");
            **mine = arrived;
        }
        figures.decode += cpu_time() - before;
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
    batches(&mut stream, |batch, _| {
        figures.pages += batch.len() as u64;
        figures.zero += batch.iter().filter(|(_, page)| is_zero(page)).count() as u64;
        let before = cpu_time();
        for (slot, page) in batch.iter().filter(|(_, page)| !is_zero(page)) {
            figures.bytes += encode(*slot, page).min(PAGE_SIZE) as u64;
        }
        figures.encode += cpu_time() - before;
    });
    figures
}

/// Pages between two looks at the clock.
const BATCH: usize = 64;

/// Hands on a stream in batches of pages, each with whether a round begins with it: reading the clock
/// must not count.
fn batches(stream: &mut impl FnMut(&mut dyn FnMut(Item<'_>)), mut take: impl FnMut(&[(u32, Page)], bool)) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut round = false;
    stream(&mut |item| {
        if let Item::Page(slot, page) = item {
            batch.push((slot, *page));
        }
        if batch.len() == BATCH || (matches!(item, Item::Round) && !batch.is_empty()) {
            take(&batch, std::mem::take(&mut round));
            batch.clear();
        }
        round |= matches!(item, Item::Round);
    });
    take(&batch, round);
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// zlib at level 1, each page on its own: the library in C.
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

/// The same by zlib-rs, which uses all vectors that there are, and compresses less.
pub fn zlib_rs() -> impl FnMut(u32, &Page) -> usize {
    let mut zlib = zlib_rs::Deflate::new(1, true, 15);
    let mut out = vec![0; 2 * PAGE_SIZE];
    move |_, page| {
        zlib.reset();
        let status = zlib.compress(page, &mut out, zlib_rs::DeflateFlush::Finish);
        assert_eq!(status.expect("room for all"), zlib_rs::Status::StreamEnd);
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

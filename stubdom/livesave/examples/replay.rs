//! Replays a trace of page writes through the codecs: `cargo run --release -p livesave --example
//! replay -- FILE [BLOCKS [BASES [SINK]]]`, one JSON object a line for each combination of codecs, for
//! the paper's codec, for zlib at level 1 and for zlib-rs at level 1.
//!
//! A trace is a row of records in the order of sending: the slot (u32, little endian) and the 4096
//! bytes of the page; a slot of `0xffff_ffff` stands alone and begins a round.
//!
//! BLOCKS: blocks of the cache (8192). BASES: pages that the sender keeps as bases (16384). SINK: for
//! `auto`, nanoseconds that the sink takes for a byte (10: 100 MB/s). The paper's cache has as much
//! memory as both together.

use std::fs::File;
use std::io::{self, BufReader, Read};

use livesave::PAGE_SIZE;
use livesave::codec::CodecConfig;

#[path = "../benches/measure.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared")]
mod measure;
#[path = "../benches/paper.rs"]
#[allow(unreachable_pub, reason = "shared")]
mod paper;
use measure::Item;

const ROUND: u32 = u32::MAX;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("usage: replay FILE [BLOCKS [BASES [SINK]]]")?;
    let mut number = |default: u32| args.next().map_or(Ok(default), |arg| arg.parse());
    let (block_cache, delta_pages, sink) = (number(8 << 10)?, number(16 << 10)?, number(10)?);

    let mut pages = 0;
    each(&file, &mut |item| {
        if let Item::Page(slot, _) = item {
            pages = pages.max(slot + 1);
        }
    })?;
    let stream = |take: &mut dyn FnMut(Item<'_>)| each(&file, take).expect("the trace was read before");
    let raw = CodecConfig { block_cache, delta_pages, ..CodecConfig::raw(pages) };
    for (name, config) in measure::combinations(raw) {
        println!("{}", measure::codecs(&name, config, sink.into(), stream));
    }
    let mut paper = paper::Paper::new(block_cache as usize + delta_pages as usize * 4);
    let mut figures = measure::other("paper", |slot, page| paper.encode(slot, page), stream);
    figures.more = format!(",\"again\":{},\"bases\":{}", paper.again / 4, paper.bases / 4);
    println!("{figures}");
    println!("{}", measure::other("zlib-1", measure::zlib(), stream));
    println!("{}", measure::other("zlib-rs-1", measure::zlib_rs(), stream));
    Ok(())
}

/// Reads a trace. A record that is cut off is an error.
fn each(file: &str, take: &mut dyn FnMut(Item<'_>)) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut page = [0; PAGE_SIZE];
    loop {
        let mut slot = [0; 4];
        if file.read(&mut slot[..1])? == 0 {
            return Ok(());
        }
        file.read_exact(&mut slot[1..])?;
        match u32::from_le_bytes(slot) {
            ROUND => take(Item::Round),
            // A slot of a guest of more than 1 TiB: this is no trace.
            slot @ 0x1000_0000.. => return Err(io::Error::other(format!("no trace: slot {slot}"))),
            slot => {
                file.read_exact(&mut page)?;
                take(Item::Page(slot, &page));
            }
        }
    }
}

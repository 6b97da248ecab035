//! `cargo bench -p livesave`: what each codec costs for a byte, and what it saves, on several
//! kinds of pages, beside zlib (the library in C) and zlib-rs at level 1 on
//! the same pages in the same run. One JSON object a line.
//!
//! | kind | pages |
//! | --- | --- |
//! | code | this program's own file: machine code, tables, symbols |
//! | text | Rust sources |
//! | heap | nodes with pointers, lengths and short strings, as allocators lay them out |
//! | again | those of `heap` again and again, with a few fields changed each time |
//! | copied | pages of the kinds above, moved by a kilobyte |
//! | noise | random bytes |

use std::path::{Path, PathBuf};

use livesave::PAGE_SIZE;
use livesave::codec::{CodecConfig, Page};

#[allow(unreachable_pub, dead_code, reason = "shared")]
mod measure;
#[path = "../tests/precopy/model/rng.rs"]
#[allow(unreachable_pub, reason = "shared with the tests")]
mod rng;
use measure::Item;
use rng::Rng;

/// Pages of a kind.
const PAGES: usize = 1000;

fn main() {
    let code = std::env::current_exe().and_then(std::fs::read).expect("this program's file");
    let text = sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    let heap = heap();
    let mut again = heap.clone();
    for version in 0..3 {
        let mut pages = again[version * PAGES..].to_vec();
        pages.iter_mut().enumerate().for_each(|(n, page)| touch(page, (version * PAGES + n) as u64));
        again.append(&mut pages);
    }
    let mut copied = split(&code);
    copied.extend(split(&code[1024..]));
    let mut rng = Rng::new(3);
    let noise: Vec<u8> = (0..PAGES * PAGE_SIZE).map(|_| rng.next() as u8).collect();
    let mixed = [split(&code), split(&text), heap.clone(), again.clone(), split(&noise)].concat();
    for (kind, pages) in [
        ("code", split(&code)),
        ("text", split(&text)),
        ("heap", heap),
        ("again", again),
        ("copied", copied),
        ("noise", split(&noise)),
        ("mixed", mixed),
    ] {
        run(kind, &pages);
    }
}

/// Sends the pages, those of a thousand slots again and again.
fn run(kind: &str, pages: &[Page]) {
    let stream = |take: &mut dyn FnMut(Item<'_>)| {
        for round in pages.chunks(PAGES) {
            take(Item::Round);
            round.iter().enumerate().for_each(|(slot, page)| take(Item::Page(slot as u32, page)));
        }
    };
    let zlib = measure::other("zlib-1", measure::zlib(), stream);
    let zlib_rs = measure::other("zlib-rs-1", measure::zlib_rs(), stream);
    let raw =
        CodecConfig { block_cache: 8 << 10, delta_pages: PAGES as u32, ..CodecConfig::raw(PAGES as u32) };
    for (name, config) in measure::combinations(raw) {
        // The best of three: other work of this machine is not the codec's.
        let runs = (0..3).map(|_| measure::codecs(&name, config, 10, stream));
        let mut best = runs.min_by_key(|run| run.encode).expect("three runs");
        best.more = format!(
            "{},\"kind\":\"{kind}\",\"times_below_zlib\":{:.2},\"times_below_zlib_rs\":{:.2}",
            best.more,
            zlib.ns_per_byte() / best.ns_per_byte(),
            zlib_rs.ns_per_byte() / best.ns_per_byte(),
        );
        println!("{best}");
    }
    println!("{zlib}\n{zlib_rs}");
}

/// All Rust sources of this crate, one after the other.
fn sources(folder: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    let text = |path: &PathBuf| match path.is_dir() {
        true => sources(path),
        false if path.extension().is_some_and(|end| end == "rs") => std::fs::read(path).expect("a file"),
        false => Vec::new(),
    };
    paths.iter().flat_map(text).collect()
}

fn split(bytes: &[u8]) -> Vec<Page> {
    bytes.as_chunks().0.iter().take(PAGES).copied().collect()
}

/// Nodes of 64 bytes: two pointers, a length, flags, a short string.
fn heap() -> Vec<Page> {
    let mut rng = Rng::new(1);
    let words = ["node", "edge", "alpha", "config", "value", "/usr/lib/x86_64", "Result", "error: "];
    let mut pages = vec![[0; PAGE_SIZE]; PAGES];
    for page in &mut pages {
        for node in page.as_chunks_mut::<64>().0 {
            let pointer = |rng: &mut Rng| (0x7f3a_4000_0000 + rng.below(1 << 24) * 16).to_le_bytes();
            node[..8].copy_from_slice(&pointer(&mut rng));
            node[8..16].copy_from_slice(&pointer(&mut rng));
            node[16..24].copy_from_slice(&rng.below(100).to_le_bytes());
            node[24..28].copy_from_slice(&(rng.below(4) as u32).to_le_bytes());
            let word = words[rng.below(8) as usize].as_bytes();
            node[32..32 + word.len()].copy_from_slice(word);
        }
    }
    pages
}

/// Changes a pointer and a length in a few nodes.
fn touch(page: &mut Page, seed: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..8 {
        let at = rng.below(64) as usize * 64;
        page[at..at + 4].copy_from_slice(&(rng.next() as u32 & !15).to_le_bytes());
        page[at + 16] = rng.below(100) as u8;
    }
}

//! The chain's journal on a disk: the oracle for snapshots of a disk and of memory at one point.
//!
//! Before a link is printed it is on the disk: as a record of a file of fixed size (`slots`), and as a
//! line of one that grows (`log`, which keeps ext4's own journal busy). Before each link the disk itself
//! is read, past the page cache: it must have exactly the links that memory remembers to have written.
//! A disk that is older than memory lacks one; a disk that is newer has one too many.
//!
//! Beside it, `disk_load=N` overwrites N blocks a second of another file by way of the page cache, so
//! that requests are under way when the guest is suspended, and compares others with what memory
//! remembers of them.
//!
//! Lines on the console: `journal N right` now and then; `CORRUPT journal ...`, which
//! `guest verify-chain` finds.

use crate::chain::Link;
use crate::disk::{self, BLOCK, Block, Fixed};
use crate::memory::Generator;
use std::fs::File;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// Octets of a record: `chain N HEX` and a line feed, and zeros.
const RECORD: usize = 128;
/// Records of a block.
const EACH: u64 = (BLOCK / RECORD) as u64;
/// Blocks of the file of records: 16,384 links.
const BLOCKS: u64 = 512;
/// All records are compared once in so many links.
const THOROUGH: u64 = 32;
/// Blocks of the file that is overwritten.
const LOAD_BLOCKS: u64 = 512;

/// The journal of a chain.
pub(crate) struct Journal {
    slots: Fixed,
    log: File,
    /// The first link of each block that has one, or gets one next.
    firsts: Vec<Link>,
}

impl Journal {
    /// Makes it on the disk `device`, which has an ext4 file system.
    pub(crate) fn create(device: &str, seed: &str, load: u64) -> io::Result<Self> {
        disk::start(device)?;
        if load > 0 {
            let file = Fixed::create("load", LOAD_BLOCKS)?;
            thread::spawn(move || overwrite(&file, load));
        }
        Ok(Self {
            slots: Fixed::create("slots", BLOCKS)?,
            log: disk::log("log")?,
            firsts: vec![Link::first(seed)],
        })
    }

    /// Puts the next link on the disk. What is there must be all links before it, and nothing else.
    pub(crate) fn put(&mut self, link: &Link) -> io::Result<()> {
        let next = link.number;
        if next >= BLOCKS * EACH {
            return Ok(());
        }
        if next.is_multiple_of(THOROUGH) {
            self.compare(0, BLOCKS, next)?;
            println!("journal {next} right");
        } else {
            let block = next.saturating_sub(1) / EACH;
            self.compare(block, (block + 2).min(BLOCKS), next)?;
        }
        let record = record(link);
        self.slots.write(&record, next * RECORD as u64)?;
        self.slots.sync()?;
        if (next + 1).is_multiple_of(EACH) {
            self.firsts.push(link.next());
        }
        writeln!(self.log, "{link}")?;
        self.log.sync_all()
    }

    /// Compares blocks with what they must have when all links below `next` are written.
    fn compare(&self, first: u64, end: u64, next: u64) -> io::Result<()> {
        let mut block = Block([0; BLOCK]);
        for at in first..end {
            self.slots.read(at, &mut block)?;
            let mut link = self.firsts.get(at as usize).copied();
            for (number, found) in (at * EACH..).zip(block.0.chunks_exact(RECORD)) {
                let written = link.filter(|_| number < next);
                if found != written.as_ref().map_or([0; RECORD], record) {
                    let text = String::from_utf8_lossy(found);
                    let text = text.trim_end_matches('\0').trim_end();
                    println!("CORRUPT journal record={number} next={next} disk={text:?}");
                }
                link = written.map(|link| link.next());
            }
        }
        Ok(())
    }
}

fn record(link: &Link) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let text = format!("{link}\n");
    if let Some(part) = record.get_mut(..text.len()) {
        part.copy_from_slice(text.as_bytes());
    }
    record
}

/// Overwrites `rate` blocks a second, and compares as many others.
pub(crate) fn overwrite(file: &Fixed, rate: u64) {
    let mut random = Generator::of_page(rate, 1);
    let mut versions = vec![0u64; file.blocks() as usize];
    let mut read = Block([0; BLOCK]);
    let mut done = 0u64;
    loop {
        thread::sleep(Duration::from_micros(1_000_000 / rate.max(1)));
        let (at, other) = (random.next() % file.blocks(), random.next() % file.blocks());
        let version = versions[at as usize] + 1;
        let outcome = file.write(&contents(at, version), at * BLOCK as u64).and_then(|()| {
            versions[at as usize] = version;
            file.read(other, &mut read)
        });
        if let Err(e) = outcome {
            println!("CORRUPT load: {e}");
            return;
        }
        if read.0 != contents(other, versions[other as usize]) {
            println!("CORRUPT load block={other} version={}", versions[other as usize]);
        }
        done += 1;
        if done.is_multiple_of(rate * 10) {
            println!("load {done} blocks right");
        }
    }
}

/// A block's octets in its `version`; zeros before the first.
fn contents(at: u64, version: u64) -> [u8; BLOCK] {
    let mut octets = [0; BLOCK];
    if version > 0 {
        let mut random = Generator::of_page(at, version);
        for word in octets.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_any_link() {
        let text = format!("{}\n", Link::first("a"));
        // 20 digits are the most that a number has.
        assert!(text.len() + 19 <= RECORD);
        assert_eq!(&record(&Link::first("a"))[..text.len()], text.as_bytes());
    }

    #[test]
    fn each_version_of_each_block_is_another() {
        assert_eq!(contents(3, 0), [0; BLOCK]);
        assert_ne!(contents(3, 1), contents(3, 2));
        assert_ne!(contents(3, 1), contents(4, 1));
    }
}

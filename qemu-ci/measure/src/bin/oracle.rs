//! The oracle of a cut: what a guest's memory really was, against what an image brings back.
//!
//! - `oracle dump DOMID FILE`: writes every page of a guest, which must stand still, as Dom0 sees it
//! - `oracle compare FILE`: reads a stream of xl's format (`luthier export`) from the standard input,
//!   and compares every page with the dump; ends with 1 if one differs, or is on one side only
//!
//! It knows nothing of Luthier: frames come from Xen, and the stream is read by its specifications
//! (libxl-migration-stream, libxc-migration-stream v3). A dump is a row of records: the frame (u64,
//! little endian) and its page. A tool of tests: see `foreign.rs`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

use privcmd::{DomId, Hypervisor};

use measure::foreign::{BATCH, Memory, PAGE};

type Error = Box<dyn std::error::Error>;

/// Differing pages that are told one by one.
const TOLD: usize = 10;
/// Pages of one record, at most: the specification's bound is of Xen's own batches.
const RECORD_PAGES: u32 = 4096;

fn dump(domid: DomId, file: &str) -> Result<String, Error> {
    let xen = Hypervisor::open()?;
    let info = xen.domain(domid)?;
    if !(info.suspended() || info.paused) {
        return Err("the guest runs: it has no one moment".into());
    }
    let frames: Vec<u64> = xen.populated(domid)?.iter().flat_map(|extent| extent.pfn..extent.end()).collect();
    let memory = Memory::of(domid)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let mut buffer = vec![0; BATCH * PAGE];
    for batch in frames.chunks(BATCH) {
        let there = memory.read(batch, &mut buffer)?;
        for ((frame, there), page) in batch.iter().zip(there).zip(buffer.chunks_exact(PAGE)) {
            if !there {
                return Err(format!("frame {frame:#x} has gone").into());
            }
            file.write_all(&frame.to_le_bytes())?;
            file.write_all(page)?;
        }
    }
    file.flush()?;
    Ok(format!("dumped {} pages", frames.len()))
}

/// The pages of a dump, by frame.
struct Dump {
    bytes: Vec<u8>,
}

impl Dump {
    const RECORD: usize = 8 + PAGE;

    fn frames(&self) -> impl Iterator<Item = u64> {
        self.bytes.chunks_exact(Self::RECORD).map(word)
    }

    fn page(&self, frame: u64) -> Option<&[u8]> {
        let (mut low, mut high) = (0, self.bytes.len() / Self::RECORD);
        while low < high {
            let middle = low.midpoint(high);
            let record = self.bytes.get(middle * Self::RECORD..)?.get(..Self::RECORD)?;
            match word(record).cmp(&frame) {
                std::cmp::Ordering::Equal => return record.get(8..),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// The first eight bytes of a record.
fn word(record: &[u8]) -> u64 {
    record.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A stream of xl, up to the end of its memory.
struct Stream<R>(R);

impl<R: Read> Stream<R> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map(|()| bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.0.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Calls `each` with every page of the stream and its frame; returns when it has ended.
    fn pages(&mut self, mut each: impl FnMut(u64, &[u8])) -> Result<(), Error> {
        if !self.take::<32>()?.starts_with(b"Xen saved domain, xl format") {
            return Err("not a stream of xl".into());
        }
        self.skip(12)?;
        let optional = self.u32()?;
        self.skip(optional.into())?;
        self.skip(16)?; // libxl's header
        loop {
            let (kind, length) = (self.u32()?, self.u32()?);
            match kind {
                1 => break, // LIBXC_CONTEXT
                0 => return Err("a stream without memory".into()),
                _ => self.skip(u64::from(length).next_multiple_of(8))?,
            }
        }
        self.skip(24 + 16)?; // libxc's image header and domain header
        loop {
            let (kind, length) = (self.u32()?, self.u32()?);
            match kind {
                0 => break,
                1 => self.page_data(length, &mut each)?,
                _ => self.skip(u64::from(length).next_multiple_of(8))?,
            }
        }
        // Whoever writes must not die of a closed pipe.
        io::copy(&mut self.0, &mut io::sink())?;
        Ok(())
    }

    fn page_data(&mut self, length: u32, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Error> {
        let count = self.u32()?;
        self.skip(4)?;
        if count > RECORD_PAGES {
            return Err(format!("{count} pages in a record").into());
        }
        let mut frames = Vec::new();
        for _ in 0..count {
            let word = u64::from_le_bytes(self.take()?);
            match word >> 60 {
                0 => frames.push(word & ((1 << 52) - 1)),
                kind => return Err(format!("a page of type {kind}").into()),
            }
        }
        let mut page = [0; PAGE];
        for frame in &frames {
            self.0.read_exact(&mut page)?;
            each(*frame, &page);
        }
        let read = 8 + 8 * u64::from(count) + (PAGE * frames.len()) as u64;
        if read != u64::from(length) {
            return Err(format!("a record of {length} bytes has {read}").into());
        }
        self.skip(read.next_multiple_of(8) - read)?;
        Ok(())
    }
}

fn compare(file: &str) -> Result<String, Error> {
    let dump = Dump { bytes: std::fs::read(file)? };
    let mut missing: BTreeSet<u64> = dump.frames().collect();
    let all = missing.len();
    let mut wrong = Vec::new();
    let stream = BufReader::with_capacity(1 << 20, io::stdin().lock());
    Stream(stream).pages(|frame, page| {
        let there = missing.remove(&frame);
        match dump.page(frame) {
            Some(true_page) if there && true_page == page => {}
            Some(true_page) => {
                let octets = true_page.iter().zip(page).filter(|(a, b)| a != b).count();
                let first = true_page.iter().zip(page).position(|(a, b)| a != b).unwrap_or(0);
                wrong.push(format!("frame {frame:#x}: {octets} octets differ, the first is {first}"));
            }
            None => wrong.push(format!("frame {frame:#x} is only in the image")),
        }
    })?;
    // xl's stream may leave a page out only if it is nowhere.
    wrong.extend(missing.iter().map(|frame| format!("frame {frame:#x} is only in the guest")));
    if wrong.is_empty() {
        return Ok(format!("{all} pages are the same"));
    }
    wrong.iter().take(TOLD).for_each(|line| println!("{line}"));
    Err(format!("{} of {all} pages differ", wrong.len()).into())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["dump", domid, file] => domid.parse().map_err(Error::from).and_then(|domid| dump(domid, file)),
        ["compare", file] => compare(file),
        _ => {
            eprintln!("usage: oracle dump DOMID FILE | oracle compare FILE <STREAM");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(says) => {
            println!("{says}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("oracle: {error}");
            ExitCode::FAILURE
        }
    }
}

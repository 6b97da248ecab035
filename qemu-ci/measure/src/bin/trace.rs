//! `trace DOMID FILE [ROUNDS [RATE]]`: records what a pre-copy of a running guest sends, for replaying it
//! through codecs (`cargo run -p livesave --example replay`): a real one, with Xen's log of writes,
//! by map-and-read from Dom0, at RATE pages a second at most that are not zero (3000, about what a
//! network of 100 Mbit/s takes). ROUNDS (29) live rounds, or until three times the guest's memory is
//! sent, then one more with the guest paused. A round takes a quarter of a second at least, so that the
//! next one has something to send: it is no policy that is looked at here.
//!
//! The file is a row of records: the slot (u32, little endian: the rank of the page's frame in all
//! that the guest has) and the 4096 bytes of the page; a slot of `0xffff_ffff` stands alone and
//! begins a round. Zero pages are in it. Prints a line for each round.
//!
//! A tool of benches: see `foreign.rs`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use privcmd::{DomId, Hypervisor};

use measure::foreign::{Memory, PAGE};

type Error = Box<dyn std::error::Error>;

const ROUND: u32 = u32::MAX;
/// Times the guest's memory that are sent, at most.
const TIMES: usize = 3;
/// The shortest round.
const SHORTEST: Duration = Duration::from_millis(250);
/// Pages between two looks at the rate.
const STEP: usize = 256;

struct Recorder<'a> {
    /// The guest's frames, ascending.
    all: &'a [u64],
    memory: Memory,
    file: BufWriter<File>,
    buffer: Vec<u8>,
    /// Pages a second.
    rate: u32,
}

impl Recorder<'_> {
    /// Records a round of these frames; returns how many had a page, and how many were not zero.
    fn round(&mut self, frames: &[u64]) -> Result<(usize, usize), Error> {
        self.file.write_all(&ROUND.to_le_bytes())?;
        let (began, mut pages, mut filled) = (Instant::now(), 0, 0);
        for batch in frames.chunks(STEP) {
            let there = self.memory.read(batch, &mut self.buffer)?;
            for ((frame, there), page) in batch.iter().zip(there).zip(self.buffer.chunks_exact(PAGE)) {
                if there {
                    let slot = self.all.partition_point(|other| other < frame);
                    self.file.write_all(&u32::try_from(slot)?.to_le_bytes())?;
                    self.file.write_all(page)?;
                    pages += 1;
                    filled += usize::from(page.iter().any(|&byte| byte != 0));
                }
            }
            let due = Duration::from_secs_f64(filled as f64 / f64::from(self.rate.max(1)));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        Ok((pages, filled))
    }
}

/// The frames that the guest has written to, of those that it has.
fn written(xen: &Hypervisor, domid: DomId, all: &[u64], last: bool) -> Result<Vec<u64>, Error> {
    let frames = xen.max_gpfn(domid)? + 1;
    let mut bitmap = vec![0; frames.div_ceil(64) as usize];
    match last {
        true => xen.log_dirty_peek(domid, frames, &mut bitmap, true)?,
        false => xen.log_dirty_clean(domid, frames, &mut bitmap)?,
    };
    let dirty = |frame: &u64| bitmap.get((frame / 64) as usize).is_some_and(|w| w >> (frame % 64) & 1 != 0);
    Ok(all.iter().copied().filter(dirty).collect())
}

fn record(xen: &Hypervisor, domid: DomId, file: &str, rounds: usize, rate: u32) -> Result<(), Error> {
    let all: Vec<u64> = xen.populated(domid)?.iter().flat_map(|extent| extent.pfn..extent.end()).collect();
    let file = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let mut recorder =
        Recorder { all: &all, memory: Memory::of(domid)?, file, buffer: vec![0; STEP * PAGE], rate };
    let mut to_send = all.clone();
    let mut sent = 0;
    for round in 1.. {
        let last = round > rounds || sent > TIMES * all.len();
        if last {
            xen.pause(domid)?;
            // What was written since the last look, too.
            to_send.extend(written(xen, domid, &all, true)?);
            to_send.sort_unstable();
            to_send.dedup();
        }
        let began = Instant::now();
        let (pages, filled) = recorder.round(&to_send)?;
        sent += pages;
        println!(
            "{{\"round\":{round},\"last\":{last},\"pages\":{pages},\"filled\":{filled},\"ms\":{}}}",
            began.elapsed().as_millis()
        );
        if last {
            break;
        }
        std::thread::sleep(SHORTEST.saturating_sub(began.elapsed()));
        to_send = written(xen, domid, &all, false)?;
    }
    Ok(recorder.file.flush()?)
}

fn arguments(args: &[String]) -> Option<(DomId, &str, usize, u32)> {
    let (domid, file, more) = match args {
        [domid, file, more @ ..] if more.len() <= 2 => (domid.parse().ok()?, file.as_str(), more),
        _ => return None,
    };
    let rounds = more.first().map_or(Some(29), |rounds| rounds.parse().ok())?;
    let rate = more.get(1).map_or(Some(3000), |rate| rate.parse().ok())?;
    Some((domid, file, rounds, rate))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((domid, file, rounds, rate)) = arguments(&args) else {
        eprintln!("usage: trace DOMID FILE [ROUNDS [RATE]]");
        return ExitCode::from(2);
    };
    let outcome = Hypervisor::open().map_err(Error::from).and_then(|xen| {
        xen.log_dirty_enable(domid)?;
        let recorded = record(&xen, domid, file, rounds, rate);
        // Whatever came, the guest runs on.
        xen.log_dirty_disable(domid)?;
        if xen.domain(domid)?.paused {
            xen.unpause(domid)?;
        }
        recorded
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trace: {error}");
            ExitCode::FAILURE
        }
    }
}

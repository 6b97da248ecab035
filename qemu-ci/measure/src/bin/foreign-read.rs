//! `foreign-read DOMID PAGES [BATCH]`: reads a guest's first PAGES pages as libxc does for `xl save`:
//! maps BATCH of them (1024) at a time into Dom0's process by privcmd, copies each into a buffer, and
//! unmaps them. Prints one JSON object: pages read, holes, and microseconds for mapping, copying and
//! unmapping.
//!
//! For the bench of what a page costs, as the peer of the stub's grant copies. It must never be part
//! of what is installed on a host: luthier's code in Dom0 maps no guest memory.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use measure::foreign::{Memory, PAGE};

/// How long each part took, and what was found.
#[derive(Default)]
struct Cost {
    pages: usize,
    holes: usize,
    map: Duration,
    copy: Duration,
    unmap: Duration,
}

/// Maps, copies and unmaps frames from `first` on, `buffer.len() / PAGE` of them.
fn read(memory: &Memory, first: u64, buffer: &mut [u8], cost: &mut Cost) -> io::Result<()> {
    let frames: Vec<u64> = (first..).take(buffer.len() / PAGE).collect();
    let began = Instant::now();
    let mapped = memory.map(&frames)?;
    cost.map += began.elapsed();
    let began = Instant::now();
    mapped.copy(buffer);
    std::hint::black_box(&buffer);
    cost.copy += began.elapsed();
    let there = mapped.there().filter(|there| *there).count();
    cost.pages += there;
    cost.holes += frames.len() - there;
    let began = Instant::now();
    drop(mapped);
    cost.unmap += began.elapsed();
    Ok(())
}

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = std::env::args().skip(1).map(|arg| arg.parse().ok()).collect();
    let (domid, pages, batch) = match numbers.as_deref() {
        Some(&[domid, pages]) => (domid, pages, 1024),
        Some(&[domid, pages, batch @ 1..=65536]) => (domid, pages, batch as usize),
        _ => {
            eprintln!("usage: foreign-read DOMID PAGES [BATCH]");
            return ExitCode::from(2);
        }
    };
    let mut cost = Cost::default();
    let mut buffer = vec![1; batch * PAGE];
    let outcome = Memory::of(domid as u16).and_then(|memory| {
        for first in (0..pages).step_by(batch) {
            let count = ((pages - first) as usize).min(batch);
            read(&memory, first, &mut buffer[..count * PAGE], &mut cost)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        eprintln!("foreign-read: {error}");
        return ExitCode::FAILURE;
    }
    println!(
        "{{\"pages\":{},\"holes\":{},\"map_us\":{},\"copy_us\":{},\"unmap_us\":{}}}",
        cost.pages,
        cost.holes,
        cost.map.as_micros(),
        cost.copy.as_micros(),
        cost.unmap.as_micros()
    );
    ExitCode::SUCCESS
}

//! How slow this machine is: what takes a cut is work and calls of Xen, of which emulation takes ten times
//! as long and more, and time-outs must follow.
//!
//! The fastest of some runs counts, so that what else the host does at the moment makes little difference.

use core::hint::black_box;

use livesave::{PAGE_SIZE, checksum};
use xen::time::now;

/// What is timed: checksums of so many pages (1 MiB), and so many calls of Xen.
const PAGES: usize = 256;
const CALLS: usize = 256;
/// How long a fast machine takes for that at most, in microseconds: 4 GB/s, and half a microsecond a call.
const FAST_US: u64 = 400;
/// Each is shorter than a scheduler's time slice, so that one of them is not disturbed.
const RUNS: usize = 5;
/// No machine is slower, in percent.
const SLOWEST: u64 = 1000;

/// Time-outs for this machine, in percent of those for a fast one: 100 to 1,000.
pub(super) fn timeouts_percent() -> u32 {
    let page = [0x5a; PAGE_SIZE];
    let run = || {
        let since = now();
        for _ in 0..PAGES {
            black_box(checksum(black_box(&page)));
        }
        for _ in 0..CALLS {
            let _ = black_box(xen::version());
        }
        since.elapsed().as_micros() as u64
    };
    let fastest = (0..RUNS).map(|_| run()).min().unwrap_or(0);
    let percent = (fastest * 100 / FAST_US).clamp(100, SLOWEST) as u32;
    log::info!(
        "{PAGES} checksums and {CALLS} hypercalls take {fastest} us: time-outs of groups at {percent} %"
    );
    percent
}

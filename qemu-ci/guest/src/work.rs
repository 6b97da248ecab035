//! Process 1 of the lab's guest: threads that do what the settings say, for ever.
//!
//! Lines on the console: `guest ready`, `chain N HEX`, `stats rewritten=N dirtied=N checked=N corrupt=N
//! sweeps=N`, `CORRUPT page=...`, `stall MS`, and those of [`crate::journal`]. It must never exit by itself: the kernel would
//! panic (which `crash_after` uses).

use crate::chain::Link;
use crate::journal::Journal;
use crate::memory::{PAGES_PER_MIB, Region};
use crate::settings::Settings;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How often threads with a rate look how much they have to do. Each look is an exit to Xen or
/// two, which cost much in emulation.
const TICK: Duration = Duration::from_millis(25);

static REWRITTEN: AtomicU64 = AtomicU64::new(0);
static CHECKED: AtomicU64 = AtomicU64::new(0);
static CORRUPT: AtomicU64 = AtomicU64::new(0);
/// Sweeps of the region that has made the fewest, by thread.
static SWEEPS: [AtomicU64; MAX_THREADS] = [const { AtomicU64::new(u64::MAX) }; MAX_THREADS];
/// Threads that work on memory: one a vCPU and one for the fill.
const MAX_THREADS: usize = 65;

/// Works until the guest ends.
pub(crate) fn run(settings: &Settings) -> ! {
    let vcpus = thread::available_parallelism().map_or(1, usize::from);
    println!("guest ready vcpus={vcpus} {settings:?}");
    end_later(settings);
    watch_for_stalls(settings);
    settings.gap.into_iter().for_each(crate::gap::watch);
    crate::dirty::start(settings.dirty_mib, settings.dirty_rate);
    let chain = settings.clone();
    thread::spawn(move || advance_chain(&chain));
    crate::edit::start(settings.edit_mib, settings.edit_rate);
    settings.load.as_deref().into_iter().for_each(crate::load::start);
    start_memory(settings, vcpus.min(MAX_THREADS - 1));
    loop {
        thread::sleep(settings.stats.unwrap_or(Duration::from_secs(3600)));
        if settings.stats.is_some() && settings.rewrite_mib + settings.dirty_mib + settings.fill_mib > 0 {
            let sweeps = SWEEPS.iter().map(|sweeps| sweeps.load(Relaxed)).min();
            println!(
                "stats rewritten={} dirtied={} checked={} corrupt={} sweeps={}",
                REWRITTEN.load(Relaxed),
                crate::dirty::written(),
                CHECKED.load(Relaxed),
                CORRUPT.load(Relaxed),
                sweeps.unwrap_or(0)
            );
        }
    }
}

fn advance_chain(settings: &Settings) {
    let pause = 1_000_000_u64.checked_div(settings.rate).map(Duration::from_micros);
    let mut link = Link::first(&settings.seed);
    let mut journal = settings.journal.as_deref().and_then(|device| {
        Journal::create(device, &settings.seed, settings.disk_load)
            .inspect_err(|e| println!("CORRUPT journal on {device}: {e}"))
            .ok()
    });
    loop {
        if let Some(journal) = &mut journal
            && let Err(e) = journal.put(&link)
        {
            println!("CORRUPT journal at {}: {e}", link.number);
        }
        println!("{link}");
        link = link.next();
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
}

/// One rewriting thread a vCPU, each with its own part, and one that checks the fill.
fn start_memory(settings: &Settings, vcpus: usize) {
    let pages = settings.rewrite_mib * PAGES_PER_MIB;
    let share = pages / vcpus as u64;
    let rate = settings.rewrite_rate.map(|rate| rate.div_ceil(vcpus as u64));
    if pages > 0 {
        for (vcpu, sweeps) in SWEEPS.iter().enumerate().take(vcpus) {
            let first = vcpu as u64 * share;
            let cyclic = settings.cyclic;
            sweeps.store(0, Relaxed);
            thread::spawn(move || work_on(Region::new(first, share as usize, cyclic), rate, true, vcpu));
        }
    }
    if settings.fill_mib > 0 {
        let (count, rate) = (settings.fill_mib * PAGES_PER_MIB, settings.fill_rate);
        SWEEPS[vcpus].store(0, Relaxed);
        thread::spawn(move || work_on(Region::new(pages, count as usize, false), Some(rate), false, vcpus));
    }
}

/// Visits the pages of a region at `rate` a second (`None`: without a pause).
fn work_on(mut region: Region, rate: Option<u64>, rewrite: bool, thread: usize) -> ! {
    println!("region {thread} filled");
    let mut last = Instant::now();
    let mut due = 0.0;
    loop {
        let visits = match rate {
            None => 256,
            Some(rate) => {
                thread::sleep(TICK);
                // A guest that was paused for long has no debt to work off.
                let elapsed = last.elapsed().min(TICK * 10).as_secs_f64();
                last = Instant::now();
                due += elapsed * rate as f64;
                let whole = due as u64;
                due -= whole as f64;
                whole
            }
        };
        for _ in 0..visits {
            if let Err(corrupt) = region.visit(rewrite) {
                CORRUPT.fetch_add(1, Relaxed);
                println!(
                    "CORRUPT page={} generation={} word={} expected={:016x} found={:016x}",
                    corrupt.page, corrupt.generation, corrupt.word, corrupt.expected, corrupt.found
                );
            }
        }
        let done = if rewrite { &REWRITTEN } else { &CHECKED };
        done.fetch_add(visits, Relaxed);
        SWEEPS[thread].store(region.sweeps, Relaxed);
    }
}

/// Says when the guest stood still, as the guest itself sees it.
fn watch_for_stalls(settings: &Settings) {
    let Some(limit) = settings.stall else { return };
    thread::spawn(move || {
        let mut last = SystemTime::now(); // goes on while the guest is suspended
        loop {
            thread::sleep(Duration::from_millis(1));
            let now = SystemTime::now();
            let stood = now.duration_since(last).unwrap_or_default();
            if stood > limit {
                println!("stall {}", stood.as_millis());
            }
            last = now;
        }
    });
}

/// What a guest's last words need to get from its console's ring into Dom0's log: with the domain,
/// the ring goes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends the guest when its time has come: by powering off, or by a crash.
fn end_later(settings: &Settings) {
    if let Some(after) = settings.exit_after {
        thread::spawn(move || {
            thread::sleep(after);
            println!("guest powers off");
            thread::sleep(LAST_WORDS);
            let error = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
            println!("guest cannot power off: {error:?}");
        });
    }
    if let Some(after) = settings.crash_after {
        thread::spawn(move || {
            thread::sleep(after);
            println!("guest crashes");
            thread::sleep(LAST_WORDS);
            std::process::exit(1); // process 1: the kernel panics
        });
    }
}

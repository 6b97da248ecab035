//! The longest time for which the guest stood still, as its own clock saw it: the longest distance
//! between two ticks of a thread that does nothing else. Whatever kept the guest from running
//! counts: being suspended, a fault that took long, another domain that had the CPU.
//!
//! Dom0 asks with `guest gap NAME` ([`ask`]): it writes a word to `data/gap/ask`, the guest answers
//! with that word and microseconds in `data/gap/answer`, and begins anew. A guest that was migrated
//! on the host has kept what it saw: its clock (CLOCK_REALTIME) goes on meanwhile.

use crate::command::find;
use crate::store::Store;
use privcmd::xenstore::Client;
use rustix::mount::{MountFlags, mount};
use std::fs::create_dir_all;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Where both sides meet, below the guest's own directory.
const NODE: &str = "data/gap";
/// How long Dom0 waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Microseconds.
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// In the guest: begins to look, each `tick`, and to answer.
pub(crate) fn watch(tick: Duration) {
    thread::spawn(move || {
        let mut last = SystemTime::now();
        loop {
            thread::sleep(tick);
            let now = SystemTime::now();
            let gap = now.duration_since(last).unwrap_or_default();
            LONGEST.fetch_max(gap.as_micros() as u64, Relaxed);
            last = now;
        }
    });
    thread::spawn(|| {
        if let Err(error) = devices() {
            eprintln!("guest: /dev: {error}");
        }
        loop {
            if let Err(error) = answer() {
                eprintln!("guest: answering for gaps: {error}");
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
}

/// A guest without an init of its own has no devices yet.
fn devices() -> io::Result<()> {
    if !Path::new("/dev/xen/xenbus").exists() {
        create_dir_all("/dev")?;
        mount("dev", "/dev", "devtmpfs", MountFlags::empty(), None)?;
    }
    Ok(())
}

fn answer() -> io::Result<()> {
    let mut store = Store::open()?;
    store.watch(NODE)?;
    let mut answered = Vec::new();
    loop {
        store.wait()?;
        let Some(word) = store.read(&format!("{NODE}/ask"))? else { continue };
        if word == answered {
            continue;
        }
        let answer = format!("{} {}", String::from_utf8_lossy(&word), LONGEST.swap(0, Relaxed));
        store.write(&format!("{NODE}/answer"), answer.as_bytes())?;
        answered = word;
    }
}

/// In Dom0: microseconds of the longest gap since the guest was last asked.
pub(crate) fn ask(name: &str) -> Result<String, String> {
    let text = |e: privcmd::xenstore::Error| e.to_string();
    let mut store = Client::open().map_err(text)?;
    let domain = find(&mut store, name).map_err(text)?.ok_or_else(|| format!("there is no guest {name}"))?;
    let node = format!("/local/domain/{domain}/{NODE}");
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let word = format!("{}-{}", std::process::id(), began.as_nanos());
    store.watch(&format!("{node}/answer"), "answer").map_err(text)?;
    store.write(&format!("{node}/ask"), &word).map_err(text)?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if store.wait(deadline.saturating_duration_since(Instant::now())).map_err(text)?.is_none() {
            return Err(format!("{name} does not answer: was it started with gap_ms=N?"));
        }
        let answer = store.read(&format!("{node}/answer")).map_err(text)?;
        if let Some((asked, gap)) = answer.as_deref().and_then(|answer| answer.split_once(' '))
            && asked == word
        {
            return Ok(gap.to_owned());
        }
    }
}

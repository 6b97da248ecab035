//! `measure [--with DOMID] DOMID COMMAND...`: runs a command in Dom0 and prints, as one JSON object,
//! what it cost the guest and Dom0, seen from outside: for benches that compare tools with each
//! other. Then what the command printed.
//!
//! - `total_ms`: the command's own time
//! - `freeze_ms`: from the request to suspend (in xenstore) until the guest stood still
//! - `suspended_ms`: how long the guest stood still, all times added. A guest that was migrated
//!   on this host goes on as another domain with the same uuid
//! - `dom0_cpu_ms`, `guest_cpu_ms`, `with_cpu_ms`: CPU time that Xen gave meanwhile to Dom0, to the
//!   guest, and to the domain of `--with`
//! - `written_bytes`: by write(2) of the command and of the processes that it has waited for

use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, Instant};

use privcmd::{DomId, Hypervisor, xenstore};

/// Between two looks at the guest, from the request to suspend until it runs again: what its suspended
/// time is off by, at most.
const POLL: Duration = Duration::from_millis(1);
/// The same when it stands still for longer than [`CLOSE`], as each look takes the CPU from what is
/// measured: 1 % of the time at most.
const POLL_LONG: Duration = Duration::from_millis(5);
const CLOSE: Duration = Duration::from_millis(500);
/// While it runs and nobody has asked it to suspend. The request ends this at once.
const POLL_FAR: Duration = Duration::from_millis(25);

#[derive(Default)]
struct Seen {
    asked: Option<Instant>,
    stood: Option<Instant>,
    suspended: Duration,
}

/// Notes when the guest is asked to suspend, and wakes the one who looks at it.
fn watch_request(
    domid: DomId,
    seen: &Mutex<Seen>,
    over: &AtomicBool,
    looker: &Thread,
) -> Result<(), xenstore::Error> {
    let node = format!("/local/domain/{domid}/control/shutdown");
    let mut store = xenstore::Client::open()?;
    store.watch(&node, "request")?;
    while !over.load(Ordering::Relaxed) {
        if store.wait(Duration::from_millis(100))?.is_some()
            && store.read(&node)?.is_some_and(|v| v == "suspend")
            && let Ok(mut seen) = seen.lock()
        {
            seen.asked.get_or_insert(Instant::now());
            looker.unpark();
        }
    }
    Ok(())
}

/// The guest, as the domain that it was or as the one that it has become.
struct Guest {
    domid: DomId,
    uuid: [u8; 16],
    xen: Arc<Hypervisor>,
}

impl Guest {
    /// Suspended, as the domain that it was.
    fn stands(&self) -> bool {
        self.xen.domain_info(self.domid).ok().flatten().is_some_and(|i| i.suspended())
    }

    /// Runs, as any domain.
    fn goes_on(&self) -> bool {
        let domains = self.xen.domains().unwrap_or_default();
        domains.iter().any(|i| i.uuid == self.uuid && i.alive() && !i.paused)
    }
}

/// Ends when the command is over and the guest goes on.
fn watch_guest(guest: &Guest, seen: &Mutex<Seen>, over: &AtomicBool) {
    let mut since = None;
    while !over.load(Ordering::Relaxed) || since.is_some() {
        let now = Instant::now();
        match since {
            None if guest.stands() => {
                since = Some(now);
                if let Ok(mut seen) = seen.lock() {
                    seen.stood.get_or_insert(now);
                }
            }
            Some(start) if guest.goes_on() => {
                since = None;
                if let Ok(mut seen) = seen.lock() {
                    seen.suspended += now - start;
                }
            }
            // A guest that the command has left suspended, or lost, does not go on.
            Some(_) if over.load(Ordering::Relaxed) => return,
            _ => {}
        }
        let freezes = seen.lock().is_ok_and(|seen| seen.asked.is_some() && seen.stood.is_none());
        std::thread::park_timeout(match since {
            None if freezes => POLL,
            None => POLL_FAR,
            Some(since) if since.elapsed() < CLOSE => POLL,
            Some(_) => POLL_LONG,
        });
    }
}

/// Bytes written by this process and those that were waited for (`wchar` of proc(5)).
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let mut with = None;
    if args.next_if(|a| a == "--with").is_some() {
        with = args.next().and_then(|a| a.parse::<DomId>().ok());
    }
    let (Some(domid), Some(program)) = (args.next().and_then(|a| a.parse::<DomId>().ok()), args.next())
    else {
        eprintln!("usage: measure [--with DOMID] DOMID COMMAND...");
        return ExitCode::from(2);
    };
    let guest = Hypervisor::open().and_then(|xen| {
        let uuid = xen.domain(domid)?.uuid;
        Ok(Guest { domid, uuid, xen: Arc::new(xen) })
    });
    let guest = match guest {
        Ok(guest) => Arc::new(guest),
        Err(e) => {
            eprintln!("measure: {e}");
            return ExitCode::FAILURE;
        }
    };
    let xen = guest.xen.clone();
    let cpu = |d: DomId| xen.domain_info(d).ok().flatten().map_or(0, |i| i.cpu_time_ns);
    let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let looks = std::thread::spawn({
        let (guest, seen, over) = (guest.clone(), seen.clone(), over.clone());
        move || watch_guest(&guest, &seen, &over)
    });
    let listens = std::thread::spawn({
        let (seen, over, looker) = (seen.clone(), over.clone(), looks.thread().clone());
        move || {
            if let Err(e) = watch_request(domid, &seen, &over, &looker) {
                eprintln!("measure: {e}");
            }
        }
    });
    // The watchers must be looking before there is something to see.
    std::thread::sleep(Duration::from_millis(50));
    let of = |who: Option<DomId>| who.map_or(0, cpu);
    let (dom0, before, others, began) = (cpu(0), cpu(domid), of(with), Instant::now());
    let wrote = written();
    let output = Command::new(program).args(args).stderr(Stdio::inherit()).output();
    let total = began.elapsed();
    let wrote = written().saturating_sub(wrote);
    let others = of(with).saturating_sub(others);
    let (dom0, guest_cpu) = (cpu(0).saturating_sub(dom0), cpu(domid).saturating_sub(before));
    over.store(true, Ordering::Relaxed);
    looks.thread().unpark();
    for watcher in [looks, listens] {
        let _ = watcher.join();
    }
    let seen = seen.lock().map(|s| (s.asked, s.stood, s.suspended)).unwrap_or_default();
    let freeze = match seen {
        (Some(asked), Some(stood), _) => stood.saturating_duration_since(asked),
        _ => Duration::ZERO,
    };
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let status = output.as_ref().ok().and_then(|o| o.status.code()).unwrap_or(-1);
    println!(
        "{{\"status\":{status},\"total_ms\":{:.1},\"freeze_ms\":{:.1},\"suspended_ms\":{:.1},\"dom0_cpu_ms\":{:.1},\"guest_cpu_ms\":{:.1},\"with_cpu_ms\":{:.1},\"written_bytes\":{wrote}}}",
        ms(total),
        ms(freeze),
        ms(seen.2),
        dom0 as f64 / 1e6,
        guest_cpu as f64 / 1e6,
        others as f64 / 1e6,
    );
    // The command's own words, after the measure.
    if let Ok(output) = output {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    if status == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

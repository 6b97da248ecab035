//! `measure GUEST COMMAND...`: runs a command in Dom0 and prints, as one JSON object, what it cost
//! the guest and Dom0, seen from outside: for benches that compare tools with each other.
//!
//! - `total_ms`: the command's own time
//! - `freeze_ms`: from the request to suspend (in xenstore) until the guest stood still
//! - `suspended_ms`: how long the guest stood still, all times added
//! - `dom0_cpu_ms`, `guest_cpu_ms`: CPU time that Xen gave to each meanwhile

use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use privcmd::{DomId, Hypervisor, xenstore};

/// Between two looks at the guest: what its suspended time is off by, at most.
const POLL: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Seen {
    asked: Option<Instant>,
    stood: Option<Instant>,
    suspended: Duration,
}

fn watch_request(domid: DomId, seen: &Mutex<Seen>, over: &AtomicBool) -> Result<(), xenstore::Error> {
    let node = format!("/local/domain/{domid}/control/shutdown");
    let mut store = xenstore::Client::open()?;
    store.watch(&node, "request")?;
    while !over.load(Ordering::Relaxed) {
        if store.wait(Duration::from_millis(100))?.is_some()
            && store.read(&node)?.is_some_and(|v| v == "suspend")
            && let Ok(mut seen) = seen.lock()
        {
            seen.asked.get_or_insert(Instant::now());
        }
    }
    Ok(())
}

fn watch_guest(xen: &Hypervisor, domid: DomId, seen: &Mutex<Seen>, over: &AtomicBool) {
    let mut since = None;
    while !over.load(Ordering::Relaxed) || since.is_some() {
        let suspended = xen.domain_info(domid).ok().flatten().is_some_and(|i| i.suspended());
        let now = Instant::now();
        if let Ok(mut seen) = seen.lock() {
            match (suspended, since) {
                (true, None) => {
                    seen.stood.get_or_insert(now);
                    since = Some(now);
                }
                (false, Some(start)) => {
                    seen.suspended += now - start;
                    since = None;
                }
                _ => {}
            }
        }
        std::thread::sleep(POLL);
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(domid), Some(program)) = (args.next().and_then(|a| a.parse::<DomId>().ok()), args.next())
    else {
        eprintln!("usage: measure DOMID COMMAND...");
        return ExitCode::from(2);
    };
    let xen = match Hypervisor::open() {
        Ok(xen) => Arc::new(xen),
        Err(e) => {
            eprintln!("measure: {e}");
            return ExitCode::FAILURE;
        }
    };
    let cpu = |d: DomId| xen.domain_info(d).ok().flatten().map_or(0, |i| i.cpu_time_ns);
    let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let watchers = [
        std::thread::spawn({
            let (seen, over) = (seen.clone(), over.clone());
            move || {
                if let Err(e) = watch_request(domid, &seen, &over) {
                    eprintln!("measure: {e}");
                }
            }
        }),
        std::thread::spawn({
            let (xen, seen, over) = (xen.clone(), seen.clone(), over.clone());
            move || watch_guest(&xen, domid, &seen, &over)
        }),
    ];
    // The watchers must be looking before there is something to see.
    std::thread::sleep(Duration::from_millis(50));
    let (dom0, guest, began) = (cpu(0), cpu(domid), Instant::now());
    let output = Command::new(program).args(args).stderr(Stdio::inherit()).output();
    let total = began.elapsed();
    let (dom0, guest) = (cpu(0).saturating_sub(dom0), cpu(domid).saturating_sub(guest));
    over.store(true, Ordering::Relaxed);
    for watcher in watchers {
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
        "{{\"status\":{status},\"total_ms\":{:.1},\"freeze_ms\":{:.1},\"suspended_ms\":{:.1},\"dom0_cpu_ms\":{:.1},\"guest_cpu_ms\":{:.1}}}",
        ms(total),
        ms(freeze),
        ms(seen.2),
        dom0 as f64 / 1e6,
        guest as f64 / 1e6,
    );
    // The command's own words, after the measure.
    if let Ok(output) = output {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    if status == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

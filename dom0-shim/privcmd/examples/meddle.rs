//! Does to a guest what a snapshot must survive, and looks at what it must not leave behind. For
//! the lab's scenarios:
//!
//! - `meddle count DOMID READER`: how many entries of the guest's grant table let READER in
//! - `meddle seeded DOMID`: how many entries of its upper half, which no device of a small guest reaches,
//!   let anybody in
//! - `meddle revoke DOMID READER`: waits for entries seeded for READER and clears them, as a
//!   hostile guest could do to its own table
//! - `meddle replace DOMID READER`: the same, and puts grants to Dom0 in their places
//! - `meddle redirect DOMID READER`: the same, but lets READER in, to the neighbour of each page: the
//!   copy succeeds, and is of the wrong page
//! - `meddle clear DOMID READER`: clears what READER was let into in the upper half of the table
//! - `meddle log DOMID`: begins a log of the guest's writes, as somebody else would
//! - `meddle unlog DOMID`: ends whoever's log of the guest's writes
//! - `meddle clean DOMID`: takes out what is in whoever's log, and clears it
//! - `meddle stall DOMID`: has a paused guest read a request in its control node, and pauses it
//!   again before it can answer
//! - `meddle unlogged DOMID`: fails if somebody logs the guest's writes

use std::process::ExitCode;
use std::time::{Duration, Instant};

use privcmd::grant::GrantEntry;
use privcmd::{DomId, GrantTable, Hypervisor, xenstore};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How long to wait for a snapshot to open its window.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<DomId>().ok());
    let outcome = match (args.first().map(String::as_str), number(1), number(2)) {
        (Some("count"), Some(domid), Some(reader)) => count(domid, reader),
        (Some("seeded"), Some(domid), _) => seeded(domid),
        (Some("revoke"), Some(domid), Some(reader)) => spoil(domid, reader, |_| None),
        (Some("replace"), Some(domid), Some(reader)) => spoil(domid, reader, |_| Some((1, 0))),
        (Some("redirect"), Some(domid), Some(reader)) => {
            spoil(domid, reader, |e| Some((e.frame ^ 1, e.domid)))
        }
        (Some("clear"), Some(domid), Some(reader)) => clear(domid, reader),
        (Some("log"), Some(domid), _) => log(domid),
        (Some("unlog"), Some(domid), _) => unlog(domid),
        (Some("clean"), Some(domid), _) => clean(domid),
        (Some("stall"), Some(domid), _) => stall(domid),
        (Some("unlogged"), Some(domid), _) => unlogged(domid),
        _ => Err(
            "usage: meddle count|revoke|replace|redirect|clear DOMID READER | seeded|log|unlog|clean|stall|unlogged DOMID"
                .into(),
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meddle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count(domid: DomId, reader: DomId) -> Outcome {
    let table = GrantTable::map_existing(&Hypervisor::open()?, domid)?;
    println!("{}", table.entries().filter(|(_, e)| e.permits_access() && e.domid == reader).count());
    Ok(())
}

fn seeded(domid: DomId) -> Outcome {
    let table = upper_half(&Hypervisor::open()?, domid)?;
    println!("{}", table.entries().filter(|(_, e)| e.permits_access()).count());
    Ok(())
}

fn upper_half(xen: &Hypervisor, domid: DomId) -> Result<GrantTable, Box<dyn std::error::Error>> {
    let half = xen.grant_limits(domid)?.max_frames / 2;
    Ok(GrantTable::map_top(xen, domid, half)?)
}

/// Takes back what was seeded for `reader`, and puts a grant of a frame to a domain in the place of
/// each, as `instead` says.
fn spoil(domid: DomId, reader: DomId, instead: fn(GrantEntry) -> Option<(u32, DomId)>) -> Outcome {
    let xen = Hypervisor::open()?;
    let mut table = upper_half(&xen, domid)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let seeded: Vec<(u32, GrantEntry)> =
            table.entries().filter(|(_, e)| e.permits_access() && e.domid == reader).collect();
        if table.adopt(table.references(), reader) == 0 {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let gone = table.revoke_all().revoked;
        for (index, entry) in seeded {
            if let Some((frame, to)) = instead(entry) {
                // One that was in use is still there.
                let _ = table.seed(index, frame.into(), to);
            }
        }
        println!("{gone} entries spoiled");
        return Ok(());
    }
    Err("no entry was seeded".into())
}

fn clear(domid: DomId, reader: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let mut table = upper_half(&xen, domid)?;
    table.adopt(table.references(), reader);
    println!("{:?}", table.revoke_all());
    Ok(())
}

fn log(domid: DomId) -> Outcome {
    Ok(Hypervisor::open()?.log_dirty_enable(domid)?)
}

fn unlogged(domid: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    xen.log_dirty_enable(domid)?;
    Ok(xen.log_dirty_disable(domid)?)
}

fn unlog(domid: DomId) -> Outcome {
    Ok(Hypervisor::open()?.log_dirty_disable(domid)?)
}

fn clean(domid: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let span = xen.max_gpfn(domid)? + 1;
    let mut bits = vec![0; span.div_ceil(64) as usize];
    xen.log_dirty_clean(domid, span, &mut bits)?;
    println!("{} frames were dirty", bits.iter().map(|word: &u64| word.count_ones()).sum::<u32>());
    Ok(())
}

fn stall(domid: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let mut store = xenstore::Client::open()?;
    let node = format!("/local/domain/{domid}/control/shutdown");
    let until = Instant::now() + PATIENCE;
    xen.unpause(domid)?;
    while store.read(&node)?.is_some_and(|request| !request.is_empty()) {
        if Instant::now() >= until {
            return Err("the guest does not read the request".into());
        }
    }
    xen.pause(domid)?;
    if xen.domain(domid)?.suspended() { Err("the guest was too quick".into()) } else { Ok(()) }
}

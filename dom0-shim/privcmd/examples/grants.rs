//! `grants DOMID`: what a guest's grant table permits, by reader. For the lab: it shows what a
//! snapshot seeds and that nothing of it stays. It only reads.
//!
//! One line a reader: `domain N: READ_ONLY read-only, WRITABLE writable, references A to B`;
//! first how many frames the table has.

use std::collections::BTreeMap;
use std::process::ExitCode;

use privcmd::{DomId, GrantTable, Hypervisor};

#[derive(Default)]
struct Reader {
    read_only: u32,
    writable: u32,
    first: u32,
    last: u32,
}

fn main() -> ExitCode {
    let Some(domid) = std::env::args().nth(1).and_then(|arg| arg.parse().ok()) else {
        eprintln!("usage: grants DOMID");
        return ExitCode::from(2);
    };
    match show(domid) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(domid: DomId) -> Result<(), Box<dyn std::error::Error>> {
    let xen = Hypervisor::open()?;
    let table = GrantTable::map_existing(&xen, domid)?;
    let mut readers: BTreeMap<DomId, Reader> = BTreeMap::new();
    for (reference, entry) in table.entries() {
        // Also what is neither access nor empty: a transfer, say.
        if entry.flags == 0 {
            continue;
        }
        let new = Reader { first: reference, ..Reader::default() };
        let reader = readers.entry(entry.domid).or_insert(new);
        let kind = if entry.permits_access() && entry.read_only() {
            &mut reader.read_only
        } else {
            &mut reader.writable
        };
        *kind += 1;
        reader.last = reference;
    }
    println!("frames {}", xen.grant_limits(domid)?.nr_frames);
    for (reader, r) in readers {
        println!(
            "domain {reader}: {} read-only, {} writable, references {} to {}",
            r.read_only, r.writable, r.first, r.last
        );
    }
    Ok(())
}

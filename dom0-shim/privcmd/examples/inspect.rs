//! Looks at a guest through this crate, and tries each control operation on it. For the lab:
//! `inspect facts`, `inspect guest DOMID`, `inspect grants DOMID READER`, `inspect dirty DOMID`,
//! `inspect suspend DOMID`, `inspect dump DOMID DIRECTORY` (the bodies of `xl save`'s records).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use privcmd::{DomId, Error, GrantError, GrantTable, Hypervisor, extents, xenstore};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<DomId>().ok());
    let outcome = match (args.first().map(String::as_str), number(1), number(2)) {
        (Some("facts"), _, _) => facts(),
        (Some("guest"), Some(domid), _) => guest(domid),
        (Some("dirty"), Some(domid), _) => dirty(domid),
        (Some("grants"), Some(domid), Some(reader)) => grants(domid, reader),
        (Some("suspend"), Some(domid), _) => suspend(domid),
        (Some("dump"), Some(domid), _) => dump(domid, args.get(2).map_or(".", String::as_str)),
        _ => Err(
            "usage: inspect facts | guest|dirty|suspend DOMID | grants DOMID READER | dump DOMID DIRECTORY"
                .into(),
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inspect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn facts() -> Outcome {
    let xen = Hypervisor::open()?;
    println!("{:#?}", xen.facts()?);
    for info in xen.domains()? {
        println!("{info:?}");
    }
    Ok(())
}

fn guest(domid: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let info = xen.domain(domid)?;
    println!("{info:?}");
    println!("max_gpfn {:#x}", xen.max_gpfn(domid)?);
    let start = Instant::now();
    let found = xen.populated(domid)?;
    println!("populated in {:?}:", start.elapsed());
    for extent in &found {
        println!("  {:#x} to {:#x}, {} frames", extent.pfn, extent.end() - 1, extent.count);
    }
    let total = extents::total(&found);
    println!("frames {total}, tot_pages {}", info.tot_pages);
    let start = Instant::now();
    let all: Vec<u64> = (0..=xen.max_gpfn(domid)?).collect();
    let types = xen.page_types(domid, &all)?;
    let full = types.iter().filter(|ty| ty.has_data()).count() as u64;
    println!("full scan in {:?}: frames {full}", start.elapsed());
    println!("hvm_context {} bytes", xen.hvm_context(domid)?.len());
    println!("hvm_params {:x?}", xen.hvm_params(domid)?);
    println!("tsc_info {:x?}", xen.tsc_info(domid)?);
    let policy = xen.cpu_policy(domid)?;
    println!("cpu_policy {} leaves, {} msrs", policy.cpuid.len() / 24, policy.msrs.len() / 16);
    println!("grants {:?}, version {}", xen.grant_limits(domid)?, xen.grant_version(domid)?);
    if total == full { Ok(()) } else { Err("the quick scan differs from the full scan".into()) }
}

fn dirty(domid: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let frames = xen.max_gpfn(domid)? + 1;
    let mut bitmap = vec![0u64; frames.div_ceil(64) as usize];
    let bits = |bitmap: &[u64]| bitmap.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
    xen.log_dirty_enable(domid)?;
    let second = xen.log_dirty_enable(domid);
    println!("second owner: {:?}", second.as_ref().map_err(ToString::to_string));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        let stats = xen.log_dirty_peek(domid, frames, &mut bitmap, false)?;
        println!("peek {stats:?}, {} bits, {:?}", bits(&bitmap), start.elapsed());
        let start = Instant::now();
        let stats = xen.log_dirty_clean(domid, frames, &mut bitmap)?;
        println!("clean {stats:?}, {} bits, {:?}", bits(&bitmap), start.elapsed());
        println!("count now {:?}", xen.log_dirty_count(domid)?);
    }
    xen.log_dirty_disable(domid)?;
    xen.log_dirty_disable(domid)?;
    xen.log_dirty_enable(domid)?;
    xen.log_dirty_disable(domid)?;
    match second {
        Err(Error::LogDirtyOwned(_)) => Ok(()),
        _ => Err("a second owner was not refused".into()),
    }
}

fn grants(domid: DomId, reader: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let mut top = GrantTable::map_top(&xen, domid, 48)?;
    println!("window {:?} of {:?}", top.references(), xen.grant_limits(domid)?);
    let pfns: Vec<u64> = (256..256 + u64::from(top.references().len() as u32)).collect();
    let start = Instant::now();
    top.seed_all(top.references().start, &pfns, reader)?;
    println!("seeded {} in {:?}", top.seeded(), start.elapsed());
    let all = GrantTable::map_existing(&xen, domid)?;
    let naming =
        |table: &GrantTable| table.entries().filter(|(_, e)| e.permits_access() && e.domid == reader).count();
    println!("entries that name domain {reader}: {}", naming(&all));
    drop(top);
    let mut again = GrantTable::map_top(&xen, domid, 48)?;
    let window = again.references();
    println!("left behind and adopted: {}", again.adopt(window.clone(), reader));
    let start = Instant::now();
    println!("revoked {:?} in {:?}", again.revoke_all(), start.elapsed());
    println!("entries that name domain {reader}: {}", naming(&all));
    let used = all.entries().filter(|(_, e)| e.flags != 0).count();
    println!("entries that the guest itself has: {used}");
    let taken = all.entries().find(|(_, entry)| entry.flags != 0).map(|(index, _)| index);
    let mut bottom = GrantTable::map(&xen, domid, 0, 1)?;
    match taken.map(|index| bottom.seed(index, 1, reader)) {
        Some(Err(GrantError::Occupied(_))) | None => Ok(()),
        other => Err(format!("seeding over the guest's entry: {other:?}").into()),
    }
}

fn suspend(domid: DomId) -> Outcome {
    let xen = Hypervisor::open()?;
    let mut store = xenstore::Client::open()?;
    let early = xen.resume_fast(domid);
    println!("resume while it runs: {:?}", early.map_err(|error| error.to_string()));
    let node = format!("/local/domain/{domid}/control/shutdown");
    let start = Instant::now();
    store.write(&node, "suspend")?;
    while !xen.domain(domid)?.suspended() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err("the guest did not suspend".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("suspended after {:?}; node now {:?}", start.elapsed(), store.read(&node)?);
    let frames = xen.max_gpfn(domid)? + 1;
    let mut bitmap = vec![0u64; frames.div_ceil(64) as usize];
    // What a saver does while the guest is suspended, each with its time.
    for round in 0..2 {
        let start = Instant::now();
        xen.log_dirty_peek(domid, frames, &mut bitmap, true)?;
        let bitmap = start.elapsed();
        let context = xen.hvm_context(domid)?.len();
        let context_at = start.elapsed();
        xen.hvm_params(domid)?;
        let params_at = start.elapsed();
        xen.tsc_info(domid)?;
        let tsc_at = start.elapsed();
        println!(
            "{round}: bitmap {bitmap:?}, context of {context} bytes {context_at:?}, \
             params {params_at:?}, tsc {tsc_at:?}"
        );
    }
    let start = Instant::now();
    xen.resume_fast(domid)?;
    let resumed = start.elapsed();
    store.resume(domid)?;
    println!("resumed in {resumed:?}, xenstored told after {:?}", start.elapsed());
    xen.pause(domid)?;
    println!("paused: {}", xen.domain(domid)?.paused);
    xen.unpause(domid)?;
    println!("{:?}", xen.domain(domid)?);
    Ok(())
}

fn dump(domid: DomId, directory: &str) -> Outcome {
    let xen = Hypervisor::open()?;
    let policy = xen.cpu_policy(domid)?;
    let params = xen.hvm_params(domid)?;
    let params: Vec<u8> =
        params.iter().flat_map(|(index, value)| [*index, *value]).flat_map(u64::to_le_bytes).collect();
    for (name, body) in [
        ("hvm_context", xen.hvm_context(domid)?),
        ("hvm_params", params),
        ("tsc_info", xen.tsc_info(domid)?.to_vec()),
        ("cpuid", policy.cpuid),
        ("msrs", policy.msrs),
    ] {
        std::fs::write(format!("{directory}/{name}"), body)?;
    }
    let frames: Vec<String> =
        xen.populated(domid)?.iter().map(|extent| format!("{} {}\n", extent.pfn, extent.count)).collect();
    std::fs::write(format!("{directory}/extents"), frames.concat())?;
    Ok(())
}

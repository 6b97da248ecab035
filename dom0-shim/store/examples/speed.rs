//! How fast a chain of images is written, read, verified and merged.
//!
//! ```text
//! speed DIR MIB DEPTH PERCENT raw|lz4|appended    images of MIB, DEPTH of them on each other, each with PERCENT changed
//! ```

use std::error::Error;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use store::state::{hvm_params, tsc_info};
use store::{
    Extent, Extents, Image, ImageId, ImageWriter, MemoryFigures, Meta, PAGE_SIZE, Page, Rest, State,
    StateKind, XenVersion, merge, page_checksum,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, mib, depth, percent, how] = &args[..] else {
        return Err("usage: speed DIR MIB DEPTH PERCENT raw|lz4|appended".into());
    };
    let (dir, pages) = (Path::new(dir), mib.parse::<u64>()? * 256);
    let (depth, percent): (u64, u64) = (depth.parse()?, percent.parse()?);
    let mut newest: Option<Image> = None;
    for generation in 0..depth {
        let extents = Extents::new([Extent { pfn: 0, count: pages }])?;
        let meta = Meta {
            guest: "speed".into(),
            uuid: "e5d4d218-9b32-4a04-971e-bb65229d0f12".into(),
            created: UNIX_EPOCH,
            xen: XenVersion { major: 4, minor: 20 },
            vcpus: 1,
            memory: MemoryFigures::default(),
            extents,
            policy: serde_json::Value::Null,
        };
        let id = ImageId::unused(dir, "speed", UNIX_EPOCH);
        let step = if newest.is_some() { 100 / percent.clamp(1, 100) } else { 1 };
        let start = Instant::now();
        let mut writer = match newest.take() {
            None => ImageWriter::create(dir, id, meta)?,
            Some(parent) => ImageWriter::create_on(dir, id, meta, parent, Rest::AsInParent)?,
        };
        let created = start.elapsed();
        writer.compress(how == "lz4");
        for slot in (generation % step..pages).step_by(step as usize) {
            let page = page(slot * depth + generation);
            let sum = page_checksum(&page);
            if how == "appended" {
                let room = writer.append(PAGE_SIZE)?;
                writer.memory_fd().write_all_at(&page, room)?;
                writer.put_raw_at(slot, room, sum)?;
            } else {
                writer.put_page(slot, &page, sum)?;
            }
        }
        writer.set_state(state()?);
        let image = writer.commit(serde_json::Value::Null)?;
        if generation < 2 {
            let all = start.elapsed();
            println!(
                "image {generation}: {all:?}, opening its parent {created:?}; {} KiB on disk",
                image.disk_octets() >> 10
            );
        }
        newest = Some(image);
    }
    let Some(image) = newest else { return Ok(()) };
    let path = image.path().to_path_buf();
    drop(image);
    let timed = |what: &str, start: Instant| {
        let took = start.elapsed();
        println!("{what}: {took:?}, {:.0} MiB/s", (pages >> 8) as f64 / took.as_secs_f64());
    };
    let start = Instant::now();
    let image = Image::open(&path)?;
    let slots = image.slots()?;
    println!("opening {} images: {:?}", image.depth(), start.elapsed());
    let start = Instant::now();
    let mut page = [0; PAGE_SIZE];
    for slot in 0..pages {
        slots.read(slot, &mut page)?;
    }
    timed("reading page by page", start);
    let start = Instant::now();
    image.verify(&mut |_, _| {})?;
    timed("verifying", start);
    drop((image, slots));
    let start = Instant::now();
    let merged = merge(&path, &mut |_, _| {})?;
    timed("merging", start);
    let start = Instant::now();
    merged.image.verify(&mut |_, _| {})?;
    timed("verifying the merged one", start);
    Ok(())
}

/// A page of which LZ4 saves about half.
fn page(seed: u64) -> Page {
    let mut out = [0; PAGE_SIZE];
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    for word in out.chunks_exact_mut(16) {
        word[..8].copy_from_slice(&x.to_le_bytes());
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
    }
    out
}

fn state() -> Result<State, store::Error> {
    let mut state = State::new();
    state.insert(StateKind::TscInfo, tsc_info(0, 0, 0, 0))?;
    state.insert(StateKind::HvmParams, hvm_params(&[(17, 7)]))?;
    state.insert(StateKind::HvmContext, vec![1; 100])?;
    state.insert(StateKind::DomainConfig, br#"{"c_info":{},"b_info":{}}"#.to_vec())?;
    Ok(state)
}

//! An image that tests the uplink on real Xen: 10.0.0.11 on Dom0's bridge, where it answers pings
//! and what `vif/examples/uplink-client.rs` sends to its UDP port. `vif/tests/uplink-xen.sh` runs
//! it. Never part of the stub domain's image.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../claim.rs"]
mod claim;
#[path = "../net/underlay.rs"]
#[allow(dead_code, unused_imports, reason = "the image uses more of it")]
mod underlay;

use core::hint::black_box;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use log::LevelFilter;
use underlay::{Config, Underlay};
use xen::console::{self, Mirror};
use xen::event::Port;
use xen::executor::{Executor, Spawner, Stats, yield_now};
use xen::grant::InPage;
use xen::page::PagePool;
use xen::time::{now, timeout};
use xen::xenstore::Xenstore;

boot::entry!(main);

const CONFIG: Config = Config { address: Ipv4Addr::new(10, 0, 0, 11), prefix: 24, gateway: None, port: 4789 };

/// Datagrams that go with one notification when we send many.
const BATCH: u32 = 32;

fn main(boot: &'static boot::BootInfo) -> ! {
    let (_, pool) = match claim::all(boot) {
        Ok(claimed) => claimed,
        Err(why) => panic!("{why}"),
    };
    if let Err(why) = console::init(LevelFilter::Info, Mirror::DebugPort) {
        panic!("{why}");
    }
    boot::set_console(|text| console::print(format_args!("{text}")));
    let store = match Xenstore::connect() {
        Ok(store) => store,
        Err(why) => panic!("{why}"),
    };
    let executor = Executor::new();
    let spawner = executor.spawner();
    spawner.spawn("xenstore", store.run()).expect("a slot");
    let front = underlay::open(&spawner, store, pool).expect("a slot");
    let underlay = match Underlay::new(front, CONFIG) {
        Ok(underlay) => underlay,
        Err(why) => panic!("{why}"),
    };
    spawner.spawn("echo", serve(spawner.clone(), underlay)).expect("a slot");
    compare(pool);
    executor.run()
}

/// What copying a received frame costs, next to the cheapest hypercall.
fn compare(pool: &'static PagePool) {
    const ROUNDS: u32 = 1000;
    let (Some(page), mut frame) = (pool.take(), [0; 1514]) else { return };
    let Ok(page) = InPage::new(page, 0) else { return };
    let Ok(port) = Port::alloc_unbound(0) else { return };
    let start = now();
    for _ in 0..ROUNDS {
        assert!(page.copy_out(0, black_box(&mut frame)));
    }
    let copy = start.elapsed() / ROUNDS;
    let start = now();
    for _ in 0..ROUNDS {
        let _ = port.state();
    }
    let hypercall = start.elapsed() / ROUNDS;
    xen::println!("uplink: copying a frame of 1514 octets {copy:?}, a hypercall {hypercall:?}");
}

/// Sending many datagrams to somebody.
struct Blast {
    to: SocketAddrV4,
    left: u32,
    size: usize,
    sent: u32,
    full: u32,
    start: Duration,
    stats: Stats,
}

fn since_boot() -> Duration {
    Duration::from_nanos(now().as_nanos())
}

/// The first letter of a datagram says what to do: E: send it back. S: nothing. B, then a count
/// and a size of four octets each: send so many. R: report.
async fn serve(spawner: Spawner, underlay: Underlay) {
    let mut blast: Option<Blast> = None;
    let mut was_up = false;
    loop {
        let up = underlay.link_up();
        if up != was_up {
            xen::println!("uplink: link {}", if up { "up" } else { "down" });
            was_up = up;
        }
        let more = underlay.poll(since_boot().as_millis() as u64, |from, datagram| match datagram {
            [b'E', ..] => {
                let _ = underlay.send(from, |room| {
                    let room = room.get_mut(..datagram.len())?;
                    room.copy_from_slice(datagram);
                    Some(datagram.len())
                });
            }
            [b'B', c0, c1, c2, c3, s0, s1, s2, s3, ..] => {
                blast = Some(Blast {
                    to: from,
                    left: u32::from_le_bytes([*c0, *c1, *c2, *c3]),
                    size: u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize,
                    sent: 0,
                    full: 0,
                    start: since_boot(),
                    stats: spawner.stats(),
                });
            }
            [b'R', ..] => report(&spawner, &underlay),
            _ => {}
        });
        let blasting = blast.as_mut().is_some_and(|blast| !go_on(&underlay, blast));
        if blast.as_ref().is_some_and(|blast| blast.left == 0) {
            done(&spawner, blast.take());
        }
        if more || blasting {
            yield_now().await;
            continue;
        }
        match underlay.poll_at() {
            Some(at) => {
                let span = Duration::from_millis(at).saturating_sub(since_boot());
                let _ = timeout(span, underlay.wait()).await;
            }
            None => underlay.wait().await,
        }
    }
}

/// Sends one more batch. Returns whether the ring was full.
fn go_on(underlay: &Underlay, blast: &mut Blast) -> bool {
    let mut full = false;
    for _ in 0..BATCH.min(blast.left) {
        let sent = underlay.send(blast.to, |room| {
            let room = room.get_mut(..blast.size)?;
            room.fill(blast.sent as u8);
            Some(room.len())
        });
        if sent.is_err() {
            blast.full += 1;
            full = true;
            break;
        }
        blast.sent += 1;
        blast.left -= 1;
    }
    underlay.flush();
    full
}

fn done(spawner: &Spawner, blast: Option<Blast>) {
    if let Some(blast) = blast {
        let span = since_boot() - blast.start;
        let (before, after) = (blast.stats, spawner.stats());
        let awake = span.saturating_sub(after.idle_time - before.idle_time);
        let rate = f64::from(blast.sent) / span.as_secs_f64();
        xen::println!(
            "uplink: blast of {} x {} octets in {span:?}, {awake:?} awake: {} a second, {} hypercalls, ring full {} times",
            blast.sent,
            blast.size,
            rate as u64,
            after.hypercalls - before.hypercalls,
            blast.full
        );
    }
}

fn report(spawner: &Spawner, underlay: &Underlay) {
    let (grants, leaked) = (xen::grant::free_entries(), xen::grant::leaked_pages());
    xen::println!("uplink: report: {grants} grants are free, {leaked} pages lost");
    xen::println!("uplink: {:?}", underlay.front().counters());
    xen::println!("uplink: {:?}", underlay.counters());
    xen::println!("uplink: {:?}", spawner.stats());
}

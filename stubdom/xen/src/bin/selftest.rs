//! An image that tests this crate on real Xen, as a PVH domain. It checks xenstore, timers,
//! grants and copies by itself, prints `selftest: ...` lines on its console, then serves a vchan
//! at `data/selftest/vchan` for the script in Dom0 (`tests/selftest-xen.sh`). Never part of the
//! stub domain's image.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;
use core::time::Duration;

use boot::BootInfo;
use spin::Once;
use talc::TalcLock;
use talc::source::Claim;
use xen::console::Mirror;
use xen::executor::{Executor, Spawner};
use xen::grant::{Access, Copier, GrantedPage, Gref, MAX_BATCH};
use xen::page::{PagePool, PoolPage};
use xen::vchan::{Config, Connection, Server, VchanError};
use xen::xenstore::{Xenstore, XsError};
use xen::{Errno, GrantStatus, time};

boot::entry!(main);

const HEAP: usize = 2 << 20;

#[global_allocator]
static ALLOCATOR: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new({
    static mut ARENA: [u8; HEAP] = [0; HEAP];
    // SAFETY: nothing else names the arena.
    unsafe { Claim::array(&raw mut ARENA) }
});

static POOL: Once<PagePool> = Once::new();

fn main(boot: &'static BootInfo) -> ! {
    // SAFETY: called once; boot keeps interrupts off and maps all memory one to one.
    let info = match unsafe { xen::init() } {
        Ok(info) => info,
        Err(error) => panic!("{error}"),
    };
    if let Err(error) = xen::console::init(log::LevelFilter::Debug, Mirror::None) {
        panic!("{error}");
    }
    boot::set_console(|text| xen::console::print(format_args!("{text}")));
    xen::println!("selftest: Xen {}.{}, we are d{}", info.major, info.minor, info.domid);
    log::info!("the log facade works");

    let span = boot.free_ram.largest().unwrap_or_default();
    // SAFETY: boot says that this RAM is mapped and nobody's.
    let pool = POOL.call_once(|| unsafe { PagePool::new(span.start, span.end) });
    let store = match Xenstore::connect() {
        Ok(store) => store,
        Err(error) => panic!("{error}"),
    };
    let executor = Executor::new();
    let spawner = executor.spawner();
    let tests = tests(spawner.clone(), store, pool, info.domid);
    spawner.spawn("xenstore", store.run()).expect("a slot");
    spawner.spawn("tests", tests).expect("a slot");
    executor.run()
}

async fn tests(spawner: Spawner, store: &'static Xenstore, pool: &'static PagePool, domid: u16) {
    if let Err(error) = xenstore(store, domid).await {
        panic!("xenstore: {error}");
    }
    timers().await;
    grants(pool, domid);
    copies(pool, domid);
    xen::println!("selftest: {:?}", spawner.stats());
    idle(&spawner).await;
    serve(spawner, store, pool).await;
}

async fn xenstore(store: &'static Xenstore, domid: u16) -> Result<(), XsError> {
    assert_eq!(store.read("domid").await?, format!("{domid}"));
    store.write("data/selftest/a", "one").await?;
    store.write("data/selftest/b", "two").await?;
    assert_eq!(store.directory("data/selftest").await?, ["a", "b"]);
    store.rm("data/selftest/a").await?;
    let gone = store.read("data/selftest/a").await;
    assert_eq!(gone, Err(XsError::Refused(Errno::ENOENT)));
    let refused = store.write("/local/domain/0/name", "me").await;
    assert_eq!(refused, Err(XsError::Refused(Errno::EACCES)));
    xen::println!("selftest: xenstore reads, writes, lists, removes and refuses");

    // Longer than the ring, so that it goes over in pieces; and many at a time. The daemon's
    // quota for a node is 2048 bytes.
    let long: Vec<u8> = (0..1900u32).map(|i| b'a' + (i % 26) as u8).collect();
    store.write("data/selftest/long", &long).await?;
    assert_eq!(store.read_bytes("data/selftest/long").await?, long);
    let many = xen::select::select_array(core::array::from_fn::<_, 4, _>(|_| {
        alloc::boxed::Box::pin(store.read_bytes("data/selftest/long"))
    }));
    assert_eq!(many.await.0?, long);
    assert_eq!(store.read("data/selftest/b").await?, "two");
    xen::println!("selftest: long values and abandoned requests do no harm");

    let mut watch = store.watch("data/selftest").await?;
    assert_eq!(watch.next().await?, "data/selftest");
    store.write("data/selftest/c", "three").await?;
    assert_eq!(watch.next().await?, "data/selftest/c");
    drop(watch);
    let transaction = store.transaction().await?;
    transaction.write("data/selftest/d", "four").await?;
    assert!(store.read("data/selftest/d").await.is_err());
    transaction.commit().await?;
    assert_eq!(store.read("data/selftest/d").await?, "four");
    drop(store.transaction().await?);
    xen::println!("selftest: watches and transactions work");
    Ok(())
}

async fn timers() {
    let mut worst = Duration::ZERO;
    for millis in [1, 5, 20, 100, 200] {
        let asked = Duration::from_millis(millis);
        let start = time::now();
        time::sleep(asked).await;
        let slept = start.elapsed();
        assert!(slept >= asked, "{slept:?} instead of {asked:?}");
        worst = worst.max(slept - asked);
    }
    let never = core::future::pending::<()>();
    assert!(time::timeout(Duration::from_millis(10), never).await.is_err());
    xen::println!("selftest: timers work; the worst came {worst:?} late");
    xen::println!("selftest: wall clock {:?}", time::wall_clock());
}

fn grants(pool: &'static PagePool, domid: u16) {
    let before = xen::grant::free_entries();
    let page = pool.take().expect("a page");
    let granted = GrantedPage::new(page, domid, Access::ReadOnly).expect("a grant");
    assert_eq!(xen::grant::free_entries(), before - 1);
    assert!(granted.end().is_ok());
    assert_eq!(xen::grant::free_entries(), before);
    xen::println!("selftest: {before} grant entries are free");
}

/// Copies from grants to ourselves, which Xen treats like any other's.
fn copies(pool: &'static PagePool, domid: u16) {
    let take = || pool.take().expect("a page");
    let granted: Vec<GrantedPage> = (0..MAX_BATCH)
        .map(|i| {
            let mut page = take();
            page.fill(i as u8);
            GrantedPage::new(page, domid, Access::ReadOnly).expect("a grant")
        })
        .collect();
    let mut grefs: Vec<Gref> = granted.iter().map(GrantedPage::gref).collect();
    let mut pages: Vec<PoolPage> = (0..MAX_BATCH).map(|_| pool.take_zeroed().expect("a page")).collect();
    let mut statuses = [GrantStatus::Okay; MAX_BATCH];
    let mut copier = Copier::new();

    // An entry that grants nothing, and one that is not there.
    let bad = [core::mem::replace(&mut grefs[7], Gref(2000)), grefs[8]];
    grefs[8] = Gref(1 << 20);
    let pairs = grefs.iter().copied().zip(pages.iter_mut().map(|page| &mut **page));
    let batch = copier.copy_from(domid, pairs, &mut statuses).expect("a batch");
    assert_eq!((batch.copied, batch.failed), (MAX_BATCH - 2, 2));
    assert_eq!(statuses[7], GrantStatus::GeneralError);
    assert_eq!(statuses[8], GrantStatus::BadGntref);
    for (i, page) in pages.iter().enumerate().filter(|&(i, _)| i != 7 && i != 8) {
        assert!(page.iter().all(|&byte| byte == i as u8), "page {i}");
    }
    grefs[7..9].copy_from_slice(&bad);
    for size in [1, 8, 64, 512] {
        let start = time::now();
        for _ in 0..MAX_BATCH / size {
            let pairs = grefs.iter().copied().zip(pages.iter_mut().map(|page| &mut **page));
            let batch = copier.copy_from(domid, pairs, &mut statuses[..size]).expect("a batch");
            assert_eq!(batch.copied, size);
        }
        let nanos = start.elapsed().as_nanos() / MAX_BATCH as u128;
        xen::println!("selftest: grant copy in batches of {size}: {nanos} ns a page");
    }
    let start = time::now();
    for (from, to) in black_box((0..MAX_BATCH - 1).map(|i| (i, i + 1))) {
        let (head, tail) = pages.split_at_mut(to);
        tail[0].copy_from_slice(&head[from][..]);
    }
    let nanos = start.elapsed().as_nanos() / MAX_BATCH as u128;
    xen::println!("selftest: plain copy: {nanos} ns a page");
    xen::println!("selftest: copier's counters {:?}", copier.counters());
}

/// Sleeps for ten seconds with nothing to do, which must cost next to nothing.
async fn idle(spawner: &Spawner) {
    xen::println!("selftest: idle for 10 s from now");
    let before = spawner.stats();
    let start = time::now();
    time::sleep(Duration::from_secs(10)).await;
    let (after, span) = (spawner.stats(), start.elapsed());
    let awake = span.saturating_sub(after.idle_time - before.idle_time);
    let wakeups = after.idles - before.idles;
    xen::println!("selftest: awake for {awake:?} of {span:?}, {wakeups} wake-ups");
}

async fn serve(spawner: Spawner, store: &'static Xenstore, pool: &'static PagePool) {
    let server = Server::new(Config::new("data/selftest/vchan", 0), pool, store);
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    loop {
        xen::println!("selftest: waiting for a vchan client");
        let connection = match server.wait_connected().await {
            Ok(connection) => connection,
            Err(error) => panic!("vchan: {error}"),
        };
        xen::println!("selftest: a vchan client has come");
        let Err(error) = session(connection).await;
        xen::println!("selftest: {error}; {:?}", server.stats());
        xen::println!("selftest: {:?}", spawner.stats());
    }
}

/// One letter says what the client wants: E: its next line back; B and a digit: so many times
/// 16 MiB from us; S and a digit: so many times 16 MiB to us; Q: we leave.
async fn session(connection: Connection<'_>) -> Result<core::convert::Infallible, VchanError> {
    const PART: usize = 16 << 20;
    loop {
        let mut command = [0];
        connection.read_exact(&mut command).await?;
        match &command {
            b"E" => {
                let mut byte = [0];
                while byte != *b"\n" {
                    connection.read_exact(&mut byte).await?;
                    connection.write_all(&byte).await?;
                }
            }
            b"B" => {
                let bytes = digit(connection).await? * PART;
                let start = time::now();
                let mut page = [0; 4096];
                for number in 0..(bytes / 4096) as u32 {
                    page[8..].fill(number as u8);
                    connection.write_slices(&[&number.to_le_bytes(), &page[4..]]).await?;
                }
                connection.drained().await?;
                report("sent", bytes, start.elapsed());
            }
            b"S" => {
                let bytes = digit(connection).await? * PART;
                let start = time::now();
                let mut page = [0; 4096];
                for number in 0..(bytes / 4096) as u32 {
                    connection.read_exact(&mut page).await?;
                    assert_eq!(page[..4], number.to_le_bytes());
                    assert!(page[8..].iter().all(|&byte| byte == number as u8));
                }
                connection.write_all(b"!").await?;
                report("received", bytes, start.elapsed());
            }
            b"Q" => {
                connection.close();
                return Err(VchanError::Closed);
            }
            _ => {}
        }
    }
}

async fn digit(connection: Connection<'_>) -> Result<usize, VchanError> {
    let mut digit = [0];
    connection.read_exact(&mut digit).await?;
    Ok(digit[0].saturating_sub(b'0').min(9).into())
}

fn report(what: &str, bytes: usize, span: Duration) {
    let nanos = span.as_nanos() * 4096 / bytes.max(1) as u128;
    xen::println!("selftest: {what} {} MiB in {span:?}, {nanos} ns a page", bytes >> 20);
}

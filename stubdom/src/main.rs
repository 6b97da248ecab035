//! The stub domain's image: builds the devices, starts the tasks, runs the executor.
//!
//! | module | what for |
//! | --- | --- |
//! | `claim` | the memory that the image takes at its start: heap, pool, Xen's pages |
//! | [`link`] | the channel to the shim: one reader, many writers |
//! | [`mailbox`] | where what the shim says to a snapshot waits for it |
//! | [`group`] | snapshots of several guests at once |
//! | [`snapshot`] | drives one pre-copy: the engine's actions become verbs and copies |
//! | [`net`] | the guests' network: vifs and the switch |
#![no_std]
#![no_main]

extern crate alloc;

mod claim;
mod group;
mod link;
mod mailbox;
mod net;
mod snapshot;

use alloc::rc::Rc;

use log::{LevelFilter, error, info};
use xen::console::{self, Mirror};
use xen::executor::{Executor, Spawner};
use xen::page::PagePool;
use xen::xenstore::Xenstore;

boot::entry!(main);

fn main(boot: &'static boot::BootInfo) -> ! {
    let (xen, pool) = match claim::all(boot) {
        Ok(claimed) => claimed,
        Err(why) => {
            boot::println!("stubdom: {why}");
            boot::crash()
        }
    };
    if let Err(why) = console::init(LevelFilter::Info, Mirror::DebugPort) {
        boot::println!("stubdom: no console: {why}");
    }
    boot::set_console(|text| console::print(format_args!("{text}")));
    info!(
        "luthier stub domain {} on Xen {}.{}: {} KiB of image, {} MiB of pool",
        xen.domid,
        xen.major,
        xen.minor,
        boot.image.size() / 1024,
        pool.total() / 256
    );
    let executor = Executor::new();
    let spawner = executor.spawner();
    if let Err(why) = start(pool, &spawner) {
        error!("{why}");
    }
    executor.run()
}

/// Starts what the stub serves.
fn start(pool: &'static PagePool, spawner: &Spawner) -> Result<(), &'static str> {
    let store = Xenstore::connect().map_err(|_| "xenstore can't be reached")?;
    spawner.spawn("xenstore", store.run()).map_err(|_| "no task for xenstore")?;
    let net = net::Net::start(store, pool, spawner)?;
    let link = Rc::new(link::Link::open(store, pool, net)?);
    spawner.spawn("group", group::Groups::run(Rc::clone(&link))).map_err(|_| "no task for groups")?;
    let captured = Rc::clone(&link).send_captured();
    spawner.spawn("capture", captured).map_err(|_| "no task for captures")?;
    spawner.spawn("link", link.serve(spawner.clone())).map_err(|_| "no task for the link")
}

//! A guest that means harm to the back end of its vif, for the tests: a malicious netfront.
//!
//! Words of its command line:
//!
//! | word | what for |
//! | --- | --- |
//! | `attack=NAME,NAME` | what it does, in this order: see [`attack`]; `none` behaves well |
//! | `me=10.1.0.9` | its address, which it answers no ARP for |
//! | `peer=10.1.0.1` | whom it talks to when it behaves well |
//! | `victim=MAC` | whose address it claims |
//! | `seconds=5` | how long what has no end by itself goes on |
//! | `count=100000` | how often what is counted is done |
//! | `stay` | it does not power off at its end |
//!
//! It prints `hostile: ...` lines on its console, for each attack
//! `hostile: attack NAME: done, state of backend N, ...` (N as in `io/xenbus.h`; 0: no such node)
//! or `could not be played`, and last `hostile: the end`.
//! It judges only what it alone can see, as `hostile: LEAK: ...`: what must never appear.
//!
//! Not part of Luthier, and never on a host outside the tests.
#![no_std]
#![no_main]

extern crate alloc;

mod attack;
// The same claims about memory as the stub domain's own image makes.
#[path = "../../../stubdom/src/claim.rs"]
mod claim;
mod frame;
mod front;
mod settings;
mod vif;

use alloc::string::String;
use core::time::Duration;

use boot::BootInfo;
use xen::console::Mirror;
use xen::executor::Executor;
use xen::page::PagePool;
use xen::time;
use xen::xenstore::Xenstore;

use settings::Settings;

boot::entry!(main);

/// Everything fallible says in words what went wrong: nobody but the tests reads it.
type Result<T> = core::result::Result<T, String>;

fn main(boot: &'static BootInfo) -> ! {
    let pool = match claim::all(boot) {
        Ok((_, pool)) => pool,
        Err(why) => panic!("{why}"),
    };
    if let Err(why) = xen::console::init(log::LevelFilter::Info, Mirror::None) {
        panic!("{why}");
    }
    boot::set_console(|text| xen::console::print(format_args!("{text}")));
    let store = match Xenstore::connect() {
        Ok(store) => store,
        Err(why) => panic!("{why}"),
    };
    let executor = Executor::new();
    let spawner = executor.spawner();
    let settings = Settings::parse(&boot.command_line);
    spawner.spawn("xenstore", store.run()).expect("a slot");
    spawner.spawn("attack", play(settings, store, pool)).expect("a slot");
    executor.run()
}

async fn play(settings: Settings, store: &'static Xenstore, pool: &'static PagePool) {
    let begin = async {
        let vif = vif::Vif::find(store).await?;
        let pages = front::Pages::new(&vif, pool)?;
        Ok::<_, String>((vif, pages))
    };
    match begin.await {
        Ok((vif, pages)) => {
            for (i, name) in settings.attacks.split(',').enumerate() {
                xen::println!("hostile: attack {name}: begins");
                if i > 0 && !vif.begin_again().await.unwrap_or(false) {
                    xen::println!("hostile: no way back to InitWait before {name}");
                }
                match attack::run(name, &settings, &vif, pages).await {
                    Ok(told) => {
                        // What the back end makes of it may take it a moment.
                        time::sleep(Duration::from_millis(500)).await;
                        let state = vif.backend_state().await;
                        xen::println!("hostile: attack {name}: done, state of backend {state}, {told}");
                    }
                    Err(why) => xen::println!("hostile: attack {name}: could not be played: {why}"),
                }
            }
        }
        Err(why) => xen::println!("hostile: {why}"),
    }
    xen::println!("hostile: the end");
    if settings.stay {
        core::future::pending::<()>().await;
    }
    time::sleep(Duration::from_millis(500)).await;
    boot::poweroff()
}

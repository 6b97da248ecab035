//! Real programs as the guest's load (`load=NAME`): `/load/NAME N` is run over and over, N from 0,
//! as the guest with programs has it (`mkguest --load`; the scripts are in qemu-ci/guest/load).
//! Lines on the console: `load NAME round=N`, and `load NAME failed: WHY`. It must never end the
//! guest: a load that fails is told, and begun again.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Starts the load.
pub(crate) fn start(name: &str) {
    let name = name.to_owned();
    thread::spawn(move || {
        for round in 0_u64.. {
            match once(&name, round) {
                Ok(()) => println!("load {name} round={round}"),
                Err(why) => {
                    println!("load {name} failed: {why}");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    });
}

fn once(name: &str, round: u64) -> Result<(), String> {
    // Names are of the kernel's command line, which Dom0 writes.
    let mut command = Command::new(format!("/load/{name}"));
    command.arg(round.to_string()).stdin(Stdio::null());
    let status = command.status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

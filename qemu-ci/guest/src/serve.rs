//! Commands of Dom0, run in the guest: told by xenstore, because Dom0 need not be on the guest's
//! network and the console is for the guest's own lines. For the lab only: whoever may write the
//! guest's xenstore nodes is root in it.
//!
//! Dom0 writes `data/lab/N/command`; the guest runs it with `sh -c`, writes what it printed to
//! `data/lab/N/output/K` (K from 0, pieces of [`PIECE`] bytes) and, last, its exit status to
//! `data/lab/N/status`. Dom0 removes `data/lab/N`. The other end is [`crate::command`].

use crate::store::Store;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Where commands are, below the guest's own directory.
pub(crate) const COMMANDS: &str = "data/lab";
/// Bytes of output in one node; a guest's nodes hold 2,048 at most.
const PIECE: usize = 1024;
/// Output beyond this many pieces is left out, as a guest has 1,000 nodes at most.
const MAX_PIECES: usize = 256;

/// Runs commands until the guest ends. A broken connection is made anew.
pub(crate) fn run() -> ! {
    println!("guest serves commands");
    let mut started = BTreeSet::new();
    loop {
        if let Err(error) = serve(&mut started) {
            eprintln!("guest: serving commands: {error}");
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Prints a node of xenstore.
pub(crate) fn read(path: &str) -> Result<String, String> {
    let value = Store::open().and_then(|mut store| store.read(path)).map_err(|e| e.to_string())?;
    let value = value.ok_or_else(|| format!("xenstore has no {path}"))?;
    Ok(String::from_utf8_lossy(&value).into_owned())
}

fn serve(started: &mut BTreeSet<String>) -> io::Result<()> {
    let mut store = Store::open()?;
    store.watch(COMMANDS)?;
    loop {
        store.wait()?;
        let present = store.directory(COMMANDS)?;
        started.retain(|name| present.contains(name));
        for name in present {
            if started.contains(&name) {
                continue;
            }
            if let Some(command) = store.read(&format!("{COMMANDS}/{name}/command"))? {
                started.insert(name.clone());
                thread::spawn(move || answer(&name, &String::from_utf8_lossy(&command)));
            }
        }
    }
}

fn answer(name: &str, command: &str) {
    let outcome = execute(name, command).unwrap_or_else(|error| (format!("guest: {error}\n").into(), 126));
    if let Err(error) = tell(name, &outcome.0, outcome.1) {
        eprintln!("guest: answer to command {name}: {error}");
    }
}

/// Output and exit status. By a file, not a pipe: what the command leaves running may keep it open.
fn execute(name: &str, command: &str) -> io::Result<(Vec<u8>, i32)> {
    let path = format!("/tmp/command-{name}");
    let file = File::create(&path)?;
    let status = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    let output = std::fs::read(&path)?;
    std::fs::remove_file(&path)?;
    Ok((output, status.code().unwrap_or(128)))
}

fn tell(name: &str, output: &[u8], status: i32) -> io::Result<()> {
    let mut store = Store::open()?;
    for (index, piece) in output.chunks(PIECE).take(MAX_PIECES).enumerate() {
        store.write(&format!("{COMMANDS}/{name}/output/{index}"), piece)?;
    }
    if output.len() > PIECE * MAX_PIECES {
        store.write(&format!("{COMMANDS}/{name}/output/{MAX_PIECES}"), b"\n(output cut)\n")?;
    }
    store.write(&format!("{COMMANDS}/{name}/status"), status.to_string().as_bytes())
}

//! Dom0's side of [`crate::serve`]: `guest on NAME COMMAND...`, which behaves as if the command
//! ran here. It waits in a watch, so that it costs Dom0 no CPU time while the command runs.

use crate::serve::COMMANDS;
use privcmd::xenstore::{Client, Error};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a command may take, waiting for a guest that still boots included.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no status of the command's own.
#[derive(Debug)]
enum Failure {
    Usage,
    NoGuest(String),
    Gone(String),
    Late(Duration),
    Store(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Runs a shell command in a guest, prints its output, ends with its status; 124 when it took too
/// long, 255 when there is no such guest (any more).
pub(crate) fn on(words: &[&str]) -> ExitCode {
    let (code, text) = match run(words) {
        Ok(status) => return ExitCode::from(u8::try_from(status).unwrap_or(255)),
        Err(Failure::Usage) => (2, "usage: guest on [-t SECONDS] NAME COMMAND...".into()),
        Err(Failure::NoGuest(name)) => (255, format!("there is no guest {name}")),
        Err(Failure::Gone(name)) => (255, format!("{name} went away during the command")),
        Err(Failure::Late(time)) => (124, format!("no answer within {} s", time.as_secs())),
        Err(Failure::Store(error)) => (255, error.to_string()),
    };
    eprintln!("guest: {text}");
    ExitCode::from(code)
}

fn run(words: &[&str]) -> Result<i32, Failure> {
    let (timeout, words) = match words {
        ["-t", seconds, rest @ ..] => {
            (Duration::from_secs(seconds.parse().map_err(|_| Failure::Usage)?), rest)
        }
        rest => (TIMEOUT, rest),
    };
    let [name, command @ ..] = words else { return Err(Failure::Usage) };
    if command.is_empty() {
        return Err(Failure::Usage);
    }
    let mut store = Client::open()?;
    let domain = find(&mut store, name)?.ok_or_else(|| Failure::NoGuest(name.to_string()))?;
    let node = format!("/local/domain/{domain}/{COMMANDS}/{}", std::process::id());
    store.write(&format!("{node}/command"), &command.join(" "))?;
    let outcome = answer(&mut store, name, &node, timeout);
    if !matches!(outcome, Err(Failure::Gone(_))) {
        store.rm(&node)?;
    }
    outcome
}

/// The domain of this name, as a word of xenstore paths.
pub(crate) fn find(store: &mut Client, name: &str) -> Result<Option<String>, Error> {
    for domain in store.directory("/local/domain")? {
        if store.read(&format!("/local/domain/{domain}/name"))?.as_deref() == Some(name) {
            return Ok(Some(domain));
        }
    }
    Ok(None)
}

fn answer(store: &mut Client, name: &str, node: &str, timeout: Duration) -> Result<i32, Failure> {
    store.watch(node, "answer")?;
    let deadline = Instant::now() + timeout;
    loop {
        if store.wait(deadline.saturating_duration_since(Instant::now()))?.is_none() {
            return Err(Failure::Late(timeout));
        }
        if let Some(status) = store.read(&format!("{node}/status"))? {
            print_output(store, node)?;
            return Ok(status.parse().unwrap_or(255));
        }
        if store.read(&format!("{node}/command"))?.is_none() {
            return Err(Failure::Gone(name.to_string()));
        }
    }
}

fn print_output(store: &mut Client, node: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    for index in 0.. {
        let Some(piece) = store.read(&format!("{node}/output/{index}"))? else { break };
        if out.write_all(piece.as_bytes()).is_err() {
            break; // nobody reads it
        }
    }
    Ok(())
}

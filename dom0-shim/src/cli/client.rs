//! The daemon's client.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::api::{Event, Request};
use crate::error::{Context, Error, Result};
use crate::paths;

/// Asks, passes events on, and returns the result.
pub(super) fn ask_with(run: &Path, request: &Request, event: &mut dyn FnMut(&Event)) -> Result<Value> {
    ask_until(run, request, &mut |e| {
        event(e);
        true
    })
}

/// Asks, and passes events on until `event` says that it wants no more; the result is null then.
pub(super) fn ask_until(
    run: &Path,
    request: &Request,
    event: &mut dyn FnMut(&Event) -> bool,
) -> Result<Value> {
    let socket = run.join(paths::SOCKET);
    let mut stream = UnixStream::connect(&socket).map_err(|e| {
        let error = Error::new(format!("luthierd can't be reached at {}: {e}", socket.display()));
        match e.kind() {
            std::io::ErrorKind::PermissionDenied => error.hint("Only root may use it: try sudo"),
            _ => error.hint("Start it: systemctl start luthierd"),
        }
    })?;
    let mut line = serde_json::to_vec(request).context("encoding the request")?;
    line.push(b'\n');
    stream.write_all(&line).context("asking luthierd")?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("reading luthierd's answer")?;
        match serde_json::from_str(&line).context("reading luthierd's answer")? {
            Event::Done { result } => return Ok(result),
            Event::Failed { error } => return Err(error),
            other if !event(&other) => return Ok(Value::Null),
            _ => {}
        }
    }
    Err(Error::new("luthierd went away before it answered")
        .hint("Its log says why: journalctl -u luthierd. When it is back it resumes what it left suspended"))
}

/// Asks, and returns the result.
pub(super) fn ask(run: &Path, request: &Request) -> Result<Value> {
    ask_with(run, request, &mut |_| {})
}

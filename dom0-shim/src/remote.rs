//! Commands that run elsewhere by a remote shell, or here in the same way: what they are given, and what
//! they answer. `luthier` of the other host says it in JSON; the last line counts.
//!
//! What this must never do: wait for a command that nobody wants any more, where that can be told; or
//! keep more of an answer than was asked for.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::error::{Context, Error, Result};

/// How often a command that may be ended is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The most that is kept of what a command complains about, in octets.
pub(crate) const MAX_WORDS: u64 = 64 << 10;

/// When a command is ended before it ends by itself.
#[derive(Clone, Copy)]
pub(crate) struct Leash<'a> {
    /// When this is set.
    pub(crate) stop: &'a AtomicBool,
    /// At this time.
    pub(crate) until: Option<Instant>,
}

/// A command that has ended.
pub(crate) struct Ended {
    /// By itself, and it was content.
    pub(crate) good: bool,
    /// Why it was ended, if it was.
    pub(crate) stopped: Option<&'static str>,
    /// How its input went.
    pub(crate) fed: Result<()>,
    /// What it has said.
    pub(crate) out: Vec<u8>,
    /// What it has complained about.
    pub(crate) err: Vec<u8>,
}

/// What this host is called, for others: its name, at most 64 letters.
pub(crate) fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "this host".into() } else { name }
}

/// Runs a command with an input. Of what it says, `most` octets are kept.
///
/// One on a leash has a process group of its own, and all of it is ended: its shell's children hold the
/// pipes. One without may ask the operator for a password.
///
/// # Errors
/// It can't be started.
pub(crate) fn run(
    mut command: Command,
    feed: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
    leash: Option<Leash<'_>>,
    most: u64,
) -> io::Result<Ended> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if leash.is_some() {
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            let Some(pipe) = input else { return Ok(()) };
            let mut pipe = io::BufWriter::with_capacity(1 << 20, pipe);
            // The pipe is closed when this ends.
            feed(&mut pipe).and_then(|()| pipe.flush().context("sending"))
        });
        let out = scope.spawn(move || octets(out, most));
        let err = scope.spawn(move || octets(err, MAX_WORDS));
        let (good, stopped) = match leash {
            Some(leash) => watch(&mut child, leash)?,
            None => (child.wait()?.success(), None),
        };
        let gone = || Error::new("a thread has ended");
        Ok(Ended {
            good: good && stopped.is_none(),
            stopped,
            fed: feeder.join().unwrap_or_else(|_| Err(gone())),
            out: out.join().unwrap_or_default(),
            err: err.join().unwrap_or_default(),
        })
    })
}

/// Waits for its end, or ends it; says whether it was content, and why it was ended.
fn watch(child: &mut Child, leash: Leash<'_>) -> io::Result<(bool, Option<&'static str>)> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end = || group.map(|group| kill_process_group(group, Signal::KILL));
    let mut stopped = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let late = leash.until.is_some_and(|until| Instant::now() > until);
        if stopped.is_none() && (late || leash.stop.load(Ordering::SeqCst)) {
            stopped = Some(if late { "did not answer in time" } else { "is not wanted any more" });
            end();
        }
        std::thread::sleep(LOOK);
    };
    if !status.success() {
        // What it has left behind must not hold the pipes either.
        end();
    }
    Ok((status.success(), stopped))
}

/// What a command says, as far as it is kept.
fn octets(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.by_ref().take(most).read_to_end(&mut octets);
        // Nobody waits for room in it.
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    octets
}

/// The last line of an answer that is not empty, if it is JSON; null of no lines.
pub(crate) fn last_line(answer: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(answer);
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("null");
    serde_json::from_str(last).ok()
}

/// Why a `luthier` failed: its own error, or else the last words of its shell, with this hint. `who` it was
/// comes first.
pub(crate) fn failure(who: &dyn Display, answer: &[u8], err: &[u8], hint: &str) -> Error {
    let own = last_line(answer).and_then(|v| serde_json::from_value::<Error>(v.get("error")?.clone()).ok());
    if let Some(error) = own {
        return Error { message: format!("{who}: {}", error.message), hint: error.hint };
    }
    let words = String::from_utf8_lossy(err);
    let words: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = words.get(words.len().saturating_sub(3)..).unwrap_or_default().join("; ");
    let words = if words.is_empty() { "the connection was cut, or it gave no reason" } else { &words };
    Error::new(format!("{who}: {words}")).hint(hint)
}

/// What answered is not the `luthier` that was expected.
pub(crate) fn other_release(who: &dyn Display) -> Error {
    Error::new(format!("luthier on {who} answered something else than it should"))
        .hint("Install one release of Luthier on all hosts")
}

//! Hosts that keep images for this one: `/etc/luthier/storage.toml`, written by the operator and only read
//! here, and what is done by the commands that it names.
//!
//! ```toml
//! [vault]
//! command = "ssh -o BatchMode=yes root@vault"
//! ```
//!
//! What this must never do: run a command that came over a network. Groups carry the name alone.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::Value;
use store::GroupName;
use store::group::keep::{self, Received};

use crate::error::{Context, Error, Result};

/// How long the other host may take to say that it takes part. Stubs wait a minute for members.
const REACH: Duration = Duration::from_secs(40);

/// How often a command that runs is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The longest answer that is read, in octets.
const MAX_ANSWER: u64 = 1 << 20;

/// A host that keeps images.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keeper {
    /// The remote shell with its arguments; what it is to run is added.
    command: String,
}

/// The hosts that keep images.
pub(super) struct Storage {
    path: PathBuf,
}

impl Storage {
    /// Those of a file, which need not be there.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The words of the remote shell of a host.
    ///
    /// # Errors
    /// There is none, or the file can't be read; names the host and says what to write.
    pub(super) fn shell(&self, to: &str) -> Result<Vec<String>> {
        let path = self.path.display();
        let table = if to.contains('.') { format!("\"{to}\"") } else { to.to_owned() };
        let example = || {
            format!("In {path}: [{table}] and on the next line command = \"ssh -o BatchMode=yes root@{to}\"")
        };
        let text = match std::fs::read_to_string(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.context(format!("reading {path}"))?,
        };
        let keepers: BTreeMap<String, Keeper> = toml::from_str(&text)
            .map_err(|e| Error::new(format!("{path}: {}", e.message().trim())).hint(example()))?;
        let words = keepers.get(to).map(|keeper| keeper.command.split_whitespace().map(str::to_owned));
        match words.map(Iterator::collect::<Vec<_>>) {
            Some(words) if !words.is_empty() => Ok(words),
            _ => {
                Err(Error::new(format!("storage `{to}` is not known here, or how it is reached"))
                    .hint(example()))
            }
        }
    }

    /// Asks the host whether the group has begun there; returns its switch.
    ///
    /// # Errors
    /// It can't be reached, or takes no part.
    pub(super) fn reach(&self, to: &str, group: &str, stop: &AtomicBool) -> Result<String> {
        let nothing = |_: &mut dyn Write| Ok(());
        let until = Instant::now() + REACH;
        let answer = self.ask(to, &["receive", "--check", group], nothing, stop, Some(until))?;
        let switch = answer.get("switch").and_then(Value::as_str);
        switch.map(str::to_owned).ok_or_else(|| other_release(to))
    }

    /// Sends what this host has of a pending group; returns what the other host has then.
    ///
    /// # Errors
    /// It was not received whole, or `stop` was set.
    pub(super) fn keep(&self, to: &str, images: &Path, group: &str, stop: &AtomicBool) -> Result<Received> {
        let name: GroupName = group.parse()?;
        let feed = |out: &mut dyn Write| Ok(keep::send(images, &name, out)?);
        let answer = self.ask(to, &["receive"], feed, stop, None)?;
        serde_json::from_value(answer).map_err(|_| other_release(to))
    }

    /// Has `luthier` there do something; returns what it said last.
    fn ask(
        &self,
        to: &str,
        args: &[&str],
        feed: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
        stop: &AtomicBool,
        until: Option<Instant>,
    ) -> Result<Value> {
        let mut words = self.shell(to)?;
        words.extend(["luthier", "--json"].iter().chain(args).map(|word| (*word).to_owned()));
        let ended = run(&words, feed, stop, until).context(format!("running {}", words.join(" ")))?;
        let last = ended.out.lines().rfind(|line| !line.trim().is_empty());
        let answer: Option<Value> = last.and_then(|line| serde_json::from_str(line).ok());
        if let Some(why) = ended.stopped {
            return Err(Error::new(format!("storage `{to}` {why}"))
                .hint(format!("Does this end by itself? {}", words.join(" "))));
        }
        match (ended.fed, answer) {
            (Ok(()), Some(answer)) if ended.good => Ok(answer),
            // What the other side says of it comes first: it may be why nothing more was read.
            (_, Some(answer)) if answer.get("error").is_some() => {
                let error = answer.get("error").cloned().unwrap_or_default();
                let Error { message, hint } = serde_json::from_value(error).map_err(|_| other_release(to))?;
                Err(Error { message: format!("storage `{to}`: {message}"), hint })
            }
            (Err(why), _) if ended.good => Err(why),
            _ => {
                let words: Vec<&str> = ended.err.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
                let last = words.get(words.len().saturating_sub(2)..).unwrap_or_default().join("; ");
                let why = if last.is_empty() { "its command ended without a word" } else { &last };
                Err(Error::new(format!("storage `{to}`: {why}"))
                    .hint(format!("Can it be reached, and is Luthier there? {}", self.path.display())))
            }
        }
    }
}

fn other_release(to: &str) -> Error {
    Error::new(format!("luthier on storage `{to}` answered something else than it should"))
        .hint("Install one release of Luthier on all hosts")
}

/// A command that has ended.
struct Ended {
    good: bool,
    /// Why it was ended, if it was.
    stopped: Option<&'static str>,
    fed: Result<()>,
    out: String,
    err: String,
}

/// Runs a command with an input, in a process group of its own. It ends when `stop` is set, and at
/// `until`.
fn run(
    words: &[String],
    feed: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
    stop: &AtomicBool,
    until: Option<Instant>,
) -> io::Result<Ended> {
    let (program, args) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            let Some(pipe) = input else { return Ok(()) };
            let mut pipe = io::BufWriter::with_capacity(1 << 20, pipe);
            // The pipe is closed when this ends.
            feed(&mut pipe).and_then(|()| pipe.flush().context("sending the images"))
        });
        let out = scope.spawn(|| text(out));
        let err = scope.spawn(|| text(err));
        let mut stopped = None;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let late = until.is_some_and(|until| Instant::now() > until);
            if stopped.is_none() && (late || stop.load(Ordering::SeqCst)) {
                stopped = Some(if late { "did not answer in time" } else { "is not wanted any more" });
                // The shell's own children as well: they hold the pipes.
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
            std::thread::sleep(LOOK);
        };
        if let Some(group) = group.filter(|_| !status.success()) {
            // What it has left behind must not hold the pipes either.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let gone = || Error::new("a thread has ended");
        Ok(Ended {
            good: status.success() && stopped.is_none(),
            stopped,
            fed: feeder.join().unwrap_or_else(|_| Err(gone())),
            out: out.join().unwrap_or_default(),
            err: err.join().unwrap_or_default(),
        })
    })
}

/// What a command says, as far as it is read.
fn text(pipe: Option<impl Read>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut octets = Vec::new();
    let _ = pipe.by_ref().take(MAX_ANSWER).read_to_end(&mut octets);
    // Nobody waits for room in it.
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests;

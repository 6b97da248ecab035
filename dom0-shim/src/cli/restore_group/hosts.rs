//! The hosts of a restore: this one, and others behind a remote shell. Each does its share by the
//! `luthier` that is there.

use std::io::{BufRead, BufReader, Read, Take, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::PlaceArgs;
use crate::cli::Cli;
use crate::error::{Context, Error, Result};
use crate::remote::{self, MAX_WORDS};

/// A host: this one, or what the remote shell calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Here,
    There(String),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here => f.write_str("this host"),
            Self::There(address) => f.write_str(address),
        }
    }
}

/// The longest answer that is read: frames of a cut.
const MAX_ANSWER: u64 = store::group::channels::MAX_FILE;

/// How often a copy looks whether it is to be given up.
const LOOK: Duration = Duration::from_millis(50);

/// Something that a host keeps up until it is told to end it.
pub(super) trait Held: Send {
    /// Whether it still does.
    fn check(&mut self) -> Result<()>;

    /// Tells it to end it: so it is done at once, however long the way to that host takes.
    fn tell(&mut self);

    /// Waits until it has ended it.
    fn ended(self: Box<Self>) -> Result<()>;
}

/// The word by which it is told.
pub(super) const GO: &str = "go";

/// What hosts can be asked, by several threads at once.
pub(super) trait Hosts: Sync {
    /// Has `luthier --json` there do something, with this input; returns what it said last.
    fn ask(&self, host: &Host, args: &[&str], input: &[u8]) -> Result<Value>;

    /// The same where the answer is no JSON.
    fn read(&self, host: &Host, args: &[&str]) -> Result<Vec<u8>>;

    /// Has what `luthier` says on one host be the input of `luthier --json` on another; returns what that
    /// said last. Ends early when `give_up` is set meanwhile.
    fn copy(&self, from: (&Host, &[&str]), to: (&Host, &[&str]), give_up: &AtomicBool) -> Result<Value>;

    /// Has `luthier --json` there begin something and keep it up, until it is told to end it.
    fn hold(&self, host: &Host, args: &[&str]) -> Result<Box<dyn Held>>;

    /// Waits a little.
    fn pause(&self, time: Duration);
}

/// The hosts as they are.
pub(super) struct Shell {
    rsh: Vec<String>,
    here: Vec<String>,
}

impl Shell {
    pub(super) fn new(cli: &Cli, place: &PlaceArgs) -> Result<Self> {
        let rsh: Vec<String> = place.rsh.split_whitespace().map(str::to_owned).collect();
        if rsh.is_empty() {
            return Err(Error::new("--rsh names no command").hint("As in --rsh ssh"));
        }
        let own = std::env::current_exe().context("finding luthier itself")?;
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let here = vec![text(&own), "--run".into(), text(&cli.run), "--images".into(), text(&cli.images)];
        Ok(Self { rsh, here })
    }

    fn command(&self, host: &Host, json: bool, args: &[&str]) -> Command {
        let words: Vec<&str> = match host {
            Host::Here => self.here.iter().map(String::as_str).collect(),
            Host::There(address) => {
                let rsh = self.rsh.iter().map(String::as_str);
                rsh.chain([address.as_str(), "luthier"]).collect()
            }
        };
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or("luthier"));
        command.args(words).args(json.then_some("--json")).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, host: &Host, json: bool, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let doing = format!("running `luthier {}` on {host}", args.first().unwrap_or(&""));
        let feed = |pipe: &mut dyn Write| pipe.write_all(input).context("sending");
        // A peer that ends early shows in its status.
        let ended = remote::run(self.command(host, json, args), feed, None, MAX_ANSWER).context(doing)?;
        match ended.good {
            true => Ok(ended.out),
            false => Err(failure(host, &ended.out, &ended.err)),
        }
    }
}

impl Hosts for Shell {
    fn ask(&self, host: &Host, args: &[&str], input: &[u8]) -> Result<Value> {
        last_line(host, &self.run(host, true, args, input)?)
    }

    fn read(&self, host: &Host, args: &[&str]) -> Result<Vec<u8>> {
        self.run(host, false, args, &[])
    }

    fn copy(&self, from: (&Host, &[&str]), to: (&Host, &[&str]), give_up: &AtomicBool) -> Result<Value> {
        let doing = || format!("copying from {} to {}", from.0, to.0);
        let mut export = self.command(from.0, false, from.1).stdin(Stdio::null()).spawn().context(doing())?;
        let pipe = export.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let import = self.command(to.0, true, to.1).stdin(pipe).spawn().context(doing());
        let imported = import.and_then(|mut import| {
            while import.try_wait().context(doing())?.is_none() {
                if give_up.load(Ordering::Relaxed) {
                    // The sender only: who takes it finds that it is cut short, and takes it back.
                    let _ = export.kill();
                    break;
                }
                std::thread::sleep(LOOK);
            }
            import.wait_with_output().context(doing())
        });
        let exported = export.wait_with_output().context(doing())?;
        let imported = imported?;
        // Who reads no more is the one that failed first.
        let unread = String::from_utf8_lossy(&exported.stderr).contains("Broken pipe");
        let by_import = unread && !imported.status.success();
        if !exported.status.success() && !by_import {
            return Err(failure(from.0, &[], &exported.stderr));
        }
        if !imported.status.success() {
            return Err(failure(to.0, &imported.stdout, &imported.stderr));
        }
        last_line(to.0, &imported.stdout)
    }

    fn hold(&self, host: &Host, args: &[&str]) -> Result<Box<dyn Held>> {
        let mut child =
            self.command(host, true, args).spawn().context(format!("running luthier on {host}"))?;
        let said = child.stdout.take().map(|pipe| BufReader::new(pipe.take(MAX_WORDS)));
        let mut holder = Holder { host: host.clone(), child, said };
        // It says so when it has begun.
        let mut line = String::new();
        let read = holder.said.as_mut().map(|said| said.read_line(&mut line));
        match (read, last_line(host, line.as_bytes())) {
            (Some(Ok(1..)), Ok(begun)) if begun.get("error").is_none() => Ok(Box::new(holder)),
            _ => Err(holder.end(line).err().unwrap_or_else(|| not_held(host))),
        }
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A `luthier` that keeps something up.
struct Holder {
    host: Host,
    child: Child,
    said: Option<BufReader<Take<ChildStdout>>>,
}

impl Holder {
    /// Waits for its end. `said` is what it has said before.
    fn end(&mut self, mut said: String) -> Result<()> {
        drop(self.child.stdin.take());
        let _ = self.said.take().map(|mut pipe| pipe.read_to_string(&mut said));
        let mut errors = Vec::new();
        let _ = self.child.stderr.take().map(|pipe| pipe.take(MAX_WORDS).read_to_end(&mut errors));
        match self.child.wait().context(format!("waiting for {}", self.host))?.success() {
            true => Ok(()),
            false => Err(failure(&self.host, said.as_bytes(), &errors)),
        }
    }
}

impl Held for Holder {
    fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.end(String::new()).err().unwrap_or_else(|| not_held(&self.host))),
        }
    }

    fn tell(&mut self) {
        // Whether it was heard shows in its status.
        let _ = self.child.stdin.as_mut().map(|pipe| writeln!(pipe, "{GO}"));
    }

    fn ended(mut self: Box<Self>) -> Result<()> {
        self.end(String::new())
    }
}

impl Drop for Holder {
    /// The shell that leads to it must not stay.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn not_held(host: &Host) -> Error {
    Error::new(format!("luthier on {host} ended before it was told"))
        .hint("Are the same releases of Luthier installed on both hosts?")
}

/// The last line of an answer, which must be JSON.
fn last_line(host: &Host, answer: &[u8]) -> Result<Value> {
    remote::last_line(answer).ok_or_else(|| remote::other_release(host))
}

fn failure(host: &Host, answer: &[u8], stderr: &[u8]) -> Error {
    remote::failure(host, answer, stderr, "Can it be reached? --rsh and --address say how")
}

#[cfg(test)]
mod tests;

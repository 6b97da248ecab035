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
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use store::GroupName;
use store::group::keep::{self, Received};

use crate::error::{Context, Error, Result};
use crate::remote::{self, Leash};

/// How long the other host may take to say that it takes part. Stubs wait a minute for members.
const REACH: Duration = Duration::from_secs(40);

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
        let (program, rest) = words.split_first().ok_or_else(|| Error::new("no command"))?;
        let mut command = Command::new(program);
        command.args(rest);
        let ended = remote::run(command, feed, Some(Leash { stop, until }), MAX_ANSWER)
            .context(format!("running {}", words.join(" ")))?;
        if let Some(why) = ended.stopped {
            return Err(Error::new(format!("storage `{to}` {why}"))
                .hint(format!("Does this end by itself? {}", words.join(" "))));
        }
        match (ended.good, ended.fed) {
            (true, Ok(())) => {
                let answer = remote::last_line(&ended.out).filter(|answer| !answer.is_null());
                answer.ok_or_else(|| other_release(to))
            }
            (true, Err(why)) => Err(why),
            // What the other side says of it comes first: it may be why nothing more was read.
            (false, _) => {
                let hint = format!("Can it be reached, and is Luthier there? {}", self.path.display());
                Err(remote::failure(&format!("storage `{to}`"), &ended.out, &ended.err, &hint))
            }
        }
    }
}

fn other_release(to: &str) -> Error {
    remote::other_release(&format!("storage `{to}`"))
}

#[cfg(test)]
mod tests;

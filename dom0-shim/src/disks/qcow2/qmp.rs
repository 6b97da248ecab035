//! Talking to a QEMU in Dom0 by QMP: one JSON object a line, on a Unix socket.
//!
//! A monitor has one client at a time; whoever connects meanwhile is greeted when the other has gone.
//! So libxl's own monitor (`qmp-libxl-N`) is only used where there is no other.
//!
//! What this module must never do: wait without end, or keep more of what QEMU says than one line of
//! bounded length.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::{Value, json};

/// The longest line that QEMU may say, in octets: some thousand snapshots of a disk.
const MAX_LINE: usize = 4 << 20;

/// The most events that may come before an answer.
const MAX_EVENTS: usize = 10_000;

/// How often a monitor whose queue is full is tried again.
const KNOCK: Duration = Duration::from_millis(20);

/// Octets of QEMU's words that are told.
const MAX_WORDS: usize = 400;

/// Why QEMU did not do what it was told.
#[derive(Debug)]
pub(super) enum Error {
    /// There is nobody at the socket.
    Absent(io::Error),
    /// It did not answer in time; it may yet do what it was told.
    Late(Duration),
    /// The connection broke, or ended.
    Broken(io::Error),
    /// What it said is no QMP.
    Garbage(&'static str),
    /// It said no: its own words.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(e) => write!(f, "no QEMU listens there: {e}"),
            Self::Late(after) => write!(
                f,
                "no answer within {} s (another program may be connected to it)",
                after.as_secs_f64().ceil()
            ),
            Self::Broken(e) => write!(f, "the connection broke: {e}"),
            Self::Garbage(what) => write!(f, "not QMP: {what}"),
            Self::Refused(words) => write!(f, "QEMU says: {words}"),
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The monitors of the QEMU that serves a guest, the preferred one first. `run` is `/var/run/xen`.
pub(super) fn monitors(run: &Path, domid: u16) -> [PathBuf; 2] {
    ["libxenstat", "libxl"].map(|whose| run.join(format!("qmp-{whose}-{domid}")))
}

/// A connection on which commands can be given.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    /// What came after the last line.
    rest: Vec<u8>,
}

impl Client {
    /// Connects and negotiates, within `patience`.
    pub(super) fn connect(path: &Path, patience: Duration) -> Result<Self> {
        let deadline = Deadline::after(patience);
        let mut this = Self { stream: open(path, &deadline)?, rest: Vec::new() };
        let greeting = this.line(&deadline)?;
        if greeting.get("QMP").is_none() {
            return Err(Error::Garbage("no greeting"));
        }
        this.command("qmp_capabilities", Value::Null, &deadline)?;
        Ok(this)
    }

    /// Gives a command and waits for what it returns, for `patience` at most.
    pub(super) fn run(&mut self, command: &str, arguments: Value, patience: Duration) -> Result<Value> {
        self.command(command, arguments, &Deadline::after(patience))
    }

    fn command(&mut self, command: &str, arguments: Value, deadline: &Deadline) -> Result<Value> {
        let mut order = json!({"execute": command});
        if !arguments.is_null() {
            order["arguments"] = arguments;
        }
        self.stream.set_write_timeout(Some(deadline.left()?)).map_err(Error::Broken)?;
        self.stream.write_all(format!("{order}\n").as_bytes()).map_err(|e| deadline.fault(e))?;
        for _ in 0..MAX_EVENTS {
            let mut said = self.line(deadline)?;
            if let Some(error) = said.get("error") {
                let words = error.get("desc").and_then(Value::as_str).unwrap_or("no, and not why");
                return Err(Error::Refused(printable(words)));
            }
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
            if said.get("event").is_none() {
                return Err(Error::Garbage("neither an answer nor an event"));
            }
        }
        Err(Error::Garbage("events without end, and no answer"))
    }

    /// The next line.
    fn line(&mut self, deadline: &Deadline) -> Result<Value> {
        let mut searched = 0;
        loop {
            let fresh = self.rest.get(searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=searched.saturating_add(end)).collect();
                return serde_json::from_slice(&line).map_err(|_| Error::Garbage("a line that is not JSON"));
            }
            searched = self.rest.len();
            if searched > MAX_LINE {
                return Err(Error::Garbage("a line that does not end"));
            }
            let mut some = [0; 16 << 10];
            self.stream.set_read_timeout(Some(deadline.left()?)).map_err(Error::Broken)?;
            let n = self.stream.read(&mut some).map_err(|e| deadline.fault(e))?;
            if n == 0 {
                return Err(Error::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            self.rest.extend_from_slice(some.get(..n).unwrap_or_default());
        }
    }
}

/// Connects. The kernel would wait for room in the queue of those who knock, without end.
fn open(path: &Path, deadline: &Deadline) -> Result<UnixStream> {
    let address = SocketAddrUnix::new(path).map_err(|e| Error::Absent(e.into()))?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| Error::Broken(e.into()))?;
        match connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false).map_err(Error::Broken)?;
                return Ok(stream);
            }
            Err(Errno::AGAIN | Errno::INTR) => thread::sleep(KNOCK.min(deadline.left()?)),
            Err(e) => return Err(Error::Absent(e.into())),
        }
    }
}

/// Control characters of a terminal have no place in an error, nor has a novel.
fn printable(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
}

/// When to give up.
struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    fn after(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, patience }
    }

    /// What is left of it; never zero.
    fn left(&self) -> Result<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::Late(self.patience)) } else { Ok(left) }
    }

    fn fault(&self, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Late(self.patience),
            _ => Error::Broken(e),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;

//! A TCP stream at a steady pace, and what its receiver sees of it: how much came, and for how long
//! nothing did. For benches: what a cut of the guests costs their connections.
//!
//! The sender has a debt of octets that grows with time and is paid as fast as the connection takes
//! it, so that what a standstill kept back comes after it. The receiver is asked by
//! [`look`], by a socket of its own guest, and begins anew with each look. With it come the
//! guest's own counts of retransmissions, as its kernel has them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the sender looks how much it owes.
const TICK: Duration = Duration::from_millis(10);
/// What the sender hands over at a time, and the receiver takes.
const PIECE: usize = 16 * 1024;
/// The most that is owed: what was due in this time.
const DEBT: Duration = Duration::from_secs(20);
/// How long to wait for the receiver to listen.
const PATIENCE: Duration = Duration::from_secs(120);

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// Sends `kbit` thousand bits a second, for ever.
pub(crate) fn send(to: &str, kbit: &str) -> Result<String, String> {
    let octets_a_second = number::<u64>(kbit)? * 125;
    let mut stream = connect(to)?;
    let piece = vec![0x5a_u8; PIECE];
    let mut last = Instant::now();
    loop {
        thread::sleep(TICK);
        // The time of a write that had to wait counts, too.
        let since = last.elapsed().min(DEBT);
        last = Instant::now();
        let mut owed = (since.as_secs_f64() * octets_a_second as f64) as usize;
        while owed > 0 {
            let now = owed.min(PIECE);
            stream.write_all(&piece[..now]).map_err(broken)?;
            owed -= now;
        }
    }
}

fn connect(to: &str) -> Result<TcpStream, String> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => return Ok(stream),
            Err(e) if start.elapsed() > PATIENCE => return Err(format!("{to}: {e}")),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Whatever ends a stream is told: it was to go on for ever.
fn broken(what: impl std::fmt::Display) -> String {
    let line = format!("stream BROKEN: {what}");
    println!("{line}");
    line
}

/// What a receiver has seen since it was last asked.
struct Seen {
    since: Instant,
    octets: u64,
    last: Instant,
    longest: Duration,
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self { since: now, octets: 0, last: now, longest: Duration::ZERO }
    }

    fn came(&mut self, octets: u64, now: Instant) {
        self.octets += octets;
        self.longest = self.longest.max(now.duration_since(self.last));
        self.last = now;
    }

    /// What was seen, the silence at hand included; begins anew, but for that silence.
    fn tell(&mut self, now: Instant) -> String {
        let longest = self.longest.max(now.duration_since(self.last));
        let text = format!(
            "\"bytes\":{},\"seconds\":{:.3},\"gap_ms\":{:.1}",
            self.octets,
            now.duration_since(self.since).as_secs_f64(),
            longest.as_secs_f64() * 1e3
        );
        *self = Self { since: now, octets: 0, last: self.last, longest: Duration::ZERO };
        text
    }
}

fn place(port: u16) -> String {
    format!("/tmp/stream-{port}")
}

/// Takes one stream, for ever, and answers who looks.
pub(crate) fn receive(port: &str) -> Result<String, String> {
    let port = number(port)?;
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|e| e.to_string())?;
    let _ = fs::remove_file(place(port));
    let asks = UnixListener::bind(place(port)).map_err(|e| e.to_string())?;
    let (mut stream, sender) = listener.accept().map_err(|e| e.to_string())?;
    let seen = Arc::new(Mutex::new(Seen::new(Instant::now())));
    let told = Arc::clone(&seen);
    thread::spawn(move || {
        for mut who in asks.incoming().flatten() {
            let seen = told.lock().unwrap_or_else(PoisonError::into_inner).tell(Instant::now());
            let text = format!("\"from\":\"{}\",{seen}", sender.ip());
            let _ = who.write_all(text.as_bytes());
        }
    });
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece).map_err(broken)? {
            0 => return Err(broken("its sender has ended it")),
            octets => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).came(octets as u64, Instant::now());
            }
        }
    }
}

/// JSON: what the receiver at `port` has seen since it was last asked, and the guest's counts since it
/// began: segments that were sent again, and time-outs that made TCP do so.
pub(crate) fn look(port: &str) -> Result<String, String> {
    let path = place(number(port)?);
    let mut seen = String::new();
    let mut socket = UnixStream::connect(&path).map_err(|e| format!("{path}: {e}"))?;
    socket.read_to_string(&mut seen).map_err(|e| format!("{path}: {e}"))?;
    let count = |file: &str, table: &str, name: &str| {
        let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        counter(&text, table, name).ok_or_else(|| format!("{file} has no {table} {name}"))
    };
    let (snmp, netstat) = ("/proc/net/snmp", "/proc/net/netstat");
    Ok(format!(
        "{{{seen},\"retransmits\":{},\"timeouts\":{},\"spurious\":{},\"probes\":{}}}",
        count(snmp, "Tcp:", "RetransSegs")?,
        count(netstat, "TcpExt:", "TCPTimeouts")?,
        count(netstat, "TcpExt:", "TCPSpuriousRTOs")?,
        count(netstat, "TcpExt:", "TCPLossProbes")?,
    ))
}

/// A counter of the kernel's tables, which have a line of names and one of numbers.
fn counter(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.split_whitespace().next() == Some(table));
    let at = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_told_also_while_it_lasts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut seen = Seen::new(start);
        seen.came(10, at(5));
        seen.came(10, at(305));
        seen.came(10, at(310));
        assert_eq!(seen.tell(at(400)), "\"bytes\":30,\"seconds\":0.400,\"gap_ms\":300.0");
        // The silence that began before the last look goes on.
        assert_eq!(seen.tell(at(900)), "\"bytes\":0,\"seconds\":0.500,\"gap_ms\":590.0");
        seen.came(1, at(1000));
        assert_eq!(seen.tell(at(1001)), "\"bytes\":1,\"seconds\":0.101,\"gap_ms\":690.0");
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let text = "Ip: Forwarding RetransSegs\nIp: 1 99\nTcp: RtoMin RetransSegs InErrs\nTcp: 200 7 0\n";
        assert_eq!(counter(text, "Tcp:", "RetransSegs"), Some(7));
        assert_eq!(counter(text, "Tcp:", "OutRsts"), None);
        assert_eq!(counter(text, "TcpExt:", "RetransSegs"), None);
    }

    #[test]
    fn a_stream_comes_at_its_pace() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let (sender, receiver) = (port.clone(), port.clone());
        thread::spawn(move || receive(&receiver));
        thread::spawn(move || send(&format!("127.0.0.1:{sender}"), "800"));
        thread::sleep(Duration::from_millis(500));
        while look(&port).is_err() {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_secs(1));
        let seen = look(&port).unwrap();
        assert!(seen.starts_with("{\"from\":\"127.0.0.1\",\"bytes\":"), "{seen}");
        let octets = seen.split(&[':', ','][..]).nth(3).and_then(|n| n.parse::<u64>().ok()).unwrap();
        // 100,000 a second, on a machine that may be busy.
        assert!((60_000..200_000).contains(&octets), "{seen}");
    }
}

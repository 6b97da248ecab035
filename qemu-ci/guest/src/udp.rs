//! Datagrams as fast as they go, and how many of them arrive. iperf3 spends more CPU time on
//! timing each datagram than the network does; on a host with one CPU that would hide it.
//!
//! Each datagram starts with its number, so the receiver sees what was lost.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// How long the receiver waits for the first datagram.
const PATIENCE: Duration = Duration::from_secs(30);
/// Datagrams between two looks at the clock.
const BURST: u64 = 32;

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// Sends datagrams of `size` bytes of payload for a time.
pub(crate) fn send(to: &str, size: &str, seconds: &str) -> Result<String, String> {
    let (size, seconds): (usize, u64) = (number(size)?, number(seconds)?);
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).map_err(|e| e.to_string())?;
    socket.connect(to).map_err(|e| format!("{to}: {e}"))?;
    let mut payload = vec![0x5a_u8; size.clamp(8, 65_000)];
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..BURST {
            if let Some(head) = payload.first_chunk_mut() {
                *head = sent.to_be_bytes();
            }
            match socket.send(&payload) {
                Ok(_) => sent += 1,
                Err(_) => refused += 1, // no receiver yet, or no room
            }
        }
    }
    Ok(format!("{{\"sent\":{sent},\"refused\":{refused},\"seconds\":{:.3}}}", start.elapsed().as_secs_f64()))
}

/// Counts what arrives within a time after the first datagram.
pub(crate) fn receive(port: &str, seconds: &str) -> Result<String, String> {
    let (port, seconds): (u16, u64) = (number(port)?, number(seconds)?);
    let socket = UdpSocket::bind(("::", port)).map_err(|e| e.to_string())?;
    let mut payload = [0_u8; 65_536];
    socket.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    let mut tally = Tally::default();
    let got = socket.recv(&mut payload).map_err(|e| format!("no datagram came: {e}"))?;
    tally.add(payload.get(..got));
    let (start, whole) = (Instant::now(), Duration::from_secs(seconds));
    loop {
        let left = whole.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
        for _ in 0..BURST {
            match socket.recv(&mut payload) {
                Ok(got) => tally.add(payload.get(..got)),
                Err(_) => break,
            }
        }
    }
    Ok(tally.report(start.elapsed().as_secs_f64()))
}

/// What arrived, of what was sent.
#[derive(Debug, Default)]
struct Tally {
    received: u64,
    first: Option<u64>,
    highest: u64,
}

impl Tally {
    fn add(&mut self, payload: Option<&[u8]>) {
        let Some(head) = payload.and_then(|p| p.first_chunk()) else { return };
        let number = u64::from_be_bytes(*head);
        self.received += 1;
        self.first.get_or_insert(number);
        self.highest = self.highest.max(number);
    }

    fn report(&self, seconds: f64) -> String {
        let sent = (self.highest + 1).saturating_sub(self.first.unwrap_or(0));
        let lost = sent.saturating_sub(self.received);
        format!(
            "{{\"received\":{},\"lost\":{lost},\"seconds\":{seconds:.3},\"pps\":{:.1}}}",
            self.received,
            self.received as f64 / seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_between_the_numbers_was_lost() {
        let mut tally = Tally::default();
        for number in [5_u64, 6, 9, 8] {
            tally.add(Some(&number.to_be_bytes()));
        }
        tally.add(Some(b"short"));
        assert_eq!(tally.report(2.0), r#"{"received":4,"lost":1,"seconds":2.000,"pps":2.0}"#);
    }
}

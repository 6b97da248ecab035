//! Datagrams as fast as they go, and how many of them arrive. iperf3 spends more CPU time on
//! timing each datagram than the network does; on a host with one CPU that would hide it. For the
//! same reason both ends may hand over many datagrams at a time, as QUIC's libraries do: the
//! sender's kernel cuts them apart (`UDP_SEGMENT`) before its network driver sees them, the
//! receiver's puts them together (`UDP_GRO`) after its driver has seen each.
//!
//! Each datagram starts with its number, so the receiver sees what was lost.

use nix::sys::socket::{setsockopt, sockopt};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// How long the receiver waits for the first datagram.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sends or receives between two looks at the clock.
const BETWEEN_LOOKS: u64 = 16;
/// What a kernel takes in one piece.
const MAX_SEGMENTS: usize = 64;
/// Bytes asked of the kernel for what waits on the receiver.
const RECEIVE_BUFFER: usize = 1 << 20;

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// Sends datagrams of `size` bytes of payload for a time, `burst` in each system call.
pub(crate) fn send(to: &str, size: &str, seconds: &str, burst: &str) -> Result<String, String> {
    let (size, seconds, burst): (u16, u64, usize) = (number(size)?, number(seconds)?, number(burst)?);
    let (size, burst) = (size.clamp(8, 1400), burst.clamp(1, MAX_SEGMENTS));
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).map_err(|e| e.to_string())?;
    socket.connect(to).map_err(|e| format!("{to}: {e}"))?;
    if burst > 1 {
        setsockopt(&socket, sockopt::UdpGsoSegment, &i32::from(size)).map_err(|e| e.to_string())?;
    }
    let mut payload = vec![0x5a_u8; usize::from(size) * burst];
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..BETWEEN_LOOKS {
            for (datagram, number) in payload.chunks_exact_mut(size.into()).zip(sent..) {
                if let Some(head) = datagram.first_chunk_mut() {
                    *head = number.to_be_bytes();
                }
            }
            match socket.send(&payload) {
                Ok(_) => sent += burst as u64,
                Err(_) => refused += burst as u64, // no receiver yet, or no room
            }
        }
    }
    Ok(format!("{{\"sent\":{sent},\"refused\":{refused},\"seconds\":{:.3}}}", start.elapsed().as_secs_f64()))
}

/// Counts what arrives within a time after the first datagram. All must be of `size` bytes.
pub(crate) fn receive(port: &str, size: &str, seconds: &str) -> Result<String, String> {
    let (port, size, seconds): (u16, u16, u64) = (number(port)?, number(size)?, number(seconds)?);
    let socket = UdpSocket::bind(("::", port)).map_err(|e| e.to_string())?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true).map_err(|e| e.to_string())?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(|e| e.to_string())?;
    let mut payload = [0_u8; 65_536];
    socket.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    let mut tally = Tally::default();
    let got = socket.recv(&mut payload).map_err(|e| format!("no datagram came: {e}"))?;
    tally.add(payload.get(..got), size);
    let (start, whole) = (Instant::now(), Duration::from_secs(seconds));
    loop {
        let left = whole.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
        for _ in 0..BETWEEN_LOOKS {
            match socket.recv(&mut payload) {
                Ok(got) => tally.add(payload.get(..got), size),
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
    /// System calls that brought it.
    pieces: u64,
    first: Option<u64>,
    highest: u64,
}

impl Tally {
    fn add(&mut self, payload: Option<&[u8]>, size: u16) {
        self.pieces += 1;
        for datagram in payload.unwrap_or_default().chunks(usize::from(size.max(8))) {
            let Some(head) = datagram.first_chunk() else { continue };
            let number = u64::from_be_bytes(*head);
            self.received += 1;
            self.first.get_or_insert(number);
            self.highest = self.highest.max(number);
        }
    }

    fn report(&self, seconds: f64) -> String {
        let sent = (self.highest + 1).saturating_sub(self.first.unwrap_or(0));
        let lost = sent.saturating_sub(self.received);
        format!(
            "{{\"received\":{},\"lost\":{lost},\"pieces\":{},\"seconds\":{seconds:.3},\"pps\":{:.1}}}",
            self.received,
            self.pieces,
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
        let two: Vec<u8> = [6_u64, 9].iter().flat_map(|number| number.to_be_bytes()).collect();
        tally.add(Some(&5_u64.to_be_bytes()), 8);
        tally.add(Some(&two), 8);
        tally.add(Some(b"short"), 8);
        let report = r#"{"received":3,"lost":2,"pieces":3,"seconds":2.000,"pps":1.5}"#;
        assert_eq!(tally.report(2.0), report);
    }

    #[test]
    fn datagrams_sent_in_bursts_arrive_each() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let to = format!("127.0.0.1:{port}");
        let receiver = std::thread::spawn(move || receive(&port, "64", "1").unwrap());
        std::thread::sleep(Duration::from_millis(200));
        send(&to, "64", "0", "32").unwrap();
        std::thread::spawn(move || send(&to, "64", "1", "32").unwrap());
        let report = receiver.join().unwrap();
        assert!(!report.contains("\"received\":0"), "{report}");
    }
}

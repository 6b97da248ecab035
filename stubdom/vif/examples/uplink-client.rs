//! The other end of the uplink's self-test, in Dom0:
//! `uplink-client ADDRESS:PORT echo COUNT SIZE | flood SECONDS SIZE | blast COUNT SIZE | report`.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [to, verb @ ("echo" | "flood" | "blast"), count, size] => {
            let (Ok(count), Ok(size)) = (count.parse(), size.parse()) else {
                eprintln!("uplink-client: not a number");
                return ExitCode::from(2);
            };
            open(to).and_then(|socket| match *verb {
                "echo" => echo(&socket, count, size),
                "flood" => flood(&socket, count, size),
                _ => blast(&socket, count, size),
            })
        }
        [to, "report"] => open(to).and_then(|socket| socket.send(b"R").map(|_| true)),
        _ => {
            eprintln!(
                "usage: uplink-client ADDRESS:PORT echo N SIZE | flood SECONDS SIZE | blast N SIZE | report"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("uplink-client: {e}");
            ExitCode::FAILURE
        }
    }
}

fn open(to: &str) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    Ok(socket)
}

/// Sends and waits for each answer. Good if each came as it went.
fn echo(socket: &UdpSocket, count: u32, size: usize) -> std::io::Result<bool> {
    let (mut good, mut spans) = (0, Vec::new());
    let mut got = [0; 2048];
    for n in 0..count {
        let mut data = vec![n as u8; size.max(5)];
        data[0] = b'E';
        data[1..5].copy_from_slice(&n.to_le_bytes());
        let start = Instant::now();
        socket.send(&data)?;
        if socket.recv(&mut got).is_ok_and(|len| got[..len] == data) {
            good += 1;
            spans.push(start.elapsed());
        }
    }
    spans.sort();
    let median = spans.get(spans.len() / 2).copied().unwrap_or_default();
    println!("echo: {good} of {count} x {size} octets came back, median {median:?}");
    Ok(good == count)
}

fn flood(socket: &UdpSocket, seconds: u32, size: usize) -> std::io::Result<bool> {
    let data = vec![b'S'; size];
    let (start, mut sent) = (Instant::now(), 0u32);
    while start.elapsed() < Duration::from_secs(seconds.into()) {
        for _ in 0..64 {
            // An error is a full queue.
            sent += u32::from(socket.send(&data).is_ok());
        }
    }
    let rate = f64::from(sent) / start.elapsed().as_secs_f64();
    println!("flood: {sent} x {size} octets sent, {} a second", rate as u64);
    Ok(true)
}

fn blast(socket: &UdpSocket, count: u32, size: usize) -> std::io::Result<bool> {
    let mut order = b"B".to_vec();
    order.extend_from_slice(&count.to_le_bytes());
    order.extend_from_slice(&(size as u32).to_le_bytes());
    socket.send(&order)?;
    let mut got = [0; 2048];
    let (mut came, mut wrong) = (0u32, 0u32);
    let (mut start, mut end) = (Instant::now(), Instant::now());
    while let Ok(len) = socket.recv(&mut got) {
        if came == 0 {
            start = Instant::now();
        }
        end = Instant::now();
        came += 1;
        wrong += u32::from(len != size || got[..len].iter().any(|&octet| octet != got[0]));
    }
    let rate = f64::from(came) / (end - start).as_secs_f64();
    println!("blast: {came} of {count} x {size} octets came, {} a second, {wrong} wrong", rate as u64);
    Ok(came > 0 && wrong == 0)
}

//! A client for a vchan server that understands small commands (u32 command, u32 length): 1 sends
//! the bytes that follow back, 2 sends a pattern, 3 closes, 4 falls silent, 5 breaks the protocol.
//! For trying [`privcmd::vchan`] against libvchan in the lab: `vchan DOMID PATH COMMAND [MIB]`.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use privcmd::vchan::{Client, Error};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [domid, path, command, rest @ ..] = args.as_slice() else {
        eprintln!("usage: vchan DOMID PATH echo|bulk|close|silent|broken|hang [MIB]");
        return ExitCode::FAILURE;
    };
    let mib = rest.first().and_then(|mib| mib.parse().ok()).unwrap_or(4);
    let domid = domid.parse().unwrap_or(0);
    match run(domid, path, command, mib) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vchan: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command(code: u32, len: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&code.to_le_bytes());
    bytes[4..].copy_from_slice(&(len as u32).to_le_bytes());
    bytes
}

/// The byte at a position of the pattern.
fn pattern(at: usize) -> u8 {
    ((at >> 12) + (at & 0xff)) as u8
}

fn run(domid: u16, path: &str, what: &str, mib: usize) -> Outcome {
    let start = Instant::now();
    let mut client = Client::connect(domid, path, Duration::from_secs(5))?;
    println!(
        "connected in {:?}, rings {} and {}",
        start.elapsed(),
        client.writer().capacity(),
        client.reader().capacity()
    );
    let len = mib << 20;
    client.reader().set_timeout(Some(Duration::from_secs(10)));
    let start = Instant::now();
    match what {
        "echo" => {
            let (mut reader, mut writer) = client.split();
            let sender = std::thread::spawn(move || -> Result<(), Error> {
                let data: Vec<u8> = (0..len).map(pattern).collect();
                writer.write_all(&[&command(1, len)])?;
                let mut rest = data.as_slice();
                let mut size = 1;
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(size.min(rest.len()));
                    let (one, two) = piece.split_at(piece.len() / 3);
                    writer.write_all(&[one, two])?;
                    rest = after;
                    size = size * 7 % 50_021 + 1;
                }
                Ok(())
            });
            let mut back = vec![0; len];
            for piece in back.chunks_mut(10_007) {
                reader.read_exact(piece)?;
            }
            sender.join().map_err(|_| "the sender panicked")??;
            check(&back)?;
        }
        "bulk" => {
            client.writer().write_all(&[&command(2, len)])?;
            let file = File::create("/tmp/vchan-bulk")?;
            let mut at = 0;
            while at < len {
                let piece = (len - at).min(1 << 20);
                client.reader().write_to(&file, at as u64, piece)?;
                at += piece;
            }
            let took = start.elapsed();
            println!("{:.0} MiB/s into the file", mib as f64 / took.as_secs_f64());
            let mut back = Vec::new();
            File::open("/tmp/vchan-bulk")?.read_to_end(&mut back)?;
            check(&back)?;
            // A file that fails: the stream stays in step.
            client.writer().write_all(&[&command(2, len), &command(2, 4096)])?;
            let full = File::options().write(true).open("/dev/full")?;
            let failed = client.reader().write_to(&full, 0, len);
            println!("file that is full: {:?}", failed.map_err(|error| error.to_string()));
            let mut back = vec![0; 4096];
            client.reader().read_exact(&mut back)?;
            check(&back)?;
        }
        "close" => {
            client.writer().write_all(&[&command(2, 10), &command(3, 0)])?;
            let mut back = [0; 10];
            client.reader().read_exact(&mut back)?;
            check(&back)?;
            expect(client.reader().wait(None), "Closed")?;
            expect(client.writer().write_all(&[b"x"]).map(|()| 0), "Closed")?;
        }
        "silent" => {
            client.writer().write_all(&[&command(4, 0)])?;
            expect(client.reader().wait(Some(Duration::from_millis(300))), "Timeout")?;
            let closer = client.closer();
            let closing = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                closer.close();
            });
            expect(client.reader().wait(None), "Cancelled")?;
            drop(closing.join());
        }
        "broken" => {
            client.writer().write_all(&[&command(5, 0)])?;
            expect(client.reader().wait(Some(Duration::from_secs(1))), "Protocol")?;
        }
        "hang" => expect(client.reader().wait(None), "Closed")?,
        _ => return Err("no such command".into()),
    }
    println!("{what} done in {:?}", start.elapsed());
    Ok(())
}

fn check(data: &[u8]) -> Outcome {
    match data.iter().enumerate().find(|&(at, &byte)| byte != pattern(at)) {
        None => Ok(()),
        Some((at, _)) => Err(format!("wrong byte at {at}").into()),
    }
}

fn expect(outcome: Result<usize, Error>, name: &str) -> Outcome {
    match outcome {
        Err(error) if format!("{error:?}").starts_with(name) => {
            println!("as it should be: {error}");
            Ok(())
        }
        other => Err(format!("{other:?} instead of {name}").into()),
    }
}

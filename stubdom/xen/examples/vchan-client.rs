//! A client of the self-test image's vchan, for Dom0: `vchan-client DOMID PATH COMMAND`, where the
//! command is B or S and a digit: so many times 16 MiB from or to the stub. Checks every byte.

use std::error::Error;
use std::time::{Duration, Instant};

use privcmd::vchan::Client;

const PART: usize = 16 << 20;
const PAGE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, domid, path, command] = &args[..] else {
        return Err("usage: vchan-client DOMID PATH B1..B9|S1..S9".into());
    };
    let times: usize = command.get(1..).unwrap_or_default().parse()?;
    let (mut reader, mut writer) = Client::connect(domid.parse()?, path, Duration::from_secs(20))?.split();
    writer.write_all(&[command.as_bytes()])?;
    let began = Instant::now();
    let mut page = [0; PAGE];
    let numbers = 0..u32::try_from(times * PART / PAGE)?;
    if command.starts_with('B') {
        for number in numbers {
            reader.read_exact(&mut page)?;
            if page[..4] != number.to_le_bytes() || page[8..].iter().any(|&byte| byte != number as u8) {
                return Err(format!("page {number} arrived spoilt").into());
            }
        }
    } else {
        for number in numbers {
            page[..4].copy_from_slice(&number.to_le_bytes());
            page[8..].fill(number as u8);
            writer.write_all(&[&page])?;
        }
        reader.read_exact(&mut page[..1])?;
    }
    let span = began.elapsed();
    let nanos = span.as_nanos() * PAGE as u128 / (times * PART).max(1) as u128;
    println!("{command}: {} MiB in {span:?}, {nanos} ns a page", (times * PART) >> 20);
    Ok(())
}

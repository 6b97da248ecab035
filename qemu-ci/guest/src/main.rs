//! The lab's guest, `/init` of a small Linux: it advances a hash chain and prints its links.
use sha2::{Digest, Sha256};
use std::time::Duration;

fn main() {
    let mut h = [0u8; 32];
    let mut n = 0u64;
    loop {
        let hex: String = h.iter().map(|b| format!("{b:02x}")).collect();
        println!("chain {n} {hex}");
        let mut d = Sha256::new();
        d.update(h);
        d.update(n.to_be_bytes());
        h = d.finalize().into();
        n = n.wrapping_add(1);
        std::thread::sleep(Duration::from_millis(100));
    }
}

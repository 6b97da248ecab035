//! Sealing and opening datagrams on one core: frames of 64 and 1400 octets, and a handshake.
//!
//! `cargo bench -p violin --bench seal`; the code underneath is chosen by
//! `RUSTFLAGS='--cfg chacha20_backend="soft" --cfg poly1305_backend="soft"'`. Without AVX, as the stub
//! runs now, `auto` is SSE2 for ChaCha20 and portable code for Poly1305. Instructions are of
//! `valgrind --tool=callgrind`, times the best of many on a busy AMD EPYC, and under `qemu-x86_64`,
//! which translates as the lab does. For one seal of 64 and of 1400 octets:
//!
//! | ChaCha20, Poly1305 | instructions | EPYC, ns | translated, ns |
//! | --- | --- | --- | --- |
//! | AVX2, AVX2 (`auto` with AVX) | 6,398 and 16,390 | 1,600 and 2,600 | 19,500 and 44,900 |
//! | AVX2, soft | 2,965 and 20,881 | 375 and 1,900 | 5,100 and 25,600 |
//! | SSE2, soft (`auto` without AVX) | 6,755 and 34,005 | 505 and 2,420 | 9,400 and 38,900 |
//! | soft, soft | 4,338 and 41,699 | 350 and 3,290 | 1,170 and 9,560 |
//!
//! So: portable code where instructions are translated; on hardware AVX2 for ChaCha20 alone.

use std::net::SocketAddr;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use violin::id::{Epoch, NetworkId, PeerId};
use violin::session::{Opened, Sessions, TRANSMIT_LEN, What};
use violin::wire::{Flags, OVERHEAD};

const PEER: PeerId = PeerId(0);
const WHAT: What = What::Frame { network: NetworkId(7), epoch: Epoch(0), flags: Flags::NONE };

fn pair() -> [Sessions; 2] {
    let mut pair = [1u8, 2].map(|number| Sessions::new([number; 32], [number; 32], 1, 1));
    let keys = pair.each_ref().map(Sessions::public_key);
    for (switch, key) in pair.iter_mut().zip([keys[1], keys[0]]) {
        switch.add_peer(key, address()).expect("a first peer");
    }
    pair
}

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 4789))
}

/// A whole handshake, with its confirmation.
fn handshake([a, b]: &mut [Sessions; 2]) {
    a.connect(0, PEER);
    for from in [0, 1, 0] {
        let (sender, receiver) = if from == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        let mut buf = [0; TRANSMIT_LEN];
        let (len, _) = sender.poll_transmit(0, &mut buf).expect("a message of the handshake");
        receiver.open(0, address(), &mut buf[..len]);
    }
}

fn established() -> [Sessions; 2] {
    let mut pair = pair();
    handshake(&mut pair);
    pair
}

fn datagrams(c: &mut Criterion) {
    for len in [64, 1400] {
        let mut group = c.benchmark_group(format!("{len} octets"));
        group.throughput(Throughput::Bytes(len as u64));
        let [mut a, mut b] = established();
        let mut buf = vec![0x5a; len + OVERHEAD];
        group.bench_function("seal", |bench| {
            bench.iter(|| a.seal(0, PEER, WHAT, &mut buf, len).expect("a session"))
        });
        group.bench_function("seal and open", |bench| {
            bench.iter(|| {
                a.seal(0, PEER, WHAT, &mut buf, len).expect("a session");
                assert!(matches!(b.open(0, address(), &mut buf), Opened::Frame { .. }));
            })
        });
        let mut forged = buf.clone();
        a.seal(0, PEER, WHAT, &mut forged, len).expect("a session");
        *forged.last_mut().expect("a tag") ^= 1;
        group.bench_function("refuse a forged one", |bench| {
            bench.iter(|| assert!(matches!(b.open(0, address(), &mut forged), Opened::Dropped(_))))
        });
        group.finish();
    }
}

fn handshakes(c: &mut Criterion) {
    c.bench_function("handshake, both sides", |bench| {
        bench.iter_batched_ref(pair, handshake, BatchSize::SmallInput)
    });
    let [mut a, mut b] = pair();
    a.connect(0, PEER);
    let mut first = [0; TRANSMIT_LEN];
    a.poll_transmit(0, &mut first).expect("a first message");
    first[TRANSMIT_LEN - 1] ^= 1;
    c.bench_function("refuse a first message without its MAC", |bench| {
        bench.iter(|| assert!(matches!(b.open(0, address(), &mut first), Opened::Dropped(_))))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = datagrams, handshakes
}
criterion_main!(benches);

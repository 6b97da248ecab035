//! How fast the switch core is, on one core: `cargo bench -p violin --bench switch`.
//!
//! `lookup/N`: one look up of a known address among N, addresses in no order. It must cost the same
//! for each N but for the caches: 10,000 entries take 320 KiB.
//! `forward/…`: the whole decision for one frame (header parsed, source learned, counted), and for a
//! flood the walk over its targets too. One element is one frame: elements a second is frames a
//! second on one core.
//!
//! Seen on one core of a shared AMD EPYC (KVM), 22 November 2026: lookup 13.6, 13.3, 13.2 and 14.2 ns
//! among 10, 100, 1,000 and 10,000; unicast between 2 guests 60 ns (16.6 million frames a second),
//! among 10,000 addresses 80 ns (12.5 million); flood to 8 ports 152 ns (6.6 million).
//!
//! `colours/…`: what a cut's comparison adds for each frame and port: 4 ns (seen on the same machine, 22 November 2026,
//! while it did other work, next to 70 ns for the unicast above), 8 ns for a frame that is recorded.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use violin::cut::{Arrival, Channel, Cut, Limits as CutLimits, Mode};
use violin::frame::Header;
use violin::id::{Epoch, Mac, NetworkId, PeerId, PortId};
use violin::switch::{Forward, From, Limits, Switch, Target};
use violin::table::{Entry, Key, Table};

const NETWORK: NetworkId = NetworkId(1);

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn octets(src: Mac, dst: Mac) -> [u8; 14] {
    let mut octets = [0; 14];
    octets[..6].copy_from_slice(&dst.0);
    octets[6..12].copy_from_slice(&src.0);
    octets[12] = 8;
    octets
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    for count in [10, 100, 1_000, 10_000] {
        let mut table = Table::new(16_384, &[0x42; 16]);
        for n in 0..count {
            let (key, place) = (Key::new(0, mac(n)), Target::Port(PortId(n as u16)));
            table.insert(Entry { key, place, pinned: false, moves: 0, moves_since: 0, seen: 0 });
        }
        let mut n = 0u32;
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                n = (n + 1) % count;
                black_box(table.get(Key::new(0, mac(n))))
            });
        });
    }
    group.finish();
}

/// A switch with ports of `macs_per_port` addresses each, all learned.
fn switch(ports: u32, macs_per_port: u32) -> Switch {
    let macs = (ports * macs_per_port) as usize;
    let limits = Limits {
        networks: 1,
        macs_per_network: macs,
        macs_per_port: macs,
        flood_copies_per_second: u32::MAX,
        ..Limits::default()
    };
    let mut switch = Switch::new(limits, [0x42; 16]);
    switch.add_network(NETWORK, 1500).unwrap();
    for port in 0..ports {
        let id = switch.add_port(NETWORK, None).unwrap();
        for n in 0..macs_per_port {
            let header = Header::parse(&octets(mac(port + n * ports), Mac::BROADCAST)).unwrap();
            let _ = switch.forward(0, From::Port(id), &header, 60, false);
        }
    }
    switch
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    for (name, ports, macs_per_port) in
        [("unicast, 2 guests", 2, 1), ("unicast, 64 guests", 64, 1), ("unicast, 10,000 addresses", 50, 200)]
    {
        let mut switch = switch(ports, macs_per_port);
        let count = ports * macs_per_port;
        let frames: Vec<(PortId, [u8; 14])> =
            (0..count).map(|n| (PortId((n % ports) as u16), octets(mac(n), mac((n + 1) % count)))).collect();
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) % frames.len();
                let (port, octets) = &frames[at];
                let header = Header::parse(black_box(octets)).unwrap();
                match switch.forward(1, From::Port(*port), &header, 60, false) {
                    Forward::One(target) => switch.count_out(black_box(target), 60),
                    other => panic!("{other:?}"),
                }
            });
        });
    }
    let mut switch = switch(9, 1);
    let broadcast = octets(mac(0), Mac::BROADCAST);
    group.bench_function("flood to 8 ports", |b| {
        b.iter(|| {
            let header = Header::parse(black_box(&broadcast)).unwrap();
            match switch.forward(1, From::Port(PortId(0)), &header, 60, false) {
                Forward::Flood(flood) => {
                    flood.targets().for_each(|target| switch.count_out(black_box(target), 60));
                }
                other => panic!("{other:?}"),
            }
        });
    });
    group.finish();
}

/// What the colours cost: `same epoch` is what each frame pays for each port, always; `in transit` is a
/// frame from before a cut at a port after it, which is recorded.
fn colours(c: &mut Criterion) {
    let mut group = c.benchmark_group("colours");
    group.throughput(Throughput::Elements(1));
    let mut cut = Cut::new(CutLimits::default());
    for port in 0..64 {
        cut.open(PortId(port), NETWORK, Epoch(3));
    }
    let mut measure = |name, cut: &mut Cut, epoch| {
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) % 64;
                let from = Channel::Peer(PeerId(1));
                let frame = Arrival { at_ms: 1, epoch: black_box(Epoch(epoch)), from, octets: 1514 };
                cut.judge(PortId(black_box(at)), &frame)
            });
        });
    };
    measure("same epoch, no cut", &mut cut, 3);
    cut.begin(NETWORK, Epoch(4), Mode::Hold).unwrap();
    for port in 0..64 {
        cut.flip(PortId(port));
    }
    measure("same epoch, a cut runs", &mut cut, 4);
    measure("in transit", &mut cut, 3);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = lookup, forward, colours
}
criterion_main!(benches);

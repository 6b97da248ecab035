//! Whatever memory map a domain builder gives: a plan that is accepted can be turned into page
//! tables, and free RAM is mapped, really RAM, and clear of all that is in use.

use boot::memory::{HIGHEST_RAM, Plan};
use boot::paging::{PageTables, Rights, Table, Tables};
use boot::{MemoryKind, MemoryRegion, Span};

/// Tables at made-up addresses 0x1000, 0x2000 ...
struct Fake(Vec<Table>);

impl Tables for Fake {
    fn take(&mut self) -> Option<u64> {
        self.0.push([0; 512]);
        Some(self.0.len() as u64 * 4096)
    }
    fn at(&mut self, address: u64) -> &mut Table {
        &mut self.0[(address / 4096) as usize - 1]
    }
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Somewhere below 6 GiB, often with odd edges, now and then absurd.
    fn span(&mut self) -> Span {
        let unit = [1, 4096, 2 << 20][self.below(3) as usize];
        match self.below(20) {
            0 => Span::sized(u64::MAX - self.below(1 << 40), self.below(1 << 50)),
            1 => Span::sized(self.below(1 << 38), self.below(1 << 33)),
            _ => Span::sized(self.below((6 << 30) / unit) * unit, self.below((64 << 20) / unit + 1) * unit),
        }
    }
}

#[test]
fn every_plan_can_be_mapped_and_its_free_ram_is_free() {
    let image = Span::new(0x10_0000, 0x18_0000);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut planned = 0;
    for _ in 0..300 {
        let count = 1 + random.below(12);
        let map: Vec<MemoryRegion> = (0..count)
            .map(|_| MemoryRegion { span: random.span(), kind: MemoryKind::from(random.below(8) as u32 % 6) })
            .collect();
        let occupied: Vec<Span> = (0..random.below(4)).map(|_| random.span()).collect();
        // Refusing is fine; anything else must hold together.
        let Ok(plan) = Plan::new(&map, image, &occupied) else { continue };
        planned += 1;

        let mut tables = PageTables::new(Fake(Vec::new())).unwrap();
        tables.map_small(image, Rights::ReadExecute).unwrap();
        for span in plan.mapped.iter() {
            tables.map(span, Rights::ReadWrite).unwrap_or_else(|error| panic!("{error} in {map:x?}"));
        }
        tables.map(plan.window, Rights::ReadWrite).unwrap_or_else(|error| panic!("{error} in {map:x?}"));

        for free in plan.free_ram.iter() {
            assert!(free.start >= 4096 && free.end <= HIGHEST_RAM);
            assert_eq!((free.start % 4096, free.end % 4096), (0, 0));
            assert!(plan.mapped.iter().any(|span| span.overlap(free) == free), "{free:?} is not mapped");
            for used in occupied.iter().chain([&image, &plan.window]) {
                assert!(free.overlap(*used).is_empty(), "{free:?} is in use by {used:?}");
            }
            for region in map.iter().filter(|region| region.kind != MemoryKind::Ram) {
                assert!(free.overlap(region.span).is_empty(), "{free:?} is {region:?}");
            }
        }
    }
    assert!(planned > 200, "the test would say nothing: {planned}");
}

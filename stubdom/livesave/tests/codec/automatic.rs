//! What the encoder chooses by itself.

use livesave::codec::{CodecConfig, Coding, Encoded, Page, Xxh3};

use crate::guest::{Ends, Guest};
use crate::rng::Rng;

const PAGES: u32 = 4096;

/// Each codec takes a tick for each page; to send a page takes `sink` ticks.
fn ends(sink: u64) -> Ends<Xxh3> {
    let mut ends = Ends::new(CodecConfig::auto(PAGES));
    ends.encoder.sink(4096, sink);
    ends
}

fn noise(rng: &mut Rng) -> Page {
    let mut page = [0; 4096];
    page.as_chunks_mut::<8>().0.fill_with(|| rng.next().to_le_bytes());
    page
}

/// How many of so many pages are sent raw.
fn raw(ends: &mut Ends<Xxh3>, count: u32, mut page: impl FnMut(u32) -> Page) -> u32 {
    let mut send = |n| ends.check(n % PAGES, &page(n)).unwrap() == Encoded::Raw;
    (0..count).map(|n| u32::from(send(n))).sum()
}

#[test]
fn where_nothing_is_gained_pages_are_sent_raw_and_hardly_anything_is_tried() {
    let (mut ends, mut rng) = (ends(2), Rng::new(1));
    let mut page = |_| noise(&mut rng);
    raw(&mut ends, 40_000, &mut page);
    // The clock is read by trials only: twice for a page, and once more for each further codec.
    let before = ends.ticks;
    let raw = raw(&mut ends, 40_000, &mut page);
    assert!(raw > 37_000, "{raw}");
    assert!(ends.ticks - before < 25_000, "{}", ends.ticks - before);
}

#[test]
fn a_sink_that_costs_nothing_gets_raw_pages_however_well_they_compress() {
    let mut ends = ends(0);
    let page = |n: u32| {
        let mut page = [0x11; 4096];
        page[..4].copy_from_slice(&n.to_le_bytes());
        page
    };
    raw(&mut ends, 10_000, page);
    let raw = raw(&mut ends, 10_000, page);
    assert!(raw > 8_700, "{raw}");
}

#[test]
fn what_gains_is_used_and_is_found_when_it_begins_to_gain() {
    let (mut ends, mut rng) = (ends(100), Rng::new(2));
    let mut pages: Vec<Page> = (0..PAGES).map(|_| noise(&mut rng)).collect();
    for round in 0..12 {
        // Noise at first, then small changes to it.
        for (slot, page) in (0..).zip(&mut pages) {
            *page = if round < 4 { noise(&mut rng) } else { *page };
            page[round] ^= 1;
            ends.check(slot, page).unwrap();
        }
    }
    let before = ends.encoder.stats().delta.pages;
    for (slot, page) in (0..).zip(&mut pages) {
        page[100] ^= 1;
        ends.check(slot, page).unwrap();
    }
    // As many as there are bases for: a quarter.
    let delta = ends.encoder.stats().delta.pages - before;
    assert!(delta > u64::from(PAGES) / 4 - 100, "{delta}");
}

#[test]
fn a_sink_that_becomes_slow_gets_fewer_bytes() {
    let mut ends = ends(0);
    let page = |n: u32| {
        let mut page = [0x11; 4096];
        page[..4].copy_from_slice(&n.to_le_bytes());
        page
    };
    raw(&mut ends, 10_000, page);
    for _ in 0..40 {
        ends.encoder.sink(4096, 20);
    }
    raw(&mut ends, 40_000, page);
    let raw = raw(&mut ends, 10_000, page);
    assert!(raw < 1_000, "{raw}");
}

#[test]
fn the_image_is_what_was_sent_while_codecs_come_and_go() {
    let mut guest = Guest::new(512, 3);
    let mut ends =
        Ends::<Xxh3>::new(CodecConfig { block_cache: 300, delta_pages: 200, ..CodecConfig::auto(512) });
    let mut seen = [false; 3];
    for n in 0..60_000 {
        if n % 3000 == 0 {
            ends.encoder.next_round();
            // Seldom worth it, then always.
            (0..40).for_each(|_| ends.encoder.sink(4096, if n % 9000 == 0 { 0 } else { 100 }));
        }
        let slot = guest.rng.below(512) as usize;
        guest.write(slot);
        let page = guest.pages[slot];
        let kind = match ends.check(slot as u32, &page).unwrap() {
            Encoded::Zero => continue,
            Encoded::Raw => 0,
            Encoded::Coded(Coding::Delta, _) => 1,
            Encoded::Coded(..) => 2,
        };
        seen[kind] = true;
    }
    assert_eq!(seen, [true; 3]);
}

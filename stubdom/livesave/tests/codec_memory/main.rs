//! The codecs' memory: all of it is taken at the start, no more than the configuration says, and too
//! little of it is an error.
//!
//! A test binary of its own because it replaces the allocator.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use livesave::codec::{CodecConfig, CodecError, Decoder, Encoded, Encoder, HeapPage, NoMemory, Page};

thread_local! {
    /// Allocations of this thread, the bytes that it has, and those that it may still have.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static USED: Cell<usize> = const { Cell::new(0) };
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Counting;

// SAFETY: every call goes to `System` unchanged, or returns null, which means that there is no
// memory. The counters are plain cells of the thread and do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        let Some(left) = LEFT.get().checked_sub(layout.size()) else { return std::ptr::null_mut() };
        LEFT.set(left);
        USED.set(USED.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.set(USED.get().wrapping_sub(layout.size()));
        // SAFETY: `pointer` came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAGES: u32 = 10_000;

fn configs() -> [CodecConfig; 4] {
    let auto = CodecConfig::auto(PAGES);
    let odd = CodecConfig { block_cache: 5, delta_pages: 3, auto: false, ..auto };
    [CodecConfig::raw(PAGES), odd, auto, CodecConfig { block_cache: 100_000, delta_pages: 0, ..auto }]
}

/// What a constructor takes from the heap, without the pages, which it takes from a pool that counts.
fn taken<T>(
    make: impl FnOnce(&mut dyn FnMut() -> Option<HeapPage>) -> Result<T, NoMemory>,
) -> (usize, usize) {
    let (before, mut pages) = (USED.get(), 0);
    let made = make(&mut || {
        pages += 1;
        HeapPage::take()
    });
    assert!(made.is_ok());
    (pages, USED.get().wrapping_sub(before).wrapping_sub(pages * size_of::<Page>()))
}

#[test]
fn no_more_is_taken_than_the_configuration_says() {
    for config in configs() {
        let (pages, heap) = taken(|pages| Encoder::<_>::new(config, pages));
        assert_eq!(pages, config.encoder_pages());
        assert!(
            (config.encoder_heap() / 4 * 3..=config.encoder_heap()).contains(&heap),
            "{config:?}: {heap}"
        );
        let (pages, heap) = taken(|pages| Decoder::new(&config, pages));
        assert_eq!(pages, config.decoder_pages());
        assert!(heap <= config.decoder_heap(), "{config:?}: {heap}");
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    for config in configs() {
        let mut encoder = Encoder::<_>::new(config, HeapPage::take).unwrap();
        let mut decoder = Decoder::new(&config, HeapPage::take).unwrap();
        let before = COUNT.get();
        let (mut page, mut out, mut arrived) = ([0; 4096], [0; 4096], [0; 4096]);
        for n in 0..50_000u32 {
            let at = n.wrapping_mul(2_654_435_761) as usize % 4096;
            page[at] = n as u8;
            let slot = n % 3000;
            if slot == 0 {
                encoder.next_round();
            }
            if let Encoded::Coded(coding, len) = encoder.encode(slot, &page, &mut out, || n.into()) {
                let base = |base: &mut Page| {
                    base.fill(1);
                    Ok::<_, CodecError>(())
                };
                decoder.decode(coding, &out[..len], base, &mut arrived).unwrap();
            }
            encoder.sink(4096, 100);
        }
        encoder.reset();
        decoder.reset();
        assert_eq!(COUNT.get(), before, "{config:?}");
    }
}

#[test]
fn too_little_memory_is_refused() {
    let config = CodecConfig { block_cache: 40, delta_pages: 10, ..CodecConfig::auto(PAGES) };
    let new = |left, pages| {
        // The pool's pages are made before.
        let mut pool: Vec<HeapPage> = (0..pages).map_while(|_| HeapPage::take()).collect();
        LEFT.set(left);
        let result = Encoder::<_>::new(config, || pool.pop());
        LEFT.set(usize::MAX);
        result.map(|_| ())
    };
    let (heap, pages) = (config.encoder_heap(), config.encoder_pages());
    assert_eq!(new(heap, pages), Ok(()));
    assert_eq!(new(heap, pages - 1).err(), Some(NoMemory));
    for left in (0..heap / 4 * 3).step_by(500) {
        assert_eq!(new(left, pages).err(), Some(NoMemory), "{left}");
    }
}

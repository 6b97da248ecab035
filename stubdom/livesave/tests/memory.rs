//! Memory: all of it is taken at the start, and too little of it is an error.
//!
//! A test binary of its own because it replaces the allocator.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use livesave::{Action, AnyPolicy, Base, Config, Downtime, Event, How, NewError, Outcome, Precopy, ReadDone};

thread_local! {
    /// Allocations of this thread, and the bytes that it may still have.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Counting;

// SAFETY: every call goes to `System` unchanged, or returns null, which means that there is no
// memory. The counters are plain cells of the thread and do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        match LEFT.get().checked_sub(layout.size()) {
            Some(left) => {
                LEFT.set(left);
                // SAFETY: the caller's promise about `layout` is passed on.
                unsafe { System.alloc(layout) }
            }
            None => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONFIG: Config = Config::new(262_144, 1000, 4096);

fn live_save() -> AnyPolicy {
    "live-save".parse().unwrap()
}

/// The same with all that takes memory.
const EVERYTHING: Config =
    Config { defer_hot: true, prepare: 10_000, throttle: true, base: Base::Log, ..CONFIG };

#[test]
fn nothing_is_allocated_after_the_start() {
    assert_nothing_is_allocated(CONFIG, live_save());
    assert_nothing_is_allocated(EVERYTHING, live_save());
    assert_nothing_is_allocated(EVERYTHING, AnyPolicy::Downtime(Downtime::new(0, false)));
}

fn assert_nothing_is_allocated(config: Config, policy: AnyPolicy) {
    let bitmap = vec![0x11; config.pages as usize / 8];
    let mut engine = Precopy::new(config, policy).unwrap();
    let before = COUNT.get();
    let mut prepared = 0;
    for now in 0.. {
        let first;
        let event = match engine.next(now) {
            Action::Clean { .. } => {
                engine.dirty_chunk(0, &bitmap);
                Event::Done
            }
            Action::Read { batch, how } => {
                // Of each batch one page is skipped or, where none may be, missing.
                first = [batch[0]];
                let sent = batch.len() as u32 - 1;
                let skipped = u32::from(how == How::SendUnlessDirty);
                let missing = &first[skipped as usize..];
                Event::Read(ReadDone { sent, skipped, missing, copy_us: 10_000, ..ReadDone::default() })
            }
            Action::Prepare { slots } => {
                prepared = slots.len() as u32;
                Event::Done
            }
            Action::WriteOut => Event::Written { zero: 0 },
            Action::Finish(outcome) => {
                assert_eq!(outcome, Outcome::Commit);
                break;
            }
            _ => Event::Done,
        };
        engine.on(event, now);
        let _ = (engine.progress(), engine.report());
    }
    assert_eq!(COUNT.get(), before);
    assert!(engine.report().rounds.len() > 2);
    assert_eq!(prepared, config.prepare);
}

#[test]
fn too_little_memory_is_refused_with_what_is_needed() {
    let needed = |config, left| {
        LEFT.set(left);
        let result = Precopy::new(config, live_save()).map(|_| ());
        LEFT.set(usize::MAX);
        result
    };
    for (config, least) in [(CONFIG, 80_000), (EVERYTHING, 170_000)] {
        let Err(NewError::Memory(bytes)) = needed(config, 0) else { panic!("no refusal") };
        assert!((least..least + 20_000).contains(&bytes), "{bytes}");
        for left in (0..bytes).step_by(1000).chain([bytes - 1]) {
            assert_eq!(needed(config, left), Err(NewError::Memory(bytes)), "{left}");
        }
        assert_eq!(needed(config, bytes), Ok(()));
    }
}

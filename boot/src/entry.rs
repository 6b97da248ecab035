//! From entry.s to `main`: the steps in their order.

use crate::memory::{BootInfo, Plan, PlanError};
use crate::paging::{MapError, PageTables, Rights, Table, Tables};
use crate::span::{PAGE, Span, TooManySpans};
use crate::start_info::{PhysicalMemory, StartInfo, StartInfoError};
use crate::{cpu, exception, stack};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;

global_asm!(
    include_str!("entry.s"),
    gdt = sym exception::GDT,
    main_stack = sym stack::MAIN,
    main_stack_size = const PAGE as usize + stack::MAIN_SIZE,
    rust_entry = sym rust_entry,
    options(att_syntax),
);

unsafe extern "C" {
    // From link.ld; only their addresses mean something.
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
}

unsafe extern "Rust" {
    /// What `boot::entry!` defines.
    safe fn __boot_main(info: &'static BootInfo) -> !;
}

/// Why there is no way to `main`.
enum BootError {
    StartInfo(StartInfoError),
    Plan(PlanError),
    Map(MapError),
    NoExecuteMissing,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartInfo(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Map(error) => error.fmt(f),
            Self::NoExecuteMissing => {
                f.write_str("the processor can't forbid execution (NX): switch it on in the host's firmware")
            }
        }
    }
}

impl From<StartInfoError> for BootError {
    fn from(error: StartInfoError) -> BootError {
        BootError::StartInfo(error)
    }
}

impl From<PlanError> for BootError {
    fn from(error: PlanError) -> BootError {
        BootError::Plan(error)
    }
}

impl From<TooManySpans> for BootError {
    fn from(error: TooManySpans) -> BootError {
        BootError::Plan(error.into())
    }
}

impl From<MapError> for BootError {
    fn from(error: MapError) -> BootError {
        BootError::Map(error)
    }
}

/// [`BootInfo`], written once before `main`.
struct InfoCell(UnsafeCell<MaybeUninit<BootInfo>>);

// SAFETY: written once by `rust_entry`, before anyone has a reference; only read from then on.
unsafe impl Sync for InfoCell {}

static INFO: InfoCell = InfoCell(UnsafeCell::new(MaybeUninit::uninit()));

/// Called by entry.s, once, on the main stack, on the first page tables.
extern "C" fn rust_entry(start_info: u32) -> ! {
    // SAFETY: the first thing that happens, and entry.s loaded the GDT.
    unsafe { exception::init() };
    match prepare(u64::from(start_info)) {
        // SAFETY: this function runs once, and nobody has a reference to the cell yet.
        Ok(info) => __boot_main(unsafe { (*INFO.0.get()).write(info) }),
        Err(error) => panic!("{error}"),
    }
}

/// Reads the start info, plans memory, and switches to the real page tables.
fn prepare(start_info: u64) -> Result<BootInfo, BootError> {
    let features = cpu::features();
    if !features.no_execute {
        return Err(BootError::NoExecuteMissing);
    }
    let start = StartInfo::read(&LowMemory, start_info)?;
    let text = Span::new(&raw const __text_start as u64, &raw const __text_end as u64);
    let rodata = Span::new(&raw const __rodata_start as u64, &raw const __rodata_end as u64);
    let data = Span::new(&raw const __data_start as u64, &raw const __data_end as u64);
    let image = Span::new(text.start, data.end);
    let mut plan = Plan::new(&start.regions, image, &start.occupied)?;

    // The tables come from the front of the largest free range that the first tables reach.
    let reachable = plan.free_ram.iter().map(|span| span.overlap(LOW));
    let room = reachable.max_by_key(Span::size).unwrap_or_default();
    let mut tables = PageTables::new(FreeTables { room })?;
    tables.map_small(text, Rights::ReadExecute)?;
    tables.map_small(rodata, Rights::Read)?;
    let mut start_of_rest = data.start;
    let mut guards = stack::guards();
    guards.sort_unstable_by_key(|guard| guard.page.start);
    for guard in guards {
        tables.map_small(Span::new(start_of_rest, guard.page.start), Rights::ReadWrite)?;
        start_of_rest = guard.page.end;
    }
    tables.map_small(Span::new(start_of_rest, data.end), Rights::ReadWrite)?;
    for span in plan.mapped.iter() {
        tables.map(span, Rights::ReadWrite)?;
    }
    tables.map(plan.window, Rights::ReadWrite)?;
    let (root, FreeTables { room: left }) = tables.finish();
    plan.free_ram.remove(Span::new(room.start, left.start))?;

    // SAFETY:
    // 1. The processor has NX, SMEP and SMAP as far as they are used here.
    // 2. Image, stack and RAM are mapped where they were, with the rights that they need.
    // 3. No page is a user page, so SMEP and SMAP forbid nothing that we do.
    unsafe {
        cpu::enable_no_execute();
        cpu::switch_page_tables(root);
        cpu::set_cr4(features.cr4);
    }
    Ok(BootInfo {
        command_line: start.command_line,
        memory_map: start.regions,
        image,
        free_ram: plan.free_ram,
        window: plan.window,
    })
}

/// What the first page tables map. QEMU leaves the memory map in page 0.
const LOW: Span = Span::new(0, 4 << 30);

/// Physical memory through the first page tables.
struct LowMemory;

impl PhysicalMemory for LowMemory {
    fn bytes(&self, address: u64, size: usize) -> Option<&'static [u8]> {
        let span = Span::sized(address, size as u64);
        if address == 0 || span.end > LOW.end {
            return None;
        }
        // SAFETY:
        // 1. The range is mapped, and virtual equals physical.
        // 2. Where there is no RAM, reads give ones: harmless.
        // 3. Nobody writes there: it is kept out of free RAM, and it isn't our image's data.
        Some(unsafe { core::slice::from_raw_parts(address as *const u8, size) })
    }
}

/// Tables from a range of free RAM below 4 GiB.
struct FreeTables {
    room: Span,
}

impl Tables for FreeTables {
    fn take(&mut self) -> Option<u64> {
        let page = Span::sized(self.room.start, PAGE);
        if page.end > self.room.end {
            return None;
        }
        self.room.start = page.end;
        self.at(page.start).fill(0);
        Some(page.start)
    }

    fn at(&mut self, address: u64) -> &mut Table {
        // SAFETY: `address` is a page that `take` gave out of free RAM, which nobody else uses yet
        // and the first tables map; the borrow of `self` keeps a second reference away.
        unsafe { &mut *(address as *mut Table) }
    }
}

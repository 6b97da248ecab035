//! From the memory map to three answers: which RAM is free, what gets mapped, and where physical
//! address space is unused. Plain logic; it never touches memory.

use crate::span::{PAGE, Span, SpanSet, TooManySpans};
use crate::start_info::{MAX_COMMAND_LINE, MAX_REGIONS};
use core::fmt;
use heapless::{String, Vec};

/// RAM from this address on is left alone: 64 GiB.
pub const HIGHEST_RAM: u64 = 64 << 30;
/// Size of [`BootInfo::window`]: 1 GiB, as many pages as one domain's grant mappings by default.
pub const WINDOW_SIZE: u64 = 1 << 30;
/// Four GiB: below it Xen and QEMU have their special pages.
const FOUR_GIB: u64 = 4 << 30;
/// What one PML4 entry covers; everything that we map is below.
const TOP: u64 = 512 << 30;

/// What a range of the memory map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Ordinary memory.
    Ram,
    /// Not RAM for us to use; on Xen the special pages (console, xenstore) are in one of these.
    Reserved,
    /// ACPI tables.
    Acpi,
    /// ACPI non-volatile storage.
    Nvs,
    /// Broken, disabled, persistent or unknown: never touched. The value is the map's own.
    Other(u32),
}

impl From<u32> for MemoryKind {
    /// From `XEN_HVM_MEMMAP_TYPE_*`.
    fn from(value: u32) -> MemoryKind {
        match value {
            1 => MemoryKind::Ram,
            2 => MemoryKind::Reserved,
            3 => MemoryKind::Acpi,
            4 => MemoryKind::Nvs,
            other => MemoryKind::Other(other),
        }
    }
}

/// One entry of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Physical addresses.
    pub span: Span,
    /// What they are.
    pub kind: MemoryKind,
}

/// What `main` is given. All addresses are physical and, where mapped, equal to virtual ones.
#[derive(Debug)]
pub struct BootInfo {
    /// The command line.
    pub command_line: String<MAX_COMMAND_LINE>,
    /// The memory map as the domain builder gave it.
    pub memory_map: Vec<MemoryRegion, MAX_REGIONS>,
    /// The image with its stacks.
    pub image: Span,
    /// RAM for heap and page pool: mapped, in whole pages, clear of the image, the page tables and
    /// everything that the domain builder left in memory.
    pub free_ram: SpanSet,
    /// 1 GiB, mapped readable and writable, with nothing behind it: for frames that the hypervisor
    /// is asked to put somewhere (grant mappings, shared info, grant table). Touching a page of it
    /// where nothing was put reads as ones or worse.
    pub window: Span,
}

/// The plan for memory, before there are page tables.
#[derive(Debug)]
pub struct Plan {
    /// Free RAM in whole pages.
    pub free_ram: SpanSet,
    /// What to map readable and writable beside the image.
    pub mapped: SpanSet,
    /// See [`BootInfo::window`].
    pub window: Span,
}

/// Why no plan could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The map breaks memory into more pieces than we keep.
    TooManyPieces,
    /// The map leaves no unused GiB between 4 and 512 GiB.
    NoWindow,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyPieces => "memory map: too many separate pieces",
            Self::NoWindow => "memory map: no unused GiB of address space below 512 GiB",
        })
    }
}

impl From<TooManySpans> for PlanError {
    fn from(_: TooManySpans) -> PlanError {
        PlanError::TooManyPieces
    }
}

impl Plan {
    /// Decides what is free and what gets mapped, given the map, the image, and what else is in use.
    ///
    /// Where entries overlap, the one that isn't RAM wins.
    pub fn new(regions: &[MemoryRegion], image: Span, occupied: &[Span]) -> Result<Plan, PlanError> {
        let image = image.pages_touched();
        let (mut free_ram, mut mapped) = (SpanSet::new(), SpanSet::new());
        for region in regions.iter().filter(|region| region.kind == MemoryKind::Ram) {
            let span = region.span.overlap(Span::new(0, HIGHEST_RAM)).pages_inside();
            free_ram.add(span)?;
            mapped.add(span)?;
        }
        for region in regions.iter().filter(|region| region.kind != MemoryKind::Ram) {
            let span = region.span.pages_touched();
            free_ram.remove(span)?;
            match region.kind {
                MemoryKind::Other(_) => mapped.remove(span)?,
                // Above 4 GiB firmware reserves terabytes of nothing.
                _ => mapped.add(span.overlap(Span::new(0, FOUR_GIB)))?,
            }
        }
        for span in occupied {
            free_ram.remove(span.pages_touched())?;
        }
        for span in [Span::new(0, PAGE), image] {
            free_ram.remove(span)?;
            mapped.remove(span)?;
        }
        Ok(Plan { free_ram, mapped, window: window(regions)? })
    }
}

/// The lowest whole GiB from 4 GiB on that no entry of the map touches.
fn window(regions: &[MemoryRegion]) -> Result<Span, PlanError> {
    let mut start = FOUR_GIB;
    while start < TOP {
        let candidate = Span::sized(start, WINDOW_SIZE);
        if regions.iter().all(|region| region.span.overlap(candidate).is_empty()) {
            return Ok(candidate);
        }
        start += WINDOW_SIZE;
    }
    Err(PlanError::NoWindow)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Span = Span::new(0x10_0000, 0x18_0000);

    fn region(start: u64, end: u64, kind: u32) -> MemoryRegion {
        MemoryRegion { span: Span::new(start, end), kind: kind.into() }
    }

    /// As Xen gives it to a PVH domain with `memory=32`.
    fn xen_map() -> [MemoryRegion; 4] {
        [
            region(0, 0x200_0000, 1),
            region(0xfc00_0000, 0xfc00_9000, 3),
            region(0xfeff_8000, 0xff00_0000, 2),
            region(0xfee0_0000, 0xfee0_1000, 2),
        ]
    }

    #[test]
    fn free_ram_leaves_out_page_0_the_image_and_what_is_occupied() {
        let start_info = Span::sized(0x18_0010, 0x40);
        let plan = Plan::new(&xen_map(), IMAGE, &[start_info]).unwrap();
        let expected = [Span::new(0x1000, 0x10_0000), Span::new(0x18_1000, 0x200_0000)];
        assert_eq!(plan.free_ram.as_slice(), expected);
    }

    #[test]
    fn special_pages_below_4_gib_are_mapped_and_page_0_and_the_image_are_not() {
        let plan = Plan::new(&xen_map(), IMAGE, &[]).unwrap();
        let mapped = |address| plan.mapped.iter().any(|span| span.contains(address));
        assert!(mapped(0x1000) && mapped(0x18_0000) && mapped(0x1ff_ffff));
        assert!(mapped(0xfeff_c000) && mapped(0xfc00_0000));
        assert!(!mapped(0xfff) && !mapped(0x10_0000) && !mapped(0x17_ffff) && !mapped(0x200_0000));
    }

    #[test]
    fn the_window_is_clear_of_every_entry() {
        let plan = Plan::new(&xen_map(), IMAGE, &[]).unwrap();
        assert_eq!(plan.window, Span::new(4 << 30, 5 << 30));
        let high = [region(0, 3 << 30, 1), region(4 << 30, (5 << 30) + 1, 1)];
        let plan = Plan::new(&high, IMAGE, &[]).unwrap();
        assert_eq!(plan.window, Span::new(6 << 30, 7 << 30));
        let full = [region(0, u64::MAX, 2)];
        assert_eq!(Plan::new(&full, IMAGE, &[]).unwrap_err(), PlanError::NoWindow);
    }

    #[test]
    fn odd_edges_shrink_ram_and_grow_what_is_reserved() {
        let map = [region(0, 0x9_fc00, 1), region(0x9_fc00, 0xa_0000, 2)];
        let plan = Plan::new(&map, IMAGE, &[]).unwrap();
        assert_eq!(plan.free_ram.as_slice(), [Span::new(0x1000, 0x9_f000)]);
        assert_eq!(plan.mapped.as_slice(), [Span::new(0x1000, 0xa_0000)]);
    }

    #[test]
    fn where_entries_overlap_ram_loses() {
        let map =
            [region(0, 0x100_0000, 1), region(0x80_0000, 0x90_0000, 2), region(0xa0_0000, 0xb0_0000, 5)];
        let plan = Plan::new(&map, IMAGE, &[]).unwrap();
        let free = |address| plan.free_ram.iter().any(|span| span.contains(address));
        let mapped = |address| plan.mapped.iter().any(|span| span.contains(address));
        assert!(free(0x7f_ffff) && !free(0x80_0000) && free(0x90_0000) && !free(0xa0_0000));
        assert!(mapped(0x80_0000) && !mapped(0xa0_0000), "unusable memory is not even mapped");
    }

    #[test]
    fn ram_beyond_the_limit_and_reserved_terabytes_are_ignored() {
        let map = [
            region(0, 0x200_0000, 1),
            region(4 << 30, 80 << 30, 1),
            region(0xfd_0000_0000, 0x100_0000_0000, 2),
        ];
        let plan = Plan::new(&map, IMAGE, &[]).unwrap();
        assert_eq!(plan.free_ram.as_slice().last(), Some(&Span::new(4 << 30, 64 << 30)));
        assert_eq!(plan.mapped.as_slice().last(), Some(&Span::new(4 << 30, 64 << 30)));
        assert_eq!(plan.window, Span::new(80 << 30, 81 << 30));
    }

    #[test]
    fn entries_at_the_end_of_the_address_space_do_no_harm() {
        let map = [region(0, 0x200_0000, 1), region(u64::MAX - 10, u64::MAX, 1), region(5, 3, 1)];
        assert!(Plan::new(&map, IMAGE, &[Span::new(u64::MAX - 1, u64::MAX)]).is_ok());
    }
}

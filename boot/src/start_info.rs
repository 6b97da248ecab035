//! What the domain builder hands over at the PVH entry point: `struct hvm_start_info` and what it
//! points at, mirrored from Xen's `xen/include/public/arch-x86/hvm/start_info.h`.
//!
//! The builder is trusted (it made the domain), yet nothing is read without a check: a wrong
//! pointer gives an error that names its field, not a fault in early boot. Never keeps more than
//! the fixed bounds below.

use crate::memory::{MemoryKind, MemoryRegion};
use crate::span::Span;
use core::fmt;
use core::mem::{offset_of, size_of};
use heapless::{String, Vec};

/// Value of `magic`.
pub const MAGIC: u32 = 0x336e_c578;
/// Longest command line in bytes, without its final zero.
pub const MAX_COMMAND_LINE: usize = 4095;
/// Most entries of the memory map.
pub const MAX_REGIONS: usize = 128;
/// Most modules.
pub const MAX_MODULES: usize = 16;

/// `struct hvm_start_info`, version 1.
#[repr(C)]
pub struct HvmStartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    nr_modules: u32,
    modlist_paddr: u64,
    cmdline_paddr: u64,
    rsdp_paddr: u64,
    memmap_paddr: u64,
    memmap_entries: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<HvmStartInfo>() == 56);
const _: () = assert!(offset_of!(HvmStartInfo, memmap_entries) == 48);

/// `struct hvm_modlist_entry`.
#[repr(C)]
pub struct HvmModlistEntry {
    paddr: u64,
    size: u64,
    cmdline_paddr: u64,
    reserved: u64,
}
const _: () = assert!(size_of::<HvmModlistEntry>() == 32);

/// `struct hvm_memmap_table_entry`.
#[repr(C)]
pub struct HvmMemmapTableEntry {
    addr: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<HvmMemmapTableEntry>() == 24);

/// Reads physical memory. `None` when the range can't be read.
pub trait PhysicalMemory {
    /// The `size` bytes from `address`.
    fn bytes(&self, address: u64, size: usize) -> Option<&'static [u8]>;
}

/// What the start info said.
#[derive(Debug)]
pub struct StartInfo {
    /// Version of the structure (1 or later: without a memory map we don't boot).
    pub version: u32,
    /// The command line, copied; empty when there is none.
    pub command_line: String<MAX_COMMAND_LINE>,
    /// The memory map as given.
    pub regions: Vec<MemoryRegion, MAX_REGIONS>,
    /// Memory that holds the start info, all that it points at, and the modules.
    pub occupied: Vec<Span, { 4 + 2 * MAX_MODULES }>,
}

/// Why the start info can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartInfoError {
    /// The structure or something that it points at is outside of readable memory.
    BadPointer(&'static str, u64),
    /// `magic` is another one: this isn't a PVH boot.
    BadMagic(u32),
    /// No memory map: version 0, or zero entries.
    NoMemoryMap(u32),
    /// More entries of this sort than we take.
    TooMany(&'static str, u32),
    /// No zero byte within [`MAX_COMMAND_LINE`] bytes and one more.
    CommandLineTooLong,
    /// The command line isn't UTF-8.
    CommandLineNotText,
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadPointer(what, at) => write!(f, "start info: {what} at {at:#x} can't be read"),
            Self::BadMagic(magic) => {
                write!(
                    f,
                    "start info: magic is {magic:#x}, not {MAGIC:#x}: start this image by its PVH entry point"
                )
            }
            Self::NoMemoryMap(version) => {
                write!(f, "start info: version {version} without a memory map; Xen 4.11 or later gives one")
            }
            Self::TooMany(what, count) => write!(f, "start info: {count} {what} are more than we take"),
            Self::CommandLineTooLong => {
                write!(f, "start info: the command line is longer than {MAX_COMMAND_LINE} bytes: shorten it")
            }
            Self::CommandLineNotText => write!(f, "start info: the command line is not UTF-8 text"),
        }
    }
}

impl StartInfo {
    /// Reads the start info at physical address `at`.
    pub fn read(memory: &impl PhysicalMemory, at: u64) -> Result<StartInfo, StartInfoError> {
        let bytes = |what, address, size| -> Result<&'static [u8], StartInfoError> {
            // "Nothing will be loaded at physical address 0": 0 means not present.
            let found = if address == 0 { None } else { memory.bytes(address, size) };
            found.ok_or(StartInfoError::BadPointer(what, address))
        };

        // Version 0 ends before memmap_paddr: look at magic and version first.
        let head = bytes("hvm_start_info", at, offset_of!(HvmStartInfo, memmap_paddr))?;
        let magic = u32_at(head, offset_of!(HvmStartInfo, magic));
        if magic != MAGIC {
            return Err(StartInfoError::BadMagic(magic));
        }
        let version = u32_at(head, offset_of!(HvmStartInfo, version));
        if version == 0 {
            return Err(StartInfoError::NoMemoryMap(version));
        }
        let info = bytes("hvm_start_info", at, size_of::<HvmStartInfo>())?;
        let mut occupied = Vec::new();
        // The capacity of `occupied` is that of the four kinds and all modules: it can't be exceeded.
        let mut occupy = |span| {
            let _ = occupied.push(span);
        };
        occupy(Span::sized(at, size_of::<HvmStartInfo>() as u64));

        let count = u32_at(info, offset_of!(HvmStartInfo, memmap_entries));
        if count == 0 {
            return Err(StartInfoError::NoMemoryMap(version));
        }
        if count as usize > MAX_REGIONS {
            return Err(StartInfoError::TooMany("entries of the memory map", count));
        }
        let address = u64_at(info, offset_of!(HvmStartInfo, memmap_paddr));
        let table = bytes("memory map", address, count as usize * size_of::<HvmMemmapTableEntry>())?;
        occupy(Span::sized(address, table.len() as u64));
        let mut regions = Vec::new();
        for entry in table.chunks_exact(size_of::<HvmMemmapTableEntry>()) {
            let start = u64_at(entry, offset_of!(HvmMemmapTableEntry, addr));
            let size = u64_at(entry, offset_of!(HvmMemmapTableEntry, size));
            let kind = u32_at(entry, offset_of!(HvmMemmapTableEntry, kind));
            let region = MemoryRegion { span: Span::sized(start, size), kind: MemoryKind::from(kind) };
            regions.push(region).map_err(|_| StartInfoError::TooMany("entries of the memory map", count))?;
        }

        let mut command_line = String::new();
        let address = u64_at(info, offset_of!(HvmStartInfo, cmdline_paddr));
        if address != 0 {
            let text = string(memory, address)?;
            occupy(Span::sized(address, text.len() as u64 + 1));
            let text = core::str::from_utf8(text).map_err(|_| StartInfoError::CommandLineNotText)?;
            command_line.push_str(text).map_err(|_| StartInfoError::CommandLineTooLong)?;
        }

        let count = u32_at(info, offset_of!(HvmStartInfo, nr_modules));
        if count as usize > MAX_MODULES {
            return Err(StartInfoError::TooMany("modules", count));
        }
        if count > 0 {
            let address = u64_at(info, offset_of!(HvmStartInfo, modlist_paddr));
            let list = bytes("module list", address, count as usize * size_of::<HvmModlistEntry>())?;
            occupy(Span::sized(address, list.len() as u64));
            for entry in list.chunks_exact(size_of::<HvmModlistEntry>()) {
                let start = u64_at(entry, offset_of!(HvmModlistEntry, paddr));
                occupy(Span::sized(start, u64_at(entry, offset_of!(HvmModlistEntry, size))));
                let text_at = u64_at(entry, offset_of!(HvmModlistEntry, cmdline_paddr));
                if text_at != 0 {
                    let text = string(memory, text_at)?;
                    occupy(Span::sized(text_at, text.len() as u64 + 1));
                }
            }
        }
        Ok(StartInfo { version, command_line, regions, occupied })
    }
}

/// The bytes from `address` up to the first zero.
fn string(memory: &impl PhysicalMemory, address: u64) -> Result<&'static [u8], StartInfoError> {
    for size in 0..=MAX_COMMAND_LINE as u64 {
        let at = address.checked_add(size).and_then(|end| memory.bytes(end, 1));
        match at {
            Some([0]) => {
                let text = memory.bytes(address, size as usize);
                return text.ok_or(StartInfoError::BadPointer("command line", address));
            }
            Some(_) => {}
            None => return Err(StartInfoError::BadPointer("command line", address)),
        }
    }
    Err(StartInfoError::CommandLineTooLong)
}

/// The field at `offset`; zero when the caller asked for too few bytes (it never does).
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

/// As [`u32_at`], for 8 bytes.
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 KiB of physical memory from address 0x1000 on.
    struct Memory(&'static [u8]);

    impl PhysicalMemory for Memory {
        fn bytes(&self, address: u64, size: usize) -> Option<&'static [u8]> {
            let start = usize::try_from(address.checked_sub(0x1000)?).ok()?;
            self.0.get(start..start.checked_add(size)?)
        }
    }

    /// A start info at 0x1000 with a memory map at 0x2000 and a command line at 0x3000.
    fn memory(change: impl FnOnce(&mut Vec<u8, 0x10000>)) -> Memory {
        let mut bytes: Vec<u8, 0x10000> = Vec::new();
        bytes.resize(0x10000, 0).unwrap();
        put(&mut bytes, 0x0, &MAGIC.to_le_bytes());
        put(&mut bytes, 0x4, &1u32.to_le_bytes());
        put(&mut bytes, 24, &0x3000u64.to_le_bytes());
        put(&mut bytes, 40, &0x2000u64.to_le_bytes());
        put(&mut bytes, 48, &2u32.to_le_bytes());
        for (i, (start, size, kind)) in
            [(0u64, 0x200_0000u64, 1u32), (0xfeff_8000, 0x8000, 2)].iter().enumerate()
        {
            put(&mut bytes, 0x1000 + i * 24, &start.to_le_bytes());
            put(&mut bytes, 0x1008 + i * 24, &size.to_le_bytes());
            put(&mut bytes, 0x1010 + i * 24, &kind.to_le_bytes());
        }
        put(&mut bytes, 0x2000, b"pool=8 log=info\0");
        change(&mut bytes);
        Memory(std::vec::Vec::leak(bytes.to_vec()))
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    #[test]
    fn a_good_start_info_is_read() {
        let info = StartInfo::read(&memory(|_| ()), 0x1000).unwrap();
        assert_eq!(info.command_line, "pool=8 log=info");
        assert_eq!(info.regions.len(), 2);
        assert_eq!(info.regions[0].kind, MemoryKind::Ram);
        assert_eq!(info.regions[1].span, Span::new(0xfeff_8000, 0xff00_0000));
        let expected = [Span::sized(0x1000, 56), Span::sized(0x2000, 48), Span::sized(0x3000, 16)];
        assert_eq!(info.occupied.as_slice(), expected);
    }

    #[test]
    fn modules_and_their_command_lines_are_occupied() {
        let info = StartInfo::read(
            &memory(|bytes| {
                put(bytes, 12, &1u32.to_le_bytes());
                put(bytes, 16, &0x4000u64.to_le_bytes());
                put(bytes, 0x3000, &0x80_0000u64.to_le_bytes());
                put(bytes, 0x3008, &0x1234u64.to_le_bytes());
                put(bytes, 0x3010, &0x3000u64.to_le_bytes());
            }),
            0x1000,
        )
        .unwrap();
        let expected = [Span::sized(0x4000, 32), Span::sized(0x80_0000, 0x1234), Span::sized(0x3000, 16)];
        assert_eq!(info.occupied[3..], expected);
    }

    #[test]
    fn no_command_line_is_an_empty_one() {
        let info = StartInfo::read(&memory(|bytes| put(bytes, 24, &[0; 8])), 0x1000).unwrap();
        assert_eq!(info.command_line, "");
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        use StartInfoError::*;
        type Change = fn(&mut [u8]);
        let cases: [(Change, StartInfoError); 9] = [
            (|b| put(b, 0, &[1]), BadMagic(0x336e_c501)),
            (|b| put(b, 4, &[0]), NoMemoryMap(0)),
            (|b| put(b, 48, &[0]), NoMemoryMap(1)),
            (|b| put(b, 48, &[129]), TooMany("entries of the memory map", 129)),
            (|b| put(b, 40, &[0xff; 8]), BadPointer("memory map", u64::MAX)),
            (|b| put(b, 24, &[0xff; 8]), BadPointer("command line", u64::MAX)),
            (|b| b[0x2000..0x4000].fill(b'x'), CommandLineTooLong),
            (|b| put(b, 0x2000, &[0xff, 0]), CommandLineNotText),
            (|b| put(b, 12, &[17]), TooMany("modules", 17)),
        ];
        for (change, expected) in cases {
            let read = StartInfo::read(&memory(|bytes| change(bytes)), 0x1000);
            assert_eq!(read.unwrap_err(), expected);
        }
        let read = StartInfo::read(&memory(|_| ()), 0);
        assert_eq!(read.unwrap_err(), BadPointer("hvm_start_info", 0));
    }

    #[test]
    fn the_longest_command_line_is_taken() {
        let memory = memory(|bytes| {
            bytes[0x2000..0x2fff].fill(b'x');
            bytes[0x2fff] = 0;
        });
        let info = StartInfo::read(&memory, 0x1000).unwrap();
        assert_eq!(info.command_line.len(), MAX_COMMAND_LINE);
    }
}

//! An image that tests boot from the inside: `selftest=NAME` on its command line breaks one rule
//! on purpose, and tests/selftest.rs looks for the report. Never part of the stub domain's image.
#![no_std]
#![no_main]

use boot::{BootInfo, println};
use core::arch::asm;
use core::hint::black_box;

boot::entry!(main);

/// `ret`, in a page of data.
static mut CODE_IN_DATA: [u8; 16] = [0xc3; 16];
/// A constant, in a page of rodata.
static CONSTANT: [u64; 4] = [1, 2, 3, 4];

fn main(info: &'static BootInfo) -> ! {
    println!("selftest: hello; command line: {}", info.command_line);
    for region in &info.memory_map {
        println!("selftest: map {:?} {:?}", region.span, region.kind);
    }
    println!("selftest: image {:?}, window {:?}", info.image, info.window);
    for span in info.free_ram.iter() {
        println!("selftest: free {span:?}");
    }
    let test = info.command_line.split(' ').find_map(|word| word.strip_prefix("selftest="));
    run(test.unwrap_or("ram"), info);
    println!("selftest: done");
    boot::poweroff()
}

/// Runs one test. Those that return were fine.
fn run(test: &str, info: &BootInfo) {
    // SAFETY: none of these accesses is sound, which is the point: the page tables must stop each
    // of them, except in `ram`, which writes to RAM that nobody uses.
    unsafe {
        match test {
            "ram" => touch_free_ram(info, 4096),
            "edges" => touch_free_ram(info, u64::MAX),
            "speed" => speed(info),
            "wx" => (run as fn(&str, &BootInfo) as *mut u8).write_volatile(0x90),
            "ro" => (&raw const CONSTANT).cast_mut().cast::<u64>().write_volatile(black_box(5)),
            "nx" => {
                let code: extern "C" fn() = core::mem::transmute(&raw mut CODE_IN_DATA);
                black_box(code)();
            }
            "nx-ram" => {
                let free = info.free_ram.largest().map_or(0, |span| span.start);
                (free as *mut u8).write_volatile(0xc3);
                let code: extern "C" fn() = core::mem::transmute(free);
                black_box(code)();
            }
            "null" => println!("{}", black_box(core::ptr::null::<u8>()).read_volatile()),
            "stack" => println!("{}", recurse(1)),
            "panic" => panic!("as asked"),
            "opcode" => asm!("ud2"),
            "double" => double_fault(),
            "console" => {
                boot::set_console(shout);
                panic!("as asked");
            }
            "hook" => {
                boot::set_console(|_| panic!("the console panics as well"));
                panic!("as asked");
            }
            other => panic!("no test is called {other}"),
        }
    }
}

/// Goes deeper than any stack, and needs the result of the inner call, so that it can't become a
/// loop.
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    if n == 1 << 40 {
        return n;
    }
    recurse(n + 1) + frame[n as usize % 64]
}

/// A general protection fault for which the IDT has no entry: cut off after the double fault's.
fn double_fault() {
    #[repr(C, packed)]
    struct Idt {
        limit: u16,
        base: u64,
    }
    let mut idt = Idt { limit: 0, base: 0 };
    // SAFETY: not sound, as asked for: 1 << 63 is no canonical address.
    unsafe {
        asm!("sidt [{}]", in(reg) &raw mut idt, options(nostack));
        idt.limit = 9 * 16 - 1;
        asm!("lidt [{}]", in(reg) &raw const idt, options(nostack));
        asm!("mov {0}, [{0}]", inout(reg) 1u64 << 63 => _, options(nostack));
    }
}

/// A console hook whose output is easy to tell from port 0xe9's own: in upper case.
fn shout(text: &str) {
    for byte in text.bytes() {
        // SAFETY: the debug port; any byte is harmless.
        unsafe { asm!("out 0xe9, al", in("al") byte.to_ascii_uppercase(), options(nomem, nostack)) };
    }
}

/// Writes and reads the first and the last word of a free page every `step` bytes, and of the last
/// page of each range.
fn touch_free_ram(info: &BootInfo, step: u64) {
    let mut pages = 0u64;
    for span in info.free_ram.iter() {
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        for page in (span.start..span.end).step_by(step).chain([span.end - 4096]) {
            for at in [page, page + 4088] {
                let word = at as *mut u64;
                // SAFETY: free RAM belongs to us, and is mapped.
                unsafe {
                    word.write_volatile(at);
                    assert_eq!(word.read_volatile(), at);
                }
            }
            pages += 1;
        }
    }
    println!("selftest: {pages} free pages hold what was written");
}

/// What the memory functions cost, against the string instruction.
fn speed(info: &BootInfo) {
    const PAGE: usize = 4096;
    const ROUNDS: usize = 256;
    let free = info.free_ram.largest().map_or(0, |span| span.start);
    let (a, b) = (free as *mut u8, (free + (1 << 20)) as *mut u8);
    let cycles = |name: &str, work: &dyn Fn(usize)| {
        work(0);
        // SAFETY: every processor with 64-bit mode has RDTSC.
        let start = unsafe { core::arch::x86_64::_rdtsc() };
        (0..ROUNDS).for_each(|i| work(black_box(i % 16) * PAGE));
        // SAFETY: as above.
        let end = unsafe { core::arch::x86_64::_rdtsc() };
        println!("selftest: {name}: {} cycles a page", (end - start) / ROUNDS as u64);
    };
    // SAFETY: both areas are free RAM, of 16 pages and 1 MiB apart.
    unsafe {
        cycles("memset", &|at| a.add(at).write_bytes(black_box(7), black_box(PAGE)));
        cycles("memcpy", &|at| b.add(at).copy_from_nonoverlapping(a.add(at), black_box(PAGE)));
        cycles("memcmp", &|at| {
            let page = |p: *mut u8| core::slice::from_raw_parts(p.add(at), black_box(PAGE));
            assert!(page(a) == page(b));
        });
        cycles("rep movsb", &|at| {
            asm!("rep movsb", inout("rcx") PAGE => _, inout("rsi") a.add(at) => _, inout("rdi") b.add(at) => _);
        });
    }
}

//! An image that tests boot from the inside: `selftest=NAME` on its command line breaks one rule
//! on purpose, and tests/selftest.rs looks for the report. Never part of the stub domain's image.
#![no_std]
#![no_main]

use boot::{BootInfo, println};
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
            "ram" => touch_free_ram(info),
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
            "opcode" => core::arch::asm!("ud2"),
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

/// Writes and reads the first and the last word of every free page.
fn touch_free_ram(info: &BootInfo) {
    let mut pages = 0u64;
    for span in info.free_ram.iter() {
        for page in (span.start..span.end).step_by(4096) {
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
    println!("selftest: {pages} free pages can be written");
}

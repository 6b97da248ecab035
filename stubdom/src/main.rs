//! The stub domain's image. So far it says hello and powers off.
#![no_std]
#![no_main]

boot::entry!(main);

fn main(info: &'static boot::BootInfo) -> ! {
    boot::println!("stubdom: command line: {}", info.command_line);
    boot::println!("stubdom: image {:?}, {} KiB free", info.image, info.free_ram.size() / 1024);
    boot::poweroff()
}

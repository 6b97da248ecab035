//! A panic is a crash of the domain with the panic's message.

use crate::stop;
use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    stop::last_words(format_args!("boot: {info}"))
}

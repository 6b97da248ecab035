//! The PV console: where the stub says what it does.
//!
//! Printing never fails and never blocks for long. When the console daemon does not read, a
//! writer waits [`PATIENCE`] once; then output is dropped, and counted, until there is room
//! again.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering, fence};
use core::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use spin::Mutex;
use xen_sys::PAGE_SHIFT;
use xen_sys::console::{XENCONS_OUT_SIZE, XenconsInterface};
use xen_sys::errno::Errno;
use xen_sys::hvm::{HvmParam, get_param};

use crate::byte_ring;
use crate::event::{Port, PortError};
use crate::time;

/// How long a writer waits for room, in all, before output is dropped.
pub const PATIENCE: Duration = Duration::from_millis(50);

const SIZE: u32 = XENCONS_OUT_SIZE as u32;

/// Where output goes besides the PV console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// Nowhere.
    None,
    /// To port 0xe9 too, which is Xen's own log where `guest_loglvl` permits. One exit a byte.
    DebugPort,
}

/// Why there is no console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleError {
    /// Xen did not tell where it is.
    Param(Errno),
    /// The toolstack gave the domain no console.
    Absent,
    /// Its event channel cannot be used.
    Port(PortError),
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsoleError::Param(errno) => write!(f, "the console's parameters: {errno}"),
            ConsoleError::Absent => f.write_str("the toolstack gave this domain no console"),
            ConsoleError::Port(error) => write!(f, "the console's event channel: {error}"),
        }
    }
}

impl core::error::Error for ConsoleError {}

struct Console {
    ring: *mut XenconsInterface,
    port: Port,
    mirror: Mirror,
    /// Nobody read for too long: do not wait again until there is room.
    stuck: bool,
    dropped: u64,
}

// SAFETY: the ring is mapped for good, and only the holder of the lock touches our side of it.
unsafe impl Send for Console {}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

/// Finds the console and makes it the target of the `log` macros at `level` and above.
///
/// # Errors
/// See [`ConsoleError`]; logging then goes nowhere.
pub fn init(level: LevelFilter, mirror: Mirror) -> Result<(), ConsoleError> {
    let frame = get_param(HvmParam::ConsolePfn).map_err(ConsoleError::Param)?;
    let number = get_param(HvmParam::ConsoleEvtchn).map_err(ConsoleError::Param)?;
    if frame == 0 || frame > u64::MAX >> PAGE_SHIFT {
        return Err(ConsoleError::Absent);
    }
    let port = Port::from_toolstack(number).map_err(ConsoleError::Port)?;
    *CONSOLE.lock() = Some(Console {
        ring: (frame << PAGE_SHIFT) as *mut XenconsInterface,
        port,
        mirror,
        stuck: false,
        dropped: 0,
    });
    // Fails when there is a logger already, which is this one.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
    Ok(())
}

/// Bytes that were dropped because nobody read the console.
pub fn dropped() -> u64 {
    CONSOLE.lock().as_ref().map_or(0, |console| console.dropped)
}

/// Prints. Does nothing before [`init`], or while something is printed already.
pub fn print(args: fmt::Arguments<'_>) {
    // A panic may come in the midst of printing: then this is a second call, and must not wait.
    if let Some(mut guard) = CONSOLE.try_lock()
        && let Some(console) = guard.as_mut()
    {
        let _ = console.write_fmt(args);
        console.flush();
    }
}

/// Prints to port 0xe9 alone, whatever state all else is in: for the last words of a panic.
pub fn print_to_debug_port(args: fmt::Arguments<'_>) {
    struct Out;
    impl Write for Out {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.bytes().for_each(debug_port);
            Ok(())
        }
    }
    if crate::init::info().is_some() {
        let _ = Out.write_fmt(args);
    }
}

fn debug_port(byte: u8) {
    // SAFETY: writing to port 0xe9 has no effect but Xen's log, and nothing gets here but in a
    // domain of Xen (there is a console, or `init` has succeeded).
    unsafe {
        core::arch::asm!("out 0xe9, al", in("al") byte, options(nomem, nostack, preserves_flags));
    }
}

impl Console {
    /// The indices of the ring, as atomics: both sides write to the page.
    fn indices(&self) -> (&'static AtomicU32, &'static AtomicU32) {
        // SAFETY: the ring is mapped for good and the fields are aligned.
        unsafe {
            (
                AtomicU32::from_ptr(&raw mut (*self.ring).out_cons),
                AtomicU32::from_ptr(&raw mut (*self.ring).out_prod),
            )
        }
    }

    /// Puts in what fits. Indices that are impossible count as no room.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let ring = self.ring;
        let (cons, prod) = self.indices();
        let at = prod.load(Ordering::Relaxed);
        let space = byte_ring::space(at, cons.load(Ordering::Acquire), SIZE).unwrap_or(0);
        let part = &bytes[..bytes.len().min(space as usize)];
        // SAFETY: `out` has that size, and the ring is mapped for good.
        unsafe { byte_ring::copy_in((&raw mut (*ring).out).cast(), SIZE, at, part) };
        prod.store(at.wrapping_add(part.len() as u32), Ordering::Release);
        part.len()
    }

    fn write(&mut self, mut bytes: &[u8]) {
        let mut deadline = None;
        loop {
            let put = self.put(bytes);
            bytes = &bytes[put..];
            self.stuck &= put == 0;
            if bytes.is_empty() {
                return;
            }
            let now = time::now();
            let deadline = *deadline.get_or_insert(now + PATIENCE);
            if self.stuck || now >= deadline {
                self.stuck = true;
                self.dropped += bytes.len() as u64;
                return;
            }
            self.flush();
            self.port.block(now + PATIENCE / 10);
        }
    }

    fn flush(&mut self) {
        fence(Ordering::SeqCst);
        let _ = self.port.notify();
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.write(line.as_bytes());
                    self.write(b"\r\n");
                }
                None => self.write(line.as_bytes()),
            }
        }
        if self.mirror == Mirror::DebugPort {
            text.bytes().for_each(debug_port);
        }
        Ok(())
    }
}

struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let micros = time::now().as_micros();
        print(format_args!(
            "[{:5}.{:06}] {:5} {}: {}\n",
            micros / 1_000_000,
            micros % 1_000_000,
            record.level(),
            record.target(),
            record.args(),
        ));
    }

    fn flush(&self) {}
}

/// Prints a line to the console, without time and level.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($arg)*)))
    };
}

//! The lab's guest: a program that is all of a small Linux's user space (`/init`), whose work
//! is easy to verify, and the checker of that work for Dom0.
//!
//! As process 1 it advances a hash chain, printing each link, and rewrites memory that it
//! checks itself; its settings come from the kernel's command line (see [`settings`]).
//! Otherwise it is the tool `guest verify-chain`, which checks console logs. It must never
//! depend on anything but a kernel and a console.

mod chain;
mod memory;
mod settings;
mod verify;
mod work;

use std::process::ExitCode;

const USAGE: &str = "\
usage: guest verify-chain FILE...              each log: every link right, numbers without gaps
       guest verify-chain --continues A B      also: B goes on exactly after some link of A
       guest last-link FILE                    number of the last whole link";

fn main() -> ExitCode {
    if std::process::id() == 1 {
        work::run(&settings::Settings::from_environment());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["verify-chain", "--continues", a, b] => verify::continues(a, b),
        ["verify-chain", files @ ..] if !files.is_empty() && !files[0].starts_with('-') => {
            verify::each(files)
        }
        ["last-link", file] => verify::last_link(file),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}

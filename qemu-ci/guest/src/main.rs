//! The lab's guest: a program that is all of a small Linux's user space (`/init`), whose work
//! is easy to verify, and the checker of that work for Dom0.
//!
//! As process 1 it advances a hash chain, printing each link, and rewrites memory that it
//! checks itself; its settings come from the kernel's command line (see [`settings`]).
//! Otherwise it is a tool, whose verbs are told by [`USAGE`]. Its work must never depend on
//! anything but a kernel and a console.

mod chain;
mod command;
mod cpu;
mod datagrams;
mod dirty;
mod disk;
mod edit;
mod gap;
mod journal;
mod ledger;
mod load;
mod memory;
mod ring;
mod serve;
mod settings;
mod store;
mod stream;
mod token;
mod udp;
mod verify;
mod work;

use std::process::ExitCode;

const USAGE: &str = "\
in Dom0:
  guest verify-chain FILE...              each log: every link right, numbers without gaps
  guest verify-chain --continues A B      also: B goes on exactly after some link of A
  guest last-link FILE                    number of the last whole link
  guest verify-passed FILE GUESTS         what a ring's guest journalled: all right, and how many
  guest on [-t SECONDS] NAME COMMAND...   runs a shell command in a guest that serves commands
  guest cpu                               `ID NAME NANOSECONDS` of CPU time for each domain
  guest gap NAME                          microseconds of its longest standstill since last asked
in a guest:
  guest serve                             runs the commands that Dom0 sends, for ever
  guest store-read PATH                   a node of xenstore
  guest udp-send ADDRESS:PORT SIZE SECONDS [BURST]   datagrams as fast as they go
  guest udp-receive PORT SIZE SECONDS                counts them, from the first on
  guest ring PORT NEXT_ADDRESS:PORT GUESTS TOKENS [start] [journal=DISK] [pause=MS]
                                                     passes tokens round a ring, for ever
  guest count-out ADDRESS:PORT MILLISECONDS          datagrams of a hash chain, for ever
  guest count-in PORT                                takes them, none lost, doubled or out of order
  guest stream-out ADDRESS:PORT KBIT                 a TCP stream of so much a second, for ever
  guest stream-in PORT                               takes one
  guest stream-look PORT                             JSON: what it took since last asked, and TCP's counts";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if std::process::id() == 1 && words.as_slice() != ["serve"] {
        work::run(&settings::Settings::from_environment());
    }
    let outcome = match words.as_slice() {
        ["verify-chain", "--continues", a, b] => verify::continues(a, b).map_err(text),
        ["verify-chain", files @ ..] if !files.is_empty() && !files[0].starts_with('-') => {
            verify::each(files).map_err(text)
        }
        ["last-link", file] => verify::last_link(file).map_err(text),
        ["verify-passed", file, guests] => ledger::verify(file, guests),
        ["on", rest @ ..] => return command::on(rest),
        ["cpu"] => cpu::report(),
        ["gap", name] => gap::ask(name),
        ["serve"] => serve::run(),
        ["store-read", path] => serve::read(path),
        ["udp-send", to, size, seconds] => udp::send(to, size, seconds, "1"),
        ["udp-send", to, size, seconds, burst] => udp::send(to, size, seconds, burst),
        ["ring", port, next, guests, tokens, more @ ..] => ring::run(port, next, guests, tokens, more),
        ["count-out", to, millis] => datagrams::count_out(to, millis),
        ["count-in", port] => datagrams::count_in(port),
        ["stream-out", to, kbit] => stream::send(to, kbit),
        ["stream-in", port] => stream::receive(port),
        ["stream-look", port] => stream::look(port),
        ["udp-receive", port, size, seconds] => udp::receive(port, size, seconds),
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

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

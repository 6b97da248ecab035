//! `luthier snapshot`: live progress, then what was done.

mod net;

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::{Cli, client, print};
use crate::api::{Event, Request, SnapshotOptions};
use crate::error::{Error, Result};

/// Of what, and how.
#[derive(Debug, clap::Args)]
pub struct SnapshotArgs {
    /// The guest's name or domain id
    #[arg(required_unless_present = "net")]
    pub(super) guest: Option<String>,
    /// All guests of this network instead, on all hosts
    #[arg(long, value_name = "NAME", conflicts_with = "guest")]
    pub(super) net: Option<String>,
    /// Suspend each guest when it is ready itself, and drop what would have to wait: VNsnap as it
    /// was published, to compare with
    #[arg(long, requires = "net", help_heading = "For measurements")]
    pub(super) classic: bool,
    /// How
    #[command(flatten)]
    pub(super) options: SnapshotOptions,
}

/// Takes the snapshot, or those of a network, and shows it.
pub(super) fn run(cli: &Cli, args: &SnapshotArgs) -> Result<()> {
    let SnapshotArgs { guest, net, classic, options } = args;
    match (guest, net) {
        (_, Some(net)) => net::run(cli, net, *classic, options),
        (_, None) if options.to.is_some() => {
            Err(Error::new("--to is for networks").hint("Use it with --net"))
        }
        (guest, None) => run_one(cli, guest.as_deref().unwrap_or_default(), options),
    }
}

fn run_one(cli: &Cli, guest: &str, options: &SnapshotOptions) -> Result<()> {
    options.check()?;
    let request = Request::Snapshot { guest: guest.to_owned(), options: options.clone() };
    if cli.json {
        let result = client::ask_with(&cli.run, &request, &mut |event| print::json_line(event))?;
        print::json_line(&Event::Done { result });
        return Ok(());
    }
    let mut screen = Screen::new();
    let result = client::ask_with(&cli.run, &request, &mut |event| screen.show(event));
    screen.bar.finish_and_clear();
    summary(&result?);
    Ok(())
}

struct Screen {
    bar: ProgressBar,
    pages: u64,
}

impl Screen {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} pages") {
            bar.set_style(style);
        }
        Self { bar, pages: 0 }
    }

    fn line(&self, text: &str) {
        // A hidden bar prints nothing: rounds are shown all the same.
        if self.bar.is_hidden() { eprintln!("{text}") } else { self.bar.println(text) }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Started { image, pages } => {
                self.pages = u64::from(*pages);
                self.line(&format!("{image}: {} MiB", pages / 256));
                self.bar.set_length(self.pages);
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            Event::Progress(p) => {
                let left = match p.estimate_ms {
                    Some(ms) => format!(", {:.1} s left", ms as f64 / 1000.0),
                    None => String::new(),
                };
                self.bar.set_message(format!("round {}, {} dirty/s{left}", p.round, p.dirty_rate));
                self.bar.set_position(self.pages.saturating_sub(u64::from(p.remaining)));
            }
            Event::Round(round) => self.line(&round.to_string()),
            _ => {}
        }
    }
}

fn summary(result: &Value) {
    let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let number = |key: &str| result.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    println!("{}", text("image"));
    println!(
        "  suspended {:.1} ms (the guest's own freezing took {:.1} ms), {:.1} s in all",
        number("suspended_ms"),
        number("freeze_ms"),
        number("total_ms") / 1000.0
    );
    println!(
        "  {} pages of {} MiB, {} sent, {} on disk",
        number("pages"),
        number("pages") / 256.0,
        number("pages_sent"),
        print::bytes(number("bytes") as u64)
    );
    match (text("read").as_str(), text("parent")) {
        ("changed", parent) => println!("  on top of {parent}: only what was written to since was read"),
        ("all", parent) => println!("  on top of {parent}: everything was read, as {}", text("read_why")),
        _ => {}
    }
    match result.get("log_kept").and_then(Value::as_bool) {
        Some(true) => {
            println!("  the log of its writes goes on: luthier snapshot --parent {}", text("image"))
        }
        Some(false) => println!("  the log of its writes could not be kept: luthierd's log says why"),
        None => {}
    }
    if number("throttle") > 0.0 && number("throttle") < 100.0 {
        println!("  the guest was given {} % of its CPU time meanwhile", number("throttle"));
    }
    if text("stop") == "target-missed" {
        println!(
            "  the downtime of {} ms could not be met: {:.1} ms were expected",
            number("target_ms"),
            number("estimate_ms")
        );
    }
    if number("disks_ms") > 0.0 {
        println!(
            "  disks in {:.1} ms, for which alone the guest stood still {:.1} ms",
            number("disks_ms"),
            number("disks_waited_ms")
        );
    }
    if number("pages_overflow") > 0.0 {
        println!(
            "  {} pages did not fit the pool and were streamed while the guest was suspended; a larger one: luthier up --pool MIB",
            number("pages_overflow")
        );
    }
}

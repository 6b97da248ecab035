//! `luthier snapshot --net`: the members of this host as they go, then the whole.

use std::collections::HashMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::super::print::{self, text};
use super::super::{Cli, client};
use crate::api::{Event, Request, SnapshotOptions};
use crate::error::Result;

/// Takes the group snapshot and shows it.
pub(in crate::cli) fn run(cli: &Cli, net: &str, classic: bool, options: &SnapshotOptions) -> Result<()> {
    options.check()?;
    let request = Request::SnapshotNet { net: net.to_owned(), classic, options: options.clone() };
    if cli.json {
        let result = client::ask_with(&cli.run, &request, &mut |event| print::json_line(event))?;
        print::json_line(&Event::Done { result });
        return Ok(());
    }
    let mut screen = Screen::new();
    let result = client::ask_with(&cli.run, &request, &mut |event| screen.show(event));
    screen.members.values().for_each(|(bar, _)| bar.finish_and_clear());
    print!("{}", summary(&result?));
    Ok(())
}

struct Screen {
    bars: MultiProgress,
    hidden: bool,
    members: HashMap<String, (ProgressBar, u64)>,
}

impl Screen {
    fn new() -> Self {
        let hidden = !std::io::stderr().is_terminal();
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        Self { bars: MultiProgress::with_draw_target(target), hidden, members: HashMap::new() }
    }

    fn line(&self, line: &str) {
        if self.hidden {
            eprintln!("{line}");
        } else {
            let _ = self.bars.println(line);
        }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Phase { phase } => self.line(match phase.as_str() {
                "asked" => "looking for the network's guests",
                "begun" => "begun: all hosts of the network are asked",
                "prepared" => "the guests of this host are being copied",
                "drained" => "all guests were cut and run on; frames that were under way are stored",
                "sending" => "the images of this host go to where they are kept",
                "stored" => "this host is done, and waits for the others",
                other => other,
            }),
            Event::Member { guest, told } => self.member(guest, told),
            Event::Cut { guest, times } => {
                let ms = |name| times.get(name).and_then(Value::as_f64).unwrap_or(0.0);
                self.line(&format!(
                    "{guest}: ready after {:.0} ms, cut after {:.0} ms, ran on {:.1} ms later",
                    ms("ready_ms"),
                    ms("cut_ms"),
                    ms("resume_ms") - ms("cut_ms")
                ));
            }
            _ => {}
        }
    }

    fn member(&mut self, guest: &str, told: &Event) {
        match told {
            Event::Started { image, pages } => {
                self.line(&format!("{image}: {} MiB", pages / 256));
                let bar = ProgressBar::new(u64::from(*pages));
                if let Ok(style) =
                    ProgressStyle::with_template("{prefix:16} {bar:30} {pos}/{len} pages {msg}")
                {
                    bar.set_style(style);
                }
                let bar = self.bars.add(bar.with_prefix(guest.to_owned()));
                self.members.insert(guest.to_owned(), (bar, u64::from(*pages)));
            }
            Event::Progress(p) => {
                if let Some((bar, pages)) = self.members.get(guest) {
                    bar.set_message(format!("round {}, {} dirty/s", p.round, p.dirty_rate));
                    bar.set_position(pages.saturating_sub(u64::from(p.remaining)));
                }
            }
            _ => {}
        }
    }
}

/// The whole, for people.
fn summary(result: &Value) -> String {
    use std::fmt::Write;
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let mut out = format!("{}\n", text(result, "group"));
    let members = result.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for member in members {
        let _ = writeln!(
            out,
            "  {:16} on {:12} suspended {:>7.1} ms, cut at {:>8.1} ms   {}",
            text(member, "guest"),
            text(member, "host"),
            number(member, "suspended_ms"),
            number(member, "cut_ms"),
            text(member, "image")
        );
    }
    let _ = writeln!(
        out,
        "  {} guests on {} hosts, all cut within {:.1} ms, none suspended for more than {:.1} ms",
        members.len(),
        number(result, "hosts"),
        number(result, "spread_ms"),
        number(result, "downtime_ms")
    );
    let channel = result.get("channel").cloned().unwrap_or_default();
    let _ = writeln!(
        out,
        "  frames under way at the cut: {} recorded ({}); {} from after it waited, {} were dropped",
        number(&channel, "recorded"),
        print::bytes(number(&channel, "bytes") as u64),
        number(&channel, "held"),
        number(&channel, "dropped")
    );
    if number(&channel, "lost") + number(&channel, "missed") + number(&channel, "unknown") > 0.0 {
        let _ = writeln!(
            out,
            "  lost, as on any wire: {} datagrams, {} frames that found no room; of {} peers it is not known",
            number(&channel, "lost"),
            number(&channel, "missed"),
            number(&channel, "unknown")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_summary_tells_members_spread_and_frames() {
        let member = json!({"guest": "web", "host": "left", "image": "web@20261122T081500Z", "cut_ms": 12.5, "suspended_ms": 8.25});
        let channel = json!({"recorded": 3, "bytes": 4096, "held": 5, "dropped": 0, "lost": 2, "missed": 0, "unknown": 0});
        let result = json!({
            "group": "blue@20261122T081500Z", "hosts": 2, "members": [member], "spread_ms": 1.5,
            "downtime_ms": 8.25, "channel": channel,
        });
        let text = summary(&result);
        for part in [
            "blue@2026",
            "web ",
            "left",
            "within 1.5 ms",
            "3 recorded",
            "5 from after",
            "lost, as on any wire: 2",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

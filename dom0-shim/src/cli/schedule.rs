//! `luthier schedule`: snapshots again and again.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::print::{self, items, number, text};
use super::{Cli, client};
use crate::api::{MAX_EVERY_S, MAX_KEEP, Request, ScheduleRequest, ScheduleWish, SnapshotOptions};
use crate::error::{Error, Result};

/// `luthier schedule`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: Option<ScheduleCommand>,
    #[command(flatten)]
    add: AddArgs,
}

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Show the schedules: the next snapshot, and how the last one ended
    List,
    /// Add or change a schedule; the same as without `add`
    #[command(arg_required_else_help = true)]
    Add(AddArgs),
    /// End a guest's or a network's schedule; its images stay
    Rm {
        /// The guest's name
        #[arg(required_unless_present = "net")]
        guest: Option<String>,
        /// The network's name
        #[arg(long, value_name = "NAME", conflicts_with = "guest")]
        net: Option<String>,
    },
}

/// A schedule.
#[derive(Clone, Debug, Args)]
pub(super) struct AddArgs {
    /// The guest's name
    #[arg(group = "whom", requires_all = ["every", "keep"])]
    guest: Option<String>,
    /// All guests of this network, on all hosts, at one cut each time
    ///
    /// The other hosts keep as many groups as this one.
    #[arg(long, group = "whom", value_name = "NAME", requires_all = ["every", "keep"], conflicts_with = "incremental")]
    net: Option<String>,
    /// How often, as in 30s, 5m, 6h or 1d
    #[arg(long, value_name = "TIME", requires = "whom", value_parser = seconds)]
    every: Option<u32>,
    /// How many of its images stay; older ones are removed after the next good snapshot
    #[arg(long, value_name = "N", requires = "whom", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_KEEP)))]
    keep: Option<u16>,
    /// Each image builds on the former one, and has only what the guest wrote to since
    ///
    /// The guest's writes are logged all the time. The oldest image that stays is merged before
    /// the ones that it builds on are removed. A merge writes a whole image, and needs room for it;
    /// so that several snapshots share one, up to half as many images more stay for a while.
    #[arg(long, requires = "guest")]
    incremental: bool,
    #[command(flatten)]
    options: SnapshotOptions,
}

/// Reads an interval.
fn seconds(text: &str) -> std::result::Result<u32, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e}; as in 30s, 5m, 6h or 1d"))?;
    match u32::try_from(time.as_secs()) {
        Ok(s @ 1..=MAX_EVERY_S) if time.subsec_nanos() == 0 => Ok(s),
        _ => Err("whole seconds, from 1s to 366d".into()),
    }
}

impl AddArgs {
    /// What was wished for. `None`: nothing.
    ///
    /// # Errors
    /// It can't be, or options came without a guest.
    fn wish(&self) -> Result<Option<ScheduleWish>> {
        let Self { guest, net, every, keep, incremental, options } = self.clone();
        let guest = net.map(|net| ScheduleWish::of_network(&net)).or(guest);
        let (Some(guest), Some(every_s), Some(keep)) = (guest, every, keep) else {
            if options != SnapshotOptions::default() {
                return Err(Error::new("these options need a guest")
                    .hint("luthier schedule GUEST --every 5m --keep 12"));
            }
            return Ok(None);
        };
        let wish = ScheduleWish { guest, every_s, keep, incremental, options };
        wish.check().map(|()| Some(wish))
    }
}

/// Does what was asked.
pub(super) fn run(cli: &Cli, args: &ScheduleArgs) -> Result<()> {
    let ask = |schedule| client::ask(&cli.run, &Request::Schedule { schedule });
    let wish = match &args.command {
        None => args.add.wish()?,
        Some(ScheduleCommand::Add(add)) => add.wish()?,
        Some(ScheduleCommand::List) => None,
        Some(ScheduleCommand::Rm { guest, net }) => {
            let net = net.as_ref().map(|net| ScheduleWish::of_network(net));
            let guest = net.or(guest.clone()).unwrap_or_default();
            removed(cli.json, &guest, &ask(ScheduleRequest::Remove { guest: guest.clone() })?);
            return Ok(());
        }
    };
    match wish {
        Some(wish) => added(cli.json, &wish, &ask(ScheduleRequest::Add { wish: wish.clone() })?),
        None => list(cli.json, &ask(ScheduleRequest::List)?),
    }
    Ok(())
}

fn added(json: bool, wish: &ScheduleWish, result: &Value) {
    if json {
        return print::json_line(result);
    }
    let what = match result.get("new").and_then(Value::as_bool) {
        Some(false) => "changed: a snapshot",
        _ => "a snapshot",
    };
    let every = time(u64::from(wish.every_s) * 1000);
    let whom = match wish.network() {
        Some(net) => format!("network {net}"),
        None => wish.guest.clone(),
    };
    println!("{what} of {whom} every {every}; the last {} stay", wish.keep);
}

fn removed(json: bool, guest: &str, result: &Value) {
    if json {
        return print::json_line(result);
    }
    println!("no more snapshots of {guest} are scheduled; its {} images stay", items(result, "images").len());
    if result.get("incremental").and_then(Value::as_bool) == Some(true) {
        println!(
            "  its writes are still logged for a next one on top of them: luthier detach {guest} ends that"
        );
    }
}

fn list(json: bool, result: &Value) {
    if json {
        return print::json_line(result);
    }
    let schedules = items(result, "schedules");
    if schedules.is_empty() {
        println!("no snapshots are scheduled: luthier schedule GUEST --every 5m --keep 12");
    } else {
        println!(
            "{:24} {:>8} {:>9} {:>7} {:>8}  {:16} LAST",
            "GUEST", "EVERY", "IMAGES", "FAILED", "SKIPPED", "NEXT"
        );
    }
    for s in schedules {
        let next = match s.get("in_progress").and_then(Value::as_bool) {
            Some(true) => "in progress".to_owned(),
            _ => format!("in {}", time(number(s, "next_in_ms"))),
        };
        println!(
            "{:24} {:>8} {:>9} {:>7} {:>8}  {next:16} {}",
            text(s, "guest"),
            time(number(s, "every_s") * 1000),
            format!("{} of {}", items(s, "images").len(), number(s, "keep")),
            number(s, "failed"),
            number(s, "skipped"),
            last(s),
        );
    }
    if let Some(unsaved) = result.get("unsaved").filter(|e| e.is_object()) {
        eprintln!("warning: {}", text(unsaved, "message"));
        eprintln!("  The schedules go on, but are forgotten when luthierd ends");
    }
}

/// How the last snapshot ended, in words.
fn last(schedule: &Value) -> String {
    let null = json!(null);
    let last = schedule.get("last").unwrap_or(&null);
    let ago = time(number(last, "ago_ms"));
    let error = last.get("error").unwrap_or(&null);
    match text(last, "result") {
        "made" => format!("{}, {ago} ago", text(last, "image")),
        "not-ready" => format!("waiting: {}. {}", text(error, "message"), text(error, "hint")),
        "failed" => {
            let failing = number(schedule, "failing");
            let times = if failing > 1 { format!(" {failing} times in a row") } else { String::new() };
            format!("failed{times}, {ago} ago: {}. {}", text(error, "message"), text(error, "hint"))
        }
        _ => "-".into(),
    }
}

/// A time in the two largest units that it has.
fn time(ms: u64) -> String {
    let s = ms / 1000;
    // Seconds say nothing of a day.
    let step = match s {
        0..3600 => 1,
        3600..86_400 => 60,
        _ => 3600,
    };
    humantime::format_duration(Duration::from_secs(s / step * step)).to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Command;

    /// What a line asks for, if it can be; the wish in it is not checked yet.
    fn parse(line: &str) -> Option<ScheduleArgs> {
        let cli = Cli::try_parse_from(format!("luthier schedule {line}").split_whitespace()).ok()?;
        let Command::Schedule(args) = cli.command else { panic!() };
        Some(args)
    }

    fn wish(line: &str) -> Result<Option<ScheduleWish>> {
        match parse(line).unwrap() {
            ScheduleArgs { command: Some(ScheduleCommand::Add(add)), .. } => add.wish(),
            ScheduleArgs { command: None, add } => add.wish(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_schedule_is_added_with_and_without_the_word() {
        let rest = "web --every 5m --keep 12 --policy pool-fit";
        let plain = wish(rest).unwrap().unwrap();
        assert_eq!(
            (plain.guest.as_str(), plain.every_s, plain.keep, plain.incremental),
            ("web", 300, 12, false)
        );
        assert_eq!(plain.options.policy.name(), "pool-fit");
        assert_eq!(wish(&format!("add {rest}")).unwrap().unwrap(), plain);
        // A guest with a command's name.
        let list = wish("add list --every 1d --keep 1 --incremental").unwrap().unwrap();
        assert!(list.guest == "list" && list.incremental);
    }

    #[test]
    fn a_network_has_a_schedule_that_no_guest_can_have() {
        let blue = wish("--net blue --every 1h --keep 12").unwrap().unwrap();
        assert_eq!((blue.network(), blue.keep), (Some("blue"), 12));
        assert_eq!(wish("web --every 1h --keep 12").unwrap().unwrap().network(), None);
        assert!(wish("net/blue --every 1h --keep 12").unwrap().unwrap().network().is_some());
        assert!(
            matches!(parse("rm --net blue").unwrap().command, Some(ScheduleCommand::Rm { net: Some(net), .. }) if net == "blue")
        );
    }

    #[test]
    fn schedules_are_listed_and_removed() {
        assert_eq!(wish("").unwrap(), None);
        assert!(matches!(parse("list --json").unwrap().command, Some(ScheduleCommand::List)));
        assert!(
            matches!(parse("rm web").unwrap().command, Some(ScheduleCommand::Rm { guest: Some(guest), .. }) if guest == "web")
        );
    }

    #[test]
    fn what_is_missing_or_out_of_bounds_is_refused() {
        for bad in [
            "web",
            "web --every 5m",
            "web --keep 3",
            "--every 5m --keep 3",
            "--incremental",
            "add",
            "rm",
            "list web",
            "rm web --every 5m",
            "web --every 5 --keep 3",
            "web --every 0s --keep 3",
            "web --every 500ms --keep 3",
            "web --every 2y --keep 3",
            "web --every 1s1ms --keep 3",
            "web --every x --keep 3",
            "web --every 5m --keep 0",
            "web --net blue --every 5m --keep 3",
            "--net blue --every 5m --keep 3 --incremental",
            "--net blue --every 5m",
            "rm web --net blue",
            "web --every 5m --keep 1001",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        wish("web --every 5m --keep 3 --incremental").unwrap();
        for bad in [
            "--policy pool-fit",
            "web --every 5m --keep 3 --keep-log",
            "web --every 5m --keep 3 --parent web@20261121T202439Z",
            "web --every 5m --keep 3 --policy xen-save --incremental",
            "web --every 5m --keep 3 --policy pool-fit --strict",
            "a/b --every 5m --keep 3",
            "12 --every 5m --keep 3",
        ] {
            assert!(wish(bad).unwrap_err().hint.is_some(), "{bad}");
        }
    }

    #[test]
    fn times_read_well() {
        for (ms, text) in [
            (300, "0s"),
            (5_000, "5s"),
            (300_000, "5m"),
            (3_725_000, "1h 2m"),
            (90_061_000, "1day 1h"),
            (0, "0s"),
        ] {
            assert_eq!(time(ms), text);
        }
    }
}

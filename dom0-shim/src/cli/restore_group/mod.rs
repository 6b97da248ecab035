//! `luthier restore GROUP`: all members of a group, on this or other hosts, and back to nothing if one
//! of them fails.
//!
//! Stock `xl restore -p` makes each member, paused, where it is to be. The network is frozen on all
//! hosts meanwhile: nobody sends before all can receive. What was on its way to a member at the cut is
//! given to it by its host's stub before anything else. When all are connected, the network is thawed.
//!
//! Other hosts are reached by a remote shell, and do their share by `luthier` there. What this must
//! never do: leave half a group running, or a network frozen.

mod hosts;
mod member;
mod plan;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use store::GroupName;
use store::group::Group;

use super::{Cli, print};
use crate::error::{Error, Result};
use hosts::{Hosts, Shell};
pub(super) use member::{MemberArgs, run as run_member};
use plan::{Move, Plan};

/// How long members may take to connect to their network once they run.
const CONNECT: Duration = Duration::from_secs(120);

/// How often the freeze is renewed: the stub thaws what was forgotten after a minute.
const REFREEZE: Duration = Duration::from_secs(15);

/// Where the members of a group go.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct PlaceArgs {
    /// Of a group: restore this member on this host instead of its own; `.` is this host
    #[arg(long, value_name = "VM=HOST", value_parser = pair, help_heading = GROUPS)]
    pub place: Vec<(String, String)>,
    /// Of a group: the remote shell by which other hosts are reached, called with host and command
    #[arg(long, value_name = "CMD", default_value = "ssh", help_heading = GROUPS)]
    pub rsh: String,
    /// Of a group: what the remote shell calls a host of the group, if not by its name
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = pair, help_heading = GROUPS)]
    pub address: Vec<(String, String)>,
    /// Of a group: restore copies, named so after their originals, with uuids of their own
    #[arg(long, value_name = "SUFFIX", allow_hyphen_values = true, value_parser = suffix, help_heading = GROUPS)]
    pub name_suffix: Option<String>,
}

const GROUPS: &str = "Groups";

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.starts_with('-') => Ok((a.into(), b.into())),
        _ => Err("as in web=right: two names and = between them".into()),
    }
}

fn suffix(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    match !text.is_empty() && text.len() <= 32 && text.chars().all(fits) {
        true => Ok(text.into()),
        false => Err("1 to 32 letters, digits and - _ . +".into()),
    }
}

/// The group that a name is of, if there is one here.
pub(super) fn named(cli: &Cli, name: &str) -> Option<GroupName> {
    let name: GroupName = name.parse().ok()?;
    cli.images.join(store::group::GROUPS).join(name.as_str()).is_dir().then_some(name)
}

/// Restores a group.
pub(super) fn run(cli: &Cli, name: &GroupName, place: &PlaceArgs) -> Result<()> {
    let group = Group::open(&cli.images, name)?;
    let plan = Plan::new(group.manifest(), &group.own().part.switch, place)?;
    drop(group);
    let shell = Shell::new(cli, place)?;
    let result = restore(&shell, plan, &mut |line| eprintln!("{line}"))?;
    if cli.json {
        print::json_line(&result);
        return Ok(());
    }
    println!("restored {name}");
    for member in print::items(&result, "members") {
        let host = print::text(member, "host");
        println!("  {} as domain {} on {host}", print::text(member, "guest"), print::number(member, "domid"));
    }
    println!(
        "  {} frames that were under way at the cut were given to them",
        print::number(&result, "frames")
    );
    Ok(())
}

/// All steps; what was done is undone if one fails.
fn restore(hosts: &dyn Hosts, mut plan: Plan, say: &mut dyn FnMut(&str)) -> Result<Value> {
    let mut undo = Undo {
        hosts,
        network: plan.network.clone(),
        frozen: Vec::new(),
        made: Vec::new(),
        imported: Vec::new(),
    };
    let done = steps(hosts, &mut plan, &mut undo, say);
    match done {
        Ok(frames) => {
            undo.thaw();
            let members: Vec<Value> = plan
                .moves
                .iter()
                .map(|m| json!({"guest": m.target, "host": plan.label(&m.to), "domid": m.domid, "image": m.image}))
                .collect();
            Ok(json!({"group": plan.name, "network": plan.network, "members": members, "frames": frames}))
        }
        Err(why) => {
            say("it failed: what was made is taken away again");
            let left = undo.everything();
            let hint = why.hint.clone().unwrap_or_default();
            let mut hint =
                format!("{hint}{}Nothing of the group runs", if hint.is_empty() { "" } else { ". " });
            if !left.is_empty() {
                hint = format!("{hint}, but for what could not be taken away: {}", left.join("; "));
            }
            Err(Error { message: why.message, hint: Some(hint) })
        }
    }
}

fn steps(hosts: &dyn Hosts, plan: &mut Plan, undo: &mut Undo<'_>, say: &mut dyn FnMut(&str)) -> Result<u64> {
    for m in &mut plan.moves {
        fetch(hosts, m, undo, say)?;
    }
    for host in plan.hosts() {
        say(&format!("checking {}", plan.label(&host)));
        let members: Vec<Value> = plan.on(&host).map(Move::asked).collect();
        let ask = json!({"network": plan.network, "number": plan.number, "members": members});
        hosts.ask(&host, &["restore-member", "check"], ask.to_string().as_bytes())?;
    }
    let frames = channels(hosts, plan)?;
    for host in plan.hosts() {
        undo.frozen.push(host.clone());
        freeze(hosts, &host, &plan.network, true)?;
    }
    let mut frozen = Instant::now();
    let (all, network) = (plan.hosts(), plan.network.clone());
    let mut keep_frozen = || -> Result<()> {
        if frozen.elapsed() > REFREEZE {
            frozen = Instant::now();
            all.iter().try_for_each(|host| freeze(hosts, host, &network, true))?;
        }
        Ok(())
    };
    for m in &mut plan.moves {
        say(&format!("restoring {}", m.target));
        let mut args = vec!["restore", "--paused", &m.image];
        if m.target != m.guest {
            args.extend(["--name", &m.target]);
        }
        let made = hosts.ask(&m.to, &args, &[])?;
        m.domid = print::number(&made, "domid");
        undo.made.push((
            m.to.clone(),
            m.target.clone(),
            m.domid,
            made.get("disks").cloned().unwrap_or_default(),
        ));
        keep_frozen()?;
    }
    let mut count = 0;
    for (host, bulk, frames) in frames {
        say(&format!("giving {frames} frames to {}", plan.label(&host)));
        hosts.ask(&host, &["restore-member", "inject", &plan.network], &bulk)?;
        count += frames;
    }
    say("letting all go on");
    for host in plan.hosts() {
        let names: Vec<String> = plan.on(&host).map(|m| m.domid.to_string()).collect();
        let mut args = vec!["restore-member", "unpause"];
        args.extend(names.iter().map(String::as_str));
        hosts.ask(&host, &args, &[])?;
    }
    let until = Instant::now() + CONNECT;
    for host in plan.hosts() {
        let macs: Vec<&str> = plan.on(&host).flat_map(|m| m.vifs.iter().map(String::as_str)).collect();
        let mut args = vec!["restore-member", "connected", &plan.network];
        args.extend(macs);
        loop {
            let answer = hosts.ask(&host, &args, &[])?;
            let missing = print::items(&answer, "missing");
            if missing.is_empty() {
                break;
            }
            if Instant::now() > until {
                let missing: Vec<&str> = missing.iter().filter_map(Value::as_str).collect();
                return Err(Error::new(format!(
                    "{} did not connect to network {} on {} in {} s",
                    missing.join(", "),
                    plan.network,
                    plan.label(&host),
                    CONNECT.as_secs()
                ))
                .hint("`xl console` of the guest may say why"));
            }
            keep_frozen()?;
            hosts.pause(Duration::from_millis(200));
        }
    }
    Ok(count)
}

/// Sees to it that a member's image is where the member is to be.
fn fetch(hosts: &dyn Hosts, m: &mut Move, undo: &mut Undo<'_>, say: &mut dyn FnMut(&str)) -> Result<()> {
    let has = |host: &hosts::Host| -> Result<Option<String>> {
        let found = hosts.ask(host, &["restore-member", "find", &m.image, &m.contents], &[])?;
        Ok(found.get("image").and_then(Value::as_str).map(str::to_owned))
    };
    if let Some(image) = has(&m.to)? {
        m.image = image;
        return Ok(());
    }
    if m.from == m.to || has(&m.from)?.is_none() {
        return Err(Error::new(format!("the image {} of `{}` is on none of its hosts", m.image, m.guest))
            .hint("`luthier show` of the group says where each should be"));
    }
    if m.disks {
        return Err(Error::new(format!("`{}` has disks, and they are on its own host", m.guest))
            .hint("Place it there, or move the disks' snapshots by hand and restore it alone"));
    }
    say(&format!("copying {} to the other host", m.image));
    let copied = hosts.copy(&m.from, &m.to, &m.image)?;
    let image = print::text(&copied, "image").to_owned();
    undo.imported.push((m.to.clone(), image.clone()));
    let found = hosts.ask(&m.to, &["restore-member", "find", &image, &m.contents], &[])?;
    if found.get("image").and_then(Value::as_str) != Some(&image) {
        return Err(Error::new(format!(
            "the copy of {} has other pages than the group's manifest says",
            m.image
        ))
        .hint("`luthier verify` on its own host tells whether the image there is damaged"));
    }
    m.image = image;
    Ok(())
}

/// What was on its way, by the host where its receiver will be: records and their number.
fn channels(hosts: &dyn Hosts, plan: &Plan) -> Result<Vec<(hosts::Host, Vec<u8>, u64)>> {
    let mut all: Vec<(hosts::Host, Vec<u8>, u64)> = Vec::new();
    for (from, frames) in &plan.sources {
        if *frames == 0 {
            continue;
        }
        let bulk = hosts.read(from, &["restore-member", "channels", &plan.name])?;
        let mut rest = &bulk[..];
        while !rest.is_empty() {
            let bad = |_| Error::new(format!("the frames of {} can't be read", plan.label(from)));
            let (record, frame, after) = handoff::ChannelRecord::take(rest).map_err(bad)?;
            let whole = rest.len() - after.len();
            let octets = rest.get(..whole).unwrap_or_default();
            debug_assert_eq!(octets.len(), handoff::CHANNEL_RECORD_LEN + frame.len());
            rest = after;
            let Some(to) = plan.host_of(&record.mac) else { continue };
            match all.iter_mut().find(|(host, ..)| host == to) {
                Some((_, bulk, count)) => {
                    bulk.extend_from_slice(octets);
                    *count += 1;
                }
                None => all.push((to.clone(), octets.to_vec(), 1)),
            }
        }
    }
    Ok(all)
}

fn freeze(hosts: &dyn Hosts, host: &hosts::Host, network: &str, on: bool) -> Result<()> {
    hosts.ask(host, &["restore-member", if on { "freeze" } else { "thaw" }, network], &[]).map(drop)
}

/// What was done, to be undone.
struct Undo<'a> {
    hosts: &'a dyn Hosts,
    network: String,
    frozen: Vec<hosts::Host>,
    /// Host, name, domain id, and clones of disks.
    made: Vec<(hosts::Host, String, u64, Value)>,
    imported: Vec<(hosts::Host, String)>,
}

impl Undo<'_> {
    /// Thaws the networks; what can't be is thawed by the stub itself after a minute.
    fn thaw(&mut self) {
        for host in self.frozen.drain(..) {
            if let Err(e) = freeze(self.hosts, &host, &self.network, false) {
                eprintln!("luthier: {}: the stub does it itself after a minute", e.message);
            }
        }
    }

    /// Takes everything back; returns what could not be.
    fn everything(mut self) -> Vec<String> {
        let mut left = Vec::new();
        for (host, name, domid, disks) in self.made.iter().rev() {
            let args = ["restore-member", "destroy", name, &domid.to_string()];
            if let Err(e) = self.hosts.ask(host, &args, disks.to_string().as_bytes()) {
                left.push(format!("domain {name} ({})", e.message));
            }
        }
        for (host, image) in &self.imported {
            if let Err(e) = self.hosts.ask(host, &["rm", image], &[]) {
                left.push(format!("image {image} ({})", e.message));
            }
        }
        self.thaw();
        left
    }
}

//! `luthier show GROUP`: its members, when each was cut, and what became of frames; as text, as JSON,
//! or drawn.

use std::path::Path;

use serde_json::{Value, json};
use store::group::{self, Group, GroupError, Member, Mode, Part, Place as Where, State};

use super::super::{print, report};
use super::cut::{Cut, frames, stood_still};
use super::{Cli, Place};
use crate::disks::Record;
use crate::error::{Context, Error, Result};

/// Shows a group, or draws its cut to a new file.
pub(in crate::cli) fn show(cli: &Cli, place: &Place, output: Option<&Path>) -> Result<()> {
    let group = match Group::open(&place.images, &place.name) {
        Err(store::Error::Group(GroupError::Undecided { .. })) if output.is_none() => {
            return undecided(cli, place);
        }
        group => group?,
    };
    if let Some(output) = output {
        let svg = report::cut::svg(&group)?;
        return report::write(cli, output, &svg);
    }
    match cli.json {
        true => print::json_line(&json_of(&group)),
        false => text(&group),
    }
    Ok(())
}

fn text(group: &Group) {
    let m = group.manifest();
    let cut = Cut::of(m);
    let coordinator = m.part(&m.coordinator).map_or("?", |host| &host.host);
    println!("group    {}", m.name);
    println!("path     {}", group.path().display());
    println!("network  {}, number {}, epoch {}", m.network.name, m.network.id, m.epoch);
    println!("taken    {}, {}, coordinated by {coordinator}", m.created, mode(m.mode));
    if group.own().is_coordinator() && !group.is_confirmed() {
        println!("state    committed here; luthierd asks whether another host has it, too");
    }
    if let (Some(spread), Some((longest, guest))) = (cut.spread_ms, &cut.longest) {
        println!(
            "cut      {spread:.1} ms from the first to the last of {}; at most {longest:.1} ms suspended ({guest})",
            cut.members
        );
    }
    println!("frames   {}", frames(&cut.frames));
    println!();
    members_head();
    for (host, member) in m.members() {
        let there = match host.kept_on {
            Some(_) => format!(" (kept on {})", m.keeper(host).host),
            None => " (there)".into(),
        };
        let at = match group.place(host, member) {
            Where::Here(_) if group.keeps(host) => " (kept here)",
            Where::Here(_) => "",
            Where::Elsewhere => &there,
            Where::Missing => " (missing)",
            Where::Unnamed => " (not named yet)",
            Where::Changed => " (replaced)",
            Where::Broken(_) => " (damaged)",
        };
        member_line(host, member, at);
    }
    for host in &m.hosts {
        println!("frames   to {}: {}", host.host, frames(&host.channel));
    }
    disks(m.members());
}

/// A group that is durable here, and may not be one.
fn undecided(cli: &Cli, place: &Place) -> Result<()> {
    let listed = group::list(&place.images).context("reading the undecided group")?;
    let found = listed.into_iter().find_map(|listed| match listed.state {
        State::Undecided(own) if listed.name == place.name => Some((own, listed.path)),
        _ => None,
    });
    let (own, folder) =
        found.ok_or_else(|| Error::new(format!("{} was decided just now", place.name)).hint("Look again"))?;
    if cli.json {
        print::json_line(&json!({
            "group": own.name, "path": folder, "state": "undecided", "epoch": own.epoch,
            "coordinator": own.coordinator, "mode": own.mode, "hosts": [own.part],
        }));
        return Ok(());
    }
    println!("group    {}", own.name);
    println!("path     {}", folder.display());
    println!("network  {}, number {}, epoch {}", place.name.network(), own.network, own.epoch);
    println!("taken    {}, {}", place.name.created(), mode(own.mode));
    println!("state    undecided: luthierd asks switch {} and the others how it ended", own.coordinator);
    println!();
    members_head();
    own.part.members.iter().for_each(|member| member_line(&own.part, member, " (not named yet)"));
    println!("frames   to {}: {}", own.part.host, frames(&own.part.channel));
    disks(own.part.members.iter().map(|member| (&own.part, member)));
    Ok(())
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Together => "all members together",
        Mode::Classic => "classic: each member when it was ready",
    }
}

fn members_head() {
    println!(
        "{:16} {:16} {:>11} {:>11} {:>11} {:>11} {:>10}  IMAGE",
        "HOST", "GUEST", "READY", "SUSPEND", "CUT", "RESUME", "SUSPENDED"
    );
}

fn member_line(host: &Part, m: &Member, at: &str) {
    let ms = |time: Option<f64>| time.map_or("-".into(), |ms| format!("{ms:.1} ms"));
    println!(
        "{:16} {:16} {:>11} {:>11} {:>11} {:>11} {:>10}  {}{at}",
        host.host,
        m.guest,
        ms(m.ready_ms),
        ms(m.suspend_ms),
        ms(m.cut_ms),
        ms(m.resume_ms),
        ms(stood_still(m)),
        m.image
    );
}

fn disks<'a>(members: impl Iterator<Item = (&'a Part, &'a Member)>) {
    for (host, member) in members {
        // They never go with an image to another host.
        let at = host.kept_on.as_ref().map(|_| format!(" (on {})", host.host)).unwrap_or_default();
        for disk in &member.disks {
            println!("disk     {} {}{at}", member.guest, disk_text(disk));
        }
    }
}

/// A disk in words; one of a later version as it is.
fn disk_text(disk: &Value) -> String {
    serde_json::from_value::<Record>(disk.clone()).map_or_else(|_| disk.to_string(), |r| r.to_string())
}

fn json_of(group: &Group) -> Value {
    let m = group.manifest();
    let mut all = json!(m);
    all["group"] = json!(m.name);
    all["path"] = json!(group.path());
    all["state"] = json!("whole");
    all["cut"] = Cut::of(m).json();
    if group.own().is_coordinator() {
        all["confirmed"] = json!(group.is_confirmed());
    }
    for (h, host) in m.hosts.iter().enumerate() {
        for (n, member) in host.members.iter().enumerate() {
            let place = match group.place(host, member) {
                Where::Here(_) => "here",
                Where::Elsewhere => "elsewhere",
                Where::Missing => "missing",
                Where::Unnamed => "unnamed",
                Where::Changed => "replaced",
                Where::Broken(_) => "damaged",
            };
            all["hosts"][h]["members"][n]["place"] = json!(place);
        }
    }
    all
}

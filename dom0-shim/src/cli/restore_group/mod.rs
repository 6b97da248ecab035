//! `luthier restore GROUP`: all members of a group, on this or other hosts, and back to nothing if one
//! of them fails.
//!
//! Stock `xl restore -p` makes each member, paused, where it is to be. The network is frozen on all
//! hosts meanwhile: nobody sends before all can receive. What was on its way to a member at the cut is
//! given to it by its host's stub before anything else. When all are connected, the network is thawed.
//!
//! Hosts work at the same time, and go from one step to the next together ([`steps`]). Others are
//! reached by a remote shell, and do their share by `luthier` there. What this must never do: leave
//! half a group running, or a network frozen.

mod carry;
mod channels;
mod crew;
mod fetch;
mod frozen;
mod hosts;
mod member;
mod plan;
mod release;
mod steps;
#[cfg(test)]
mod tests;
mod undo;

use store::GroupName;
use store::group::Group;

use super::{Cli, print};
use crate::disks::travel::Place;
use crate::error::Result;
use hosts::Shell;
pub(super) use member::{MemberArgs, run as run_member};
use plan::Plan;

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
    /// Of a group: where a member's disk is made when it goes to another host: a thin pool (vg/pool), a
    /// volume group (vg/) or a folder, also of qcow2 files [default: those of the same name]
    #[arg(long, value_name = "VM:VDEV=PLACE", value_parser = disk, help_heading = GROUPS)]
    pub disk: Vec<DiskPlace>,
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

/// Where a disk goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPlace {
    /// Of which member.
    guest: String,
    /// Its name there: `xvda`.
    vdev: String,
    /// The place.
    to: Place,
}

fn disk(text: &str) -> std::result::Result<DiskPlace, String> {
    let split = text.split_once('=').and_then(|(disk, to)| {
        let (guest, vdev) = disk.split_once(':')?;
        (!guest.is_empty() && !vdev.is_empty()).then_some((guest, vdev, to))
    });
    match split {
        Some((guest, vdev, to)) => {
            let to = to.parse().map_err(|e: crate::error::Error| e.to_string())?;
            Ok(DiskPlace { guest: guest.into(), vdev: vdev.into(), to })
        }
        None => Err("as in db:xvda=vg/pool, db:xvda=vg/ or db:xvda=/srv/disks".into()),
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
    let result = steps::restore(&shell, plan, &|line| eprintln!("{line}"))?;
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

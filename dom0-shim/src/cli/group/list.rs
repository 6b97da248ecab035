//! `luthier list`: the groups, and which images are theirs.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use store::group::{self, Listed, Manifest, State};

use super::super::{Cli, print};
use crate::error::{Context, Result};

/// Which images are of which group.
#[derive(Debug, Default)]
pub(in crate::cli) struct Membership {
    /// By name and contents: another host's member may have the name of an image here.
    groups: HashMap<(String, String), String>,
}

impl Membership {
    /// Of all groups of a directory.
    pub(in crate::cli) fn of(groups: &[Listed]) -> Self {
        let mut all = Self::default();
        for listed in groups {
            if let State::Whole(manifest) = &listed.state {
                for (_, m) in manifest.members() {
                    all.groups.insert((m.image.clone(), m.contents.clone()), listed.name.to_string());
                }
            }
        }
        all
    }

    /// The group of an image.
    pub(in crate::cli) fn group(&self, image: &store::Manifest) -> Option<&str> {
        let key = (image.id.clone(), image.contents()?.to_owned());
        self.groups.get(&key).map(String::as_str)
    }
}

/// Prints the groups: as a section after the images, or alone. Nothing where there are none.
pub(in crate::cli) fn list(cli: &Cli, groups: &[Listed], alone: bool) {
    if cli.json {
        if alone {
            let all: Vec<Value> = groups.iter().map(|listed| json_of(&cli.images, listed)).collect();
            print::json_line(&all);
        }
        return;
    }
    if groups.is_empty() {
        if alone {
            println!("no groups in {}", cli.images.display());
        }
        return;
    }
    if !alone {
        println!();
    }
    println!("{:40} {:20} {:>7} {:>10} {:>5}  STATE", "GROUP", "CREATED", "MEMBERS", "HERE", "HOSTS");
    for listed in groups {
        let name = listed.name.as_str();
        match &listed.state {
            State::Whole(m) => {
                let here = here(&cli.images, m);
                let (members, hosts) = (m.members().count(), m.hosts.len());
                let lost: u64 = m.hosts.iter().map(|host| host.channel.lost).sum();
                let state = if lost > 0 { format!("whole; {lost} datagrams lost") } else { "whole".into() };
                println!("{name:40} {:20} {members:>7} {here:>10} {hosts:>5}  {state}", m.created);
            }
            State::Undecided(own) => {
                let here = own.part.members.len();
                let (created, hosts) = (listed.name.created(), own.switches.len().max(1));
                let coordinator = &own.coordinator;
                println!(
                    "{name:40} {created:20} {:>7} {here:>10} {hosts:>5}  undecided; switch {coordinator} knows",
                    "-"
                );
            }
            State::Broken(e) => println!("{name:40} unusable: {e}"),
        }
    }
}

/// How many of a group's images are in this directory.
fn here(images: &Path, manifest: &Manifest) -> usize {
    let Ok(name) = manifest.name.parse() else { return 0 };
    let Ok(group) = group::Group::open(images, &name) else { return 0 };
    let is_here = |(host, member)| matches!(group.place(host, member), group::Place::Here(_));
    manifest.members().filter(|m| is_here(*m)).count()
}

fn json_of(images: &Path, listed: &Listed) -> Value {
    let (group, path) = (listed.name.as_str(), &listed.path);
    match &listed.state {
        State::Whole(m) => json!({
            "group": group, "path": path, "state": "whole", "network": m.network, "epoch": m.epoch,
            "created": m.created, "members": m.members().count(), "here": here(images, m),
            "hosts": m.hosts.iter().map(|host| &host.host).collect::<Vec<_>>(),
        }),
        State::Undecided(own) => json!({
            "group": group, "path": path, "state": "undecided", "epoch": own.epoch,
            "created": listed.name.created(), "here": own.part.members.len(),
            "coordinator": own.coordinator,
        }),
        State::Broken(e) => json!({"group": group, "path": path, "error": e.to_string()}),
    }
}

/// All groups of the directory of images; none where there is no directory.
pub(in crate::cli) fn groups(cli: &Cli) -> Result<Vec<Listed>> {
    match cli.images.exists() {
        true => group::list(&cli.images).context("listing the groups"),
        false => Ok(Vec::new()),
    }
}

//! Which member of a group goes where.

use serde_json::{Value, json};
use store::group::{Manifest, Member, Part};

use super::PlaceArgs;
use super::hosts::Host;
use crate::disks::travel::Place;
use crate::error::{Error, Result};

/// A member.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Move {
    /// Its name at the cut, and the one that it gets.
    pub(super) guest: String,
    pub(super) target: String,
    /// The name of its image where it goes.
    pub(super) image: String,
    pub(super) contents: String,
    pub(super) vifs: Vec<String>,
    /// Its disks of which there are snapshots.
    pub(super) disks: Vec<String>,
    /// Where some of them go instead of where they were.
    pub(super) places: Vec<(String, Place)>,
    /// Where its image is: on its own host, or on the one that keeps it.
    pub(super) from: Host,
    /// Whether another host than its own keeps it. Its disks' snapshots are on its own all the same.
    pub(super) kept: bool,
    pub(super) to: Host,
    /// Its domain, once it is there.
    pub(super) domid: u64,
    /// Its image was copied there just now, each page checked on the way.
    pub(super) fresh: bool,
}

impl Move {
    /// What its host is asked before anything is made.
    pub(super) fn asked(&self) -> Value {
        json!({"image": self.image, "target": self.target, "fresh": self.fresh})
    }

    /// The same error, naming the member.
    pub(super) fn blame(&self, e: Error) -> Error {
        let name = format!("`{}`", self.guest);
        match e.message.contains(&name) {
            true => e,
            false => Error { message: format!("{name}: {}", e.message), ..e },
        }
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) network: String,
    pub(super) number: u32,
    pub(super) moves: Vec<Move>,
    /// Where frames are that were recorded, on the host of which switch, and how many.
    pub(super) sources: Vec<(Host, String, u64)>,
    names: Vec<(Host, String)>,
}

impl Plan {
    /// The plan for a group, made on the host of switch `own`.
    ///
    /// # Errors
    /// A place for what is no member, or a member with two.
    pub(super) fn new(manifest: &Manifest, own: &str, args: &PlaceArgs) -> Result<Self> {
        let address = |name: &str| -> Host {
            let given = args.address.iter().find(|(host, _)| host == name);
            Host::There(given.map_or(name, |(_, address)| address).to_owned())
        };
        let home = |part: &Part| if part.switch == own { Host::Here } else { address(&part.host) };
        let here = manifest.part(own).map(|part| part.host.as_str()).unwrap_or_default();
        let wanted = |host: &str| match host {
            "." => Host::Here,
            host if host == here => Host::Here,
            host => address(host),
        };
        for (i, (guest, _)) in args.place.iter().enumerate() {
            if !manifest.members().any(|(_, m)| m.guest == *guest) {
                return Err(Error::new(format!("`{guest}` is no member of {}", manifest.name))
                    .hint(format!("`luthier show {}` names them", manifest.name)));
            }
            if args.place.iter().take(i).any(|(other, _)| other == guest) {
                return Err(Error::new(format!("`{guest}` is placed twice")).hint("Leave one --place out"));
            }
        }
        let suffix = args.name_suffix.as_deref().unwrap_or_default();
        for disk in &args.disk {
            if !manifest.members().any(|(_, m)| m.guest == disk.guest) {
                return Err(Error::new(format!("`{}` is no member of {}", disk.guest, manifest.name))
                    .hint(format!("`luthier show {}` names them", manifest.name)));
            }
        }
        let with_snapshot = |disk: &Value| {
            disk.get("snapshot").filter(|s| !s.is_null())?;
            disk.get("vdev")?.as_str().map(str::to_owned)
        };
        let to_move = |(part, m): (&Part, &Member)| {
            let (home, from) = (home(part), home(manifest.keeper(part)));
            let place = args.place.iter().find(|(guest, _)| *guest == m.guest);
            Move {
                guest: m.guest.clone(),
                target: format!("{}{suffix}", m.guest),
                image: m.image.clone(),
                contents: m.contents.clone(),
                vifs: m.vifs.iter().map(|mac| mac.to_lowercase()).collect(),
                disks: m.disks.iter().filter_map(with_snapshot).collect(),
                places: args
                    .disk
                    .iter()
                    .filter(|disk| disk.guest == m.guest)
                    .map(|disk| (disk.vdev.clone(), disk.to.clone()))
                    .collect(),
                to: place.map_or_else(|| home.clone(), |(_, host)| wanted(host)),
                kept: from != home,
                from,
                domid: 0,
                fresh: false,
            }
        };
        let moves: Vec<Move> = manifest.members().map(to_move).collect();
        for ((part, _), m) in manifest.members().zip(&moves) {
            if m.kept && !m.disks.is_empty() && m.to != home(part) {
                let host = &part.host;
                return Err(Error::new(format!(
                    "`{}` has disks, and their snapshots are on {host}",
                    m.guest
                ))
                .hint("Only its memory is kept elsewhere: restore it there, without --place"));
            }
        }
        for (i, m) in moves.iter().enumerate() {
            if moves.iter().take(i).any(|other| other.target == m.target && other.to == m.to) {
                return Err(Error::new(format!("two members named `{}` would be on {}", m.target, m.to))
                    .hint("Place one of them on another host: --place VM=HOST"));
            }
        }
        Ok(Self {
            name: manifest.name.clone(),
            network: manifest.network.name.clone(),
            number: manifest.network.id,
            moves,
            sources: manifest
                .hosts
                .iter()
                .map(|part| (home(manifest.keeper(part)), part.switch.clone(), part.channel.frames))
                .collect(),
            names: manifest.hosts.iter().map(|part| (home(part), part.host.clone())).collect(),
        })
    }

    /// Hosts on which members are to be, each once.
    pub(super) fn hosts(&self) -> Vec<Host> {
        each_once(self.moves.iter().map(|m| &m.to))
    }

    /// Those, and hosts on which members were.
    pub(super) fn all_hosts(&self) -> Vec<Host> {
        each_once(self.moves.iter().flat_map(|m| [&m.to, &m.from]))
    }

    /// The members of a host.
    pub(super) fn on<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Move> {
        self.moves.iter().filter(move |m| m.to == *host)
    }

    /// Where the vif of this address will be.
    pub(super) fn host_of(&self, mac: &[u8; 6]) -> Option<&Host> {
        let [a, b, c, d, e, f] = mac;
        let text = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        self.moves.iter().find(|m| m.vifs.contains(&text)).map(|m| &m.to)
    }

    /// A host for people.
    pub(super) fn label(&self, host: &Host) -> String {
        let name = self.names.iter().find(|(known, _)| known == host);
        name.map_or_else(|| host.to_string(), |(_, name)| name.clone())
    }
}

/// The hosts, each once.
pub(super) fn each_once<'a>(hosts: impl Iterator<Item = &'a Host>) -> Vec<Host> {
    let mut each: Vec<Host> = Vec::new();
    for host in hosts {
        if !each.contains(host) {
            each.push(host.clone());
        }
    }
    each
}

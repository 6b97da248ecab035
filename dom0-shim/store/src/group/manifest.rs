//! The manifest of a group: all hosts and members, in JSON that a person can read.
//!
//! It is made once, where the group is coordinated, of the parts of all hosts, and has the same octets
//! everywhere. Its checksum is as that of an image's manifest.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{GroupError, GroupId, GroupName, Head, Member, Part, switch_of, switch_text};
use crate::error::Result;
use crate::sealed;

/// Format of the groups that this version writes.
pub const FORMAT: u64 = 1;

/// How the members' cuts hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All were ready before the first was suspended; frames from after the cut waited.
    Together,
    /// Each was suspended when it was ready; frames from after the cut were dropped.
    Classic,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its number, the same on all hosts.
    pub id: u32,
    /// Its name, where the group was coordinated.
    pub name: String,
}

/// What a group is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1 to [`FORMAT`].
    pub format: u64,
    /// Its name.
    pub name: String,
    /// The network that was cut.
    pub network: Network,
    /// The epoch of the network after the cut.
    pub epoch: u32,
    /// The switch that coordinated it: 16 hexadecimal digits.
    pub coordinator: String,
    /// When it was begun: RFC 3339, UTC.
    pub created: String,
    /// How it was cut.
    pub mode: Mode,
    /// The parts of all hosts, those without members as well, by switch.
    pub hosts: Vec<Part>,
}

impl Manifest {
    /// Makes a manifest of all hosts' parts. Fails with [`GroupError::BadPart`] or
    /// [`GroupError::BadParts`], which name the host or the guest.
    pub fn new(head: &Head, mut hosts: Vec<Part>) -> Result<Manifest> {
        hosts.sort_by(|a, b| a.switch.cmp(&b.switch));
        let manifest = Manifest {
            format: FORMAT,
            name: head.name.to_string(),
            network: Network { id: head.id.network, name: head.name.network().into() },
            epoch: head.id.epoch,
            coordinator: switch_text(head.id.initiator),
            created: head.name.created(),
            mode: head.mode,
            hosts,
        };
        manifest.hosts.iter().try_for_each(Part::check)?;
        manifest.check().map_err(GroupError::BadParts)?;
        let missing = head.switches.iter().find(|switch| manifest.part(&switch_text(**switch)).is_none());
        if let Some(switch) = missing {
            let why = format!("that of switch {} is missing", switch_text(*switch));
            return Err(GroupError::BadParts(why).into());
        }
        Ok(manifest)
    }

    /// The file's contents, checksum included: at most [`handoff::MAX_GROUP_MANIFEST`] octets.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let text = sealed::seal(self)
            .map_err(|e| GroupError::BadParts(format!("the manifest can't be written as JSON: {e}")))?;
        let (length, most) = (text.len(), handoff::MAX_GROUP_MANIFEST);
        if length > most {
            let why = format!("the manifest would have {length} octets, and {most} fit");
            return Err(GroupError::BadParts(why).into());
        }
        Ok(text)
    }

    /// Reads and checks a file's contents. `path` is the group's, for messages.
    pub fn decode(path: &Path, file: &[u8]) -> Result<Manifest> {
        let bad = |why: String| GroupError::Malformed {
            path: path.to_path_buf(),
            why: format!("manifest.json {why}"),
        };
        if file.len() > handoff::MAX_GROUP_MANIFEST {
            return Err(bad("is too long".into()).into());
        }
        sealed::check(file).map_err(|why| bad(why.into()))?;
        check_format(path, file)?;
        let m: Manifest = serde_json::from_slice(file).map_err(|e| bad(format!("is not understood: {e}")))?;
        m.hosts.iter().try_for_each(Part::check)?;
        m.check().map_err(bad)?;
        Ok(m)
    }

    /// Checks the fields against each other.
    fn check(&self) -> std::result::Result<(), String> {
        let name: GroupName = self.name.parse().map_err(|e: crate::Error| e.to_string())?;
        if self.network.name != name.network() || self.created != name.created() {
            return Err("has a network or a time that are not its name's".into());
        }
        let switches: HashSet<&str> = self.hosts.iter().map(|host| host.switch.as_str()).collect();
        if switches.len() != self.hosts.len() {
            return Err("has two parts of one switch".into());
        }
        if switch_of(&self.coordinator).is_none() || !switches.contains(self.coordinator.as_str()) {
            return Err("lacks the part of its coordinator".into());
        }
        let keepers = self.hosts.iter().filter_map(|host| Some((host, host.kept_on.as_ref()?)));
        for (host, keeper) in keepers {
            if self.part(keeper).is_none_or(|keeper| keeper.kept_on.is_some()) {
                return Err(format!(
                    "has the images of host {} on a host that does not keep them",
                    host.host
                ));
            }
        }
        let mut seen = HashSet::new();
        for (host, member) in self.members() {
            if !seen.insert(&member.uuid) {
                return Err(format!("has guest `{}` of host {} twice", member.guest, host.host));
            }
        }
        if seen.is_empty() {
            return Err("has no member".into());
        }
        Ok(())
    }

    /// What it is among the switches.
    pub fn id(&self) -> GroupId {
        let initiator = switch_of(&self.coordinator).unwrap_or(0);
        GroupId { network: self.network.id, epoch: self.epoch, initiator }
    }

    /// All members with their hosts.
    pub fn members(&self) -> impl Iterator<Item = (&Part, &Member)> {
        self.hosts.iter().flat_map(|host| host.members.iter().map(move |member| (host, member)))
    }

    /// From the first cut to the last, in milliseconds, to the microsecond; none without members.
    pub fn spread_ms(&self) -> Option<f64> {
        let cuts = || self.members().filter_map(|(_, m)| m.cut_ms);
        let spread = cuts().reduce(f64::max)? - cuts().reduce(f64::min)?;
        Some((spread * 1000.0).round() / 1000.0)
    }

    /// The part of the host that has the images and the frames of a part: its own, or its keeper's.
    pub fn keeper<'a>(&'a self, part: &'a Part) -> &'a Part {
        part.kept_on.as_ref().and_then(|keeper| self.part(keeper)).unwrap_or(part)
    }

    /// The part of a switch.
    pub fn part(&self, switch: &str) -> Option<&Part> {
        self.hosts.iter().find(|host| host.switch == switch)
    }
}

/// Refuses formats that are not known, before any other field is looked at.
pub(super) fn check_format(path: &Path, file: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let Format { format: found } = serde_json::from_slice(file).map_err(|e| GroupError::Malformed {
        path: path.to_path_buf(),
        why: format!("a file of it is not understood: {e}"),
    })?;
    if !(1..=FORMAT).contains(&found) {
        return Err(GroupError::Version { path: path.to_path_buf(), found, known: FORMAT }.into());
    }
    Ok(())
}

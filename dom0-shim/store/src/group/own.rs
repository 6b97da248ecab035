//! `group.json`: what a host knows of a group by itself, decided or not.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::check_format;
use super::{FORMAT, GroupError, GroupId, GroupName, Head, Manifest, Mode, Part, switch_of, switch_text};
use crate::error::{Error, Result};
use crate::layer::read_bounded;
use crate::sealed;

/// The file's name.
pub(super) const FILE: &str = "group.json";
/// Its greatest length: a part in its readable form, which takes about twice the octets, and switches.
pub(super) const MAX_FILE: u64 = 4 * handoff::MAX_PART as u64;

/// A group, as far as this host knows it by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// 1 to [`FORMAT`].
    pub format: u64,
    /// The group's name.
    pub name: String,
    /// The number of the network that was cut.
    pub network: u32,
    /// The epoch of the network after the cut.
    pub epoch: u32,
    /// The switch that coordinates it, which knows how it ended: 16 hexadecimal digits.
    pub coordinator: String,
    /// How it was cut.
    pub mode: Mode,
    /// The switches that take part, which may know how it ended, too.
    pub switches: Vec<String>,
    /// This host's part.
    pub part: Part,
}

impl Own {
    pub(super) fn new(head: &Head, part: Part) -> Own {
        Own {
            format: FORMAT,
            name: head.name.to_string(),
            network: head.id.network,
            epoch: head.id.epoch,
            coordinator: switch_text(head.id.initiator),
            mode: head.mode,
            switches: head.switches.iter().copied().map(switch_text).collect(),
            part,
        }
    }

    /// What it is among the switches.
    pub fn id(&self) -> GroupId {
        let initiator = switch_of(&self.coordinator).unwrap_or(0);
        GroupId { network: self.network, epoch: self.epoch, initiator }
    }

    /// The switches that take part.
    pub fn switches(&self) -> Vec<u64> {
        self.switches.iter().filter_map(|switch| switch_of(switch)).collect()
    }

    /// Whether this host coordinates it.
    pub fn is_coordinator(&self) -> bool {
        self.coordinator == self.part.switch
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let fault = |why: String| GroupError::BadPart { host: self.part.host.clone(), why };
        let text = sealed::seal(self).map_err(|e| fault(format!("it can't be written as JSON: {e}")))?;
        if text.len() as u64 > MAX_FILE {
            return Err(fault("it is too long".into()).into());
        }
        Ok(text)
    }

    /// Reads and checks the file in a folder.
    pub(super) fn read(folder: &Path, name: &GroupName) -> Result<Own> {
        let own = Self::decode(folder, &read(folder, FILE, MAX_FILE)?)?;
        match own.name == name.as_str() {
            true => Ok(own),
            false => Err(bad(folder, "is of another group").into()),
        }
    }

    /// Reads and checks a file's contents. `path` is for messages.
    pub(super) fn decode(path: &Path, text: &[u8]) -> Result<Own> {
        sealed::check(text).map_err(|why| bad(path, why))?;
        check_format(path, text)?;
        let own: Own =
            serde_json::from_slice(text).map_err(|e| bad(path, &format!("is not understood: {e}")))?;
        own.part.check()?;
        let mut switches = std::iter::once(&own.coordinator).chain(&own.switches);
        if !switches.all(|switch| switch_of(switch).is_some()) {
            return Err(bad(path, "names a switch that can't be").into());
        }
        Ok(own)
    }

    /// Why a manifest is not this group's; `None` if it is.
    pub(super) fn differs(&self, manifest: &Manifest) -> Option<String> {
        if manifest.name != self.name {
            return Some(format!("it is of {}", manifest.name));
        }
        if manifest.id() != self.id() || manifest.mode != self.mode {
            return Some("it has another network, epoch, coordinator or mode".into());
        }
        match manifest.part(&self.part.switch) {
            None => Some("it lacks this host's part".into()),
            Some(part) if *part != self.part => Some("it has another part of this host".into()),
            Some(_) => None,
        }
    }
}

fn bad(path: &Path, why: &str) -> GroupError {
    GroupError::Malformed { path: path.to_path_buf(), why: format!("{FILE} {why}") }
}

/// Reads a file of a group's folder. What is wrong with it is wrong with the group.
pub(super) fn read(folder: &Path, name: &str, max: u64) -> Result<Vec<u8>> {
    read_bounded(folder, name, max).map_err(|e| match e {
        Error::Malformed { path, why } => GroupError::Malformed { path, why }.into(),
        other => other,
    })
}

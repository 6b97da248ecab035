//! A host's part of a group: its members, and what became of frames to them.
//!
//! It is made by the host's shim, and passes through the switches to all others; so it is checked
//! wherever it comes from. Its owner may put more fields into it, which are kept and not looked at.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{GroupError, switch_of};
use crate::error::Result;
use crate::id::ImageId;
use crate::manifest::check_uuid;

/// The longest name of a host or a guest, in octets.
const MAX_NAME: usize = 255;
/// The most vifs of a guest in one network.
const MAX_VIFS: usize = 16;
/// The longest time that is believed, in milliseconds: 100 days.
const MAX_MS: f64 = 8.64e9;

/// What a host has of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The host's name.
    pub host: String,
    /// Its switch: 16 hexadecimal digits.
    pub switch: String,
    /// Its members, at most [`handoff::MAX_GROUP_JOBS`].
    pub members: Vec<Member>,
    /// The frames to them.
    #[serde(default)]
    pub channel: Channel,
    /// The switch of the host that keeps its members' images and frames, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_on: Option<String>,
    /// Whatever else its shim says.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A guest of the network. Times are in milliseconds since its host was asked to prepare; those that
/// are not known are absent.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The guest's name.
    pub guest: String,
    /// Its UUID.
    pub uuid: String,
    /// Its image, on its host.
    pub image: String,
    /// The image's [`crate::Manifest::contents`].
    pub contents: String,
    /// MAC addresses of its vifs in the network.
    #[serde(default)]
    pub vifs: Vec<String>,
    /// When its pre-copy was ready to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<f64>,
    /// When it was asked to suspend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_ms: Option<f64>,
    /// When it stood still and its vifs were cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_ms: Option<f64>,
    /// When it ran again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_ms: Option<f64>,
    /// How long it stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_ms: Option<f64>,
    /// Its disks: the snapshot of each, or why it was left out, in the shim's words.
    #[serde(default)]
    pub disks: Vec<Value>,
    /// Whatever else its shim says.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What became of frames around the cut, on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Channel {
    /// Frames that were on their way to its members: they are in its file of the group.
    pub frames: u64,
    /// Octets of these frames.
    pub bytes: u64,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Frames that were delivered and could not be recorded.
    pub missed: u64,
    /// Datagrams from before the cut that never came.
    pub lost: u64,
    /// Peers of whom it is not known how many were lost.
    pub unknown: u64,
    /// Frames from after the cut that waited for members before it.
    pub held: u64,
    /// The same, dropped.
    pub dropped: u64,
}

impl Part {
    /// Reads and checks what a host says. Fails with [`GroupError::BadPart`].
    pub fn decode(text: &[u8]) -> Result<Part> {
        let bad = |host: &str, why: String| GroupError::BadPart { host: host.into(), why };
        if text.len() > handoff::MAX_PART {
            return Err(bad("?", format!("it has more than {} octets", handoff::MAX_PART)).into());
        }
        let part: Part =
            serde_json::from_slice(text).map_err(|e| bad("?", format!("it is not understood: {e}")))?;
        part.check()?;
        Ok(part)
    }

    /// As it goes to the other hosts: JSON of at most [`handoff::MAX_PART`] octets.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let text = serde_json::to_vec(self).map_err(|e| self.bad(format!("it can't be written: {e}")))?;
        if text.len() > handoff::MAX_PART {
            let (length, members) = (text.len(), self.members.len());
            let why = format!("{length} octets for {members} members; {} fit", handoff::MAX_PART);
            return Err(self.bad(why).into());
        }
        Ok(text)
    }

    /// Its switch as a number; 0 is none's.
    pub fn switch_id(&self) -> u64 {
        switch_of(&self.switch).unwrap_or(0)
    }

    pub(super) fn check(&self) -> Result<()> {
        self.look().map_err(|why| self.bad(why).into())
    }

    fn bad(&self, why: String) -> GroupError {
        let host = self.host.chars().filter(|c| !c.is_control()).take(64).collect();
        GroupError::BadPart { host, why }
    }

    fn look(&self) -> std::result::Result<(), String> {
        check_name("host", &self.host)?;
        if switch_of(&self.switch).is_none_or(|id| id == 0) {
            return Err("its switch is not of 16 hexadecimal digits".into());
        }
        if let Some(keeper) = &self.kept_on
            && (switch_of(keeper).is_none_or(|id| id == 0) || *keeper == self.switch)
        {
            return Err("its images are to be kept by no other switch".into());
        }
        let most = handoff::MAX_GROUP_JOBS;
        if self.members.len() > most {
            return Err(format!("it has {} members, more than {most}", self.members.len()));
        }
        if !self.channel.sha256.is_empty() {
            check_sha256("its file of frames", &self.channel.sha256)?;
        }
        let mut seen = HashSet::new();
        for member in &self.members {
            member.look().map_err(|why| format!("member `{}`: {why}", printable(&member.guest)))?;
            let fresh = [&member.uuid, &member.image].into_iter().all(|name| seen.insert(name));
            if !fresh {
                return Err(format!("member `{}` is in it twice", printable(&member.guest)));
            }
        }
        Ok(())
    }
}

impl Member {
    /// The name of its image.
    pub fn image_id(&self) -> Result<ImageId> {
        self.image.parse()
    }

    fn look(&self) -> std::result::Result<(), String> {
        check_name("guest", &self.guest)?;
        check_uuid(&self.uuid)?;
        self.image.parse::<ImageId>().map_err(|e| e.to_string())?;
        check_sha256("its contents", &self.contents)?;
        let is_mac = |mac: &String| {
            mac.len() == 17
                && mac.char_indices().all(|(i, c)| if i % 3 == 2 { c == ':' } else { c.is_ascii_hexdigit() })
        };
        if self.vifs.len() > MAX_VIFS || !self.vifs.iter().all(is_mac) {
            return Err("its vifs are not MAC addresses, or too many".into());
        }
        let times = [self.ready_ms, self.suspend_ms, self.cut_ms, self.resume_ms, self.suspended_ms];
        if times.iter().flatten().any(|ms| !(0.0..=MAX_MS).contains(ms)) {
            return Err("it has a time that can't be".into());
        }
        Ok(())
    }
}

/// A name that may be shown and is not too long.
fn check_name(what: &str, name: &str) -> std::result::Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(format!("the {what}'s name is empty, too long, or can't be printed"));
    }
    Ok(())
}

fn check_sha256(what: &str, text: &str) -> std::result::Result<(), String> {
    let lower = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
    if text.len() != 64 || !text.chars().all(lower) {
        return Err(format!("{what} is not a SHA-256"));
    }
    Ok(())
}

fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

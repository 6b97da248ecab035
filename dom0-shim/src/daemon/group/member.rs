//! A member of a group on this host: what is known of it, and what the host says of it.

use handoff::{ChannelTally, CutTimes, Job};
use serde_json::{Map, Value};
use store::group::{self, Channel, Part};

use super::inbox::Cancel;
use crate::error::{Error, Result};

/// A guest of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Member {
    /// Its name.
    pub(in crate::daemon) guest: String,
    /// Its uuid.
    pub(in crate::daemon) uuid: String,
    /// The MAC addresses of its vifs on the network.
    pub(in crate::daemon) vifs: Vec<String>,
}

/// A member's pending image, and the figures of its snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::daemon) struct Taken {
    /// The image's name.
    pub(in crate::daemon) image: String,
    /// What its pages are.
    pub(in crate::daemon) contents: String,
    /// What `luthier snapshot` of the guest alone would say.
    pub(in crate::daemon) figures: Value,
}

/// A member while the group snapshot runs.
pub(super) struct Seat {
    pub(super) member: Member,
    pub(super) cancel: Option<Cancel>,
    pub(super) job: Option<Job>,
    pub(super) cut: Option<CutTimes>,
    /// Whether its thread works on it.
    pub(super) busy: bool,
    pub(super) taken: Option<Taken>,
}

impl Seat {
    pub(super) fn new(member: Member) -> Self {
        Self { member, cancel: None, job: None, cut: None, busy: false, taken: None }
    }

    /// What the host's part says of it.
    fn part(&self) -> Result<group::Member> {
        let Member { guest, uuid, vifs } = self.member.clone();
        let no = |what: &str| Error::new(format!("`{guest}` {what}"));
        let taken = self.taken.as_ref().ok_or_else(|| no("has no pending image"))?;
        let cut = self.cut.ok_or_else(|| no("was never cut, says the stub domain"))?;
        let disks = taken.figures.get("disks").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut more = Map::new();
        for name in ["freeze_ms", "bytes", "iterations"] {
            if let Some(value) = taken.figures.get(name) {
                more.insert(name.into(), value.clone());
            }
        }
        Ok(group::Member {
            image: taken.image.clone(),
            contents: taken.contents.clone(),
            ready_ms: Some(ms(cut.ready_us)),
            suspend_ms: Some(ms(cut.asked_us)),
            cut_ms: Some(ms(cut.cut_us)),
            resume_ms: Some(ms(cut.resumed_us)),
            suspended_ms: taken.figures.get("suspended_ms").and_then(Value::as_f64),
            guest,
            uuid,
            vifs,
            disks,
            more,
        })
    }
}

/// Where a part says how many groups of its schedule stay.
pub(super) const KEEP: &str = "keep";

/// What this host says of its members. Frames are counted where they are stored.
pub(super) fn part(
    host: String,
    switch: u64,
    seats: &[Seat],
    tally: &ChannelTally,
    keep: Option<u16>,
    kept_on: Option<String>,
) -> Result<Part> {
    let members = seats.iter().map(Seat::part).collect::<Result<_>>()?;
    let ChannelTally { recorded: _, missed, lost, unknown, held, dropped } = *tally;
    let channel = Channel { missed, lost, unknown: unknown.into(), held, dropped, ..Channel::default() };
    let more = keep.map(|keep| (KEEP.to_owned(), keep.into())).into_iter().collect();
    Ok(Part { host, switch: group::switch_text(switch), members, channel, kept_on, more })
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

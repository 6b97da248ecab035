//! The figures of a cut: when each member stood still, and what became of frames.

use serde_json::{Value, json};
use store::group::{Channel, Manifest, Member, Part};

/// What a manifest says of its cut. Times of different hosts are each since its own `Prepare`; these
/// reach the hosts as far apart as one datagram takes.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// All members.
    pub(super) members: usize,
    /// From the first member's cut to the last one's, in milliseconds.
    pub(super) spread_ms: Option<f64>,
    /// The longest that a member stood still, in milliseconds, and which.
    pub(super) longest: Option<(f64, String)>,
    /// All hosts' frames.
    pub(super) frames: Channel,
}

impl Cut {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let frames = sum(&manifest.hosts);
        let members = manifest.members().count();
        let mut cut = Cut { members, frames, spread_ms: manifest.spread_ms(), ..Cut::default() };
        for (_, m) in manifest.members() {
            let longer = stood_still(m).filter(|ms| cut.longest.as_ref().is_none_or(|(most, _)| ms > most));
            if let Some(ms) = longer {
                cut.longest = Some((ms, m.guest.clone()));
            }
        }
        cut
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "spread_ms": self.spread_ms, "downtime_ms": self.longest.as_ref().map(|(ms, _)| ms),
            "channel": frames_json(&self.frames),
        })
    }
}

/// How long a member stood still, in milliseconds.
pub(super) fn stood_still(member: &Member) -> Option<f64> {
    member.suspended_ms.or_else(|| Some((member.resume_ms? - member.cut_ms?).max(0.0)))
}

fn sum(hosts: &[Part]) -> Channel {
    let of = |count: fn(&Channel) -> u64| {
        hosts.iter().map(|host| count(&host.channel)).fold(0, u64::saturating_add)
    };
    Channel {
        frames: of(|c| c.frames),
        bytes: of(|c| c.bytes),
        sha256: String::new(),
        missed: of(|c| c.missed),
        lost: of(|c| c.lost),
        unknown: of(|c| c.unknown),
        held: of(|c| c.held),
        dropped: of(|c| c.dropped),
    }
}

/// What became of frames, for a person.
pub(super) fn frames(c: &Channel) -> String {
    let mut text = format!("{} recorded ({})", c.frames, super::super::print::bytes(c.bytes));
    for (count, what) in [
        (c.missed, "delivered and not recorded"),
        (c.lost, "datagrams lost"),
        (c.unknown, "peers of whom it is not known how many were lost"),
        (c.held, "held"),
        (c.dropped, "dropped"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn frames_json(c: &Channel) -> Value {
    json!({
        "recorded": c.frames, "bytes": c.bytes, "missed": c.missed, "lost": c.lost,
        "unknown": c.unknown, "held": c.held, "dropped": c.dropped,
    })
}

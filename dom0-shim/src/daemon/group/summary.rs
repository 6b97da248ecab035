//! What a client is told of a committed group.

use serde_json::{Value, json};
use store::group::{Channel, Manifest};

/// The members, when each was cut, and what became of frames. Times of different hosts are each since
/// its own `Prepare`, which reach the hosts some fractions of a millisecond apart.
pub(super) fn summary(manifest: &Manifest) -> Value {
    let members: Vec<Value> = manifest
        .members()
        .map(|(host, m)| {
            json!({
                "guest": m.guest, "host": host.host, "image": m.image, "ready_ms": m.ready_ms,
                "suspend_ms": m.suspend_ms, "cut_ms": m.cut_ms, "resume_ms": m.resume_ms,
                "suspended_ms": m.suspended_ms, "disks": m.disks.len(),
            })
        })
        .collect();
    let downtime = manifest.members().filter_map(|(_, m)| m.suspended_ms).fold(0.0, f64::max);
    let sum = |of: fn(&Channel) -> u64| manifest.hosts.iter().map(|h| of(&h.channel)).sum::<u64>();
    json!({
        "group": manifest.name, "network": manifest.network.name, "epoch": manifest.epoch,
        "mode": manifest.mode, "hosts": manifest.hosts.len(), "members": members,
        "spread_ms": manifest.spread_ms().unwrap_or(0.0), "downtime_ms": downtime,
        "channel": {
            "recorded": sum(|c| c.frames), "bytes": sum(|c| c.bytes), "missed": sum(|c| c.missed),
            "lost": sum(|c| c.lost), "unknown": sum(|c| c.unknown), "held": sum(|c| c.held),
            "dropped": sum(|c| c.dropped),
        },
    })
}

//! Thin pools: whether there is one, and room in it. A pool that gets full has the writes of all its
//! guests fail, so what would fill one is not begun.

use serde_json::Value;

use super::find;
use crate::disks::tool::run;
use crate::error::{Context, Error, Result};

/// Per cent of a pool's data or metadata from which on no snapshot is begun.
const FULL: f64 = 97.0;

/// A thin pool, as LVM tells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pool {
    octets: u64,
    /// Per cent.
    data: f64,
    metadata: f64,
}

fn pool(group: &str, pool: &str) -> Result<Pool> {
    let fields = "lv_size,data_percent,metadata_percent,lv_health_status";
    let full = format!("{group}/{pool}");
    let report = run("lvs", &["--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, &full])?;
    let report: Value = serde_json::from_str(&report).context("reading what lvs printed")?;
    let text = |key: &str| {
        report.pointer("/report/0/lv/0").and_then(|row| row.get(key)?.as_str()).unwrap_or_default()
    };
    let per_cent = |key: &str| text(key).parse().unwrap_or(0.0);
    match text("lv_health_status") {
        "" => Ok(Pool {
            octets: text("lv_size").parse().unwrap_or(0),
            data: per_cent("data_percent"),
            metadata: per_cent("metadata_percent"),
        }),
        health => {
            Err(Error::new(format!("the thin pool {full} is not well: {health}")).hint(make_room(&full)))
        }
    }
}

fn make_room(full: &str) -> String {
    format!(
        "Give it room: lvextend -L +SIZE {full} (and lvextend --poolmetadatasize); or remove images: luthier rm"
    )
}

impl Pool {
    fn check(&self, full: &str) -> Result<()> {
        for (what, used) in [("data", self.data), ("metadata", self.metadata)] {
            if used >= FULL {
                return Err(Error::new(format!(
                    "the thin pool {full} is full: {used} % of its {what} is used"
                ))
                .hint(make_room(full)));
            }
        }
        Ok(())
    }

    /// Octets that may be written before it counts as full.
    fn room(&self) -> u64 {
        (self.octets as f64 * (FULL - self.data).max(0.0) / 100.0) as u64
    }
}

/// Whether a pool has room for one more snapshot.
///
/// # Errors
/// It doesn't, or is not well.
pub fn check_pool(group: &str, name: &str) -> Result<()> {
    pool(group, name)?.check(&format!("{group}/{name}"))
}

/// Whether a pool is there, and a volume of `octets` can be made in it, of which `used` will be written.
///
/// # Errors
/// What is missing.
pub fn check_room(group: &str, name: &str, octets: u64, used: u64) -> Result<()> {
    let full = format!("{group}/{name}");
    let Some(found_group) = super::group::find(group)? else {
        return Err(Error::new(format!("there is no volume group {group}")).hint(format!(
            "Make it, and the thin pool {full} (vgcreate, lvcreate -T {full} -L SIZE), or use others: --disk"
        )));
    };
    if find(&full).map(|found| found.kind).ok().as_deref() != Some("thin-pool") {
        return Err(Error::new(format!("there is no thin pool {full}"))
            .hint(format!("Make it: lvcreate -T {full} -L SIZE; or use another: --disk")));
    }
    found_group.check_size(group, octets)?;
    let found = pool(group, name)?;
    found.check(&full)?;
    if found.room() < used {
        return Err(Error::new(format!(
            "{} MiB are needed in the thin pool {full}, and {} MiB are free there",
            used.div_ceil(1 << 20),
            found.room() >> 20
        ))
        .hint(make_room(&full)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_counts_as_full_before_it_is() {
        let pool = Pool { octets: 1000, data: 50.0, metadata: 1.0 };
        assert_eq!(pool.room(), 470);
        pool.check("vg/pool").unwrap();
        let full = Pool { data: 98.5, ..pool };
        assert_eq!(full.room(), 0);
        assert!(full.check("vg/pool").unwrap_err().message.contains("98.5 % of its data"));
        assert!(Pool { metadata: 97.0, ..pool }.check("vg/pool").is_err());
    }
}

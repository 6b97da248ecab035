//! Room in volume groups, for volumes that have all of theirs from the start.

use crate::disks::tool::run;
use crate::error::{Context, Error, Result};

/// A volume group, as LVM tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Octets of an extent: volumes are made of whole ones.
    pub extent: u64,
    /// Octets that no volume has.
    pub free: u64,
}

/// A volume group; `None` when there is none of this name.
pub(super) fn find(name: &str) -> Result<Option<Group>> {
    let fields = "vg_name,vg_extent_size,vg_free";
    let all = run("vgs", &["--noheadings", "--units", "b", "--nosuffix", "-o", fields])?;
    let line = all.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    let Some(line) = line else { return Ok(None) };
    let mut figures = line.split_whitespace().map(str::parse);
    match (figures.next(), figures.next()) {
        (Some(Ok(extent)), Some(Ok(free))) if extent > 0 => Ok(Some(Group { extent, free })),
        _ => Err(Error::new(format!("vgs tells no room of the volume group {name}: {line}"))),
    }
}

impl Group {
    /// Whether volumes of so many octets can be made in it, which are for `what`.
    ///
    /// # Errors
    /// They can't.
    pub(super) fn check(self, name: &str, octets: u64, what: &str) -> Result<()> {
        match octets.div_ceil(self.extent).saturating_mul(self.extent) {
            needed if needed <= self.free => Ok(()),
            needed => Err(Error::new(format!(
                "{} MiB are needed in the volume group {name} for {what}, and {} MiB are free there",
                needed.div_ceil(1 << 20),
                self.free >> 20
            ))
            .hint(format!("Give it room: vgextend {name} DEVICE; or remove images: luthier rm"))),
        }
    }

    /// Whether a volume can have exactly this size.
    ///
    /// # Errors
    /// It can't.
    pub(super) fn check_size(self, name: &str, octets: u64) -> Result<()> {
        match octets.is_multiple_of(self.extent) {
            true => Ok(()),
            false => Err(Error::new(format!(
                "a volume of {octets} octets can't be made in the volume group {name}, whose extents have {}",
                self.extent
            ))
            .hint("Use a volume group with smaller extents: --disk")),
        }
    }
}

/// Whether volumes of so many octets in all can be made in a group that there may not be.
///
/// # Errors
/// What is missing.
pub fn check_group(name: &str, size: u64, octets: u64) -> Result<()> {
    let group = find(name).context(format!("looking for the volume group {name}"))?;
    let group = group.ok_or_else(|| {
        Error::new(format!("there is no volume group {name}"))
            .hint(format!("Make it (vgcreate {name} DEVICE), or use another: --disk"))
    })?;
    group.check_size(name, size)?;
    group.check(name, octets, "the image's disks and its guest's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_extents_must_be_free() {
        let group = Group { extent: 4 << 20, free: 8 << 20 };
        group.check("vg", 8 << 20, "it").unwrap();
        let error = group.check("vg", (8 << 20) + 1, "its snapshot").unwrap_err();
        assert_eq!(
            error.message,
            "12 MiB are needed in the volume group vg for its snapshot, and 8 MiB are free there"
        );
        assert!(error.hint.unwrap().contains("vgextend vg"));
        group.check_size("vg", 12 << 20).unwrap();
        assert!(group.check_size("vg", 1 << 20).is_err());
    }
}

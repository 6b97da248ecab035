//! `luthier rm GROUP`: the group, its images that are on this host, and the snapshots of their disks.

use serde_json::json;

use super::super::print;
use super::{Cli, Place};
use crate::disks;
use crate::error::Result;

/// Removes a group. The error of the store is returned as it is: the caller may try again when what
/// builds on its images is gone.
pub(in crate::cli) fn rm(cli: &Cli, place: &Place) -> store::Result<Result<()>> {
    let (removed, snapshots) = disks::remove_group(&place.images, &place.name)?;
    match cli.json {
        true => print::json_line(&json!({
            "removed": place.name.as_str(), "images": removed.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        })),
        false => {
            println!("removed {}", place.name);
            removed.iter().for_each(|id| println!("removed {id}"));
        }
    }
    Ok(snapshots)
}

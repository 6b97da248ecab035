//! `luthier rm GROUP`: the group, and its images that are on this host.

use serde_json::json;

use super::super::print;
use super::{Cli, Place};
use crate::error::Result;

/// Removes a group. The error of the store is returned as it is: the caller may try again when what
/// builds on its images is gone.
pub(in crate::cli) fn rm(cli: &Cli, place: &Place) -> store::Result<Result<()>> {
    let removed = store::group::remove(&place.images, &place.name)?;
    match cli.json {
        true => print::json_line(&json!({
            "removed": place.name.as_str(), "images": removed.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        })),
        false => {
            println!("removed {}", place.name);
            removed.iter().for_each(|id| println!("removed {id}"));
        }
    }
    Ok(Ok(()))
}

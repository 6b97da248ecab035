//! Groups of images: the snapshots of whole networks. What needs only their files is here.
//!
//! A name `NAME@TIME` may be an image's or a group's. On one host it is never both by itself, but files
//! can be brought from elsewhere: then nothing is guessed.

mod cut;
mod list;
mod rm;
mod show;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};

use store::GroupName;
use store::group::GROUPS;

use super::Cli;
use crate::error::{Error, Result};
pub(super) use list::{Membership, groups, list};
pub(super) use rm::rm;
pub(super) use show::show;
pub(super) use verify::verify;

/// What a name on the command line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An image, or nothing that is there: then opening it says so.
    Image(PathBuf),
    /// A group.
    Group(Place),
}

/// A group, and the directory of images that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) images: PathBuf,
    pub(super) name: GroupName,
}

/// Finds out what a name means: an image's or a group's name, `groups/NAME`, or a path.
///
/// # Errors
/// It is the name of both.
pub(super) fn resolve(cli: &Cli, name: &str) -> Result<Named> {
    let group = |images: &Path, name: &str| {
        let name = name.strip_suffix(".pending").unwrap_or(name).parse().ok()?;
        Some(Place { images: images.to_path_buf(), name })
    };
    let Some((folder, last)) = name.trim_end_matches('/').rsplit_once('/') else {
        let found = group(&cli.images, name).filter(is_there);
        let image = cli.images.join(name);
        return match found {
            Some(_) if image.exists() => Err(Error::new(format!("`{name}` is an image and a group"))
                .hint(format!("Say {GROUPS}/{name} for the group, and {} for the image", image.display()))),
            Some(place) => Ok(Named::Group(place)),
            None => Ok(Named::Image(image)),
        };
    };
    let folder = Path::new(folder);
    if !folder.ends_with(GROUPS) {
        return Ok(Named::Image(PathBuf::from(name)));
    }
    // A path; and `groups/NAME` alone is among the images wherever the caller is.
    let images = match folder == Path::new(GROUPS) {
        true => &cli.images,
        false => folder.parent().unwrap_or(folder),
    };
    let place = group(images, last).ok_or_else(|| Error::new(format!("`{last}` is not a group's name")));
    place.map(Named::Group)
}

/// The path of an image whose name stands for `path`: if there is none, one of that name which a group keeps
/// for another host.
///
/// # Errors
/// Several groups, or hosts, have one.
pub(super) fn kept(cli: &Cli, name: &str, path: PathBuf) -> Result<PathBuf> {
    if path.exists() || name.contains('/') || !cli.images.is_dir() {
        return Ok(path);
    }
    let all = store::group::keep::kept(&cli.images)?;
    let mut found = all.into_iter().filter(|kept| kept.id.as_str() == name).map(|kept| kept.path);
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => Err(Error::new(format!("two hosts' images `{name}` are kept here"))
            .hint(format!("Say {} or {}", one.display(), other.display()))),
        (one, _) => Ok(one.unwrap_or(path)),
    }
}

/// Whether the group is there, decided or not.
fn is_there(place: &Place) -> bool {
    let folder = place.images.join(GROUPS);
    ["", ".pending"].iter().any(|end| folder.join(format!("{}{end}", place.name)).exists())
}

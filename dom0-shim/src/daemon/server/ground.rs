//! What a snapshot builds on: the parent's image, and the log of writes that was kept since.
//!
//! A log that was kept for another image, or that nothing builds on, is ended here: it costs the
//! guest, and is of no use to anybody.

use std::path::Path;

use store::{Extents, Image, ImageId};

use super::{Attached, Server};
use crate::api::SnapshotOptions;
use crate::daemon::kept::{Inherited, Kept};
use crate::error::{Error, Result};

/// What a snapshot builds on.
pub(super) struct Ground {
    /// The parent.
    pub(super) parent: Option<Image>,
    /// The log since.
    pub(super) base: Option<Inherited>,
    /// Why there is none, though there is a parent.
    pub(super) read_all: Option<&'static str>,
}

impl Server {
    /// Finds it. The caller has claimed the guest.
    pub(super) fn ground(
        &self,
        who: &Attached,
        uuid: &str,
        frames: &Extents,
        options: &SnapshotOptions,
    ) -> Result<Ground> {
        let parent = match &options.parent {
            Some(name) => Some(open_parent(&self.options.images, name, &who.name, uuid, frames)?),
            None => None,
        };
        let kept = self.kept.of(who.domid, &who.uuid);
        let live = options.policy.is_live();
        let (base, read_all) = match (&parent, &kept) {
            (None, _) => (None, None),
            (Some(parent), kept) => match judge(parent, kept.as_ref(), live) {
                Ok(base) => (Some(base), None),
                Err(why) => (None, Some(why)),
            },
        };
        if let Some(kept) = kept.filter(|_| base.is_none()) {
            self.kept.end(&self.xen, &kept);
        }
        Ok(Ground { parent, base, read_all })
    }

    /// Ends the kept log of a guest, if there is one. The caller has claimed it.
    pub(super) fn end_log(&self, who: &Attached) {
        if let Some(kept) = self.kept.of(who.domid, &who.uuid) {
            self.kept.end(&self.xen, &kept);
        }
    }

    /// Ends kept logs that nothing can build on any more: their image was removed, or their guest
    /// is gone.
    pub(in crate::daemon) fn tidy_logs(&self) {
        for kept in self.kept.all() {
            let there = self.options.images.join(&kept.image).exists();
            let same = self.xen.domain_info(kept.domid);
            let same = same.is_ok_and(|info| info.is_some_and(|info| info.uuid == kept.uuid));
            if there && same {
                continue;
            }
            if let Some(_claim) = self.desk.mend(kept.domid)
                && self.kept.get(kept.domid).as_ref() == Some(&kept)
            {
                self.kept.end(&self.xen, &kept);
            }
        }
    }
}

/// Whether the kept log is one since this parent; if not, why everything must be read.
fn judge(parent: &Image, kept: Option<&Kept>, live: bool) -> std::result::Result<Inherited, &'static str> {
    let kept = kept.ok_or("no log of its writes was kept")?;
    let manifest = parent.manifest();
    if kept.image != manifest.id || kept.contents.as_deref() != manifest.contents() {
        return Err("the log of its writes was kept since another image");
    }
    if !live {
        return Err("the policy reads everything");
    }
    Ok(Inherited { sentinel: kept.sentinel, lost: None })
}

/// Opens the image on which a snapshot is to build.
fn open_parent(images: &Path, name: &str, guest: &str, uuid: &str, frames: &Extents) -> Result<Image> {
    let id: ImageId = name.parse().map_err(|e: store::Error| {
        Error::from(e).hint("--parent takes the name of an image of `luthier list`, without its folder")
    })?;
    let parent = Image::open(&images.join(id.as_str()))?;
    let manifest = parent.manifest();
    if manifest.uuid != uuid {
        return Err(Error::new(format!(
            "{id} is an image of another guest: `{}`, uuid {}; `{guest}` has {uuid}",
            manifest.guest, manifest.uuid
        ))
        .hint("A restored copy begins images of its own: take its first one without --parent"));
    }
    if parent.extents() != frames {
        return Err(Error::new(format!("the memory of `{guest}` was resized since {id}"))
            .hint("Take one snapshot without --parent; later ones can build on that"));
    }
    Ok(parent)
}

#[cfg(test)]
mod tests;

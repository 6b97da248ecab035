//! Groups on the disk: the store's two steps, for the one group that runs and for those that an
//! earlier daemon, or an earlier stub, left undecided.

use std::path::{Path, PathBuf};

use handoff::{GroupId, GroupMode};
use serde_json::Value;
use store::group::{self, Group, GroupWriter, Head, Manifest, Mode, Own, Part, PendingGroup};

use super::About;
use super::member::{KEEP, Taken};
use super::pieces::Pieces;
use crate::disks;
use crate::error::{Error, Result};

/// A group whose end is not known for sure.
#[derive(Debug)]
pub(super) struct Left {
    /// Which.
    pub(super) group: GroupId,
    /// On the disk.
    pub(super) name: String,
    /// The switches that took part.
    pub(super) switches: Vec<u64>,
    /// This host committed it as the coordinator; that another one has it, too, is not known.
    pub(super) committed: bool,
    /// What has come of its manifest.
    pub(super) pieces: Pieces,
}

impl Left {
    pub(super) fn new(group: GroupId, name: &str, switches: &[u64], committed: bool) -> Self {
        let (name, switches) = (name.to_owned(), switches.to_vec());
        Self { group, name, switches, committed, pieces: Pieces::default() }
    }

    fn of(own: &Own, committed: bool) -> Self {
        Self::new(own.id().into(), &own.name, &own.switches(), committed)
    }
}

/// Groups in a directory of images.
pub(in crate::daemon) struct Folders {
    images: PathBuf,
    /// The one that runs, until it is sealed.
    writer: Option<GroupWriter>,
}

impl Folders {
    /// Those of this directory.
    pub(in crate::daemon) fn new(images: PathBuf) -> Self {
        Self { images, writer: None }
    }

    /// Begins the group that runs, on the host of this switch.
    pub(super) fn begin(&mut self, about: &About, switch: u64) -> Result<()> {
        std::fs::create_dir_all(&self.images)
            .map_err(|e| Error::from(store::Error::from_io("making", &self.images, e)))?;
        let head = head(about)?;
        self.writer = None;
        self.writer = Some(GroupWriter::create(&self.images, head, switch)?);
        Ok(())
    }

    /// Stores frames of the channel state.
    pub(super) fn record(&mut self, count: u16, bulk: &[u8]) -> Result<()> {
        let writer = self.writer.as_mut().ok_or_else(|| Error::new("no group is being stored"))?;
        Ok(writer.channel(count, bulk)?)
    }

    /// Puts everything on the disk. Returns the part as the other hosts get it.
    pub(super) fn seal(&mut self, part: Part) -> Result<Vec<u8>> {
        let writer = self.writer.take().ok_or_else(|| Error::new("no group is being stored"))?;
        Ok(writer.seal(part)?.part()?)
    }

    /// The manifest of all hosts' parts, each with the switch that it came from.
    pub(super) fn manifest(&self, about: &About, parts: &[(u64, &[u8])]) -> Result<Vec<u8>> {
        let read = |(switch, text): &(u64, &[u8])| {
            let part = Part::decode(text)?;
            if part.switch_id() != *switch {
                let switch = group::switch_text(*switch);
                return Err(Error::new(format!("switch {switch} told the part of {}", part.switch)));
            }
            Ok(part)
        };
        let parts: Vec<Part> = parts.iter().map(read).collect::<Result<_>>()?;
        if parts.iter().all(|part| part.members.is_empty()) {
            let network = about.name.split('@').next().unwrap_or_default();
            return Err(Error::new(format!("network {network} has no guests"))
                .hint(format!("Attach some: luthier attach GUEST --net {network}")));
        }
        Ok(Manifest::new(&head(about)?, parts)?.encode()?)
    }

    /// Commits what is sealed. When this returns, the group is one, whatever comes.
    ///
    /// # Errors
    /// Those of the store: [`is_other`] tells whether the manifest is not this host's.
    pub(super) fn commit(&self, name: &str, manifest: &[u8]) -> store::Result<Manifest> {
        let group = PendingGroup::open(&self.images, &name.parse()?)?.commit(manifest)?;
        super::super::fault::at("group-renamed");
        if let Err(e) = group.publish() {
            // The next start tries again.
            tracing::error!(group = name, error = %e, "a member's image has not got its name yet");
        }
        settle(&self.images, group.own());
        Ok(group.manifest().clone())
    }

    /// Removes what there is of a group that was given up, committed here or not. Another group of
    /// its name stays.
    pub(super) fn discard(&mut self, id: GroupId, name: &str) -> Result<()> {
        use store::Error::Group as G;
        use store::group::GroupError::{NotFound, Undecided};
        self.writer = None;
        let name = name.parse()?;
        match PendingGroup::open(&self.images, &name) {
            Ok(pending) if pending.own().id() == id.into() => {
                let own = pending.own().clone();
                pending.discard()?;
                settle(&self.images, &own);
                return Ok(());
            }
            Ok(_) | Err(G(NotFound { .. })) => {}
            Err(e) => return Err(e.into()),
        }
        match Group::open(&self.images, &name) {
            Ok(group) if group.own().id() == id.into() => {}
            Ok(_) | Err(G(NotFound { .. } | Undecided { .. })) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        remove(&self.images, name.as_str())
    }

    /// After a commit of a scheduled group that another host coordinates: removes here what that
    /// host's schedule removes there.
    pub(super) fn prune(&self, manifest: &Manifest) {
        let Ok(listed) = group::list(&self.images) else { return };
        let mut scheduled: Vec<(String, u64)> = Vec::new();
        for group in &listed {
            let group::State::Whole(other) = &group.state else { continue };
            let keep = other.hosts.iter().find_map(|part| part.more.get(KEEP)).and_then(Value::as_u64);
            if let Some(keep) = keep.filter(|_| {
                other.network.id == manifest.network.id && other.coordinator == manifest.coordinator
            }) {
                scheduled.push((other.name.clone(), keep));
            }
        }
        scheduled.sort();
        let keep = scheduled.iter().find(|(name, _)| *name == manifest.name).map(|(_, keep)| *keep);
        let Some(keep) = keep.and_then(|keep| usize::try_from(keep).ok()) else { return };
        let old = scheduled.len().saturating_sub(keep.max(1));
        for (name, _) in scheduled.into_iter().take(old).filter(|(name, _)| *name != manifest.name) {
            match remove(&self.images, &name) {
                Ok(()) => tracing::info!(group = name, "old group removed"),
                Err(e) => tracing::warn!(group = name, why = %e.message, "the old group stays for now"),
            }
        }
    }

    /// Removes the pending image of a member of a group that was never sealed.
    pub(super) fn discard_image(&self, taken: &Taken) -> Result<()> {
        let id = taken.image.parse()?;
        match store::discard_pending(&self.images, &id) {
            Ok(()) | Err(store::Error::NotFound { .. }) => disks::settle(&self.images, &id),
            Err(e) => Err(e.into()),
        }
    }

    /// The manifest of a group that is committed here; of the newest one, if numbers were used again
    /// after all stubs had forgotten them.
    pub(super) fn committed(&self, id: GroupId) -> Option<Vec<u8>> {
        let listed = group::list(&self.images).ok()?;
        let is_it = |listed: &&group::Listed| match &listed.state {
            group::State::Whole(manifest) => manifest.id() == id.into(),
            _ => false,
        };
        let name = &listed.iter().rfind(is_it)?.name;
        Group::open(&self.images, name).ok().map(|group| group.manifest_octets().to_vec())
    }

    /// Notes that another host has the group, too.
    pub(super) fn confirm(&self, name: &str) -> Result<()> {
        Ok(Group::open(&self.images, &name.parse()?)?.confirm()?)
    }

    /// Settles what an earlier daemon left, as far as this host can; returns the rest.
    pub(super) fn recover(&mut self) -> Result<Vec<Left>> {
        if !self.images.is_dir() {
            return Ok(Vec::new());
        }
        let found = group::recover(&self.images)?;
        for path in found.removed {
            tracing::warn!(path = %path.display(), "removed what an interrupted group snapshot had left");
        }
        for image in found.published {
            tracing::warn!(%image, "the image of a committed group got its name");
        }
        for (path, error) in found.failed {
            tracing::error!(path = %path.display(), %error, "a group snapshot can't be looked at");
        }
        let mut left = Vec::new();
        for pending in found.undecided {
            // The commit is the rename of this host's own manifest, and that did not come to be.
            if pending.own().is_coordinator() {
                tracing::warn!(group = %pending.name(), "an interrupted group snapshot was given up");
                pending.discard()?;
            } else {
                left.push(Left::of(pending.own(), false));
            }
        }
        for group in found.unconfirmed {
            match group.manifest().hosts.len() {
                // There is nobody to ask.
                1 => group.confirm()?,
                _ => left.push(Left::of(group.own(), true)),
            }
        }
        disks::settle_all(&self.images);
        Ok(left)
    }
}

/// Whether a commit failed because the manifest says something else of this host than it knows itself:
/// then it is of another group, say of one before all hosts forgot what numbers were in use; or because
/// something is lost that was to be kept here.
pub(super) fn is_other(why: &store::Error) -> bool {
    use store::group::GroupError::{BadPart, Malformed, NoImage, OtherManifest};
    matches!(
        why,
        store::Error::Group(OtherManifest { .. } | Malformed { .. } | BadPart { .. } | NoImage { .. })
    )
}

/// Removes a group with its images and the snapshots of their disks.
pub(in crate::daemon) fn remove(images: &Path, name: &str) -> Result<()> {
    let (_, disks) = disks::remove_group(images, &name.parse()?)?;
    if let Err(e) = disks {
        tracing::error!(group = name, error = %e.message, "snapshots of disks are left");
    }
    Ok(())
}

/// The snapshots of members' disks stay, or go, with the images.
fn settle(images: &Path, own: &Own) {
    for id in own.part.members.iter().filter_map(|member| member.image_id().ok()) {
        if let Err(e) = disks::settle(images, &id) {
            tracing::error!(image = %id, error = %e.message, "snapshots of disks are left");
        }
    }
}

fn head(about: &About) -> Result<Head> {
    let mode = match about.mode {
        GroupMode::Together => Mode::Together,
        GroupMode::Classic => Mode::Classic,
    };
    let (id, switches) = (about.group.into(), about.switches.clone());
    Ok(Head { name: about.name.parse()?, id, switches, mode })
}

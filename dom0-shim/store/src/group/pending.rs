//! A group that is durable here and undecided, and the second step of its commit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::writer::Step;
use super::{Group, GroupError, GroupName, Manifest, Own, folder, keep};
use crate::directory::{REMOVED, destroy};
use crate::error::{At, Error, Result};
use crate::id::{PARTIAL, PENDING, is_there};
use crate::layer::{Lock, lock};
use crate::pending::discard_pending;
use crate::writer::{sync_dir, write_hashed};

/// A group that waits for a decision, locked for as long as this value lives. Dropping it decides
/// nothing: it stays on the disk.
#[derive(Debug)]
pub struct PendingGroup {
    images: PathBuf,
    name: GroupName,
    own: Own,
    path: PathBuf,
    _lock: Option<File>,
}

impl PendingGroup {
    pub(super) fn new(images: PathBuf, name: GroupName, own: Own, lock: Option<File>) -> PendingGroup {
        let path = folder(&images).join(format!("{name}{PENDING}"));
        PendingGroup { images, name, own, path, _lock: lock }
    }

    /// Opens one again, after a restart. Fails with [`GroupError::NotFound`], with [`Error::InUse`]
    /// while another value of it lives, and with [`GroupError::Malformed`].
    pub fn open(images: &Path, name: &GroupName) -> Result<PendingGroup> {
        let path = folder(images).join(format!("{name}{PENDING}"));
        if !is_there(&path) {
            return Err(GroupError::NotFound { path }.into());
        }
        let lock = lock(&path, Lock::Exclusive)?;
        let own = Own::read(&path, name)?;
        Ok(Self::new(images.to_path_buf(), name.clone(), own, Some(lock)))
    }

    /// Its name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// What this host knows of it.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// This host's part, as it goes to the other hosts.
    pub fn part(&self) -> Result<Vec<u8>> {
        self.own.part.encode()
    }

    /// Makes it a group, by the manifest's octets: those of [`Manifest::encode`] where the group is
    /// coordinated, and those that came from there everywhere else. When this returns, it is one
    /// whatever comes; then [`Group::publish`] gives the images their names, now or by
    /// [`super::recover`] after a crash. After a failure it is undecided as before.
    ///
    /// Fails with [`GroupError::OtherManifest`] when the manifest is not of this group, or says
    /// something else of this host than its own part, and with [`GroupError::NoImage`] when something is
    /// not here that it says is kept here.
    pub fn commit(self, manifest: &[u8]) -> Result<Group> {
        self.commit_observed(manifest, &mut |_| {})
    }

    pub(crate) fn commit_observed(self, manifest: &[u8], observe: &mut dyn FnMut(Step)) -> Result<Group> {
        let read = Manifest::decode(&self.path, manifest)?;
        if let Some(why) = self.own.differs(&read) {
            return Err(GroupError::OtherManifest { path: self.path.clone(), why }.into());
        }
        keep::check(&self.path, &self.own.part.switch, &read)?;
        let file = self.path.join("manifest.json");
        let temporary = self.path.join("manifest.json.new");
        // Of an attempt that was cut short.
        let _ = fs::remove_file(&temporary);
        write_hashed(&temporary, &mut std::iter::once(manifest))?;
        observe(Step::ManifestWritten);
        fs::rename(&temporary, &file).at("renaming", &temporary)?;
        observe(Step::ManifestNamed);
        sync_dir(&self.path)?;
        observe(Step::ManifestSynced);
        let groups = folder(&self.images);
        let to = groups.join(self.name.as_str());
        fs::rename(&self.path, &to).at("renaming into place", &to)?;
        observe(Step::Committed);
        if let Err(e) = sync_dir(&groups) {
            // Not known to survive a power cut.
            let _ = fs::rename(&to, &self.path);
            return Err(e);
        }
        observe(Step::CommitSynced);
        let (images, name) = (self.images.clone(), self.name.clone());
        drop(self);
        Group::open(&images, &name)
    }

    /// Removes it, and the images of its members. A crash on the way leaves what [`super::recover`]
    /// removes.
    pub fn discard(self) -> Result<()> {
        self.discard_observed(&mut || {})
    }

    pub(crate) fn discard_observed(self, observe: &mut dyn FnMut()) -> Result<()> {
        destroy(&self.path, &folder(&self.images).join(format!("{}{REMOVED}{PARTIAL}", self.name)))?;
        observe();
        for member in &self.own.part.members {
            match discard_pending(&self.images, &member.image_id()?) {
                Ok(()) | Err(Error::NotFound { .. }) => observe(),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

//! The first step of a group's commit: from its begin until everything of this host is durable.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{
    GroupError, GroupId, GroupName, Mode, Own, Part, PendingGroup, channels, folder, own, switch_text,
};
use crate::directory::directory_of;
use crate::error::{At, Error, Result};
use crate::id::{PARTIAL, PENDING, is_taken};
use crate::layer::{Lock, lock};
use crate::pending;
use crate::writer::{sync_dir, write_hashed};

/// What is known of a group from its begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub name: GroupName,
    /// What it is among the switches.
    pub id: GroupId,
    /// How it is cut.
    pub mode: Mode,
    /// The switches that take part: whom to ask how it ended.
    pub switches: Vec<u64>,
}

/// The steps of a group's commit, in their order. Tests look at the disk after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    ChannelsSynced,
    OwnWritten,
    FolderSynced,
    Sealed,
    SealSynced,
    ManifestWritten,
    ManifestNamed,
    ManifestSynced,
    Committed,
    CommitSynced,
}

/// A group that is being made here. Dropping it removes what was written; its images are not its
/// own before [`GroupWriter::seal`].
#[derive(Debug)]
pub struct GroupWriter {
    images: PathBuf,
    head: Head,
    switch: String,
    partial: PathBuf,
    /// Open for as long as the lock is to be held.
    lock: Option<File>,
    channels: Option<channels::Writer>,
    sealed: bool,
}

impl GroupWriter {
    /// Begins `groups/NAME.partial` in a directory of images, on the host of this switch.
    ///
    /// Fails with [`Error::Exists`] when the name is taken by a group, whole or not.
    pub fn create(images: &Path, head: Head, switch: u64) -> Result<GroupWriter> {
        let groups = folder(images);
        if !groups.is_dir() {
            fs::create_dir(&groups).at("creating", &groups)?;
            sync_dir(images)?;
        }
        let partial = groups.join(format!("{}{PARTIAL}", head.name));
        if is_taken(&groups, head.name.as_str()) {
            return Err(Error::Exists { path: groups.join(head.name.as_str()) });
        }
        fs::create_dir(&partial).at("creating", &partial)?;
        let mut writer = GroupWriter {
            images: images.to_path_buf(),
            head,
            switch: switch_text(switch),
            partial,
            lock: None,
            channels: None,
            sealed: false,
        };
        writer.lock = Some(lock(&writer.partial, Lock::Exclusive)?);
        let path = writer.partial.join(channels::file_name(&writer.switch));
        writer.channels = Some(channels::Writer::create(path)?);
        Ok(writer)
    }

    /// What it is.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Appends frames that were on their way: `count` records with their octets, as the stub sends
    /// them. Fails with [`GroupError::BadChannel`] or [`GroupError::ChannelFull`].
    pub fn channel(&mut self, count: u16, bulk: &[u8]) -> Result<()> {
        match &mut self.channels {
            Some(channels) => channels.append(count, bulk),
            None => Err(GroupError::BadParts("frames after the end".into()).into()),
        }
    }

    /// Puts everything of this host on the disk, undecided: it survives the end of the process. The
    /// image of each member must have been prepared in the same directory by
    /// [`crate::ImageWriter::prepare`]. What the part says of recorded frames is filled in here.
    ///
    /// Fails with [`GroupError::NoImage`] and [`GroupError::BadPart`], which name the guest. Then
    /// nothing is left of the group; the images are as they were.
    pub fn seal(self, part: Part) -> Result<PendingGroup> {
        self.seal_observed(part, &mut |_| {})
    }

    pub(crate) fn seal_observed(
        mut self,
        mut part: Part,
        observe: &mut dyn FnMut(Step),
    ) -> Result<PendingGroup> {
        if part.switch != self.switch {
            let why = format!("it is of switch {}, not {}", part.switch, self.switch);
            return Err(GroupError::BadPart { host: part.host, why }.into());
        }
        part.check()?;
        for member in &part.members {
            pending::check(&self.images, &member.image_id()?, &member.contents).map_err(|why| {
                GroupError::NoImage { guest: member.guest.clone(), image: member.image.clone(), why }
            })?;
        }
        if let Some(channels) = self.channels.take() {
            channels.finish(&mut part.channel)?;
        }
        observe(Step::ChannelsSynced);
        part.encode()?;
        let own = Own::new(&self.head, part);
        write_hashed(&self.partial.join(own::FILE), &mut std::iter::once(own.encode()?))?;
        observe(Step::OwnWritten);
        sync_dir(&self.partial)?;
        observe(Step::FolderSynced);
        let groups = directory_of(&self.partial);
        let to = groups.join(format!("{}{PENDING}", self.head.name));
        fs::rename(&self.partial, &to).at("renaming", &to)?;
        observe(Step::Sealed);
        if let Err(e) = sync_dir(groups) {
            let _ = fs::rename(&to, &self.partial);
            return Err(e);
        }
        self.sealed = true;
        observe(Step::SealSynced);
        // The lock is the folder's, whatever its name.
        Ok(PendingGroup::new(self.images.clone(), self.head.name.clone(), own, self.lock.take()))
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        if !self.sealed {
            // Best effort: what remains is swept at the daemon's next start.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

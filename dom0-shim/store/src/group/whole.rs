//! A group that was committed; listing groups, and removing them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::channels::{self, ChannelReader};
use super::{GroupError, GroupName, Manifest, Member, Own, Part, folder, keep, own};
use crate::directory::{self, REMOVED, destroy};
use crate::error::{At, Error, Result};
use crate::id::{ImageId, PARTIAL, PENDING, is_there};
use crate::layer::{Lock, lock};
use crate::pending::{self, Pending, discard_pending};
use crate::writer::sync_dir;

/// The file that says that another host has the group, too.
const CONFIRMED: &str = "confirmed";

/// A committed group, locked against removal for as long as this value lives.
#[derive(Debug)]
pub struct Group {
    images: PathBuf,
    name: GroupName,
    path: PathBuf,
    own: Own,
    manifest: Manifest,
    octets: Vec<u8>,
    _lock: File,
}

/// Where the image of a member is, seen from here.
#[derive(Debug)]
pub enum Place {
    /// Here, at this path, with the contents that the manifest tells.
    Here(PathBuf),
    /// On another host.
    Elsewhere,
    /// It should be here, and is not.
    Missing,
    /// Its group was committed, and it has not got its name yet: [`Group::publish`].
    Unnamed,
    /// An image of its name is here, with other pages than the manifest says.
    Changed,
    /// It is here, and can't be read.
    Broken(Error),
}

impl Group {
    /// Opens a group in a directory of images, and checks the form of its files. Frames and images
    /// are looked at by [`Group::channels`] and [`Group::place`].
    ///
    /// Fails with [`GroupError::NotFound`], [`GroupError::Undecided`], [`GroupError::Malformed`] or
    /// [`GroupError::Version`], and with [`Error::InUse`] while it is being removed.
    pub fn open(images: &Path, name: &GroupName) -> Result<Group> {
        Self::open_as(images, name, Lock::Shared)
    }

    fn open_as(images: &Path, name: &GroupName, how: Lock) -> Result<Group> {
        let path = folder(images).join(name.as_str());
        if !is_there(&path) {
            let pending = folder(images).join(format!("{name}{PENDING}"));
            return Err(match is_there(&pending) {
                true => GroupError::Undecided { path: pending },
                false => GroupError::NotFound { path },
            }
            .into());
        }
        let lock = lock(&path, how)?;
        let own = Own::read(&path, name)?;
        let octets = own::read(&path, "manifest.json", handoff::MAX_GROUP_MANIFEST as u64)?;
        let manifest = Manifest::decode(&path, &octets)?;
        if let Some(why) = own.differs(&manifest) {
            return Err(GroupError::Malformed { path, why: format!("manifest.json: {why}") }.into());
        }
        let images = images.to_path_buf();
        Ok(Group { images, name: name.clone(), path, own, manifest, octets, _lock: lock })
    }

    /// Its name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this host has of it.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest's octets, for a host that asks how it ended.
    pub fn manifest_octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether a part is this host's.
    pub fn is_own(&self, part: &Part) -> bool {
        part.switch == self.own.part.switch
    }

    /// Whether this host keeps what a part has.
    pub fn keeps(&self, part: &Part) -> bool {
        part.kept_on.as_ref() == Some(&self.own.part.switch)
    }

    /// Gives the images of this host's members their names, if they don't have them yet; returns
    /// those that got theirs now. Those that another host keeps are removed instead. May be called
    /// again after a failure.
    pub fn publish(&self) -> Result<Vec<ImageId>> {
        self.publish_observed(&mut || {})
    }

    pub(crate) fn publish_observed(&self, observe: &mut dyn FnMut()) -> Result<Vec<ImageId>> {
        let mut published = Vec::new();
        for member in &self.own.part.members {
            let id = member.image_id()?;
            if self.own.part.kept_on.is_some() {
                match discard_pending(&self.images, &id) {
                    Ok(()) | Err(Error::NotFound { .. }) => observe(),
                    Err(e) => return Err(e),
                }
                continue;
            }
            match Pending::open(&self.images, &id) {
                Ok(pending) => drop(pending.commit()?),
                // Done before, or removed since.
                Err(Error::NotFound { .. }) => continue,
                Err(e) => return Err(e),
            }
            published.push(id);
            observe();
        }
        Ok(published)
    }

    /// Notes that another host has it, too: nobody can say any more that it was given up.
    pub fn confirm(&self) -> Result<()> {
        let path = self.path.join(CONFIRMED);
        File::create(&path).and_then(|file| file.sync_all()).at("creating", &path)?;
        sync_dir(&self.path)
    }

    /// Whether another host is known to have it.
    pub fn is_confirmed(&self) -> bool {
        is_there(&self.path.join(CONFIRMED))
    }

    /// Where a member's image is. Its pages are not looked at: that is [`crate::Image::verify`]'s.
    pub fn place(&self, part: &Part, member: &Member) -> Place {
        let keeps = self.keeps(part);
        let path = match keeps {
            true => keep::image(&self.path, part, member),
            false => self.images.join(&member.image),
        };
        let there = is_there(&path);
        match there.then(|| pending::contents_of(&path)) {
            Some(Ok(contents)) if contents == member.contents => Place::Here(path),
            // Another host's guest may have the name of one of ours.
            _ if !keeps && (!self.is_own(part) || part.kept_on.is_some()) => Place::Elsewhere,
            Some(Ok(_)) => Place::Changed,
            Some(Err(e)) => Place::Broken(e),
            None if is_there(&self.images.join(format!("{}{PENDING}", member.image))) => Place::Unnamed,
            None => Place::Missing,
        }
    }

    /// The images that go with the group: those that are here and the group's, beside its folder.
    fn here(&self) -> Vec<ImageId> {
        let all = self.manifest.members().filter(|(part, _)| !self.keeps(part));
        let here = all.filter(|(part, member)| {
            matches!(self.place(part, member), Place::Here(_) | Place::Unnamed | Place::Broken(_))
        });
        here.filter_map(|(_, member)| member.image_id().ok()).collect()
    }

    /// Opens the frames to a host's members; `None` if its file is not here, which is an error for
    /// this host's own, and for those that it keeps.
    pub fn channels(&self, part: &Part) -> Result<Option<ChannelReader>> {
        let name = channels::file_name(&part.switch);
        let path = match self.keeps(part) {
            true => keep::channels_of(&self.path, part),
            false => self.path.join(&name),
        };
        match is_there(&path) {
            true => ChannelReader::open(&path).map(Some),
            false if self.is_own(part) || self.keeps(part) => {
                let why = format!("file `{name}` is missing");
                Err(GroupError::Malformed { path: self.path.clone(), why }.into())
            }
            false => Ok(None),
        }
    }
}

/// Whether a group is one.
#[derive(Debug)]
pub enum State {
    /// It was committed.
    Whole(Box<Manifest>),
    /// It is durable here, and not decided.
    Undecided(Box<Own>),
    /// It can't be read.
    Broken(Error),
}

/// An entry of [`list`].
#[derive(Debug)]
pub struct Listed {
    /// The group's name.
    pub name: GroupName,
    /// Its folder.
    pub path: PathBuf,
    /// What it is.
    pub state: State,
}

/// The groups of a directory of images by name, those that are undecided as well.
pub fn list(images: &Path) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for (name, path) in named(images, "")? {
        let state = match Group::open(images, &name) {
            Ok(group) => State::Whole(Box::new(group.manifest)),
            Err(e) => State::Broken(e),
        };
        found.push(Listed { name, path, state });
    }
    for (name, path) in named(images, PENDING)? {
        let state = Own::read(&path, &name).map_or_else(State::Broken, |own| State::Undecided(Box::new(own)));
        found.push(Listed { name, path, state });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The group that an image is of, decided or not: one that names it among this host's members, or
/// among any host's with the same contents.
pub fn of_image(images: &Path, image: &str) -> Result<Option<GroupName>> {
    let contents = pending::contents_of(&images.join(image)).ok();
    let is_it = |member: &Member| member.image == image;
    for group in list(images)? {
        let of = match &group.state {
            State::Whole(manifest) => {
                let own =
                    Own::read(&group.path, &group.name).is_ok_and(|own| own.part.members.iter().any(is_it));
                own || manifest.members().any(|(_, m)| is_it(m) && contents.as_ref() == Some(&m.contents))
            }
            State::Undecided(own) => own.part.members.iter().any(is_it),
            // What can still be read of it counts.
            State::Broken(_) => {
                Own::read(&group.path, &group.name).is_ok_and(|own| own.part.members.iter().any(is_it))
            }
        };
        if of {
            return Ok(Some(group.name));
        }
    }
    Ok(None)
}

/// Whether an image is this host's in a committed group, and another host keeps it.
pub fn is_kept_elsewhere(images: &Path, image: &str) -> Result<bool> {
    for (name, path) in named(images, "")? {
        let part = Own::read(&path, &name)?.part;
        if part.kept_on.is_some() && part.members.iter().any(|member| member.image == image) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes a group and the images of its members that are here, and returns those that are not kept for
/// other hosts. What others build on stays, and so does the whole group then. Cut short, it may be done again.
///
/// Fails with [`Error::HasChildren`], [`Error::InUse`], [`GroupError::NotFound`], and with
/// [`GroupError::Undecided`]. A group that can't be read is removed as far as it can be.
pub fn remove(images: &Path, name: &GroupName) -> Result<Vec<ImageId>> {
    let (members, _lock) = members(images, name, Lock::Exclusive)?;
    let here: Vec<ImageId> =
        members.iter().filter(|id| is_there(&images.join(id.as_str()))).cloned().collect();
    for id in &here {
        directory::check_unused(&images.join(id.as_str()))?;
    }
    // They go with the folder.
    let _kept = keep::claim(&folder(images).join(name.as_str()))?;
    for id in &here {
        directory::remove_member(&images.join(id.as_str()))?;
    }
    for id in members.iter().filter(|id| is_there(&images.join(format!("{id}{PENDING}")))) {
        discard_pending(images, id)?;
    }
    let groups = folder(images);
    destroy(&groups.join(name.as_str()), &groups.join(format!("{name}{REMOVED}{PARTIAL}")))?;
    Ok(here)
}

/// The images that [`remove`] removes with a group, as far as they are here. Fails as it does.
pub fn images_of(images: &Path, name: &GroupName) -> Result<Vec<ImageId>> {
    let (mut ids, _lock) = members(images, name, Lock::Shared)?;
    ids.retain(|id| is_there(&images.join(id.as_str())));
    Ok(ids)
}

/// The images that go with a group, also with one that can't be read as a whole, and a lock on it.
fn members(images: &Path, name: &GroupName, how: Lock) -> Result<(Vec<ImageId>, File)> {
    match Group::open_as(images, name, how) {
        Ok(group) => Ok((group.here(), group._lock)),
        Err(Error::Group(GroupError::Malformed { .. } | GroupError::BadPart { .. })) => {
            let path = folder(images).join(name.as_str());
            let lock = lock(&path, how)?;
            let own = Own::read(&path, name).map(|own| own.part.members).unwrap_or_default();
            Ok((own.iter().filter_map(|member| member.image_id().ok()).collect(), lock))
        }
        Err(e) => Err(e),
    }
}

/// The names in the folder of groups; none if there is no folder.
pub(super) fn names(images: &Path) -> Result<Vec<String>> {
    match directory::names(&folder(images)) {
        Err(Error::NoDirectory { .. }) => Ok(Vec::new()),
        other => other,
    }
}

/// The folders of groups whose names end in a certain way after the group's own, by name.
pub(super) fn named(images: &Path, end: &str) -> Result<Vec<(GroupName, PathBuf)>> {
    let mut found: Vec<(GroupName, PathBuf)> = names(images)?
        .iter()
        .filter_map(|name| Some((name.strip_suffix(end)?.parse().ok()?, folder(images).join(name))))
        .collect();
    found.sort();
    Ok(found)
}

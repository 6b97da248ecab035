//! What a host keeps of a group for other hosts: the images of their members, and their frames.
//!
//! A host of the group that keeps them has them in the group's folder, for good:
//!
//! | folder | what it holds |
//! | --- | --- |
//! | `kept/SWITCH` | what the host of that switch has sent: its file of frames, and its members' images |
//! | `kept/SWITCH.partial` | the same while it arrives |
//!
//! So they come to be a group's with the one rename that commits it, and go with the folder when it is
//! given up. The part of the host that sent them says so ([`Part::kept_on`]); it deletes its own images
//! when the group is committed there.
//!
//! A stream is: 8 octets that say what it is; `group.json` of the host that sends, its length (4, little
//! endian) before it; its file of frames, likewise; each member's image ([`crate::transfer`]), in the
//! part's order; the first 8 octets again.
//!
//! What this must never do: keep anything of a group that is not pending here, or believe that something
//! is kept before it is on the disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::channels::{self, ChannelReader};
use super::whole::named;
use super::{Group, GroupError, GroupName, Manifest, Member, Own, Part, folder, own, switch_of};
use crate::directory::Listed;
use crate::error::{At, Error, Result};
use crate::id::{ImageId, PARTIAL, PENDING, is_there};
use crate::layer::{Layer, Lock, lock, name_of};
use crate::pending;
use crate::transfer::{self, Partial, array, broken, cut_off, put};
use crate::writer::sync_dir;

/// The folder in a group's.
const KEPT: &str = "kept";
/// The file of frames in a host's folder there.
const CHANNELS: &str = "channels";
/// The first octets of a stream, and the last; the last one is the format.
const MAGIC: [u8; 8] = *b"LUTHKEP1";
/// How often a group that is not sealed yet is looked at again.
const LOOK: Duration = Duration::from_millis(50);

/// What was received, and is on the disk: for the host that sent it to compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The switch of the host that has it now.
    pub switch: String,
    /// Each image's name and contents, of the pages as they were read back.
    pub images: Vec<(String, String)>,
    /// SHA-256 of the file of frames, read back.
    pub channels: String,
}

impl Received {
    /// Whether it is what a host has of a group.
    pub fn is(&self, part: &Part) -> bool {
        let all = part.members.iter().map(|m| (&m.image, &m.contents));
        part.kept_on.as_ref() == Some(&self.switch)
            && self.channels == part.channel.sha256
            && all.eq(self.images.iter().map(|(image, contents)| (image, contents)))
    }
}

/// The switch of this host in a group that has begun here and is not decided, by 16 hexadecimal digits;
/// `None` if there is no such group.
pub fn begun(images: &Path, name: &GroupName) -> Result<Option<String>> {
    let pending = folder(images).join(format!("{name}{PENDING}"));
    if is_there(&pending) {
        return Ok(Some(Own::read(&pending, name)?.part.switch));
    }
    let partial = folder(images).join(format!("{name}{PARTIAL}"));
    let Ok(files) = fs::read_dir(&partial) else { return Ok(None) };
    let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
    Ok(names.filter_map(|file| channels::switch_of_file(&file).map(str::to_owned)).next())
}

/// Sends what this host has of a group that is pending here.
///
/// # Errors
/// Those of [`transfer::send`], and of a group that can't be read.
pub fn send(images: &Path, name: &GroupName, out: &mut dyn Write) -> Result<()> {
    let path = folder(images).join(format!("{name}{PENDING}"));
    let own = Own::read(&path, name)?;
    put(out, &MAGIC)?;
    let text = own.encode()?;
    put(out, &(text.len() as u32).to_le_bytes())?;
    put(out, &text)?;
    let path = path.join(channels::file_name(&own.part.switch));
    let frames = File::open(&path).at("opening", &path)?;
    let length = frames.metadata().at("looking at", &path)?.len();
    let length = u32::try_from(length).ok().filter(|l| u64::from(*l) <= channels::MAX_FILE);
    let length = length.ok_or(GroupError::ChannelFull { max: channels::MAX_FILE })?;
    put(out, &length.to_le_bytes())?;
    let sent = std::io::copy(&mut frames.take(length.into()), out)
        .map_err(|source| Error::StreamIo { doing: "sending the frames", source })?;
    if sent != u64::from(length) {
        return Err(cut_off());
    }
    for member in &own.part.members {
        transfer::send(&images.join(format!("{}{PENDING}", member.image_id()?)), out)?;
    }
    put(out, &MAGIC)?;
    out.flush().map_err(|source| Error::StreamIo { doing: "sending the images", source })
}

/// Receives what another host sends of a group, checks every octet of it, and keeps it with the group
/// that is pending here. A group that has begun and is not pending yet is waited for.
///
/// # Errors
/// [`GroupError::NotPending`] for a group that is none here (any more), [`GroupError::BadPart`] for one
/// that is not to be kept here, and those of [`transfer::receive`]. Nothing is left then.
pub fn receive(images: &Path, input: &mut dyn Read, patience: Duration) -> Result<Received> {
    if array::<8>(input)? != MAGIC {
        return Err(Error::Transfer { why: "it is not of this release of Luthier".into() });
    }
    let theirs = their_own(images, input)?;
    let name: GroupName = theirs.name.parse()?;
    let ours = await_pending(images, &name, patience)?;
    check_asked(&ours, &theirs)?;
    let pending = folder(images).join(format!("{name}{PENDING}"));
    let kept = pending.join(KEPT);
    let received = take(&kept, &theirs.part, input).map_err(|e| match is_there(&pending) {
        true => e,
        // All else follows from that.
        false => GroupError::NotPending { group: name.to_string() }.into(),
    })?;
    sync_dir(&pending)?;
    Ok(Received { switch: ours.part.switch, ..received })
}

fn their_own(images: &Path, input: &mut dyn Read) -> Result<Own> {
    let length = u32::from_le_bytes(array(input)?);
    if u64::from(length) > own::MAX_FILE {
        return Err(Error::Transfer { why: "what it says of the group is too long".into() });
    }
    let mut text = Vec::new();
    input.take(length.into()).read_to_end(&mut text).map_err(broken)?;
    if text.len() != length as usize {
        return Err(cut_off());
    }
    Own::decode(images, &text)
}

/// What this host knows of the group, once it is pending.
fn await_pending(images: &Path, name: &GroupName, patience: Duration) -> Result<Own> {
    let path = |end: &str| folder(images).join(format!("{name}{end}"));
    let until = Instant::now() + patience;
    loop {
        // In this order, as that is how one becomes the other.
        let begun = is_there(&path(PARTIAL));
        if is_there(&path(PENDING)) {
            return Own::read(&path(PENDING), name);
        }
        if !begun || Instant::now() > until {
            return Err(GroupError::NotPending { group: name.to_string() }.into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Refuses what is of another group of that name, or is not to be kept here.
fn check_asked(ours: &Own, theirs: &Own) -> Result<()> {
    let bad = |why: &str| Err(GroupError::BadPart { host: theirs.part.host.clone(), why: why.into() }.into());
    if ours.id() != theirs.id() || ours.mode != theirs.mode {
        return bad("it is of another group of this name");
    }
    if theirs.part.kept_on.as_ref() != Some(&ours.part.switch) {
        return bad("it is to be kept on another host");
    }
    match ours.switches().contains(&theirs.part.switch_id()) {
        true => Ok(()),
        false => bad("it takes no part in the group"),
    }
}

fn take(kept: &Path, part: &Part, input: &mut dyn Read) -> Result<Received> {
    match fs::create_dir(kept) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.at("creating", kept)?,
    }
    let to = kept.join(&part.switch);
    if is_there(&to) {
        return Err(Error::Exists { path: to });
    }
    let partial = Partial::create(kept.join(format!("{}{PARTIAL}", part.switch)))?;
    let file = partial.path.join(CHANNELS);
    let channels = receive_channels(&file, part, input)?;
    let mut images = Vec::new();
    for member in &part.members {
        let path = partial.path.join(member.image_id()?.as_str());
        fs::create_dir(&path).at("creating", &path)?;
        let manifest = transfer::receive_into(&path, input, |m| check_member(&path, member, m))?;
        images.push((member.image.clone(), manifest.contents().unwrap_or_default().to_owned()));
    }
    if array::<8>(input)? != MAGIC {
        return Err(Error::Transfer { why: "it has more than its members".into() });
    }
    sync_dir(&partial.path)?;
    partial.publish(&to)?;
    Ok(Received { switch: String::new(), images, channels })
}

fn check_member(path: &Path, member: &Member, manifest: &crate::Manifest) -> Result<()> {
    match manifest.contents() == Some(&member.contents) && manifest.id == member.image {
        true => Ok(()),
        false => Err(Error::malformed(path, format!("it is not the image of `{}`", member.guest))),
    }
}

fn receive_channels(path: &Path, part: &Part, input: &mut dyn Read) -> Result<String> {
    let length = u32::from_le_bytes(array(input)?);
    if u64::from(length) > channels::MAX_FILE {
        return Err(GroupError::ChannelFull { max: channels::MAX_FILE }.into());
    }
    let mut file = File::create_new(path).at("creating", path)?;
    let mut left = u64::from(length);
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        let octets = transfer::next(&mut buffer, left);
        input.read_exact(octets).map_err(broken)?;
        file.write_all(octets).at("writing", path)?;
        left -= octets.len() as u64;
    }
    file.sync_all().at("syncing", path)?;
    ChannelReader::open(path)?.verify(&part.channel)?;
    Ok(part.channel.sha256.clone())
}

/// Makes sure that all is here that a manifest says is kept on this host. `path` is the group's folder.
pub(super) fn check(path: &Path, switch: &str, manifest: &Manifest) -> Result<()> {
    for part in manifest.hosts.iter().filter(|part| part.kept_on.as_deref() == Some(switch)) {
        for member in &part.members {
            let found = pending::contents_of(&image(path, part, member));
            let why = match found {
                Ok(contents) if contents == member.contents => continue,
                Ok(_) => "it has other pages".into(),
                Err(e) => e.to_string(),
            };
            let (guest, image) = (member.guest.clone(), member.image.clone());
            return Err(GroupError::NoImage { guest, image, why }.into());
        }
        let file = channels_of(path, part);
        if !is_there(&file) {
            let why = format!("the frames to host {} are missing", part.host);
            return Err(GroupError::Malformed { path: file, why }.into());
        }
    }
    Ok(())
}

/// Where a member's image is in the folder of a group that keeps it.
pub(super) fn image(path: &Path, part: &Part, member: &Member) -> PathBuf {
    path.join(KEPT).join(&part.switch).join(&member.image)
}

/// Where a host's frames are in the folder of a group that keeps them.
pub(super) fn channels_of(path: &Path, part: &Part) -> PathBuf {
    path.join(KEPT).join(&part.switch).join(CHANNELS)
}

/// The group that keeps the image at a path, if one does: the image goes with it alone.
pub(crate) fn group_of(image: &Path) -> Option<GroupName> {
    let switch = image.parent()?;
    let kept = switch.parent()?;
    (name_of(kept) == KEPT && switch_of(&name_of(switch)).is_some())
        .then(|| name_of(kept.parent()?).parse().ok())?
}

/// Makes sure that nobody reads an image that is kept in a group's folder, for as long as what this returns
/// lives. Fails with [`Error::InUse`].
pub(super) fn claim(path: &Path) -> Result<Vec<File>> {
    let mut locks = Vec::new();
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    for switch in folders(&path.join(KEPT)) {
        for image in folders(&switch).filter(|path| path.is_dir()) {
            locks.push(lock(&image, Lock::Exclusive)?);
        }
    }
    Ok(locks)
}

/// The images that groups keep for other hosts, in a directory of images. Their names may be those of
/// others there, and of each other.
pub fn kept(images: &Path) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for (name, path) in named(images, "")? {
        let Ok(group) = Group::open(images, &name) else { continue };
        for (part, member) in group.manifest().members().filter(|(part, _)| group.keeps(part)) {
            let path = image(&path, part, member);
            let Ok(id) = member.image.parse::<ImageId>() else { continue };
            let disk_octets = crate::image::disk_octets(&path);
            let manifest = Layer::open(&path, Lock::Shared).map(|layer| layer.manifest);
            found.push(Listed { id, path, disk_octets, manifest });
        }
    }
    Ok(found)
}

//! The manifest: what an image is, in JSON that a person can read.
//!
//! Its last field is the SHA-256 of every octet before it, so that a single flipped bit anywhere in
//! the file is found.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::error::{Error, Result};
use crate::extents::{Extent, Extents};
use crate::id::ImageId;
use crate::time::utc_text;
use crate::{PAGE_SIZE, sealed, table};

/// Format of the images that this version writes. It reads all from 1 on.
pub const FORMAT: u64 = 2;

/// Longest manifest: 64 MiB, which is a million extents. One of a guest without ballooning has
/// about 1 KiB.
pub(crate) const MAX_FILE: u64 = 64 << 20;

/// A version of Xen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct XenVersion {
    /// The 4 of 4.17.
    pub major: u32,
    /// The 17 of 4.17.
    pub minor: u32,
}

/// A guest's memory, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Most that the guest may have.
    pub max_kib: u64,
    /// What its balloon driver was asked for.
    pub target_kib: u64,
}

/// What the caller of [`crate::ImageWriter::create`] knows of the guest.
#[derive(Debug, Clone)]
pub struct Meta {
    /// The domain's name.
    pub guest: String,
    /// The domain's UUID, 36 characters.
    pub uuid: String,
    /// When the snapshot was taken.
    pub created: std::time::SystemTime,
    /// Xen on which it was taken.
    pub xen: XenVersion,
    /// The guest's vCPUs, at least 1.
    pub vcpus: u32,
    /// The guest's memory.
    pub memory: MemoryFigures,
    /// Its populated frames.
    pub extents: Extents,
    /// The policy by which pages were sent; the caller's own JSON.
    pub policy: serde_json::Value,
}

/// A file of the image: how long it is, and where it matters its SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length in octets.
    pub length: u64,
    /// SHA-256 of the file; absent for `memory`, whose pages have checksums of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The files of an image besides the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The guest's pages by slot.
    pub memory: FileEntry,
    /// The page table.
    pub pages: FileEntry,
    /// The state records.
    pub state: FileEntry,
}

/// The image that another one builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its name, in the same directory.
    pub image: String,
    /// Its [`Manifest::contents`] when this image was made on it: an image of the same name with
    /// other pages won't do. It outlives a merge of the parent, which changes no page.
    pub contents: String,
}

/// What an image stores, and how; all but `octets` in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Pages that are zero here, and take no room.
    pub zero: u64,
    /// Pages as they are.
    pub raw: u64,
    /// Pages as LZ4 records.
    pub lz4: u64,
    /// Pages that are as in the parent, and take no room.
    pub parent: u64,
    /// Octets of raw pages and records in `memory`.
    pub octets: u64,
}

/// What an image is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1 to [`FORMAT`].
    pub format: u64,
    /// The name under which it was made.
    pub id: String,
    /// The guest's name.
    pub guest: String,
    /// The guest's UUID.
    pub uuid: String,
    /// When the snapshot was taken: RFC 3339, UTC.
    pub created: String,
    /// Xen on which it was taken.
    pub xen: XenVersion,
    /// The guest's vCPUs.
    pub vcpus: u32,
    /// The guest's memory.
    pub memory: MemoryFigures,
    /// Octets in a page; 4096.
    pub page_size: u64,
    /// How many pages there are.
    pub pages: u64,
    /// How many of them are zero, those of the parent among them.
    pub zero_pages: u64,
    /// The populated frames, as `[first frame, count]`.
    pub extents: Vec<Extent>,
    /// The image that this one builds on; format 1 has none.
    pub parent: Option<Parent>,
    /// What this image stores itself; format 1 doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// SHA-256 of the table that an image of format 1 with the same pages has: two images with the
    /// same contents have the same pages, however they are stored. Format 1 doesn't say, for it
    /// is its table's SHA-256: see [`Manifest::contents`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
    /// The policy by which pages were sent; the writer's own JSON.
    pub policy: serde_json::Value,
    /// What the snapshot's rounds did; the writer's own JSON.
    pub report: serde_json::Value,
    /// The other files.
    pub files: Files,
}

impl Manifest {
    /// What it will say of an image that is being written, as far as that is known at the start.
    /// Fails with [`Error::BadMeta`].
    pub(crate) fn head(id: &ImageId, meta: &Meta) -> Result<Manifest> {
        check_uuid(&meta.uuid).map_err(Error::BadMeta)?;
        if meta.vcpus == 0 {
            return Err(Error::BadMeta("it has no vCPUs".into()));
        }
        let unknown = FileEntry { length: 0, sha256: None };
        Ok(Manifest {
            format: FORMAT,
            id: id.to_string(),
            guest: meta.guest.clone(),
            uuid: meta.uuid.clone(),
            created: utc_text(meta.created),
            xen: meta.xen,
            vcpus: meta.vcpus,
            memory: meta.memory,
            page_size: PAGE_SIZE as u64,
            pages: meta.extents.pages(),
            zero_pages: 0,
            extents: meta.extents.runs().to_vec(),
            parent: None,
            stored: None,
            contents: None,
            policy: meta.policy.clone(),
            report: serde_json::Value::Null,
            files: Files { memory: unknown.clone(), pages: unknown.clone(), state: unknown },
        })
    }

    /// The file's contents, checksum included.
    pub(crate) fn encode(&self) -> std::result::Result<Vec<u8>, serde_json::Error> {
        sealed::seal(self)
    }

    /// Reads and checks a file's contents. `path` is the image's, for messages. What the
    /// manifest says of the other files is not compared with them here.
    pub(crate) fn decode(path: &Path, file: &[u8]) -> Result<Manifest> {
        let bad = |why: String| Error::malformed(path, format!("manifest.json {why}"));
        sealed::check(file).map_err(|why| bad(why.into()))?;
        // The format comes first: other fields may mean other things in another one.
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let Format { format: found } =
            serde_json::from_slice(file).map_err(|e| bad(format!("is not understood: {e}")))?;
        if !(1..=FORMAT).contains(&found) {
            return Err(Error::Version { path: path.to_path_buf(), found, known: FORMAT });
        }
        let m: Manifest = serde_json::from_slice(file).map_err(|e| bad(format!("is not understood: {e}")))?;
        m.check().map_err(bad)?;
        Ok(m)
    }

    /// Checks the fields against each other.
    fn check(&self) -> std::result::Result<(), String> {
        self.id.parse::<ImageId>().map_err(|e| e.to_string())?;
        check_uuid(&self.uuid)?;
        if self.page_size != PAGE_SIZE as u64 {
            return Err(format!("has a page size of {}", self.page_size));
        }
        if self.format == 1 && (self.parent.is_some() || self.stored.is_some() || self.contents.is_some()) {
            return Err("has fields that format 1 does not have".into());
        }
        if self.contents().is_none() {
            return Err("does not tell its contents".into());
        }
        if let Some(parent) = &self.parent {
            parent.image.parse::<ImageId>().map_err(|e| e.to_string())?;
        }
        let extents = self.extents().map_err(|e| e.to_string())?;
        if extents.pages() != self.pages || self.zero_pages > self.pages {
            return Err("has extents that don't add up to its pages".into());
        }
        // Extents::new bounds the pages, so these products don't overflow.
        let in_place = self.pages * PAGE_SIZE as u64;
        let memory = match self.format {
            1 => self.files.memory.length == in_place,
            _ => (in_place..=table::MAX_OFFSET).contains(&self.files.memory.length),
        };
        let table = match self.parent {
            None => self.files.pages.length == self.pages * table::ENTRY_SIZE as u64,
            Some(_) => self.files.pages.length <= self.pages * table::ROW_SIZE as u64,
        };
        if !memory || !table {
            return Err("has file lengths that don't fit its pages".into());
        }
        if self.files.pages.sha256.is_none() || self.files.state.sha256.is_none() {
            return Err("lacks the SHA-256 of a file".into());
        }
        Ok(())
    }

    /// What the image's pages are, as one SHA-256: see the field. `None` only where a file lacks its
    /// own, which no image that was opened does.
    pub fn contents(&self) -> Option<&str> {
        match self.format {
            1 => self.files.pages.sha256.as_deref(),
            _ => self.contents.as_deref(),
        }
    }

    /// The populated frames with their slots.
    pub fn extents(&self) -> Result<Extents> {
        Extents::new(self.extents.iter().copied())
    }
}

/// Refuses anything but the 36 characters of a UUID.
pub(crate) fn check_uuid(uuid: &str) -> std::result::Result<(), String> {
    let ok = uuid.len() == 36
        && uuid.char_indices().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        });
    if ok {
        Ok(())
    } else {
        let shown: String = uuid.chars().take(60).collect();
        Err(format!("`{shown}` is not a UUID"))
    }
}

//! A grant entry of version 1 (`grant_table.h`).

use super::GrantError;
use crate::DomId;

/// `GTF_permit_access`
const GTF_PERMIT_ACCESS: u16 = 1;
/// `GTF_type_mask`
const GTF_TYPE_MASK: u16 = 3;
/// `GTF_readonly`
const GTF_READONLY: u16 = 1 << 2;
/// `GTF_reading`: set by Xen while the grant is mapped or copied from
const GTF_READING: u16 = 1 << 3;
/// `GTF_writing`
const GTF_WRITING: u16 = 1 << 4;

/// A version 1 grant entry (`struct grant_entry_v1`) as read: an allegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantEntry {
    /// `GTF_*`
    pub flags: u16,
    /// Who may use it.
    pub domid: DomId,
    /// The guest's frame.
    pub frame: u32,
}

impl GrantEntry {
    pub(super) fn seeded(pfn: u64, reader: DomId) -> Result<GrantEntry, GrantError> {
        let frame = u32::try_from(pfn).map_err(|_| GrantError::FrameTooLarge(pfn))?;
        Ok(GrantEntry { flags: GTF_PERMIT_ACCESS | GTF_READONLY, domid: reader, frame })
    }

    /// Little-endian: flags at byte 0, domid at 2, frame at 4.
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.flags) | u64::from(self.domid) << 16 | u64::from(self.frame) << 32
    }

    pub(super) fn from_word(word: u64) -> GrantEntry {
        GrantEntry { flags: word as u16, domid: (word >> 16) as u16, frame: (word >> 32) as u32 }
    }

    /// Grants access to someone.
    pub fn permits_access(self) -> bool {
        self.flags & GTF_TYPE_MASK == GTF_PERMIT_ACCESS
    }

    /// Reading only.
    pub fn read_only(self) -> bool {
        self.flags & GTF_READONLY != 0
    }

    /// Mapped, or being copied.
    pub fn in_use(self) -> bool {
        self.flags & (GTF_READING | GTF_WRITING) != 0
    }

    /// Exactly what [`GrantEntry::seeded`] makes for this reader, idle.
    pub(super) fn like_seeded(self, reader: DomId) -> bool {
        self.flags == GTF_PERMIT_ACCESS | GTF_READONLY && self.domid == reader
    }

    /// The same entry without the mark of a reader at work.
    pub(super) fn idle(self) -> GrantEntry {
        GrantEntry { flags: self.flags & !GTF_READING, ..self }
    }

    /// The same entry with that mark.
    pub(super) fn in_use_by_reader(self) -> GrantEntry {
        GrantEntry { flags: self.flags | GTF_READING, ..self }
    }

    pub(super) fn free(self) -> bool {
        self.flags == 0
    }
}

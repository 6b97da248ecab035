//! The page table: file `pages`, one entry of 16 octets for each slot.
//!
//! | octets | field |
//! | --- | --- |
//! | 0–7 | xxh3-64 of the page, little-endian; 0 for a zero page |
//! | 8–15 | state, little-endian: 1 zero, 2 data |
//!
//! The file as a whole is covered by a SHA-256 in the manifest.

/// Octets in an entry.
pub const ENTRY_SIZE: usize = 16;

/// What an image knows of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Nothing was ever put here. A committed image has no such page.
    Absent,
    /// All octets are zero; `memory` has a hole or zeros there.
    Zero,
    /// `memory` has the contents, with this checksum.
    Data {
        /// xxh3-64 of the page.
        checksum: u64,
    },
}

impl PageState {
    /// The entry as it stands in the file.
    pub fn encode(self) -> [u8; ENTRY_SIZE] {
        let (checksum, state) = match self {
            PageState::Absent => (0, 0),
            PageState::Zero => (0, 1),
            PageState::Data { checksum } => (checksum, 2u64),
        };
        let mut out = [0; ENTRY_SIZE];
        out[..8].copy_from_slice(&checksum.to_le_bytes());
        out[8..].copy_from_slice(&state.to_le_bytes());
        out
    }

    /// Reads an entry; `None` for one that is not of the form above.
    pub fn decode(entry: &[u8; ENTRY_SIZE]) -> Option<PageState> {
        let word = u128::from_le_bytes(*entry);
        let (checksum, state) = (word as u64, (word >> 64) as u64);
        match (state, checksum) {
            (0, 0) => Some(PageState::Absent),
            (1, 0) => Some(PageState::Zero),
            (2, checksum) => Some(PageState::Data { checksum }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        for state in [
            PageState::Absent,
            PageState::Zero,
            PageState::Data { checksum: 0 },
            PageState::Data { checksum: 0x0123_4567_89ab_cdef },
        ] {
            assert_eq!(PageState::decode(&state.encode()), Some(state));
        }
        let mut odd = PageState::Zero.encode();
        odd[3] = 1;
        assert_eq!(PageState::decode(&odd), None);
        odd[8] = 7;
        assert_eq!(PageState::decode(&odd), None);
    }
}

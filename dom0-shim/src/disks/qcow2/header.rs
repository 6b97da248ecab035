//! The header of a qcow2 file, as far as it says whether the file is all there is of a disk.
//!
//! It is read before any of QEMU's tools gets to see a file that came from elsewhere: those follow what a
//! header names (`qemu-img info` opened, and wrote to, what an external data file was said to be:
//! CVE-2024-4467). The format is QEMU's `docs/interop/qcow2.txt`; numbers are big-endian.
//!
//! What this must never do: take a file for whole that names another one.

use std::fmt;

/// Octets that are looked at: all fixed fields of version 3 that matter here.
pub(super) const LENGTH: usize = 104;

const MAGIC: &[u8] = b"QFI\xfb";

/// The only version that `qemu-img` has made for ten years, and so what is sent.
const VERSION: u64 = 3;

/// The bit of an external data file.
const DATA_FILE: u64 = 1 << 2;

/// Why a file is not a disk of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no qcow2 file of a version that is known.
    Format,
    /// It has a backing file.
    Backing,
    /// Its data are in another file.
    DataFile,
    /// It needs what `qemu-img` has not given it: these incompatible features.
    Features(u64),
    /// It is encrypted.
    Encrypted,
    /// It has snapshots inside, which ours has not.
    Snapshots,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => write!(f, "is no qcow2 file (version {VERSION})"),
            Self::Backing => write!(f, "has a backing file"),
            Self::DataFile => write!(f, "keeps its data in another file"),
            Self::Features(bits) => write!(f, "has features that none of Luthier's has ({bits:#x})"),
            Self::Encrypted => write!(f, "is encrypted"),
            Self::Snapshots => write!(f, "has snapshots inside"),
        }
    }
}

/// The size that a guest sees, of a file that is all there is of a disk.
///
/// # Errors
/// It is not.
pub(super) fn size(header: &[u8]) -> Result<u64, Fault> {
    let number = |range: std::ops::Range<usize>| {
        let octets = header.get(range).ok_or(Fault::Format)?;
        Ok(octets.iter().fold(0_u64, |n, octet| n << 8 | u64::from(*octet)))
    };
    if !header.starts_with(MAGIC) || number(4..8)? != VERSION {
        return Err(Fault::Format);
    }
    let features = number(72..80)?;
    // Its offset and its length: with either there could be one.
    if number(8..16)? != 0 || number(16..20)? != 0 {
        return Err(Fault::Backing);
    }
    match features {
        0 => {}
        bits if bits & DATA_FILE != 0 => return Err(Fault::DataFile),
        bits => return Err(Fault::Features(bits)),
    }
    if number(32..36)? != 0 {
        return Err(Fault::Encrypted);
    }
    if number(60..64)? != 0 {
        return Err(Fault::Snapshots);
    }
    number(24..32)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As `qemu-img` makes one.
    pub(in crate::disks) fn header(size: u64) -> Vec<u8> {
        let mut header = vec![0; 112];
        header[..4].copy_from_slice(MAGIC);
        header[7] = 3;
        header[23] = 16;
        header[24..32].copy_from_slice(&size.to_be_bytes());
        header
    }

    #[test]
    fn a_file_that_is_all_of_a_disk_tells_its_size() {
        assert_eq!(size(&header(64 << 20)), Ok(64 << 20));
    }

    #[test]
    fn what_names_another_file_or_is_not_ours_is_no_disk() {
        for (at, octet, fault) in [
            (0, b'R', Fault::Format),
            (7, 2, Fault::Format),
            (15, 1, Fault::Backing),
            (19, 9, Fault::Backing),
            (79, 4, Fault::DataFile),
            (79, 5, Fault::DataFile),
            (79, 2, Fault::Features(2)),
            (72, 0x80, Fault::Features(1 << 63)),
            (35, 1, Fault::Encrypted),
            (63, 1, Fault::Snapshots),
        ] {
            let mut bad = header(1 << 20);
            bad[at] = octet;
            assert_eq!(size(&bad), Err(fault), "{at}");
        }
        let whole = header(1 << 20);
        for end in 0..80 {
            assert_eq!(size(&whole[..end]), Err(Fault::Format), "{end}");
        }
        assert_eq!(size(&[]), Err(Fault::Format));
    }
}

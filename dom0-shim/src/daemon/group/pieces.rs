//! What is too long for one message, in pieces: manifests, and the parts that become one.

use handoff::{GROUP_PIECE, MAX_GROUP_MANIFEST, MAX_PART};

use crate::error::{Error, Result};

/// What has arrived of something.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<u8>);

impl Pieces {
    /// Takes the next piece; returns the whole with the last one. The first piece begins anew.
    ///
    /// # Errors
    /// A piece that does not follow the one before, or more than a manifest may have.
    pub(super) fn add(&mut self, first: u32, total: u32, piece: &[u8]) -> Result<Option<Vec<u8>>> {
        let bad = || Error::new("the stub domain sent a manifest in pieces that don't fit");
        let (first, total) = (first as usize, total as usize);
        if first == 0 {
            self.0.clear();
        }
        let fits = total <= MAX_GROUP_MANIFEST && first == self.0.len() && !piece.is_empty();
        if !fits || piece.len() > total.saturating_sub(first) {
            self.0.clear();
            return Err(bad());
        }
        self.0.extend_from_slice(piece);
        Ok((self.0.len() == total).then(|| std::mem::take(&mut self.0)))
    }
}

/// The pieces of something, each with how many octets are before it.
pub(super) fn split(whole: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    whole.chunks(GROUP_PIECE).enumerate().map(|(i, piece)| ((i * GROUP_PIECE) as u32, piece))
}

/// The parts that were joined: each with its switch before it (u64) and its length (u32), little
/// endian.
///
/// # Errors
/// Octets that are none.
pub(super) fn parts(mut joined: &[u8]) -> Result<Vec<(u64, &[u8])>> {
    let bad = || Error::new("the stub domain sent hosts' parts that can't be told apart");
    let mut parts = Vec::new();
    while !joined.is_empty() {
        let (switch, rest) = joined.split_first_chunk::<8>().ok_or_else(bad)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (part, rest) = rest.split_at_checked(len).filter(|_| len <= MAX_PART).ok_or_else(bad)?;
        parts.push((u64::from_le_bytes(*switch), part));
        joined = rest;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_split_is_put_together() {
        let whole: Vec<u8> = (0..3 * GROUP_PIECE + 5).map(|i| i as u8).collect();
        let (mut pieces, mut got) = (Pieces::default(), None);
        for (first, piece) in split(&whole) {
            assert!(got.is_none());
            got = pieces.add(first, whole.len() as u32, piece).unwrap();
        }
        assert_eq!(got.unwrap(), whole);
    }

    #[test]
    fn pieces_that_do_not_follow_each_other_are_refused() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.add(0, 4, &[1, 2]).unwrap(), None);
        assert!(pieces.add(3, 4, &[4]).is_err());
        assert!(pieces.add(2, 4, &[3, 4]).is_err());
        assert!(pieces.add(0, 4, &[1, 2, 3, 4, 5]).is_err());
        assert!(pieces.add(0, MAX_GROUP_MANIFEST as u32 + 1, &[1]).is_err());
        assert!(pieces.add(0, 4, &[]).is_err());
        // From the beginning, as after a new connection.
        assert_eq!(pieces.add(0, 4, &[9, 9, 9]).unwrap(), None);
        assert_eq!(pieces.add(0, 2, &[1, 2]).unwrap(), Some(vec![1, 2]));
    }

    #[test]
    fn joined_parts_are_told_apart_or_refused() {
        let mut joined = Vec::new();
        for (switch, part) in [(7u64, &b"abc"[..]), (9, b"")] {
            joined.extend(switch.to_le_bytes());
            joined.extend((part.len() as u32).to_le_bytes());
            joined.extend(part);
        }
        assert_eq!(parts(&joined).unwrap(), [(7, &b"abc"[..]), (9, b"")]);
        for cut in [1, 8, 11, 13] {
            assert!(parts(&joined[..cut]).is_err(), "{cut}");
        }
        let mut long = 7u64.to_le_bytes().to_vec();
        long.extend(u32::MAX.to_le_bytes());
        assert!(parts(&long).is_err());
    }
}

//! The hash chain: `h[0] = SHA256(seed)`, `h[n+1] = SHA256(h[n] || n)` with n as 8 bytes, big
//! endian. A link depends on all before it, so a guest that lost or repeated a moment shows it.

use sha2::{Digest, Sha256};
use std::fmt;

/// One link: its number and hash. Prints as `chain N HEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    hash: [u8; 32],
}

impl Link {
    /// The first link of the chain of `seed`.
    pub(crate) fn first(seed: &str) -> Self {
        Self { number: 0, hash: Sha256::digest(seed.as_bytes()).into() }
    }

    /// The link after this one.
    pub(crate) fn next(&self) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(self.number.to_be_bytes());
        Self { number: self.number.wrapping_add(1), hash: hash.finalize().into() }
    }

    /// Reads a line `chain N HEX`; `None` when it is anything else.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("chain ")?.split(' ');
        let number = words.next()?.parse().ok()?;
        let hex = words.next()?.as_bytes();
        if words.next().is_some() || hex.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self { number, hash })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} ", self.number)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_link_reads_back() {
        let link = Link::first("seed").next().next();
        assert_eq!(Link::parse(&link.to_string()), Some(link));
    }

    #[test]
    fn anything_else_is_no_link() {
        let good = Link::first("seed").to_string();
        for line in ["", "chain", "chain 1", "chain x 00", &good[..good.len() - 1]] {
            assert_eq!(Link::parse(line), None, "{line:?}");
        }
        assert_eq!(Link::parse(&format!("{good} more")), None);
        assert_eq!(Link::parse(&good.replace("chain 0 ", "chain 0 +")), None);
    }

    #[test]
    fn links_depend_on_the_seed_and_on_each_other() {
        let (a, b) = (Link::first("a"), Link::first("b"));
        assert_ne!(a, b);
        assert_ne!(a.next(), b.next());
        assert_eq!(a.next().number, 1);
    }
}

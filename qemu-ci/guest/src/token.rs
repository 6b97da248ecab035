//! Tokens of a hash chain: what guests pass to each other.
//!
//! A token has a number and a hash; each link is the hash of the one before it, so whoever has seen one
//! knows exactly what every later one must be.

use sha2::{Digest, Sha256};

/// Octets of a token: its number, its link, its hash.
pub(crate) const TOKEN: usize = 4 + 8 + 32;

type Hash = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) number: u32,
    pub(crate) link: u64,
    pub(crate) hash: Hash,
}

impl Token {
    pub(crate) fn first(number: u32) -> Self {
        Self { number, link: 0, hash: Sha256::digest(number.to_be_bytes()).into() }
    }

    pub(crate) fn next(&self) -> Self {
        Self { link: self.link.wrapping_add(1), hash: Sha256::digest(self.hash).into(), ..*self }
    }

    /// The same token, so many links later.
    pub(crate) fn after(&self, links: u64) -> Self {
        (0..links).fold(*self, |token, _| token.next())
    }

    pub(crate) fn emit(&self) -> [u8; TOKEN] {
        let mut bytes = [0; TOKEN];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.link.to_be_bytes());
        bytes[12..].copy_from_slice(&self.hash);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; TOKEN]) -> Self {
        let [n0, n1, n2, n3, rest @ ..] = *bytes;
        let [l0, l1, l2, l3, l4, l5, l6, l7, hash @ ..] = rest;
        Self {
            number: u32::from_be_bytes([n0, n1, n2, n3]),
            link: u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            hash,
        }
    }
}

/// A word of the command line.
pub(crate) fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = Token::first(3).after(2);
        assert_eq!(Token::parse(&token.emit()), token);
        assert_eq!(token.link, 2);
    }
}

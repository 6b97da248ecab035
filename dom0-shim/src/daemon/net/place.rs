//! Where a switch is: an IPv4 address and a UDP port, and its public key in 64 hexadecimal digits.

use std::fmt;
use std::net::Ipv4Addr;

use handoff::{DEFAULT_PORT, Seed};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// A public key as people paste it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey(pub(crate) [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 32 octets from 64 hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut octets = [0; 32];
    if pairs.len() != octets.len() {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(pairs) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *octet = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(octets)
}

impl PublicKey {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        from_hex(text).map(Self).ok_or_else(|| {
            Error::new(format!("`{text}` is not a switch's key: it has 64 hexadecimal digits"))
                .hint("`luthier net key` on the other host prints it")
        })
    }
}

/// An address and a port, as in `10.0.0.12:4790`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ip, self.port)
    }
}

impl Address {
    /// Reads one; without a port it is `port`.
    pub(crate) fn parse(text: &str, port: u16) -> Result<Self> {
        let wrong = || {
            Error::new(format!("`{text}` is not the address of a switch"))
                .hint(format!("An IPv4 address, with a UDP port if it is not {DEFAULT_PORT}: 10.0.0.12 or 10.0.0.12:{DEFAULT_PORT}"))
        };
        let (ip, port) = match text.split_once(':') {
            Some((ip, port)) => (ip, port.parse().map_err(|_| wrong())?),
            None => (text, port),
        };
        let ip: Ipv4Addr = ip.parse().map_err(|_| wrong())?;
        if port == 0 || !is_host(ip) {
            return Err(wrong());
        }
        Ok(Self { ip, port })
    }
}

/// Whether one host can have this address.
pub(super) fn is_host(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback())
}

/// A switch to join through: where it is, and who it must prove to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    /// Where.
    pub(super) address: Address,
    /// Who.
    pub(super) key: PublicKey,
}

impl From<Peer> for Seed {
    fn from(peer: Peer) -> Self {
        Self { address: peer.address.ip.octets(), port: peer.address.port, key: peer.key.0 }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?, DEFAULT_PORT).map_err(|e| de::Error::custom(e.message))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(|e| de::Error::custom(e.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_and_what_is_none_is_refused() {
        assert_eq!(Address::parse("10.0.0.12", 7).unwrap().to_string(), "10.0.0.12:7");
        assert_eq!(Address::parse("10.0.0.12:99", 7).unwrap().to_string(), "10.0.0.12:99");
        for bad in
            ["", "10.0.0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", "::1", "0.0.0.0", "224.0.0.1", "host"]
        {
            let error = Address::parse(bad, 7).unwrap_err();
            assert!(error.hint.is_some(), "{bad}");
        }
    }

    #[test]
    fn keys_come_back_and_what_is_none_is_refused() {
        let text = "00ff".repeat(16);
        assert_eq!(PublicKey::parse(&text).unwrap().to_string(), text);
        for bad in
            ["", "00", &"0".repeat(63), &"0".repeat(65), &"g0".repeat(32), &"ä".repeat(32), &"+1".repeat(32)]
        {
            assert!(PublicKey::parse(bad).is_err(), "{bad}");
        }
    }
}

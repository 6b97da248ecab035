//! Where we are on the network of the hosts, checked.

use core::fmt;
use core::net::Ipv4Addr;

use smoltcp::wire::Ipv4Cidr;

/// Where we are on the network of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our address.
    pub address: Ipv4Addr,
    /// Bits of it that name the network: 1 to 32.
    pub prefix: u8,
    /// The way to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Our UDP port, also the one that we send from.
    pub port: u16,
}

impl Config {
    /// The network that we are on.
    pub(super) fn network(&self) -> Result<Ipv4Cidr, ConfigError> {
        let usable =
            |a: Ipv4Addr| !(a.is_unspecified() || a.is_broadcast() || a.is_multicast() || a.is_loopback());
        if !(1..=32).contains(&self.prefix) {
            return Err(ConfigError::Prefix(self.prefix));
        }
        let network = Ipv4Cidr::new(self.address, self.prefix);
        let broadcast = network.broadcast();
        if !usable(self.address) || broadcast == Some(self.address) {
            return Err(ConfigError::Address(self.address));
        }
        if let Some(gateway) = self.gateway
            && (!network.contains_addr(&gateway) || gateway == self.address || !usable(gateway))
        {
            return Err(ConfigError::Gateway(gateway));
        }
        if self.port == 0 {
            return Err(ConfigError::Port);
        }
        Ok(network)
    }
}

/// What is wrong with a [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No host can have this address.
    Address(Ipv4Addr),
    /// Not 1 to 32.
    Prefix(u8),
    /// The gateway is not on our network, so nothing would ever reach it.
    Gateway(Ipv4Addr),
    /// Port 0.
    Port,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a) => write!(f, "{a} is no address that a host can have"),
            Self::Prefix(p) => write!(f, "the length of a network's prefix is 1 to 32, not {p}"),
            Self::Gateway(a) => write!(f, "the gateway {a} is not on the uplink's network"),
            Self::Port => f.write_str("UDP port 0 can't be used; 4789 is usual"),
        }
    }
}

impl core::error::Error for ConfigError {}

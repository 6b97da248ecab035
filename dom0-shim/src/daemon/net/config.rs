//! `/etc/luthier/net.toml`: how this host's switch is reached by others. Written by the operator,
//! only read here, and read again each time, so that no restart is needed.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::Path;
use std::{fs, io};

use handoff::DEFAULT_PORT;
use serde::Deserialize;

use super::mtu;
use super::place::{Address, Peer, is_host};
use crate::error::{Context, Error, Result};

/// An example, for errors and help.
const EXAMPLE: &str = "It needs at least: address = \"10.0.0.11/24\"";

/// The file, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    address: String,
    gateway: Option<Ipv4Addr>,
    #[serde(default = "default_port")]
    port: u16,
    #[serde(default = "default_mtu")]
    mtu: u16,
    timeouts_percent: Option<u32>,
    #[serde(default)]
    peer: Vec<Peer>,
}

fn default_port() -> u16 {
    DEFAULT_PORT
}

fn default_mtu() -> u16 {
    1500
}

/// The file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Underlay {
    /// The stub's own address and port.
    pub(super) address: Address,
    /// Bits of its network.
    pub(super) prefix: u8,
    /// The router to other networks.
    pub(super) gateway: Option<Ipv4Addr>,
    /// The longest IP packet there.
    pub(super) mtu: u16,
    /// Time-outs of group snapshots, in percent, if the stub is not to find out itself.
    pub(super) timeouts_percent: Option<u32>,
    /// Switches to join through.
    pub(super) peers: Vec<Peer>,
}

impl Underlay {
    /// Reads the file. `None`: there is none, and networks are local.
    pub(super) fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path.display()).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(format!("reading {}", path.display())),
        }
    }

    fn parse(text: &str, path: impl Display) -> Result<Self> {
        let wrong = |why: String, hint: &str| Err(Error::new(format!("{path}: {why}")).hint(hint));
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(e) => {
                let line = e.span().and_then(|s| text.get(..s.start)).map(|t| t.matches('\n').count() + 1);
                let at = line.map(|n| format!("line {n}: ")).unwrap_or_default();
                return wrong(format!("{at}{}", e.message().trim()), EXAMPLE);
            }
        };
        let Some((ip, prefix)) = cidr(&file.address) else {
            return wrong(format!("address `{}` is not ADDRESS/PREFIX", file.address), EXAMPLE);
        };
        if !is_host(ip) || is_edge(ip, prefix) {
            return wrong(format!("address {ip}/{prefix} can't be a host's"), EXAMPLE);
        }
        if file.port == 0 {
            return wrong("port 0 can't be used".into(), "Leave `port` out, or name a free UDP port");
        }
        if let Some(gateway) = file.gateway
            && (gateway == ip || !same_network(gateway, ip, prefix) || !is_host(gateway))
        {
            return wrong(
                format!("gateway {gateway} is not another host in {ip}/{prefix}"),
                "Name the router that the stub's network has, or leave `gateway` out",
            );
        }
        if mtu::largest_inside(file.mtu).is_none() {
            return wrong(
                format!("mtu {} leaves no room for frames", file.mtu),
                "It is that of the physical network, mostly 1500",
            );
        }
        if let Some(percent) = file.timeouts_percent.filter(|p| !(100..=10_000).contains(p)) {
            return wrong(
                format!("timeouts_percent {percent} is not between 100 and 10000"),
                "Leave it out: the stub measures how fast its machine is",
            );
        }
        if let Some(peer) = file.peer.iter().find(|p| p.address.ip == ip) {
            return wrong(
                format!("[[peer]] {} is this host itself", peer.address),
                "Name other hosts' switches, or none",
            );
        }
        let address = Address { ip, port: file.port };
        let File { gateway, mtu, timeouts_percent, peer: peers, .. } = file;
        Ok(Self { address, prefix, gateway, mtu, timeouts_percent, peers })
    }
}

fn cidr(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    Some((ip.parse().ok()?, prefix.parse().ok().filter(|p| *p <= 32)?))
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0)
}

fn same_network(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits()) & mask(prefix) == 0
}

/// The network's own address or its broadcast address.
fn is_edge(ip: Ipv4Addr, prefix: u8) -> bool {
    let host = ip.to_bits() & !mask(prefix);
    prefix < 31 && (host == 0 || host == !mask(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Underlay> {
        Underlay::parse(text, "net.toml")
    }

    #[test]
    fn a_short_file_has_defaults_and_a_long_one_is_taken_as_it_is() {
        let short = parse("address = \"10.0.0.11/24\"").unwrap();
        assert_eq!((short.address.port, short.mtu, short.gateway), (DEFAULT_PORT, 1500, None));
        assert_eq!(short.timeouts_percent, None);
        let key = "ab".repeat(32);
        let long = parse(&format!(
            "address = \"10.0.0.11/24\"\ngateway = \"10.0.0.1\"\nport = 99\nmtu = 9000\ntimeouts_percent = 300\n\
             [[peer]]\naddress = \"10.0.0.12\"\nkey = \"{key}\"\n\
             [[peer]]\naddress = \"10.9.0.13:98\"\nkey = \"{key}\"\n"
        ))
        .unwrap();
        assert_eq!((long.address.to_string().as_str(), long.prefix, long.mtu), ("10.0.0.11:99", 24, 9000));
        assert_eq!(long.timeouts_percent, Some(300));
        let peers: Vec<String> = long.peers.iter().map(|p| p.address.to_string()).collect();
        assert_eq!(peers, [format!("10.0.0.12:{DEFAULT_PORT}"), "10.9.0.13:98".into()]);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        let ours = "address = \"10.0.0.11/24\"\n";
        for (text, says) in [
            ("", "address"),
            ("address = \"10.0.0.11\"", "not ADDRESS/PREFIX"),
            ("address = \"10.0.0.11/33\"", "not ADDRESS/PREFIX"),
            ("address = \"10.0.0.0/24\"", "can't be a host's"),
            ("address = \"10.0.0.255/24\"", "can't be a host's"),
            ("address = \"127.0.0.1/8\"", "can't be a host's"),
            ("address = 7", "line 1"),
            (&format!("{ours}mtuu = 1500"), "line 2"),
            (&format!("{ours}mtu = 150"), "mtu 150"),
            (&format!("{ours}port = 0"), "port 0"),
            (&format!("{ours}timeouts_percent = 99"), "timeouts_percent 99"),
            (&format!("{ours}gateway = \"10.0.1.1\""), "gateway 10.0.1.1"),
            (&format!("{ours}gateway = \"10.0.0.11\""), "gateway 10.0.0.11"),
            (&format!("{ours}[[peer]]\naddress = \"10.0.0.12\"\nkey = \"00\""), "hexadecimal"),
            (&format!("{ours}[[peer]]\naddress = \"10.0.0.11\"\nkey = \"{}\"", "00".repeat(32)), "itself"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(says) && error.message.contains("net.toml"), "{text}: {error}");
            assert!(error.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn no_file_means_local_networks() {
        assert_eq!(Underlay::load(Path::new("/nowhere/net.toml")).unwrap(), None);
    }
}

//! Which Ethernet address an IPv4 address of our network has: learned from ARP, as smoltcp and
//! Linux do.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

/// Addresses that are known at a time. When there are more, the one longest unheard of goes.
pub(super) const MAX_NEIGHBOURS: usize = 1024;
/// How long an address is believed without a word from there, in milliseconds.
const LIFETIME_MS: u64 = 60_000;
/// After how long it is asked for again while it is in use, so that there is no gap.
const REFRESH_MS: u64 = 30_000;
/// How often one address is asked for.
const ASK_MS: u64 = 1_000;

struct Neighbour {
    address: Ipv4Addr,
    /// `None`: asked for, no answer yet.
    mac: Option<EthernetAddress>,
    /// When it was heard of last.
    heard: u64,
    /// When it was asked for last.
    asked: u64,
}

/// An address of the network, as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it is.
    pub(super) mac: Option<EthernetAddress>,
    /// It is time to ask for it.
    pub(super) ask: bool,
}

/// The table. Sorted by address, so that looking up needs no more than ten steps.
pub(super) struct Neighbours(Vec<Neighbour>);

impl Neighbours {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(MAX_NEIGHBOURS))
    }

    fn find(&mut self, address: Ipv4Addr) -> Option<&mut Neighbour> {
        let at = self.0.binary_search_by_key(&address, |n| n.address).ok()?;
        self.0.get_mut(at)
    }

    /// The entry of `address`, made if need be.
    fn entry(&mut self, address: Ipv4Addr, now: u64) -> Option<&mut Neighbour> {
        if self.0.binary_search_by_key(&address, |n| n.address).is_err() {
            if self.0.len() >= MAX_NEIGHBOURS {
                let (oldest, _) = self.0.iter().enumerate().min_by_key(|(_, n)| n.heard)?;
                self.0.remove(oldest);
            }
            let at = self.0.partition_point(|n| n.address < address);
            let asked = now.wrapping_sub(ASK_MS);
            self.0.insert(at, Neighbour { address, mac: None, heard: now, asked });
        }
        self.find(address)
    }

    /// Where `address` is, and whether to ask: if so, it counts as asked.
    pub(super) fn look_up(&mut self, address: Ipv4Addr, now: u64) -> Found {
        let Some(n) = self.entry(address, now) else { return Found { mac: None, ask: false } };
        let age = now.saturating_sub(n.heard);
        if age > LIFETIME_MS {
            n.mac = None;
        }
        let ask = (n.mac.is_none() || age > REFRESH_MS) && now.wrapping_sub(n.asked) >= ASK_MS;
        if ask {
            n.asked = now;
        }
        Found { mac: n.mac, ask }
    }

    /// Somebody said by ARP where `address` is. `to_us`: to us in particular; what is told to all
    /// only changes what we know.
    pub(super) fn learn(&mut self, address: Ipv4Addr, mac: EthernetAddress, to_us: bool, now: u64) {
        let neighbour = if to_us { self.entry(address, now) } else { self.find(address) };
        if let Some(n) = neighbour {
            (n.mac, n.heard) = (Some(mac), now);
        }
    }

    /// A packet came from there: what we know is still true. Nothing new is learned from packets,
    /// as their sender's address is easily forged.
    pub(super) fn heard(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: u64) {
        if let Some(n) = self.find(address).filter(|n| n.mac == Some(mac)) {
            n.heard = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const B: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

    fn ip(n: u16) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8)
    }

    #[test]
    fn an_unknown_address_is_asked_for_once_a_second() {
        let mut table = Neighbours::new();
        assert_eq!(table.look_up(ip(1), 0), Found { mac: None, ask: true });
        assert_eq!(table.look_up(ip(1), 999), Found { mac: None, ask: false });
        assert_eq!(table.look_up(ip(2), 999), Found { mac: None, ask: true });
        assert_eq!(table.look_up(ip(1), 1000), Found { mac: None, ask: true });
        table.learn(ip(1), A, true, 1001);
        assert_eq!(table.look_up(ip(1), 5000), Found { mac: Some(A), ask: false });
    }

    #[test]
    fn an_address_in_use_is_asked_for_before_it_is_forgotten() {
        let mut table = Neighbours::new();
        table.learn(ip(1), A, true, 0);
        assert_eq!(table.look_up(ip(1), 30_001), Found { mac: Some(A), ask: true });
        assert_eq!(table.look_up(ip(1), 30_500), Found { mac: Some(A), ask: false });
        assert_eq!(table.look_up(ip(1), 60_001).mac, None);
    }

    #[test]
    fn packets_keep_an_address_but_don_t_change_it() {
        let mut table = Neighbours::new();
        table.learn(ip(1), A, true, 0);
        table.heard(ip(1), A, 50_000);
        assert_eq!(table.look_up(ip(1), 70_000), Found { mac: Some(A), ask: false });
        table.heard(ip(1), B, 70_000);
        table.heard(ip(2), B, 70_000);
        assert_eq!(table.look_up(ip(1), 70_000).mac, Some(A));
        assert_eq!(table.look_up(ip(2), 70_000).mac, None);
        // What came from B was no sign of life of A.
        assert_eq!(table.look_up(ip(1), 110_001).mac, None);
    }

    #[test]
    fn an_address_that_moved_is_followed_but_gossip_fills_no_table() {
        let mut table = Neighbours::new();
        table.learn(ip(1), A, true, 0);
        table.learn(ip(1), B, false, 1);
        table.learn(ip(2), B, false, 1);
        assert_eq!(table.look_up(ip(1), 2).mac, Some(B));
        assert_eq!(table.0.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut table = Neighbours::new();
        for n in 0..3000u16 {
            table.learn(ip(n), A, true, n.into());
        }
        assert_eq!(table.0.len(), MAX_NEIGHBOURS);
        assert!(table.0.is_sorted_by_key(|n| n.address));
        assert_eq!(table.look_up(ip(2999), 3000).mac, Some(A));
        assert_eq!(table.look_up(ip(3000 - 1024 - 1), 3000).mac, None);
    }
}

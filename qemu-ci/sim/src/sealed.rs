//! A node whose control messages are really sealed: the sessions and the membership as the stub
//! wires them. For small worlds, as each pair of hosts makes a handshake.

use std::collections::BTreeMap;

use violin::id::{PeerId, SwitchId};
use violin::member::{Config, Destination, Event, MESSAGE_MAX, Member, Membership, Seed};
use violin::session::{Opened, Sessions, TRANSMIT_LEN, What, public_key, switch_id};
use violin::wire::{HEADER_LEN, TAG_LEN};

use crate::mesh::{address, host};
use crate::node::{Host, Kind, Node, Outbox};

/// A switch without guests whose datagrams are sealed.
pub struct SealedNode {
    /// Its membership.
    pub members: Membership,
    /// Its sessions.
    pub sessions: Sessions,
    /// The members that are there, as told by events.
    pub up: BTreeMap<SwitchId, Member>,
    /// The last message to each peer that there was no session for yet.
    unsealed: BTreeMap<PeerId, Vec<u8>>,
}

/// The secret key of a host.
fn secret(host: Host) -> [u8; 32] {
    [host as u8 + 1; 32]
}

impl SealedNode {
    /// A switch on this host, that knows the keys and addresses of these hosts and of no others.
    pub fn new(on: Host, incarnation: u64, seeds: &[Host], now_ms: u64) -> Self {
        let random = [on as u8; 32];
        let sessions = Sessions::new(secret(on), random, 256, incarnation);
        let me = Member::new(switch_id, sessions.public_key(), address(on), incarnation);
        let mut members = Membership::new(me, switch_id, Config::default(), on as u64);
        for &seed in seeds {
            members.join(now_ms, Seed { key: public_key(&secret(seed)), at: address(seed) });
        }
        Self { members, sessions, up: BTreeMap::new(), unsealed: BTreeMap::new() }
    }

    /// Seals a message, or keeps it until there is a session. A peer is introduced by being sent to.
    fn seal(&mut self, now_ms: u64, to: Destination, message: &[u8], out: &mut Outbox) {
        let Ok(peer) = self.sessions.add_peer(to.key, to.at) else { return };
        let mut buffer = [0; HEADER_LEN + MESSAGE_MAX + TAG_LEN];
        buffer[HEADER_LEN..HEADER_LEN + message.len()].copy_from_slice(message);
        match self.sessions.seal(now_ms, peer, What::Control, &mut buffer, message.len()) {
            Ok((len, at)) => out.send(host(at), Kind::Control, &buffer[..len]),
            Err(_) => {
                self.unsealed.insert(peer, message.to_vec());
            }
        }
    }
}

impl Node for SealedNode {
    fn on_datagram(&mut self, now_ms: u64, from: Host, _kind: Kind, octets: &[u8]) {
        let mut datagram = octets.to_vec();
        if let Opened::Control { peer, payload } = self.sessions.open(now_ms, address(from), &mut datagram)
            && let Some(id) = self.sessions.switch(peer)
        {
            // What is refused is of no interest here.
            let _ = self.members.receive(now_ms, id, payload);
        }
    }

    fn poll(&mut self, now_ms: u64, out: &mut Outbox) {
        let mut buffer = [0; MESSAGE_MAX];
        while let Some(sent) = self.members.poll(now_ms, &mut buffer) {
            self.seal(now_ms, sent.to, &buffer[..sent.len], out);
        }
        let ready: Vec<_> =
            self.unsealed.keys().copied().filter(|peer| self.sessions.is_established(*peer)).collect();
        for peer in ready {
            if let (Some(message), Some(key), Some(at)) =
                (self.unsealed.remove(&peer), self.sessions.key_of(peer), self.sessions.address(peer))
            {
                self.seal(now_ms, Destination { id: switch_id(&key), key, at }, &message, out);
            }
        }
        let mut buffer = [0; TRANSMIT_LEN];
        while let Some((len, at)) = self.sessions.poll_transmit(now_ms, &mut buffer) {
            out.send(host(at), Kind::Control, &buffer[..len]);
        }
        while let Some(event) = self.members.next_event() {
            match event {
                Event::Up(member) | Event::Changed(member) => self.up.insert(member.id, member),
                Event::Down(id, _) => self.up.remove(&id),
            };
        }
    }

    fn poll_at(&self) -> Option<u64> {
        [self.members.poll_at(), self.sessions.poll_at()].into_iter().flatten().min()
    }
}

//! Membership messages: whatever members say, each speaks for itself only, and all stays bounded.
#![no_main]

use std::net::SocketAddr;

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use violin::id::{NetworkId, SwitchId};
use violin::member::{Config, Event, MESSAGE_MAX, Member, Membership, NETWORKS_MAX, Seed};

const MEMBERS: usize = 8;

/// A name that is easily found: the last octets of the key.
fn id_of(key: &[u8; 32]) -> SwitchId {
    SwitchId(u64::from_le_bytes(*key.last_chunk().expect("32 octets")))
}

fn key(octet: u8) -> [u8; 32] {
    let mut key = [octet; 32];
    key[25..].fill(0);
    key
}

fuzz_target!(|octets: &[u8]| {
    let mut input = Input(octets);
    let at: SocketAddr = ([10, 0, 0, 1], 4790).into();
    let me = Member::new(id_of, key(1), at, 5);
    let own = me.id;
    let config = Config { members: MEMBERS, ..Config::default() };
    let mut membership = Membership::new(me, id_of, config, 7);
    let mut now = 0;
    // Another, which knows this one: what it says is the best to begin with.
    let mut other = Membership::new(Member::new(id_of, key(2), at, 5), id_of, config, 9);
    let networks = [1, 5, 9].map(NetworkId);
    other.set_networks(now, &networks).expect("few networks");
    other.join(now, Seed { key: key(1), at });
    let mut said = Vec::new();
    while !input.is_empty() {
        let what = input.octet();
        now += u64::from(what >> 3) * 50;
        match what & 7 {
            0 => membership.join(now, Seed { key: key(input.octet()), at }),
            // What it said itself, to the other, to itself or from somebody else, perhaps changed.
            1 if !said.is_empty() => {
                let mut message: Vec<u8> = said.clone();
                change(&mut input, &mut message);
                let _ = other.receive(now, own, &message);
                let _ = membership.receive(now, id_of(&key(input.octet())), &message);
            }
            // What the other says, perhaps changed in a few places.
            2 => {
                let mut buffer = [0; MESSAGE_MAX];
                let Some(sent) = other.poll(now, &mut buffer) else { continue };
                let mut message = buffer[..sent.len].to_vec();
                for _ in 0..input.octet() % 4 {
                    change(&mut input, &mut message);
                }
                let _ = membership.receive(now, other.me().id, &message);
            }
            _ => {
                let from = id_of(&key(input.octet()));
                let len = input.short() % (MESSAGE_MAX as u16 + 100);
                let message = input.take(len.into());
                let before = count(&membership, from);
                let heard = membership.receive(now, from, message);
                assert!(from != own || heard.is_err(), "it believed what came from itself");
                assert!(message.len() <= MESSAGE_MAX || heard.is_err());
                assert_eq!(before, count(&membership, from), "one spoke for another");
            }
        }
        let mut buffer = [0; MESSAGE_MAX];
        for round in 0.. {
            let Some(sent) = membership.poll(now, &mut buffer) else { break };
            assert!(round < 4096, "it never stops to send");
            assert!(sent.len <= MESSAGE_MAX && sent.to.id != own && sent.to.id == id_of(&sent.to.key));
            said = buffer[..sent.len].to_vec();
        }
        while let Some(event) = membership.next_event() {
            if let Event::Up(member) | Event::Changed(member) = event {
                assert_eq!(member.id, id_of(&member.key));
                assert_ne!(member.id, own);
            }
        }
        assert_eq!(membership.me().id, own);
        assert!(membership.members().count() <= MEMBERS && membership.up() <= MEMBERS);
        for peer in membership.members() {
            let networks = &peer.member.networks;
            assert!(networks.len() <= NETWORKS_MAX && networks.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(peer.member.id, id_of(&peer.member.key));
        }
    }
});

fn change(input: &mut Input<'_>, message: &mut [u8]) {
    let place = usize::from(input.octet()) % message.len();
    message[place] ^= input.octet();
}

/// What is known of others than `from`: their lives, records and networks, as one sum.
fn count(membership: &Membership, from: SwitchId) -> Vec<(SwitchId, u64, u32, usize)> {
    let known = membership.members().filter(|peer| peer.member.id != from && peer.member.incarnation != 0);
    known.map(|p| (p.member.id, p.member.incarnation, p.member.version, p.member.networks.len())).collect()
}

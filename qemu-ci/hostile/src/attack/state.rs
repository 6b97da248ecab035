//! States at wrong moments.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::Attack;
use crate::Result;
use crate::frame::{self, BROADCAST, EXPERIMENT, Random};
use crate::front::Front;
use crate::vif::state;

/// Goes through states during traffic, 100 times, and looks whether it can still be a good guest.
pub(super) async fn disconnect(attack: &Attack<'_>) -> Result<String> {
    let mut front = attack.connect().await?;
    front.offer(0, 256);
    let good = frame::ethernet(BROADCAST, attack.vif.mac, EXPERIMENT, &[0x5a; 1000]);
    let order = [
        state::CLOSING,
        state::CLOSED,
        state::INITIALISING,
        state::CONNECTED,
        state::CLOSED,
        state::CONNECTED,
    ];
    let mut random = Random::new(7);
    for round in 0..100 {
        for index in 0..front.tx.free().min(64) as usize {
            let slot = front.request(index, &good);
            front.put(&[slot]);
        }
        front.kick();
        attack.vif.set_state(order[random.next() as usize % order.len()]).await?;
        if round % 10 == 0 {
            front.settle(Duration::from_millis(50)).await?;
        }
    }
    let told = front.told();
    let again = match attack.vif.begin_again().await? {
        true => match Front::connect(attack.vif, attack.pages).await {
            Ok(mut front) => {
                front.send_frame(0, &good);
                front.settle(Duration::from_secs(1)).await?
            }
            Err(_) => false,
        },
        false => false,
    };
    Ok(format!("reconnected {again}, {told}"))
}

/// All states there are, and some that are none, in random order.
pub(super) async fn random(attack: &Attack<'_>) -> Result<String> {
    let front = attack.connect().await?;
    let mut random = Random::new(11);
    let words = ["", "-1", "4294967300", "banana", " 4", "4\0", "0x4", "99999999999999999999999999"];
    for _ in 0..300 {
        let dice = random.next() as usize >> 8;
        match dice % 3 {
            0 => attack.vif.write("state", words[dice / 3 % words.len()]).await?,
            _ => attack.vif.write("state", format!("{}", dice / 3 % 10)).await?,
        }
        front.kick();
    }
    let again = attack.vif.begin_again().await?;
    Ok(format!("began again {again}, {}", front.told()))
}

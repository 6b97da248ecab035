//! What stands in xenstore.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::time::Duration;

use super::Attack;
use crate::Result;
use crate::front::Front;
use crate::vif::{state, text};

/// Nodes that a back end reads, each in a connection of its own, with values that make no sense.
pub(super) async fn malformed(attack: &Attack<'_>) -> Result<String> {
    let vif = attack.vif;
    let long = vec![b'1'; 2000];
    // Each of them for one node, the first ones for all.
    let values: [(&str, &[u8]); 11] = [
        ("negative", b"-1"),
        ("huge", b"18446744073709551616"),
        ("no UTF-8", b"\xff\xfe\xc3\x28"),
        ("long", &long),
        ("zero", b"0"),
        ("empty", b""),
        ("32 bits", b"4294967295"),
        ("hex", b"0x10"),
        ("space", b" 9 "),
        ("words", b"; rm -rf /\n\x1b[2J"),
        ("zero byte", b"9\x009"),
    ];
    let nodes = [
        ("tx-ring-ref", 11),
        ("rx-ring-ref", 5),
        ("event-channel", 5),
        ("request-rx-copy", 5),
        ("multi-queue-num-queues", 5),
        ("feature-sg", 5),
    ];
    let (mut played, mut stuck) = (0, 0);
    let mut front = Front::new(vif, attack.pages)?;
    for (node, count) in nodes {
        for (what, value) in values.iter().take(count) {
            if !one(attack, &mut front, node, value, &mut played).await? {
                stuck += 1;
                xen::println!("hostile: no way back to InitWait after {node} was {what}");
            }
        }
    }
    // Ports that others have: of the toolstack's, and of Dom0.
    for port in ["1", "2", "4095"] {
        if !one(attack, &mut front, "event-channel", port.as_bytes(), &mut played).await? {
            stuck += 1;
        }
    }
    // The same page for both rings, and a node longer than the quota allows.
    let both = format!("{}", front.tx.page().gref().0);
    if !one(attack, &mut front, "rx-ring-ref", both.as_bytes(), &mut played).await? {
        stuck += 1;
    }
    let refused = vif.write("tx-ring-ref", vec![b'1'; 4000]).await.is_err();
    let again = Front::connect(vif, attack.pages).await.is_ok();
    Ok(format!("played {played}, stuck {stuck}, 4000 octets refused {refused}, reconnected {again}"))
}

/// Connects with one node wrong, and goes back. Whether the back end did, too.
async fn one(
    attack: &Attack<'_>,
    front: &mut Front,
    node: &str,
    value: &[u8],
    played: &mut u32,
) -> Result<bool> {
    let vif = attack.vif;
    front.tell(vif).await?;
    vif.write(node, value).await?;
    vif.set_state(state::CONNECTED).await?;
    let wanted = [state::CONNECTED, state::CLOSING, state::CLOSED];
    let found = vif.await_backend(&wanted, Duration::from_millis(300)).await;
    let shown = value.get(..30).unwrap_or(value).escape_ascii();
    xen::println!("hostile: {node} = '{shown}': backend in state {found}");
    front.kick();
    *played += 1;
    vif.store.rm(&format!("device/vif/0/{node}")).await.map_err(text)?;
    vif.begin_again().await
}

/// Thousands of nodes below our vif, until the daemon refuses.
pub(super) async fn quota(attack: &Attack<'_>) -> Result<String> {
    let front = attack.connect().await?;
    let mut made = 0;
    while made < 5000 && attack.vif.write(&format!("flood/{made}"), [b'x'; 100]).await.is_ok() {
        made += 1;
    }
    front.kick();
    // And the same node again and again: an event for each, for who watches.
    for round in 0..2000 {
        attack.vif.write("flood/0", format!("{round}")).await?;
        attack.vif.write("feature-sg", format!("{}", round % 2)).await?;
    }
    Ok(format!("nodes {made}, {}", front.told()))
}

/// Takes its nodes away while it is connected.
pub(super) async fn vanish(attack: &Attack<'_>) -> Result<String> {
    let front = attack.connect().await?;
    for node in ["tx-ring-ref", "rx-ring-ref", "event-channel", "backend", "mac", "state", ""] {
        let path = format!("device/vif/0/{node}");
        let gone = attack.vif.store.rm(path.trim_end_matches('/')).await;
        xen::println!("hostile: {node} taken away: {gone:?}");
        front.kick();
    }
    let found = attack.vif.await_backend(&[state::CLOSED], Duration::from_secs(1)).await;
    // And the state alone comes back, with nothing beside it.
    for state in [state::CONNECTED, state::CLOSED, state::INITIALISING, state::CONNECTED] {
        let _ = attack.vif.set_state(state).await;
    }
    Ok(format!("backend was in state {found}, {}", front.told()))
}

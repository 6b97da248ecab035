//! What it does. The rows of "A backend under attack", and more.
//!
//! | attack | what it does | of the past |
//! | --- | --- | --- |
//! | `none` | behaves well: ARP and ping to a peer | |
//! | `ring-change`, `ring-change-valid` | rewrites requests while they are read; `-valid`: from one good one to another | XSA-155 |
//! | `ring-index-*` | `beyond`, `back`, `max`, `rx-beyond`, `rx-back`: impossible indices; `events`: wild event indices | |
//! | `event-storm` | rings in a tight loop | |
//! | `malformed-*` | one broken packet each: see [`slots`] | XSA-374 |
//! | `zero-fragment` | a fragment without octets | XSA-448 |
//! | `tiny-slots`, `-19`, `-200` | a header in slots of one octet: 18, more | XSA-423, 432 |
//! | `sizes` | runts, and frames beyond the MTU up to 65,535 octets | |
//! | `gso-lies` | segmentation and checksums left open, of what is no TCP or lies about its lengths | XSA-423 |
//! | `disconnect` | states at wrong moments, 100 times, during traffic | XSA-374 |
//! | `xenstore` | malformed nodes, one connection each | |
//! | `xs-states`, `xs-nodes`, `xs-vanish` | wrong states in random order; nodes up to the quota; no nodes any more | |
//! | `no-rx`, `no-rx-consume` | offers no pages for received frames; never offers them again | XSA-392 |
//! | `drops` | frames that can only be dropped, as fast as it can | XSA-424 |
//! | `grants-invalid`, `-nothing`, `-readonly`, `-revoke`, `-rings` | grants that are none, of MMIO and of no RAM, read-only for writing, revoked in use, of the rings | XSA-396 |
//! | `padding` | looks for what must not be in responses and behind frames | XSA-216 |
//! | `mac-flood`, `mac-spoof` | 100,000 sources; the victim's, group and zero sources | |

mod grants;
mod ring;
mod slots;
mod state;
mod traffic;
mod xenstore;

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use xen::time::{Instant, now};

use crate::Result;
use crate::front::{Front, Pages};
use crate::settings::Settings;
use crate::vif::Vif;

/// What an attack has at hand.
struct Attack<'a> {
    settings: &'a Settings,
    vif: &'a Vif,
    pages: &'static Pages,
    begin: Instant,
}

impl Attack<'_> {
    async fn connect(&self) -> Result<Front> {
        Front::connect(self.vif, self.pages).await
    }

    /// Whether an attack without an end goes on.
    fn goes_on(&self) -> bool {
        self.begin.elapsed() < Duration::from_secs(self.settings.seconds)
    }
}

/// Plays an attack; what there is to say of it at the end.
pub(crate) async fn run(name: &str, settings: &Settings, vif: &Vif, pages: &'static Pages) -> Result<String> {
    let attack = Attack { settings, vif, pages, begin: now() };
    match name {
        "none" => traffic::none(&attack).await,
        "padding" => traffic::padding(&attack).await,
        "no-rx" => traffic::no_rx(&attack, 0).await,
        "no-rx-consume" => traffic::no_rx(&attack, 256).await,
        "drops" => traffic::drops(&attack).await,
        "mac-flood" => traffic::mac_flood(&attack).await,
        "mac-spoof" => traffic::mac_spoof(&attack).await,
        "ring-change" => ring::change(&attack, false).await,
        "ring-change-valid" => ring::change(&attack, true).await,
        "event-storm" => ring::storm(&attack).await,
        "disconnect" => state::disconnect(&attack).await,
        "xs-states" => state::random(&attack).await,
        "xs-nodes" => xenstore::quota(&attack).await,
        "xs-vanish" => xenstore::vanish(&attack).await,
        "xenstore" => xenstore::malformed(&attack).await,
        name => {
            if let Some(how) = name.strip_prefix("ring-index-") {
                ring::index(&attack, how).await
            } else if let Some(how) = name.strip_prefix("grants-") {
                grants::run(&attack, how).await
            } else if slots::KNOWN.iter().any(|known| name.starts_with(known)) {
                slots::run(&attack, name).await
            } else {
                Err(format!("there is no attack {name}"))
            }
        }
    }
}

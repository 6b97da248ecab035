//! Undoes what a killed daemon left behind: guests suspended, logged, or with grants to the stub.

use std::time::Duration;

use privcmd::xenstore;

use super::guest::{Withdrawn, withdraw_suspend};
use super::journal::{Entry, Journal};
use super::window::Window;
use super::xen::Xen;

/// How long to wait for a guest that has read a request to suspend, before others are mended too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Mends every guest of the journal, each in a thread of its own, so that one that does not answer
/// keeps none waiting. Returns how many there are.
pub(super) fn start(xen: &Xen, journal: &Journal) -> usize {
    let entries = journal.entries();
    for entry in &entries {
        let (xen, journal, entry) = (xen.clone(), journal.clone(), entry.clone());
        std::thread::spawn(move || mend(&xen, &journal, &entry));
    }
    entries.len()
}

fn mend(xen: &Xen, journal: &Journal, entry: &Entry) {
    let domid = entry.domid;
    loop {
        let same = xen.domain_info(domid).ok().flatten().is_some_and(|i| i.uuid == entry.uuid && i.alive());
        if !same {
            break;
        }
        match mend_once(xen, entry) {
            Ok(()) => {
                tracing::warn!(domid, "undid what an interrupted snapshot had left");
                break;
            }
            Err(why) => {
                tracing::error!(domid, why, "an interrupted snapshot is not undone yet; trying again")
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    if let Err(e) = journal.remove(domid) {
        tracing::error!(domid, error = %e.message, "removing a journal entry");
    }
}

fn mend_once(xen: &Xen, entry: &Entry) -> Result<(), String> {
    let domid = entry.domid;
    if entry.suspend_asked {
        let mut store = xenstore::Client::open().map_err(|e| e.to_string())?;
        match withdraw_suspend(xen, &mut store, domid, PATIENCE) {
            Withdrawn::Resumed => store.resume(domid).map_err(|e| e.to_string())?,
            Withdrawn::Unread | Withdrawn::Gone => {}
            Withdrawn::Pending => {
                return Err("the guest has read the request to suspend and does not answer".into());
            }
        }
    }
    if entry.log_dirty {
        xen.log_dirty_disable(domid).map_err(|e| e.to_string())?;
    }
    // Opening the window closes what was left open.
    Window::new(xen, domid, entry.stub).map(drop).map_err(|e| e.to_string())
}

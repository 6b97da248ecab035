//! Logs of guests' writes that a snapshot has left on, for a next one that reads only what was
//! written to since.
//!
//! A kept log is a base only as long as nobody has taken anything out of it. Xen tells nobody that
//! another program (`xl migrate`, `xl save`) has ended it, begun its own, and ended that. So a
//! **sentinel** is marked in it: a page of the guest that no guest writes to, the ring of memory
//! sharing (`HVM_PARAM_SHARING_RING_PFN`), which libxl makes for every guest and nothing on a
//! stock host uses. Its bit is set in the log by `XEN_DMOP_modified_memory` when the last round's
//! bits are out, and whoever clears the log clears it, too. A log without it is not ours.
//!
//! Two things are not in Xen's log (4.17 to 4.20):
//! - What Dom0 and back ends write through mappings of a guest's pages, until they unmap them. Pages
//!   that may be mapped so are few, and always read: see `Guest::unlogged`.
//! - A frame that the guest has given back and taken again (ballooning), from then until the next
//!   `Clean`: `p2m_add_page` marks nothing. Other frames than before are noticed; the same ones are in
//!   the log because Linux wipes pages before it gives them back. A guest whose balloon driver does
//!   not wipe is not to be resized while a log is kept: the option's help says so.
//!
//! What this module must never do: end a log that is not ours, or let one pass as a base whose
//! sentinel is gone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::notes::{Note, Notes};
use super::saver;
use super::xen::Xen;
use crate::error::Result;

/// The parameter that names the sentinel (`hvm/params.h`).
pub(super) const HVM_PARAM_SHARING_RING_PFN: u32 = 29;

/// A log that was left on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The guest.
    pub(super) domid: u16,
    /// Its uuid.
    pub(super) uuid: [u8; 16],
    /// The image since which the log has every write.
    pub(super) image: String,
    /// The checksum of that image's contents.
    pub(super) contents: Option<String>,
    /// The frame whose bit is set.
    pub(super) sentinel: u64,
}

impl Note for Kept {
    fn domid(&self) -> u16 {
        self.domid
    }
}

/// The logs that are left on.
pub(super) type KeptLogs = Notes<Kept>;

/// Opens the notes of them in the daemon's run folder.
pub(super) fn open(run: &Path) -> Result<KeptLogs> {
    Notes::open(&run.join("logs"))
}

impl KeptLogs {
    /// The log of this guest, if one is kept.
    pub(super) fn of(&self, domid: u16, uuid: &[u8; 16]) -> Option<Kept> {
        self.get(domid).filter(|kept| kept.uuid == *uuid)
    }

    /// Ends a kept log, unless it is somebody else's by now. The caller has claimed the guest.
    pub(super) fn end(&self, xen: &Xen, kept: &Kept) {
        let domid = kept.domid;
        match is_ours(xen, kept) {
            Ok(true) => match xen.log_dirty_disable(domid) {
                Ok(()) => tracing::info!(domid, image = kept.image, "the log of its writes has ended"),
                Err(e) => tracing::error!(domid, error = %e, "ending the log of its writes"),
            },
            Ok(false) => {
                tracing::info!(domid, image = kept.image, "the log of its writes was taken by others")
            }
            Err(e) => tracing::warn!(domid, error = %e, "looking at the log of its writes"),
        }
        if let Err(e) = self.remove(domid) {
            tracing::error!(domid, error = %e.message, "forgetting the log of its writes");
        }
    }
}

/// Whether the log is on, with nothing taken out of it.
fn is_ours(xen: &Xen, kept: &Kept) -> std::result::Result<bool, privcmd::Error> {
    let domid = kept.domid;
    let same = xen.domain_info(domid)?.is_some_and(|info| info.uuid == kept.uuid && !info.dying);
    if !same || saver::is_saving(domid) {
        return Ok(false);
    }
    let span = xen.max_gpfn(domid)?.saturating_add(1);
    let mut bits = vec![0; span.div_ceil(64) as usize];
    xen.log_dirty_peek(domid, span, &mut bits, false)?;
    Ok(has(&bits, kept.sentinel))
}

/// Whether a frame is dirty.
pub(super) fn has(by_pfn: &[u64], pfn: u64) -> bool {
    by_pfn.get((pfn / 64) as usize).is_some_and(|word| word >> (pfn % 64) & 1 == 1)
}

/// A kept log on which a snapshot builds.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) sentinel: u64,
    /// Why it is worth nothing any more.
    pub(super) lost: Option<&'static str>,
}

impl Inherited {
    /// Looks at what the first `Clean` gave, by frame, and makes of it what must be read:
    /// everything if something was taken out of the log; else what it has, and `unlogged`, frames
    /// that may be written to without it. Returns why it is everything.
    pub(super) fn complete(self, by_pfn: &mut [u64], unlogged: Option<&[u64]>) -> Option<&'static str> {
        let lost = match (self.lost, unlogged) {
            (Some(why), _) => Some(why),
            _ if !has(by_pfn, self.sentinel) => Some("the log of its writes was used by others meanwhile"),
            (None, None) => Some("its grants could not be read"),
            (None, Some(_)) => None,
        };
        if lost.is_some() {
            by_pfn.fill(u64::MAX);
            return lost;
        }
        for pfn in unlogged.unwrap_or_default() {
            if let Some(word) = by_pfn.get_mut((pfn / 64) as usize) {
                *word |= 1 << (pfn % 64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [u64; 2] = [u64::MAX; 2];

    fn inherited() -> Inherited {
        Inherited { sentinel: 70, lost: None }
    }

    #[test]
    fn a_log_with_its_sentinel_says_what_is_to_be_read() {
        let mut bits = [0b101, 1 << 6];
        assert_eq!(inherited().complete(&mut bits, Some(&[3, 64, 1 << 40])), None);
        assert_eq!(bits, [0b1101, 1 << 6 | 1]);
    }

    #[test]
    fn without_the_sentinel_everything_is_read() {
        for mut bits in [[0, 0], [u64::MAX, !(1 << 6)], [u64::MAX, 0]] {
            assert!(inherited().complete(&mut bits, Some(&[])).is_some());
            assert_eq!(bits, ALL);
        }
        // A guest that is smaller than it was.
        let mut short = [u64::MAX];
        assert!(inherited().complete(&mut short, Some(&[])).is_some());
    }

    #[test]
    fn everything_is_read_when_the_log_had_ended_or_grants_are_unknown() {
        let mut bits = [0, 1 << 6];
        assert!(inherited().complete(&mut bits, None).is_some());
        assert_eq!(bits, ALL);
        let mut bits = [0, 1 << 6];
        assert_eq!(
            Inherited { lost: Some("why"), ..inherited() }.complete(&mut bits, Some(&[])),
            Some("why")
        );
        assert_eq!(bits, ALL);
    }
}

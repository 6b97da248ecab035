//! The window: the top of a guest's grant table, in two halves, through which the stub reads the
//! pages of the moment and no others; and below it, the pages that are made ready for the last
//! round, which stay granted until the snapshot's end.

use std::ops::Range;
use std::time::{Duration, Instant};

use handoff::WINDOW_SLOTS;
use privcmd::grant::{ENTRIES_PER_FRAME, GrantError, Revoked};
use privcmd::{GrantTable, Hypervisor};

/// How long a copy by the stub may hold a grant that is to be taken back.
const IN_USE: Duration = Duration::from_millis(500);

/// Grant references in a half.
const HALF: u32 = WINDOW_SLOTS as u32;

/// Frames of a grant table that a window takes.
pub(super) const WINDOW_FRAMES: u32 = 2 * HALF / ENTRIES_PER_FRAME;

/// Frames that a guest's table must have, so that its own devices keep at least half of it.
pub(super) const MIN_FRAMES: u32 = 2 * WINDOW_FRAMES;

/// The most frames for pages that are made ready: 512 MiB of them.
const MAX_PREPARED_FRAMES: u32 = 256;

/// What an earlier snapshot may have left in a guest's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Nothing beside the window.
    Window,
    /// Pages that were made ready, too. (What is below may be the guest's own grants to the stub,
    /// for its network, so it is not looked at without this knowledge.)
    Prepared,
}

/// A guest's window. Closed when dropped.
pub(super) struct Window {
    table: GrantTable,
    stub: u16,
    /// References of pages that are made ready; the two halves follow.
    ready: Range<u32>,
    prepared: u32,
    spoiled: u32,
}

/// Frames beside the window for `pages` pages, of a table that may have `max` frames: what leaves
/// the guest's own devices at least half of it.
fn frames_beside(max: u32, pages: u32) -> u32 {
    let room = (max / 2).saturating_sub(WINDOW_FRAMES).min(MAX_PREPARED_FRAMES);
    pages.div_ceil(ENTRIES_PER_FRAME).min(room)
}

impl Window {
    /// Maps the top of a guest's table, with room for `pages` pages to be made ready, or for as
    /// many as it has room for; nothing is granted yet. What an earlier daemon left there for this
    /// stub is taken back.
    pub(super) fn new(
        xen: &Hypervisor,
        guest: u16,
        stub: u16,
        pages: u32,
        left: Earlier,
    ) -> Result<Self, GrantError> {
        let max = xen.grant_limits(guest)?.max_frames;
        let pages = if left == Earlier::Prepared { u32::MAX } else { pages };
        let table = GrantTable::map_top(xen, guest, WINDOW_FRAMES + frames_beside(max, pages))?;
        let references = table.references();
        let halves = references.end.saturating_sub(2 * HALF).max(references.start);
        let ready = references.start..halves;
        let mut window = Self { table, stub, ready, prepared: 0, spoiled: 0 };
        window.table.adopt(halves..references.end, stub);
        if left == Earlier::Prepared {
            window.table.adopt(window.ready.clone(), stub);
        }
        window.close();
        Ok(window)
    }

    /// Pages that can be made ready.
    pub(super) fn capacity(&self) -> u32 {
        self.ready.end - self.ready.start
    }

    /// Grants frames to the stub in place of what this half granted before; `None` leaves a
    /// reference unused. Returns the reference of the first.
    pub(super) fn open(&mut self, half: u8, pfns: &[Option<u64>]) -> Result<u32, GrantError> {
        let first = self.ready.end + u32::from(half & 1) * HALF;
        let revoked = self.table.revoke_range(first..first + HALF);
        self.note(revoked);
        for (reference, pfn) in (first..first + HALF).zip(pfns) {
            if let Some(pfn) = *pfn {
                self.table.seed(reference, pfn, self.stub)?;
            }
        }
        Ok(first)
    }

    /// Grants frames to the stub beside the window, after the `at` that were granted so before.
    /// Returns the reference of the first. `None`: they don't follow, or find no place.
    pub(super) fn prepare(&mut self, at: u32, pfns: &[u64]) -> Result<Option<u32>, GrantError> {
        let room = self.capacity().saturating_sub(self.prepared) as usize;
        if at != self.prepared || pfns.len() > room {
            return Ok(None);
        }
        let first = self.ready.start + self.prepared;
        if let Err(e) = self.table.seed_all(first, pfns, self.stub) {
            let revoked = self.table.revoke_range(first..self.ready.end);
            self.note(revoked);
            return Err(e);
        }
        self.prepared += pfns.len() as u32;
        Ok(Some(first))
    }

    /// Takes everything back. A grant from which the stub is copying at this moment is free a
    /// moment later.
    pub(super) fn close(&mut self) {
        self.prepared = 0;
        let until = Instant::now() + IN_USE;
        loop {
            let revoked = self.table.revoke_all();
            self.spoiled = self.spoiled.saturating_add(revoked.changed);
            if revoked.in_use == 0 {
                return;
            }
            if Instant::now() >= until {
                tracing::warn!(count = revoked.in_use, "grants are still in use by the stub domain");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As [`Window::close`], and what the stub does not let go of is granted no more: a page that
    /// it has mapped it keeps until it unmaps it, or is gone.
    pub(super) fn shut(&mut self) {
        self.close();
        let revoked = self.table.revoke_all_by_force();
        self.note(revoked);
    }

    /// Grants that the guest changed or took back while they were ours.
    pub(super) fn spoiled(&self) -> u32 {
        self.spoiled
    }

    fn note(&mut self, revoked: Revoked) {
        self.spoiled = self.spoiled.saturating_add(revoked.changed);
        if revoked.in_use > 0 {
            tracing::warn!(count = revoked.in_use, "grants are still in use by the stub domain");
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.shut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_own_devices_keep_half_of_its_table() {
        for max in [MIN_FRAMES, 48, 64, 128, 1024, 1 << 16] {
            let most = frames_beside(max, u32::MAX);
            assert!(max - most - WINDOW_FRAMES >= max / 2, "{max}");
            assert!(most <= MAX_PREPARED_FRAMES);
        }
        assert_eq!(frames_beside(MIN_FRAMES, u32::MAX), 0);
        assert_eq!(frames_beside(64, u32::MAX) * ENTRIES_PER_FRAME, 8192);
        assert_eq!(frames_beside(0, u32::MAX), 0);
    }

    #[test]
    fn no_more_of_the_table_is_taken_than_is_asked_for() {
        assert_eq!(frames_beside(64, 0), 0);
        assert_eq!(frames_beside(64, 1), 1);
        assert_eq!(frames_beside(64, 513), 2);
    }
}

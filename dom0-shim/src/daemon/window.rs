//! The window: the top of a guest's grant table, in two halves, through which the stub reads the
//! pages of the moment and no others.

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

/// A guest's window. Closed when dropped.
pub(super) struct Window {
    table: GrantTable,
    stub: u16,
    first: u32,
    spoiled: u32,
}

impl Window {
    /// Maps the top of a guest's table; nothing is granted yet. What an earlier daemon left there
    /// for this stub is taken back.
    pub(super) fn new(xen: &Hypervisor, guest: u16, stub: u16) -> Result<Self, GrantError> {
        let table = GrantTable::map_top(xen, guest, WINDOW_FRAMES)?;
        let references = table.references();
        let mut window = Self { table, stub, first: references.start, spoiled: 0 };
        window.table.adopt(references, stub);
        window.close();
        Ok(window)
    }

    /// Grants frames to the stub in place of what this half granted before; `None` leaves a
    /// reference unused. Returns the reference of the first.
    pub(super) fn open(&mut self, half: u8, pfns: &[Option<u64>]) -> Result<u32, GrantError> {
        let first = self.first + u32::from(half & 1) * HALF;
        let revoked = self.table.revoke_range(first..first + HALF);
        self.note(revoked);
        for (reference, pfn) in (first..first + HALF).zip(pfns) {
            if let Some(pfn) = *pfn {
                self.table.seed(reference, pfn, self.stub)?;
            }
        }
        Ok(first)
    }

    /// Takes everything back. A grant from which the stub is copying at this moment is free a
    /// moment later.
    pub(super) fn close(&mut self) {
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
        self.close();
    }
}

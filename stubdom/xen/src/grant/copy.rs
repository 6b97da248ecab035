//! Copying whole pages by the grants of others.

use alloc::boxed::Box;
use alloc::vec;

use xen_sys::errno::Errno;
use xen_sys::grant_table as sys;
use xen_sys::grant_table::{GnttabCopy, GnttabCopyPtr, GrantStatus};
use xen_sys::{DOMID_SELF, DomId, PAGE_SIZE};

use super::Gref;
use crate::page::Page;

/// The most pages that one hypercall copies here.
pub const MAX_BATCH: usize = 512;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Pages copied.
    pub copied: usize,
    /// Pages not copied; the statuses say why.
    pub failed: usize,
}

/// Copies whole pages from another domain by its grants, many with one hypercall. Has the
/// memory for the largest batch; nothing is allocated later.
pub struct Copier {
    ops: Box<[GnttabCopy]>,
    hypercalls: u64,
    pages: u64,
    failed: u64,
}

impl Default for Copier {
    fn default() -> Self {
        Copier::new()
    }
}

impl Copier {
    /// Sets memory aside: 20 KiB.
    pub fn new() -> Copier {
        let end = GnttabCopyPtr { ref_or_frame: 0, domid: DOMID_SELF, offset: 0 };
        let op = GnttabCopy {
            source: end,
            dest: end,
            len: PAGE_SIZE as u16,
            flags: sys::GNTCOPY_SOURCE_GREF,
            status: GrantStatus::GeneralError as i16,
        };
        Copier { ops: vec![op; MAX_BATCH].into_boxed_slice(), hypercalls: 0, pages: 0, failed: 0 }
    }

    /// Copies each page that `dom` granted us into a page of ours, with one hypercall.
    ///
    /// Takes as many pairs as `statuses` has room for, at most [`MAX_BATCH`], and writes the
    /// status of each to the same place in `statuses`. A page whose status is not `Okay` holds
    /// anything. An entry that grants us nothing (never did, or was revoked or overwritten) is
    /// `GeneralError` in Xen's words; `BadGntref` is beyond the end of the table, `BadPage` has
    /// no RAM behind it.
    ///
    /// # Errors
    /// Xen refused the call as a whole; no status is of use then.
    pub fn copy_from<'a>(
        &mut self,
        dom: DomId,
        pages: impl IntoIterator<Item = (Gref, &'a mut Page)>,
        statuses: &mut [GrantStatus],
    ) -> Result<Batch, Errno> {
        let limit = statuses.len().min(MAX_BATCH);
        let mut count = 0;
        for ((gref, page), op) in pages.into_iter().zip(&mut self.ops[..limit]) {
            op.source.ref_or_frame = gref.0.into();
            op.source.domid = dom;
            op.dest.ref_or_frame = page.frame();
            op.status = GrantStatus::GeneralError as i16;
            count += 1;
        }
        let ops = &mut self.ops[..count];
        if ops.is_empty() {
            return Ok(Batch::default());
        }
        self.hypercalls += 1;
        // SAFETY: every destination is a page that the caller lent us for `'a`, which is longer
        // than the call.
        unsafe { sys::copy(ops) }?;
        let mut batch = Batch::default();
        for (op, status) in ops.iter().zip(statuses) {
            *status = GrantStatus::from_raw(op.status);
            match *status {
                GrantStatus::Okay => batch.copied += 1,
                _ => batch.failed += 1,
            }
        }
        self.pages += batch.copied as u64;
        self.failed += batch.failed as u64;
        Ok(batch)
    }

    /// Hypercalls made, pages copied and pages not copied, since it was made.
    pub fn counters(&self) -> (u64, u64, u64) {
        (self.hypercalls, self.pages, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_xen_a_batch_is_refused_as_a_whole() {
        let mut page = Page([0; PAGE_SIZE]);
        let mut statuses = [GrantStatus::Okay; 1];
        let mut copier = Copier::new();
        let result = copier.copy_from(1, [(Gref(8), &mut page)], &mut statuses);
        assert_eq!(result, Err(Errno::ENOSYS));
        assert_eq!(copier.copy_from(1, [], &mut statuses), Ok(Batch::default()));
    }
}
